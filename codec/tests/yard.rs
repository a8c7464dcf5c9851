//! Frames that wait for a slow receiver.

mod common;

use annulus_codec::{
    chunk::ChunkPool,
    frame::{Frame, Kind},
    outbox::{Admission, Destination, Outbox, Parcel},
    yard::Yard,
};
use common::*;

/// What the yard's chunks hold, in bytes, and the largest frame that is copied.
const CHUNK: usize = 4096;
const SMALL: usize = CHUNK / 4;

/// One frame with a text of so many bytes, in a chunk of the pool.
fn frame(pool: &ChunkPool, len: usize) -> Frame {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool.clone());
    let header = header_of::<Text>(Kind::Tell, len as u64);
    outbox.push_message(header, None, &Text("x".repeat(len)), Admission::Always).unwrap();
    match outbox.pop() {
        Some(Parcel::Frames(mut frames)) => frames.next().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn small_frames_let_go_of_their_chunk_and_large_ones_stay() {
    let pool = ChunkPool::new(64 << 10, 4, 1 << 20);
    let mut yard = Yard::default();
    let mut parked = Vec::new();
    for len in [10, 2000, 100] {
        let came = frame(&pool, len);
        let payload = came.payload().to_vec();
        let stays = yard.park(came, &pool);
        assert_eq!((stays.payload(), stays.header().correlation), (&payload[..], len as u64));
        assert!(stays.trusted());
        parked.push(stays);
    }
    assert_eq!(pool.chunks_lent(), 2, "one for the large one, one for the others");
    parked.retain(|frame| frame.len() <= SMALL);
    assert_eq!((parked.len(), pool.bytes_lent()), (2, CHUNK));
    drop((parked, yard));
    assert_eq!(pool.bytes_lent(), 0);
}

#[test]
fn what_came_from_a_stranger_stays_strange() {
    let pool = pool();
    let wire = {
        let mut outbox = Outbox::new(Destination::Node, LIMITS, pool.clone());
        let header = header_of::<Text>(Kind::Tell, 1);
        outbox.push_message(header, None, &Text("x".into()), Admission::Always).unwrap();
        outbox.pop_bytes().unwrap().to_vec()
    };
    let came = read_foreign(&wire).next_frame().unwrap().unwrap();
    assert!(!came.trusted());
    assert!(!Yard::default().park(came, &pool).trusted());
}

#[test]
fn without_memory_frames_stay_where_they_are() {
    let pool = ChunkPool::new(1024, 1, 1024);
    let parked = Yard::default().park(frame(&pool, 10), &pool);
    assert_eq!((parked.header().correlation, pool.bytes_lent()), (10, 1024));
}

#[test]
fn as_many_chunks_as_bytes_need() {
    let pool = ChunkPool::new(64 << 10, 4, 8 << 20);
    let mut yard = Yard::default();
    let parked: Vec<Frame> = (0..1000).map(|_| yard.park(frame(&pool, 100), &pool)).collect();
    let bytes: usize = parked.iter().map(Frame::len).sum();
    assert!(pool.bytes_lent() < bytes + bytes / 16 + CHUNK, "{}", pool.bytes_lent());
}
