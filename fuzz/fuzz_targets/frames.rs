//! A stream of frames from a stranger, in pieces of any length, read as a link reads it: no panic, no
//! memory beyond the limits, and the same frames however the stream is cut.
#![no_main]

use annulus_codec::{
    archive::Archived,
    chunk::{ChunkPool, ChunkWriter},
    frame::{Frame, FrameError, FrameReader, HEADER_LEN, Kind, scan},
    outbox::{Destination, Landing, Outbox, OutboxLimits},
    passing::{ByArchive, Passing},
    yard::Yard,
};
use annulus_fuzz::{which::Which, *};
use libfuzzer_sys::fuzz_target;

const MAX_PAYLOAD: usize = 4096;
const CHUNK: usize = 1024;
const POOL: usize = 1 << 20;

// The first byte says how many bytes of lengths follow; what comes behind them is the stream.
fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else {
        return;
    };
    let (lengths, stream) = rest.split_at(rest.len().min((count % 8).into()));
    let pool = ChunkPool::new(CHUNK, 4, POOL);
    let in_pieces = read(&pool, pieces(stream, lengths));
    assert_eq!(pool.bytes_lent(), 0);
    let whole = read(&pool, std::iter::once(stream));
    // A malformed header is found as soon as it is there, so a frame in front of it may be read in one
    // way and not in the other. What is read is the same.
    let common = in_pieces.0.len().min(whole.0.len());
    assert_eq!(in_pieces.0[..common], whole.0[..common]);
    if in_pieces.1.is_none() && whole.1.is_none() {
        assert_eq!(in_pieces.0.len(), whole.0.len());
    }
    assert_eq!(in_pieces.1.is_some(), whole.1.is_some());
    if !whole.0.is_empty() {
        refused(stream);
    }
    read_unaligned(stream, usize::from(count / 8) % 15 + 1);
});

/// What never leaves its worker or its node is refused from outside, whatever else is right about it.
fn refused(stream: &[u8]) {
    let refusals = [
        (4, Kind::Timer as u8, FrameError::UnknownKind(6)),
        (4, Kind::Broadcast as u8, FrameError::UnknownKind(7)),
        (5, 0x40, FrameError::UnknownFlags(0x40)),
        (5, 0x80, FrameError::UnknownFlags(0x80)),
    ];
    let mut stream = stream.to_vec();
    for (at, byte, refusal) in refusals {
        let good = std::mem::replace(&mut stream[at], byte);
        assert_eq!(scan(&stream, MAX_PAYLOAD), Err(refusal));
        let mut reader = FrameReader::foreign(lease_of(&stream), MAX_PAYLOAD);
        assert_eq!(reader.next_frame().unwrap_err(), refusal);
        assert_eq!(reader.remaining(), stream.len());
        stream[at] = good;
    }
}

/// Header and payload of what arrives, and what ended the link.
fn read<'a>(
    pool: &ChunkPool,
    arriving: impl Iterator<Item = &'a [u8]>,
) -> (Vec<(String, Vec<u8>)>, Option<FrameError>) {
    let mut seen = Vec::new();
    let mut chunk = pool.acquire().expect("the pool is fresh");
    for piece in arriving {
        let mut piece = piece;
        while !piece.is_empty() {
            let prefix = match scan(chunk.peek(), MAX_PAYLOAD) {
                Ok(prefix) => prefix,
                Err(error) => return (seen, Some(error)),
            };
            assert!(prefix.complete <= chunk.untaken());
            assert!(prefix.next_frame > chunk.untaken() - prefix.complete);
            assert!(prefix.next_frame <= HEADER_LEN + usize::from(u16::MAX) + MAX_PAYLOAD + 16);
            if let Err(error) = take(&mut chunk, prefix.complete, &mut seen) {
                return (seen, Some(error));
            }
            chunk = make_room(pool, chunk, prefix.next_frame);
            let now = piece.len().min(chunk.spare());
            assert!(chunk.append(&piece[..now]));
            piece = &piece[now..];
        }
    }
    let end = scan(chunk.peek(), MAX_PAYLOAD)
        .and_then(|prefix| take(&mut chunk, prefix.complete, &mut seen));
    assert!(pool.bytes_lent() <= 4 * (CHUNK + MAX_PAYLOAD + (1 << 16)));
    (seen, end.err())
}

