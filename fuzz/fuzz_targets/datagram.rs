//! A datagram from a stranger: 32 bytes of prefix and one frame, read as a worker reads it.
#![no_main]

use annulus_codec::{
    archive::Archived,
    frame::{FrameReader, Kind},
};
use annulus_fuzz::{which::Which, *};
use libfuzzer_sys::fuzz_target;

const PREFIX: usize = 32;
const MAX_PAYLOAD: usize = 1400;
const TOKEN: u64 = 7;

fuzz_target!(|bytes: &[u8]| {
    let datagram = lease_of(bytes);
    let Some((prefix, _)) = datagram.split_first_chunk::<PREFIX>() else {
        return;
    };
    // The token is not what is tested here: a fuzzer that has to guess it tests nothing else.
    std::hint::black_box(prefix[0..4] == *b"ANUD" && prefix[8..16] == TOKEN.to_le_bytes());
    let frame = datagram.slice(PREFIX, datagram.len() - PREFIX);
    let mut frames = FrameReader::foreign(frame, MAX_PAYLOAD);
    let Ok(Some(frame)) = frames.next_frame() else {
        return;
    };
    if frames.remaining() > 0 || frame.header().kind == Kind::System {
        return;
    }
    assert!(!frame.trusted() && frame.targets().next().is_none());
    assert!(!matches!(frame.header().kind, Kind::Timer | Kind::Broadcast));
    assert_eq!(frame.header().frame_len() + PREFIX, bytes.len());
    assert!(frame.extensions().is_ok());
    for which in Which::ALL {
        with_type!(which, M => {
            let _ = Archived::<M>::open(frame.clone()).map(|archived| touch(&*archived));
        });
    }
    let _ = Archived::<Maps>::open(frame.clone()).map(|archived| touch(&*archived));
    if frame.header().kind.carries_message() {
        let _ = annulus_codec::archive::validate::<Mixed>(frame.payload()).map(touch);
    }
});
