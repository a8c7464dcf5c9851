//! Archives from strangers: checked once, to a bounded depth, and bound to their type.

mod common;

use annulus_codec::{
    archive::{AccessError, Archived, validate},
    extension::Extensions,
    frame::HEADER_LEN,
    message::Message,
    outbox::{Destination, Outbox},
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
