//! Ways to read or write memory that is not one's own, tried in safe code: all of them have to fail.
//!
//! Frames that this process wrote are read without a check in release builds only, so that is where
//! an attempt that goes through does harm. Run these with `--release` too.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use annulus_codec::{
    address::{Address, NodeId, Slot},
    archive::Archived,
    chunk::ChunkPool,
    extension::Extensions,
    frame::{Frame, FrameReader, Header, Kind},
    message::Message,
    outbox::{Admission, Destination, Landing, Outbox, Parcel, PushError},
};
use common::*;

/// Whether one of the frames in the parcel is read as a text without a check.
fn forged(parcel: Parcel) -> bool {
    let opens = |frame: Frame| {
        let trusted = frame.trusted();
        let valid = annulus_codec::archive::validate::<Text>(frame.payload()).is_ok();
        let message = frame.header().message == Text::ID && frame.header().kind.carries_message();
        trusted && message && !valid
    };
    match parcel {
        Parcel::Frames(mut frames) => frames.any(opens),
        _ => false,
    }
}

/// A frame with a string that claims to lie far behind the end.
fn garbage() -> Vec<u8> {
    let mut header = header_of::<Text>(Kind::Tell, 1);
    header.payload_len = 16;
    let mut bytes = header.to_wire().to_vec();
    bytes.extend([0x80; 16]);
    bytes
}

fn quietly<R>(attempt: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(attempt)).ok()
}

#[test]
fn bytes_for_a_node_are_not_taken_for_frames_of_this_process() {
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool());
    outbox.push_prefix(&garbage()).unwrap();
    let popped = quietly(|| outbox.pop());
    assert!(!popped.flatten().is_some_and(forged));
}

#[test]
fn bytes_for_a_node_do_not_cross_to_a_worker() {
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool());
    outbox.push_prefix(&garbage()).unwrap();
    let crossed = quietly(|| outbox.pop_crossing());
    assert!(
        !crossed
            .flatten()
            .is_some_and(|crossing| { forged(crossing.open(&mut Landing::new(pool()), 0)) })
    );
}

#[test]
fn a_header_alone_is_no_message() {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    let pushed = quietly(|| outbox.push_header(header_of::<Text>(Kind::Tell, 1)));
    assert!(!matches!(pushed, Some(Ok(()))) || !outbox.pop().is_some_and(forged));
}

#[test]
fn a_failure_is_no_message_whatever_its_code_says() {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    // The code of a failure is free to choose: here it is the identity of a message.
    outbox.push_header(header_of::<Text>(Kind::Failure, 1)).unwrap();
    let failure = frames_of(outbox.pop().unwrap()).remove(0);
    assert!(Archived::<Text>::open(failure).is_err());
}

fn long_chain(len: usize) -> Extensions {
    // Four addresses in a row are two headers: a forger would write a frame here.
    let address = Address::new(NodeId::from_bits(8), 1, Slot::new(0, 0), 0);
    Extensions { chain: vec![address; len].into(), ..Extensions::default() }
}

#[test]
fn extensions_that_are_too_long_do_not_shift_the_payload() {
    let frame = frame_of(&Text("x".repeat(30)), &Extensions::default());
    for len in [4095, 4096, 5000, 8191] {
        let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
        if outbox.push_relayed(&frame, &long_chain(len)).is_ok() {
            let Some(Parcel::Frames(mut relayed)) = outbox.pop() else { panic!() };
            let relayed = relayed.next().unwrap();
            assert_eq!(relayed.payload(), frame.payload());
        }
    }
}

#[test]
fn a_message_whose_extensions_are_too_long_is_refused_at_once() {
    let pool = pool();
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool.clone());
    let refused = outbox.push_message(
        header_of::<Inc>(Kind::Ask, 1),
        Some(&long_chain(4095)),
        &Inc(1),
        Admission::Always,
    );
    let error = refused.expect_err("no header can say this length");
    assert!(!matches!(error, annulus_codec::outbox::PushError::NoMemory(_)), "{error:?}");
}

#[test]
fn no_chunk_is_larger_than_an_address_space() {
    let pool = ChunkPool::new(64, 0, usize::MAX);
    for capacity in [usize::MAX, usize::MAX - 63, usize::MAX - 127, isize::MAX as usize] {
        assert!(pool.acquire_sized(capacity).is_err(), "{capacity:#x}");
    }
    assert_eq!(pool.bytes_lent(), 0);
}

