//! The frames of this process, walked from front to back.

mod common;

use annulus_codec::{
    extension::Extensions,
    frame::{Frames, HEADER_LEN, Kind},
    message::Message,
    outbox::{Admission, Destination, Outbox, Parcel},
};
use common::*;

fn outbox() -> Outbox {
    Outbox::new(Destination::Here, LIMITS, pool())
}

fn frames(outbox: &mut Outbox) -> Frames {
    match outbox.pop() {
        Some(Parcel::Frames(frames)) => frames,
        other => panic!("{other:?}, not frames"),
    }
}

#[test]
fn a_message_is_taken_as_told_by_the_actor_that_it_was_told_to() {
    let mut outbox = outbox();
    for (kind, number) in [(Kind::Tell, 1), (Kind::Tell, 2), (Kind::Ask, 3)] {
        let header = header_of::<Inc>(kind, number);
        outbox.push_message(header, None, &Inc(number), Admission::Always).unwrap();
    }
    let mut frames = frames(&mut outbox);
    let header = frames.peek().unwrap();
    let (slot, generation) = (header.slot, header.generation);
    assert!(frames.take_told::<Text>(slot, generation).is_none());
    assert!(frames.take_told::<Inc>(slot, generation + 1).is_none());
    assert_eq!(frames.take_told::<Inc>(slot, generation).unwrap().0, 1);
    let (header, told) = frames.take_as::<Inc>().unwrap();
    assert_eq!((header.kind, told.unwrap().0.to_native()), (Kind::Tell, 2));
    assert!(frames.take_told::<Inc>(slot, generation).is_none(), "it is an ask");
    assert_eq!(frames.next().unwrap().header().correlation, 3);
    assert!(frames.take_told::<Inc>(slot, generation).is_none());
    assert!(frames.take_as::<Inc>().is_none() && frames.next().is_none());
}

#[test]
fn p16_an_invalid_message_is_not_lost_when_it_cannot_be_taken_as_told() {
    let mut bytes = wire_of(&Text("x".repeat(100)), &Extensions::default());
    bytes[4] = Kind::Tell as u8;
    // A string that claims to lie far behind the end.
    bytes[HEADER_LEN..HEADER_LEN + 108].fill(0x80);
    let foreign = read_foreign(&bytes).next_frame().unwrap().unwrap();
    let mut outbox = outbox();
    outbox.push_relayed(&foreign, &Extensions::default()).unwrap();
    let mut frames = frames(&mut outbox);
    let header = frames.peek().unwrap();
    assert_eq!((header.kind, header.message), (Kind::Tell, Text::ID));
    assert!(frames.take_told::<Text>(header.slot, header.generation).is_none());
    let (taken, invalid) = frames.take_as::<Text>().expect("whoever answers for it finds it there");
    assert_eq!(taken, header);
    assert!(invalid.is_err());
}
