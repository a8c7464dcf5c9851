//! Writes the seeds that nobody would guess: streams of frames with the identities of real messages in them, as
//! another node sends them or as it never would. Once more after an identity has changed:
//!
//! ```console
//! $ cargo run --manifest-path fuzz/Cargo.toml --example seeds
//! ```

#![expect(
    clippy::disallowed_methods,
    reason = "there is no node here whose file actors could write"
)]

use std::{fs, io, path::Path};

use annulus_codec::{
    address::{Address, NodeId, Slot},
    archive::Archivable,
    chunk::ChunkPool,
    extension::Extensions,
    frame::{Header, Kind},
    message::Message,
    outbox::{Admission, Destination, Outbox, Parcel, archive_alone},
};
use annulus_fuzz::{walks::LIMITS, which::Which, *};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, stream) in streams() {
        let whole = [&[0], &stream[..]].concat();
        let in_pieces = [&[3, 33, 1, 16], &stream[..]].concat();
        write(&corpus, "frames", name, &whole)?;
        write(&corpus, "frames", &format!("{name}-in-pieces"), &in_pieces)?;
        // Relayed, relayed with an origin to another worker, and opened; taken as told, or as what should be there.
        let ways = [("relayed", 0, 3), ("taken", 0, 1), ("crossing", 0x50, 1), ("opened", 0x20, 3)];
        for (way, flags, step) in ways {
            let steps = Which::ALL.map(|which| which as u8 | step << 4);
            let input = [&[flags | steps.len() as u8], &steps[..], &stream].concat();
            write(&corpus, "arrivals", &format!("{name}-{way}"), &input)?;
        }
        let prefix = [&b"ANUD\x01\0\0\0\x07"[..], &[0; 23]].concat();
        write(&corpus, "datagram", name, &[prefix, stream].concat())?;
    }
    Ok(())
}

fn write(corpus: &Path, target: &str, name: &str, input: &[u8]) -> io::Result<()> {
    fs::create_dir_all(corpus.join(target))?;
    fs::write(corpus.join(target).join(name), input)
}

fn streams() -> Vec<(&'static str, Vec<u8>)> {
    let text = Text("some text that is not inline".into());
    let plain = Plain { wide: 1, widest: 2, narrow: -3, float: 0.5 };
    let odd = Odd([7; 37]);
    vec![
        ("flat", own(|outbox| tell(outbox, &flat(), 1))),
        ("unit", own(|outbox| tell(outbox, &(), 1))),
        ("tiny", own(|outbox| tell(outbox, &Tiny(-1), 1))),
        ("odd", own(|outbox| tell(outbox, &odd, 1))),
        ("text", own(|outbox| tell(outbox, &text, 1))),
        ("plain", own(|outbox| tell(outbox, &plain, 1))),
        // Of more frames than there are steps, so that each of them is met by the right one.
        ("flat-run", own(|outbox| tell(outbox, &flat(), 16))),
        ("unit-run", own(|outbox| tell(outbox, &(), 16))),
        ("tiny-run", own(|outbox| tell(outbox, &Tiny(-1), 16))),
        ("words-run", own(|outbox| tell(outbox, &Words(1, -2), 16))),
        ("wide-run", own(|outbox| tell(outbox, &Wide(1), 16))),
        ("eleven-run", own(|outbox| tell(outbox, &Eleven([7; 11]), 16))),
        ("odd-run", own(|outbox| tell(outbox, &odd, 16))),
        ("text-run", own(|outbox| tell(outbox, &text, 16))),
        ("plain-run", own(|outbox| tell(outbox, &plain, 16))),
        ("twins", own(twins)),
        ("asks", own(asks)),
        ("long-unit", sent::<()>(&[0; 16])),
        ("long-flat", sent::<Flat>(&[0; 64])),
        ("short-flat", sent::<Flat>(&[0; 32])),
        ("bad-bit", sent::<Bit>(&[2])),
        ("broadcast", own(broadcast)),
        ("bare-broadcast", header::<Flat>(Kind::Broadcast).to_wire().to_vec()),
        ("timer", own(|outbox| push(outbox, Kind::Timer, None, &flat()))),
    ]
}

/// What this node has for one of its workers, as bytes.
fn own(fill: impl Fn(&mut Outbox)) -> Vec<u8> {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, ChunkPool::new(4096, 0, 1 << 20));
    fill(&mut outbox);
    match outbox.pop() {
        Some(Parcel::Frames(frames)) => frames.into_bytes().to_vec(),
        other => panic!("{other:?}, not frames"),
    }
}

fn header<M: Message>(kind: Kind) -> Header {
    Header::new(kind, Slot::new(1, 2), 3, M::ID, 4)
}

fn push<M: Archivable>(
    outbox: &mut Outbox,
    kind: Kind,
    extensions: Option<&Extensions>,
    message: &M,
) {
    outbox
        .push_message(header::<M>(kind), extensions, message, Admission::Always)
        .expect("it is short");
}

fn tell<M: Archivable>(outbox: &mut Outbox, message: &M, times: usize) {
    for _ in 0..times {
        push(outbox, Kind::Tell, None, message);
    }
}

/// Messages whose frames differ in nothing but the identity.
fn twins(outbox: &mut Outbox) {
    for _ in 0..2 {
        tell(outbox, &Tiny(1), 2);
        tell(outbox, &Bit(true), 2);
        tell(outbox, &(), 2);
        tell(outbox, &Nothing, 2);
        tell(outbox, &Words(1, 0), 2);
        tell(outbox, &Wide(1), 2);
    }
}

/// What is no plain told message, between others.
fn asks(outbox: &mut Outbox) {
    let origin = Some((NodeId::from_name("a"), 7));
    let extensions = Extensions { origin, ..Extensions::default() };
    for kind in [Kind::Tell, Kind::Ask, Kind::Reply] {
        tell(outbox, &flat(), 1);
        push(outbox, kind, None, &flat());
        push(outbox, kind, Some(&extensions), &flat());
        push(outbox, kind, Some(&extensions), &());
    }
}

fn broadcast(outbox: &mut Outbox) {
    let node = NodeId::from_name("a");
    let targets = [1, 2, 3].map(|at| Address::new(node, 7, Slot::new(1, at), 5));
    tell(outbox, &flat(), 1);
    let message = archive_alone(header::<Flat>(Kind::Tell), &flat(), LIMITS.max_payload)
        .expect("it is short");
    outbox.push_broadcast(&targets, &message).expect("there is room");
    tell(outbox, &flat(), 1);
}

/// A told message with this payload, right or wrong.
fn sent<M: Message>(payload: &[u8]) -> Vec<u8> {
    let mut header = header::<M>(Kind::Tell);
    header.payload_len = payload.len() as u32;
    let mut bytes = header.to_wire().to_vec();
    bytes.extend_from_slice(payload);
    bytes.resize(header.frame_len(), 0);
    bytes
}

fn flat() -> Flat {
    let inner = Inner { letter: 'ä', narrow: -1, pair: [1, 2] };
    Flat { widest: 1, wide: 2, float: 0.5, inner, flags: [true, false, true], small: 7 }
}