#[test]
fn the_mark_of_foreign_headers_never_reaches_the_wire() {
    let bytes = wire_of(&Inc(1), &Extensions::default());
    let frame = read_foreign(&bytes).next_frame().unwrap().unwrap();
    let header: Header = frame.header();
    let mut failure = header;
    failure.kind = Kind::Failure;
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool());
    outbox.push_header(failure).unwrap();
    outbox.push_message(header, None, &Inc(2), Admission::Always).unwrap();
    let sent = outbox.pop_bytes().unwrap();
    let mut reader = read_foreign(&sent);
    assert!(reader.next_frame().is_ok_and(|frame| frame.is_some()));
    assert!(reader.next_frame().is_ok_and(|frame| frame.is_some()));
}

#[test]
fn a_large_message_of_small_parts_takes_few_attempts() {
    let pool = ChunkPool::new(4096, 0, 1 << 30);
    let limits = annulus_codec::outbox::OutboxLimits { max_payload: 16 << 20, ..LIMITS };
    let mut outbox = Outbox::new(Destination::Here, limits, pool);
    let attempts = std::rc::Rc::new(std::cell::Cell::new(0));
    let parts = (0..200_000).map(|_| Counted(attempts.clone())).collect();
    outbox
        .push_message(header_of::<Parts>(Kind::Tell, 1), None, &Parts(parts), Admission::Always)
        .unwrap();
    assert!(attempts.get() < 2_000_000, "{} parts were archived", attempts.get());
}

/// A part that counts how often it is archived.
struct Counted(std::rc::Rc<std::cell::Cell<usize>>);

impl annulus_codec::rkyv::Archive for Counted {
    type Archived = annulus_codec::rkyv::Archived<String>;
    type Resolver = annulus_codec::rkyv::string::StringResolver;

    fn resolve(&self, resolver: Self::Resolver, out: annulus_codec::rkyv::Place<Self::Archived>) {
        annulus_codec::rkyv::string::ArchivedString::resolve_from_str(PART, resolver, out);
    }
}

const PART: &str = "a part that lies out of line, as long strings do";

impl<S> annulus_codec::rkyv::Serialize<S> for Counted
where
    S: annulus_codec::rkyv::rancor::Fallible<Error = annulus_codec::rkyv::rancor::Failure>
        + annulus_codec::rkyv::ser::Writer
        + ?Sized,
{
    fn serialize(&self, serializer: &mut S) -> Result<Self::Resolver, S::Error> {
        self.0.set(self.0.get() + 1);
        annulus_codec::rkyv::string::ArchivedString::serialize_from_str(PART, serializer)
    }
}

#[derive(annulus_codec::rkyv::Archive, annulus_codec::rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct Parts(Vec<Counted>);
message!(Parts, "test.Parts");

/// A message around bytes that are there already.
#[derive(annulus_codec::rkyv::Archive, annulus_codec::rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct Around(annulus_codec::bytes::Bytes);
message!(Around, "test.Around");

#[test]
fn a_message_around_bytes_has_nothing_in_front_of_them() {
    let pool = pool();
    let mut chunk = annulus_codec::archive::chunk_to_fill(&pool, 64).unwrap();
    assert!(chunk.append(&[0x80; 16]));
    drop(chunk.take_committed());
    assert!(chunk.append(&[0x80; 64]));
    let mut arena = annulus_codec::rkyv::ser::allocator::Arena::new();
    let made = quietly(|| annulus_codec::archive::finish(chunk, &mut arena, Around));
    if let Some(Ok(made)) = made {
        assert!(annulus_codec::archive::validate::<Around>(&made.payload()).is_ok());
        assert_eq!(made.0.as_slice(), [0x80; 64]);
    }
}

#[test]
fn a_message_around_bytes_is_made_of_the_chunk_that_holds_them() {
    let pool = pool();
    let mut chunk = annulus_codec::archive::chunk_to_fill(&pool, 64).unwrap();
    assert!(chunk.append(&[7; 61]));
    let before = chunk.peek().as_ptr();
    let mut arena = annulus_codec::rkyv::ser::allocator::Arena::new();
    let made = annulus_codec::archive::finish(chunk, &mut arena, Around).unwrap();
    assert_eq!(made.0.as_slice(), [7; 61]);
    assert_eq!(made.payload().as_ptr(), before);
    assert!(annulus_codec::archive::validate::<Around>(&made.payload()).is_ok());
}

