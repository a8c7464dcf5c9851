//! The frames of this process, walked in all ways that there are, against the plain way: frame by frame.
#![no_main]

use annulus_codec::{
    address::{Address, NodeId, Slot},
    archive::{Archivable, Archived},
    extension::Extensions,
    frame::{Frame, FrameReader, Header, Kind},
    message::{Message, MessageId},
    outbox::{Admission, MAX_TARGETS, Outbox, archive_alone},
};
use annulus_fuzz::{
    walks::{LIMITS, walk},
    which::Content,
    *,
};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input {
    crosses: bool,
    steps: Vec<u8>,
    frames: Vec<(To, What)>,
}

/// Whom a frame is for, and what for. There are few, so that they meet.
#[derive(Debug, Clone, Copy, Arbitrary)]
struct To {
    slot: bool,
    generation: bool,
    kind: u8,
    extended: bool,
}

#[derive(Debug, Arbitrary)]
enum What {
    /// The same some more times, for the same actor.
    Message(Content, u8),
    /// A header and nothing more, whose code may be a message's identity.
    Header { like_a_message: bool },
    /// A frame from a stranger, passed on by the worker that its link belongs to, or as a message by an actor
    /// that has opened it.
    Foreign { content: Content, before: u8, changes: Vec<(u8, u8)>, opened: bool },
    /// One message for so many actors.
    Broadcast(Content, u8),
}

fuzz_target!(|input: Input| {
    walk(input.crosses, &input.steps, |outbox| {
        for (correlation, (to, what)) in input.frames.iter().take(24).enumerate() {
            push(outbox, *to, what, correlation as u64);
        }
    });
});

fn push(outbox: &mut Outbox, to: To, what: &What, correlation: u64) {
    let kind =
        [Kind::Tell, Kind::Tell, Kind::Ask, Kind::Reply, Kind::Timer][usize::from(to.kind % 5)];
    let code = MessageId::from_bits(7);
    let mut header =
        Header::new(kind, Slot::new(1, to.slot.into()), to.generation.into(), code, correlation);
    let origin = to.extended.then(|| (NodeId::from_name("a"), 1));
    let extensions = Extensions { origin, ..Extensions::default() };
    match what {
        What::Message(content, more) => {
            for _ in 0..=more % 8 {
                with_message!(content, message => archive(outbox, header, &extensions, message));
                header.correlation += 1;
            }
        }
        What::Header { like_a_message } => {
            header.kind = Kind::Failure;
            header.message = if *like_a_message { Flat::ID } else { code };
            outbox.push_header(header).expect("there is room");
        }
        What::Foreign { content, before, changes, opened } => {
            let came =
                with_message!(content, message => foreign(header, message, *before, changes));
            match came {
                Some(frame) if *opened => {
                    with_message!(content, message => forward(outbox, header, frame, message));
                }
                Some(frame) => {
                    outbox.push_relayed(&frame, &extensions).expect("there is room");
                }
                None => {}
            }
        }
        What::Broadcast(content, count) => {
            with_message!(content, message => broadcast(outbox, message, *count));
        }
    }
}

fn archive<M: Archivable>(
    outbox: &mut Outbox,
    header: Header,
    extensions: &Extensions,
    message: &M,
) {
    let extensions = (!extensions.is_empty()).then_some(extensions);
    // A text may be too large, then it is so each time.
    let _ = outbox.push_message(header, extensions, message, Admission::Always);
}

/// A frame that may have something in front of the archive and other bytes in it. Timers come from no stranger.
fn foreign<M: Archivable>(
    mut header: Header,
    message: &M,
    before: u8,
    changes: &[(u8, u8)],
) -> Option<Frame> {
    let mut payload = vec![0; before.saturating_sub(224).into()];
    payload.extend(archive_of(message)?);
    for (at, change) in changes {
        let len = payload.len().max(1);
        if let Some(byte) = payload.get_mut(usize::from(*at) % len) {
            *byte ^= change;
        }
    }
    header.message = M::ID;
    header.payload_len = payload.len() as u32;
    let mut bytes = header.to_wire().to_vec();
    bytes.extend_from_slice(&payload);
    bytes.resize(header.frame_len(), 0);
    FrameReader::foreign(lease_of(&bytes), LIMITS.max_payload).next_frame().ok().flatten()
}

fn forward<M: Archivable>(outbox: &mut Outbox, header: Header, frame: Frame, _: &M) {
    if let Ok(archived) = Archived::<M>::open(frame) {
        outbox.push_archived(header, archived).expect("it is short, and there is room");
    }
}

fn broadcast<M: Archivable>(outbox: &mut Outbox, message: &M, count: u8) {
    let header = Header::new(Kind::Tell, Slot::new(0, 0), 0, M::ID, 0);
    let Ok(frame) = archive_alone(header, message, LIMITS.max_payload) else {
        return;
    };
    // Mostly few, or it takes long.
    let count = if count == u8::MAX { MAX_TARGETS } else { usize::from(count) % 8 };
    let targets: Vec<_> = (0..count)
        .map(|at| Address::new(NodeId::from_name("a"), 1, Slot::new(1, at % 3), at as u32))
        .collect();
    outbox.push_broadcast(&targets, &frame).expect("there is room");
}
