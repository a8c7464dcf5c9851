//! Archives from a stranger: what passes validation can be read to the last field.
//!
//! The first byte picks the message. If its highest bit is set, what follows is a change to a valid
//! archive instead of an archive.
#![no_main]

use std::ptr;

use annulus_codec::archive::{Archivable, Archived, validate};
use annulus_codec::frame::{FrameReader, HEADER_LEN, Header, Kind};
use annulus_fuzz::*;
use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;

const MAX_PAYLOAD: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    let Some((pick, rest)) = input.split_first() else {
        return;
    };
    let mutate = pick & 0x80 != 0;
    match pick & 0x0f {
        0 => one::<Plain>(rest, mutate),
        1 => one::<Text>(rest, mutate),
        2 => one::<Picky>(rest, mutate),
        3 => one::<Nested>(rest, mutate),
        4 => one::<Shape>(rest, mutate),
        5 => one::<Maps>(rest, mutate),
        6 => one::<Mixed>(rest, mutate),
        7 => one::<Deep>(rest, mutate),
        8 => one::<()>(rest, mutate),
        9 => one::<Flat>(rest, mutate),
        10 => one::<Tail>(rest, mutate),
        12 => one::<Nothing>(rest, mutate),
        13 => one::<Bit>(rest, mutate),
        14 => one::<Odd>(rest, mutate),
        15 => one::<Words>(rest, mutate),
        _ => one::<Either>(rest, mutate),
    }
});

fn one<M: Archivable + for<'a> Arbitrary<'a>>(rest: &[u8], mutate: bool)
where
    M::Archived: std::fmt::Debug,
{
    if mutate {
        let mut source = Unstructured::new(rest);
        let Ok(changes) = Vec::<(u16, u8)>::arbitrary(&mut source) else {
            return;
        };
        let Some(mut bytes) = M::arbitrary_take_rest(source).ok().and_then(|m| archive_of(&m))
        else {
            return;
        };
        assert!(validate::<M>(&lease_of(&bytes)).is_ok(), "our own archive is valid");
        for (at, change) in changes {
            let len = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(usize::from(at) % len) {
                *byte ^= change;
            }
        }
        read::<M>(&bytes);
    } else {
        read::<M>(rest);
    }
}

/// Reads the bytes as a link would: as a frame, and where they lie.
fn read<M: Archivable>(payload: &[u8])
where
    M::Archived: std::fmt::Debug,
{
    if payload.len() > MAX_PAYLOAD {
        return;
    }
    let slot = annulus_codec::address::Slot::new(0, 0);
    let mut header = Header::new(Kind::Tell, slot, 0, M::ID, 0);
    header.payload_len = payload.len() as u32;
    let mut frame = header.to_wire().to_vec();
    frame.extend_from_slice(payload);
    frame.resize(header.frame_len(), 0);
    let lease = lease_of(&frame);
    let valid = validate::<M>(&lease[HEADER_LEN..][..payload.len()]).is_ok();
    // Behind what is not read there could be anything, but not where all is read.
    let right_len = !M::FLAT || payload.len() == size_of::<M::Archived>();
    let frame = FrameReader::foreign(lease.clone(), MAX_PAYLOAD)
        .next_frame()
        .expect("the header is ours")
        .expect("there is a frame");
    match Archived::<M>::open(frame) {
        Ok(archived) => {
            assert!(valid && right_len);
            assert_eq!(
                validate::<M>(archived.bytes()).map(ptr::from_ref),
                Ok(ptr::from_ref(&*archived))
            );
            touch(&*archived);
        }
        Err(_) => assert!(!(valid && right_len)),
    }
}