#[test]
fn a_lease_of_part_of_the_bytes_shows_no_more() {
    let lease = lease_of(b"0123456789");
    let part = lease.slice(2, 3);
    assert_eq!(&part[..], b"234");
    for (start, len) in [(0, 4), (3, 1), (4, 0), (usize::MAX, 1), (1, usize::MAX)] {
        assert!(quietly(|| part.slice(start, len)).is_none(), "{start} {len}");
    }
}

#[test]
fn a_chunk_is_not_written_again_while_it_is_leased() {
    let pool = ChunkPool::new(64, 4, 1 << 20);
    let mut chunk = pool.acquire().unwrap();
    assert!(chunk.append(b"first"));
    let lease = chunk.take_committed();
    assert!(!chunk.rewind());
    assert!(chunk.append(b"second"));
    let mut chunk = chunk.seal().expect_err("it is leased");
    assert_eq!((&lease[..], chunk.peek()), (&b"first"[..], &b"second"[..]));
    drop(chunk.take_committed());
    drop(chunk);
    assert_eq!(pool.chunks_free(), 0);
    let shared = lease.clone().try_seal().expect_err("it is shared");
    drop((shared, lease));
    assert_eq!((pool.chunks_free(), pool.bytes_lent()), (1, 0));
}

#[test]
fn text_that_is_forged_in_the_clear_is_found() {
    let frame = read_foreign(&garbage()).next_frame().unwrap().unwrap();
    assert!(Archived::<Text>::open(frame).is_err());
}

#[derive(annulus_codec::rkyv::Archive, annulus_codec::rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct Wide(u128);
message!(Wide, "test.Wide");

#[test]
fn an_archive_that_is_in_place_by_chance_is_refused() {
    // The number lies 8 bytes behind the start of the payload, which lies 8 bytes out of place.
    let mut header = header_of::<Wide>(Kind::Tell, 1);
    header.payload_len = 24;
    let mut bytes = vec![0; 8];
    bytes.extend(header.to_wire());
    bytes.resize(8 + header.frame_len(), 0);
    let frame = lease_of(&bytes).slice(8, header.frame_len());
    let frame = FrameReader::foreign(frame, 1 << 20).next_frame().unwrap().unwrap();
    assert!(annulus_codec::archive::validate::<Wide>(frame.payload()).is_ok());
    // A copy of it, which nobody would check again, would be in its place, and the number out of it.
    assert!(Archived::<Wide>::open(frame).is_err());
}

/// Bytes that may look like anything.
#[derive(annulus_codec::rkyv::Archive, annulus_codec::rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct Raw([u8; 48]);
message!(Raw, "test.Raw", flat: true);

fn raw() -> Raw {
    Raw(garbage().try_into().expect("a header and a payload of 16 bytes"))
}

/// The headers of broadcasts that are to be had: one that is made up, and that of a real one.
fn broadcast_headers() -> [Header; 2] {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    let header = header_of::<Text>(Kind::Tell, 0);
    let text = Text("a word".into());
    outbox.push_message(header, None, &text, Admission::Always).unwrap();
    let text = frames_of(outbox.pop().unwrap()).remove(0);
    let target = Address::new(NodeId::from_bits(8), 1, Slot::new(1, 2), 3);
    outbox.push_broadcast(&[target], &text).unwrap();
    let broadcast = frames_of(outbox.pop().unwrap()).remove(0);
    assert_eq!(broadcast.clone().into_shared().payload(), text.payload());
    [header_of::<Raw>(Kind::Broadcast, 1), broadcast.header()]
}

/// Whether a frame comes out of what is pushed into an outbox, as the message of a broadcast does.
fn unwraps(push: impl FnOnce(&mut Outbox) -> Result<(), PushError>) -> bool {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    if !matches!(quietly(|| push(&mut outbox)), Some(Ok(()))) {
        return false;
    }
    let frame = frames_of(outbox.pop().unwrap()).remove(0);
    quietly(|| frame.into_shared()).is_some()
}

#[test]
fn a_message_under_the_header_of_a_broadcast_is_no_frame() {
    for header in broadcast_headers() {
        assert!(!unwraps(|outbox| outbox.push_message(header, None, &raw(), Admission::Always)));
    }
}

#[test]
fn an_archived_message_under_the_header_of_a_broadcast_is_no_frame() {
    for header in broadcast_headers() {
        assert!(!unwraps(|outbox| outbox.push_archived(header, archived_of(&raw()))));
    }
}

#[test]
fn the_header_of_a_broadcast_alone_has_no_frame_behind_it() {
    for header in broadcast_headers() {
        assert!(!unwraps(|outbox| outbox.push_header(header)));
    }
}
