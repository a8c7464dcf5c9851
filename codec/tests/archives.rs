//! Archives from strangers: checked once, to a bounded depth, and bound to their type.

mod common;

use annulus_codec::{
    archive::{AccessError, Archivable, Archived, validate},
    chunk::ChunkPool,
    extension::Extensions,
    frame::{HEADER_LEN, Kind},
    message::Message,
    outbox::{Admission, Destination, Outbox},
    rkyv,
};
use common::*;
use proptest::prelude::*;

type B2<T> = Box<Box<T>>;
type B4<T> = B2<B2<T>>;
type B8<T> = B4<B4<T>>;
type B16<T> = B8<B8<T>>;

#[derive(Default, rkyv::Archive, rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct AsDeepAsMayBe(B16<B8<B4<B2<u8>>>>);
message!(AsDeepAsMayBe, "test.AsDeepAsMayBe");

#[derive(Default, rkyv::Archive, rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct TooDeep(B16<B16<u8>>);
message!(TooDeep, "test.TooDeep");

#[test]
fn a8_pointers_nest_thirty_deep_and_no_deeper() {
    let frame = read_foreign(&wire_of(&AsDeepAsMayBe::default(), &Extensions::default()))
        .next_frame()
        .unwrap()
        .unwrap();
    assert!(Archived::<AsDeepAsMayBe>::open(frame).is_ok());
    let frame = read_foreign(&wire_of(&TooDeep::default(), &Extensions::default()))
        .next_frame()
        .unwrap()
        .unwrap();
    assert_eq!(Archived::<TooDeep>::open(frame).unwrap_err(), AccessError::Invalid(TooDeep::ID));
}

#[test]
fn a_frame_opens_as_the_message_it_names_and_no_other() {
    let frame = frame_of(&Inc(7), &Extensions::default());
    assert_eq!(Archived::<Inc>::open(frame.clone()).unwrap().0, 7);
    assert_eq!(
        Archived::<Text>::open(frame.clone()).unwrap_err(),
        AccessError::WrongMessage { expected: Text::ID, found: Inc::ID }
    );
}

#[test]
fn a8_an_archive_out_of_alignment_is_refused() {
    let bytes = wire_of(&Inc(7), &Extensions::default());
    let mut shifted = vec![0; 1];
    shifted.extend(&bytes);
    let lease = lease_of(&shifted).slice(1, bytes.len());
    let frame =
        annulus_codec::frame::FrameReader::foreign(lease, 1 << 20).next_frame().unwrap().unwrap();
    assert_eq!(Archived::<Inc>::open(frame).unwrap_err(), AccessError::Invalid(Inc::ID));
}

#[test]
fn a8_what_came_from_a_stranger_stays_foreign_wherever_it_goes() {
    let mut bytes = wire_of(&Text("x".repeat(100)), &Extensions::default());
    // A string that claims to lie far behind the end.
    bytes[HEADER_LEN..HEADER_LEN + 108].fill(0x80);
    let frame = read_foreign(&bytes).next_frame().unwrap().unwrap();
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    outbox.push_relayed(&frame, &Extensions::default()).unwrap();
    let again = frames_of(outbox.pop().unwrap()).remove(0);
    for frame in [frame, again] {
        assert!(!frame.trusted());
        assert!(Archived::<Text>::open(frame).is_err());
    }
}

/// Its bytes are its archive.
#[derive(Clone, Copy, rkyv::Archive, rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Flat {
    number: u64,
    pair: [u16; 2],
    letter: char,
    flags: [bool; 7],
    small: u8,
}
message!(Flat, "test.Flat");

/// Its archive ends with a gap, which is zero, and so does the type, where it may be anything.
#[derive(Clone, Copy, rkyv::Archive, rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Tail {
    number: u64,
    small: u8,
}
message!(Tail, "test.Tail");

/// The stream to another node when three of these are sent, behind whatever was in the memory before.
fn stream_of<M: Archivable>(message: &M, extensions: Option<&Extensions>, dirt: u8) -> Vec<u8> {
    let pool = ChunkPool::new(1024, 1, 1024);
    assert!(pool.acquire().unwrap().append(&[dirt; 1024]));
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool);
    for number in 0..3 {
        let header = header_of::<M>(Kind::Tell, number);
        outbox.push_message(header, extensions, message, Admission::Always).unwrap();
    }
    outbox.pop_bytes().unwrap().to_vec()
}

#[test]
fn messages_that_are_copied_make_the_frames_of_those_that_are_serialised() {
    use rkyv::Archive;
    const { assert!(Flat::COPY_OPTIMIZATION.is_enabled() && !Tail::COPY_OPTIMIZATION.is_enabled()) };
    let flat = Flat { number: 1, pair: [2, 3], letter: 'ä', flags: [true; 7], small: 4 };
    let tail = Tail { number: 5, small: 6 };
    // Extensions, if only none, take the way of the serialiser.
    let serialised = Some(&Extensions::default());
    assert_eq!(stream_of(&flat, None, 0x55), stream_of(&flat, serialised, 0xaa));
    assert_eq!(stream_of(&tail, None, 0x55), stream_of(&tail, serialised, 0xaa));
    assert_eq!(
        stream_of(&tail, None, 0x55)[HEADER_LEN..][..16],
        0x6_0000_0000_0000_0005_u128.to_le_bytes()
    );
}

proptest! {
    #[test]
    fn a8_no_change_of_an_archive_is_read_without_a_check(
        seed: u8,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let mut bytes = wire_of(&gaps(seed), &Extensions::default());
        let payload_len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        for (at, byte) in changes {
            bytes[HEADER_LEN + at.index(payload_len)] = byte;
        }
        let lease = lease_of(&bytes);
        let valid = validate::<Gaps>(&lease[HEADER_LEN..][..payload_len]).is_ok();
        let frame = read_foreign(&bytes).next_frame().unwrap().unwrap();
        match Archived::<Gaps>::open(frame) {
            Ok(archived) => {
                prop_assert!(valid);
                let shown = format!("{:?} {:?} {:?}", archived.parts, archived.map, archived.letter);
                prop_assert!(!shown.is_empty());
            }
            Err(error) => prop_assert_eq!(error, AccessError::Invalid(Gaps::ID)),
        }
    }
}
