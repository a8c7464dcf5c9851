//! Frames from a stranger that a worker passes on to itself or to another one: relayed as they are, or opened and
//! forwarded. Where they arrive they are walked in all ways that there are, against the plain way.
#![no_main]

use annulus_codec::{
    address::NodeId,
    archive::Archived,
    frame::{Frame, FrameReader, Kind},
    outbox::Outbox,
};
use annulus_fuzz::{
    lease_of,
    walks::{LIMITS, walk},
    which::Which,
    with_type,
};
use libfuzzer_sys::fuzz_target;

// The first byte says how many bytes of steps follow, and what becomes of the frames in the stream behind them.
fuzz_target!(|input: &[u8]| {
    let Some((head, rest)) = input.split_first() else {
        return;
    };
    let (steps, stream) = rest.split_at(rest.len().min(usize::from(head % 16)));
    let (crosses, opened, extended) = (head & 0x10 != 0, head & 0x20 != 0, head & 0x40 != 0);
    let frames = read(stream);
    walk(crosses, steps, |outbox| {
        for frame in &frames {
            if !(opened && forward(outbox, frame)) {
                relay(outbox, frame, extended);
            }
        }
    });
});

/// What arrives before the link is closed, if it has to be.
fn read(stream: &[u8]) -> Vec<Frame> {
    let mut reader = FrameReader::foreign(lease_of(stream), LIMITS.max_payload);
    let frames = std::iter::from_fn(|| reader.next_frame().ok().flatten());
    let frames = frames.inspect(|frame| {
        assert!(!frame.trusted() && frame.targets().next().is_none());
        assert!(!matches!(frame.header().kind, Kind::Timer | Kind::Broadcast));
    });
    frames.collect()
}

/// Whether it was a message that is known here.
fn forward(outbox: &mut Outbox, frame: &Frame) -> bool {
    Which::ALL.into_iter().any(|which| {
        with_type!(which, M => match Archived::<M>::open(frame.clone()) {
            Ok(archived) => {
                assert_eq!(archived.bytes(), frame.payload());
                outbox.push_archived(frame.header(), archived).expect("there is room");
                true
            }
            Err(_) => false,
        })
    })
}

fn relay(outbox: &mut Outbox, frame: &Frame, extended: bool) {
    let origin = extended.then(|| (NodeId::from_name("a"), 1));
    let mut extensions = frame.extensions().expect("they came through a reader");
    extensions.origin = origin;
    outbox.push_relayed(frame, &extensions).expect("there is room");
}
