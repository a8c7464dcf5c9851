//! Archives from strangers: checked once, to a bounded depth, and bound to their type.

mod common;

use std::time::Duration;

use annulus_codec::{
    archive::{AccessError, Archivable, Archived, finish, validate},
    chunk::ChunkPool,
    extension::Extensions,
    frame::{HEADER_LEN, Kind},
    message::Message,
    outbox::{Admission, Destination, Outbox},
    passing::{ByArchive, Passing},
    rkyv::{self, ser::allocator::Arena},
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
message!(Flat, "test.Flat", flat: true);

/// Its archive ends with a gap, which is zero, and so does the type, where it may be anything.
#[derive(Clone, Copy, Debug, rkyv::Archive, rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
#[repr(C)]
struct Tail {
    number: u64,
    small: u8,
}
message!(Tail, "test.Tail", flat: true);

/// Variants of all lengths, so that what is behind the shorter ones is a gap, and more than two words.
#[derive(Clone, Copy, Debug, rkyv::Archive, rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
enum Choice {
    Nothing,
    Flag(bool),
    Gap(u8, u64),
    Many { letter: Option<char>, either: Result<u8, u32>, wide: u128 },
}
message!(Choice, "test.Choice", flat: true);

/// As long as what travels without a frame, at most.
#[derive(Clone, Copy, Debug, rkyv::Archive, rkyv::Serialize)]
#[rkyv(crate = annulus_codec::rkyv)]
struct Few(Option<u8>, u16, Option<u32>);
message!(Few, "test.Few", flat: true);

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
fn flat_messages_make_the_frames_of_those_that_are_serialised() {
    use rkyv::Archive;
    const { assert!(Flat::COPY_OPTIMIZATION.is_enabled() && !Tail::COPY_OPTIMIZATION.is_enabled()) };
    let flat = Flat { number: 1, pair: [2, 3], letter: 'ä', flags: [true; 7], small: 4 };
    let tail = Tail { number: 5, small: 6 };
    is_written_as_serialised(flat);
    is_written_as_serialised(tail);
    assert_eq!(
        stream_of(&tail, None, 0x55)[HEADER_LEN..][..16],
        0x6_0000_0000_0000_0005_u128.to_le_bytes()
    );
}

/// Writes a message in all quick ways, and compares each with what the serialiser writes.
fn is_written_as_serialised<M: Archivable<Passing = ByArchive> + Copy>(message: M) {
    let chunk = ChunkPool::new(1024, 0, 1 << 20).acquire().unwrap();
    let serialised = finish(chunk, &mut Arena::new(), |_| message).unwrap();
    let serialised = serialised.bytes();
    let frame_len = HEADER_LEN + serialised.len().next_multiple_of(16);
    let stream = stream_of(&message, None, 0x55);
    assert_eq!(stream, stream_of(&message, Some(&Extensions::default()), 0xaa));
    assert_eq!(stream.len(), 3 * frame_len);
    for frame in stream.chunks(frame_len) {
        let (payload, padding) = frame[HEADER_LEN..].split_at(serialised.len());
        assert_eq!(payload, serialised);
        assert!(padding.iter().all(|byte| *byte == 0));
    }
    let between = Extensions { remaining: Some(Duration::from_secs(7)), ..Extensions::default() };
    let extended = stream_of(&message, Some(&between), 0xaa);
    assert_eq!(extended.len(), 3 * (frame_len + between.encoded_len()));
    for frame in extended.chunks(frame_len + between.encoded_len()) {
        assert_eq!(frame[HEADER_LEN + between.encoded_len()..], stream[HEADER_LEN..frame_len]);
    }
    let small = ByArchive::as_small(&message);
    assert_eq!(small.is_some(), serialised.len() <= 16 && align_of::<M::Archived>() <= 8);
    if let Some(small) = small {
        assert_eq!(Archived::<M>::of_small(&small).unwrap().bytes(), serialised);
    }
}

#[test]
fn flat_messages_of_another_length_are_refused() {
    let bytes = wire_of(&Tail { number: 0, small: 0 }, &Extensions::default());
    for len in [0, 8, 15, 17, 32] {
        let mut bytes = bytes.clone();
        bytes[..4].copy_from_slice(&u32::to_le_bytes(len));
        bytes.resize(HEADER_LEN + (len as usize).next_multiple_of(16), 0);
        let frame = read_foreign(&bytes).next_frame().unwrap().unwrap();
        assert_eq!(Archived::<Tail>::open(frame).unwrap_err(), AccessError::Invalid(Tail::ID));
    }
}

fn choices() -> impl Strategy<Value = Choice> {
    let many = (any::<Option<char>>(), any::<Result<u8, u32>>(), any::<u128>());
    prop_oneof![
        Just(Choice::Nothing),
        any::<bool>().prop_map(Choice::Flag),
        any::<(u8, u64)>().prop_map(|(small, wide)| Choice::Gap(small, wide)),
        many.prop_map(|(letter, either, wide)| Choice::Many { letter, either, wide }),
    ]
}

proptest! {
    #[test]
    fn any_flat_message_is_written_as_serialised(
        tail: (u64, u8), choice in choices(), few: (Option<u8>, u16, Option<u32>),
    ) {
        is_written_as_serialised(Tail { number: tail.0, small: tail.1 });
        is_written_as_serialised(choice);
        is_written_as_serialised(Few(few.0, few.1, few.2));
    }

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