fn take(
    chunk: &mut ChunkWriter,
    complete: usize,
    seen: &mut Vec<(String, Vec<u8>)>,
) -> Result<(), FrameError> {
    let mut reader = FrameReader::foreign(chunk.take(complete), MAX_PAYLOAD);
    while let Some(frame) = reader.next_frame()? {
        check(&frame);
        seen.push((format!("{:?}", frame.header()), frame.payload().to_vec()));
    }
    assert_eq!(reader.remaining(), 0);
    Ok(())
}

fn check(frame: &Frame) {
    assert!(!frame.trusted());
    assert!(frame.payload().len() <= MAX_PAYLOAD);
    assert!(frame.payload().as_ptr().addr().is_multiple_of(16));
    assert!(frame.extensions().is_ok());
    assert_eq!(frame.clone().into_payload()[..], *frame.payload());
    assert!(frame.header().is_foreign() && frame.clone().header().is_foreign());
    assert!(!matches!(frame.header().kind, Kind::Timer | Kind::Broadcast));
    assert!(frame.targets().next().is_none() && !is_taken_for_own(frame));
    let pool = ChunkPool::new(CHUNK, 0, POOL);
    for same in [relay(frame), Yard::default().park(frame.clone(), &pool)] {
        assert_eq!(same.payload(), frame.payload());
        assert_eq!(same.extensions(), frame.extensions());
        assert!(!same.trusted());
        assert!(!is_taken_for_own(&same));
        assert_eq!(opens(same), opens(frame.clone()));
    }
}

/// The frame as another worker of the node gets it.
fn relay(frame: &Frame) -> Frame {
    let limits =
        OutboxLimits { bytes: usize::MAX, max_payload: MAX_PAYLOAD, by_reference_from: usize::MAX };
    let pool = ChunkPool::new(64, 0, POOL);
    let mut outbox = Outbox::new(Destination::Worker, limits, pool.clone());
    let extensions = frame.extensions().expect("they came through a reader");
    outbox.push_relayed(frame, &extensions).expect("the pool is large enough");
    let parcel =
        outbox.pop_crossing().expect("it was pushed").open(&mut Landing::new(pool.clone()), 0);
    frames_of(parcel).remove(0)
}

fn opens(frame: Frame) -> bool {
    Which::ALL
        .into_iter()
        .any(|which| with_type!(which, M => Archived::<M>::open(frame.clone()).is_ok()))
}

/// Whether it is taken for one of this process, which are opened as they are.
fn is_taken_for_own(frame: &Frame) -> bool {
    Which::ALL.into_iter().any(
        |which| with_type!(which, M => <ByArchive as Passing<M>>::open_own(frame.clone()).is_ok()),
    )
}

fn make_room(pool: &ChunkPool, mut chunk: ChunkWriter, next_frame: usize) -> ChunkWriter {
    chunk.rewind();
    if chunk.spare() >= next_frame - chunk.untaken() {
        return chunk;
    }
    let mut fresh = pool.acquire_sized(next_frame).expect("the pool is large enough");
    assert!(fresh.append(chunk.peek()));
    fresh
}

/// A reader trusts nobody to have aligned its bytes. What is out of place there might be in place here,
/// and out of place again where it is copied to, so none of it counts as an archive.
fn read_unaligned(stream: &[u8], shift: usize) {
    let shifted = lease_of(&[&vec![0; shift], stream].concat());
    let mut reader = FrameReader::foreign(shifted.slice(shift, stream.len()), MAX_PAYLOAD);
    while let Ok(Some(frame)) = reader.next_frame() {
        assert!(!opens(frame));
    }
}
