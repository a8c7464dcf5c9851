//! Outboxes: order, bounds, and memory that comes back.

mod common;

use annulus_codec::{
    archive::Archived,
    chunk::{ChunkPool, PoolExhausted},
    extension::Extensions,
    frame::{FrameReader, Kind, scan},
    hash::hash64,
    message::{Message, MessageId},
    outbox::{Admission, Crossing, Destination, Landing, Outbox, OutboxLimits, Parcel, PushError},
    passing::{ByArchive, ByValue, Envelope, Passing},
};
use common::*;

struct Moved(u64);

// SAFETY: the identity is made of the name and a constant, as for all that passes by value.
unsafe impl Message for Moved {
    const NAME: &'static str = "test.Moved";
    const ID: MessageId = MessageId::new(Self::NAME, hash64(b"local"));
    type Reply = ();
    type Passing = ByValue;
}

fn push(outbox: &mut Outbox, text: &str, correlation: u64) -> Result<(), PushError> {
    outbox.push_message(
        header_of::<Text>(Kind::Tell, correlation),
        None,
        &Text(text.into()),
        Admission::Bounded,
    )
}

/// Messages small and large, frames that are passed on, and values, numbered in order.
fn push_a_mix(outbox: &mut Outbox, destination: Destination, rounds: u64) -> u64 {
    let mut next = 0;
    let mut number = || {
        next += 1;
        next
    };
    for _ in 0..rounds {
        push(outbox, "small", number()).unwrap();
        for len in [10, 5000] {
            let header = header_of::<Text>(Kind::Tell, number());
            outbox.push_archived(header, archived_of(&Text("f".repeat(len)))).unwrap();
        }
        push(outbox, &"l".repeat(3000), number()).unwrap();
        if destination != Destination::Node {
            let header = header_of::<Moved>(Kind::Tell, number());
            let mut message = Some(Moved(header.correlation));
            ByValue::pack(&mut message, header, None, outbox, Admission::Bounded).unwrap();
            assert!(message.is_none());
        }
        outbox.push_header(header_of::<()>(Kind::Failure, number())).unwrap();
    }
    next
}

/// The numbers of all that is in a parcel.
fn numbers(parcel: Parcel) -> Vec<u64> {
    match parcel {
        Parcel::Single(Envelope::Value(mut value)) => {
            let header = value.header;
            assert_eq!(value.take_message::<Moved>().unwrap().0, header.correlation);
            vec![header.correlation]
        }
        Parcel::Single(envelope) => {
            let correlation = envelope.header().correlation;
            <ByArchive as Passing<Text>>::open(envelope).unwrap();
            vec![correlation]
        }
        parcel => frames_of(parcel)
            .iter()
            .map(|frame| {
                assert!(frame.trusted());
                if frame.header().kind.carries_message() {
                    Archived::<Text>::open(frame.clone()).unwrap();
                }
                frame.header().correlation
            })
            .collect(),
    }
}

#[test]
fn p1_messages_frames_and_values_keep_their_order_on_a_worker() {
    let pool = pool();
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool.clone());
    let last = push_a_mix(&mut outbox, Destination::Here, 20);
    let seen: Vec<u64> = std::iter::from_fn(|| outbox.pop()).flat_map(numbers).collect();
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
    assert_eq!(outbox.bytes(), 0);
    drop(outbox);
    assert_eq!(pool.bytes_lent(), 0);
}

#[test]
fn p1_messages_frames_and_values_keep_their_order_between_workers() {
    let (near, far) = (pool(), pool());
    let mut outbox = Outbox::new(Destination::Worker, LIMITS, near.clone());
    let last = push_a_mix(&mut outbox, Destination::Worker, 20);
    let (mut landing, mut seen) = (Landing::new(far.clone()), Vec::new());
    while let Some(crossing) = outbox.pop_crossing() {
        // As a worker does.
        let landed = crossing.land(&mut landing);
        seen.extend(numbers(landed.unwrap_or_else(|| crossing.open(&mut landing, 0))));
    }
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
    assert_eq!(outbox.bytes(), 0);
    drop((outbox, landing));
    assert_eq!((near.bytes_lent(), far.bytes_lent()), (0, 0));
}

#[test]
fn p1_messages_and_frames_keep_their_order_between_nodes() {
    let pool = pool();
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool.clone());
    let last = push_a_mix(&mut outbox, Destination::Node, 20);
    let mut stream = Vec::new();
    while let Some(bytes) = outbox.pop_bytes() {
        stream.extend_from_slice(&bytes);
    }
    assert_eq!(scan(&stream, LIMITS.max_payload).unwrap().complete, stream.len());
    let mut reader = read_foreign(&stream);
    let mut seen = Vec::new();
    while let Some(frame) = reader.next_frame().unwrap() {
        assert!(!frame.trusted());
        seen.push(frame.header().correlation);
    }
    assert_eq!(seen, (1..=last).collect::<Vec<_>>());
    drop(outbox);
    assert_eq!(pool.bytes_lent(), 0);
}

#[test]
fn crossing_threads_keeps_both_accounts() {
    let near = ChunkPool::new(1024, 2, 1 << 20);
    let mut outbox = Outbox::new(Destination::Worker, LIMITS, near.clone());
    for round in 0..100 {
        push(&mut outbox, &"x".repeat(round * 40), 1).unwrap();
    }
    let crossings: Vec<_> = std::iter::from_fn(|| outbox.pop_crossing()).collect();
    drop(outbox);
    assert_eq!(near.bytes_lent(), 0, "what is under way is nobody's");
    let there = move || {
        let far = ChunkPool::new(1024, 2, 1 << 20);
        let mut landing = Landing::new(far.clone());
        let open = |crossing: Crossing| crossing.open(&mut landing, 0);
        let opened: Vec<_> = crossings.into_iter().map(open).collect();
        drop(landing);
        assert!(far.bytes_lent() > 0);
        let frames = opened.into_iter().flat_map(frames_of).count();
        assert_eq!((frames, far.bytes_lent()), (100, 0));
        assert!(far.chunks_free() <= 2);
    };
    // A thread is what is tested here.
    #[allow(clippy::disallowed_methods)]
    std::thread::spawn(there).join().unwrap();
}

#[test]
fn a_shared_frame_crosses_as_a_copy() {
    let (near, far) = (pool(), pool());
    let mut outbox = Outbox::new(Destination::Worker, LIMITS, near);
    let kept = archived_of(&Text("s".repeat(9000)));
    outbox.push_archived(header_of::<Text>(Kind::Tell, 1), kept.clone()).unwrap();
    let crossed = outbox.pop_crossing().unwrap().open(&mut Landing::new(far.clone()), 0);
    let Parcel::Single(crossed) = crossed else { panic!() };
    let crossed: Archived<Text> = ByArchive::open(crossed).unwrap();
    assert_eq!(crossed.0, kept.0);
    assert_ne!(crossed.payload().as_ptr(), kept.payload().as_ptr());
    drop(crossed);
    assert_eq!(far.bytes_lent(), 0);
}

#[test]
fn p10_beyond_its_limit_an_outbox_is_full_until_something_has_left() {
    let limits = OutboxLimits { bytes: 1000, ..LIMITS };
    let mut outbox = Outbox::new(Destination::Here, limits, pool());
    let mut taken = 0;
    while push(&mut outbox, "0123456789", 1).is_ok() {
        taken += 1;
    }
    assert_eq!(push(&mut outbox, "0123456789", 1), Err(PushError::Full));
    assert!(outbox.is_full() && taken > 0 && outbox.bytes() < 1100);
    let before = outbox.bytes();
    let answer =
        outbox.push_message(header_of::<Inc>(Kind::Reply, 1), None, &Inc(1), Admission::Always);
    assert_eq!(answer, Ok(()));
    assert_eq!(outbox.bytes(), before + 48);
    while outbox.pop().is_some() {}
    assert_eq!(push(&mut outbox, "0123456789", 1), Ok(()));
}

#[test]
fn messages_are_as_large_as_the_limit_and_no_larger() {
    const MAX: usize = 1 << 20;
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    // A vector's archive is its bytes, padding to a multiple of 4, and 8 bytes that point to them.
    for (len, fits) in [(MAX - 8, true), (MAX - 7, false), (MAX - 9, true), (4 * MAX, false)] {
        let pushed = outbox.push_message(
            header_of::<Blob>(Kind::Tell, 1),
            None,
            &Blob(vec![7; len]),
            Admission::Always,
        );
        if fits {
            assert_eq!(pushed, Ok(()), "{len}");
            let frame = frames_of(outbox.pop().unwrap()).remove(0);
            assert_eq!(frame.payload().len(), MAX);
            assert_eq!(Archived::<Blob>::open(frame).unwrap().0.len(), len);
        } else {
            assert_eq!(pushed, Err(PushError::TooLarge { max: MAX }), "{len}");
            assert_eq!((outbox.bytes(), outbox.pop().is_none()), (0, true));
        }
    }
}

#[test]
fn p10_without_memory_nothing_changes_and_with_memory_it_goes_on() {
    let pool = ChunkPool::new(1024, 0, 4096);
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool.clone());
    let mut taken = 0;
    let refused = loop {
        match push(&mut outbox, &"m".repeat(300), 1) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, PushError::NoMemory(_)), "{refused:?}");
    let before = outbox.bytes();
    assert!(push(&mut outbox, &"m".repeat(300), 1).is_err());
    assert_eq!(outbox.bytes(), before);
    assert!(pool.bytes_lent() <= 4096);
    let leases: Vec<_> = std::iter::from_fn(|| outbox.pop()).flat_map(frames_of).collect();
    assert_eq!(leases.len(), taken);
    assert!(push(&mut outbox, &"m".repeat(300), 1).is_err(), "all is leased");
    drop(leases);
    assert_eq!(push(&mut outbox, &"m".repeat(300), 1), Ok(()));
    drop(outbox);
    assert_eq!(pool.bytes_lent(), 0);
}

#[test]
fn trust_follows_the_bytes() {
    let stream = wire_of(&Text("t".repeat(50)), &Extensions::default());
    for by_reference_from in [0, usize::MAX] {
        let limits = OutboxLimits { by_reference_from, ..LIMITS };
        let foreign = read_foreign(&stream).next_frame().unwrap().unwrap();
        let own = frame_of(&Text("o".repeat(50)), &Extensions::default());
        let mut here = Outbox::new(Destination::Here, limits, pool());
        let mut worker = Outbox::new(Destination::Worker, limits, pool());
        for outbox in [&mut here, &mut worker] {
            outbox.push_relayed(&foreign, &Extensions::default()).unwrap();
            outbox.push_relayed(&own, &Extensions::default()).unwrap();
        }
        let mut landing = Landing::new(pool());
        let parcels = std::iter::from_fn(|| here.pop());
        let crossed = std::iter::from_fn(|| worker.pop_crossing()).map(|c| c.open(&mut landing, 0));
        let trusted: Vec<bool> =
            parcels.chain(crossed).flat_map(frames_of).map(|frame| frame.trusted()).collect();
        assert_eq!(trusted, [false, true].repeat(2));
    }
}

#[test]
fn a_link_reads_what_an_outbox_to_a_node_writes_in_any_pieces() {
    let mut outbox = Outbox::new(Destination::Node, LIMITS, pool());
    let last = push_a_mix(&mut outbox, Destination::Node, 5);
    let mut stream = Vec::new();
    while let Some(bytes) = outbox.pop_bytes() {
        stream.extend_from_slice(&bytes);
    }
    for step in [1, 7, 33, 4096] {
        let pool = pool();
        let mut chunk = pool.acquire().unwrap();
        let mut seen = 0;
        for piece in stream.chunks(step) {
            assert!(chunk.append(piece));
            let complete = scan(chunk.peek(), LIMITS.max_payload).unwrap().complete;
            let mut frames = FrameReader::foreign(chunk.take(complete), LIMITS.max_payload);
            while let Some(frame) = frames.next_frame().unwrap() {
                seen += 1;
                assert_eq!(frame.header().correlation, seen);
            }
            drop(frames);
            if chunk.spare() < 16 * 1024 {
                let mut fresh = pool.acquire().unwrap();
                assert!(fresh.append(chunk.peek()));
                chunk = fresh;
            }
        }
        assert_eq!(seen, last);
    }
}

#[test]
fn a_message_that_memory_is_left_for_is_taken() {
    // The text ends where a chunk does, so its place in the message needs another try.
    let text = "x".repeat(2144);
    let needed = 2240;
    for (limit, fits) in [(needed, true), (needed + 63, true), (needed - 1, false)] {
        let pool = ChunkPool::new(64, 0, limit);
        let mut outbox = Outbox::new(Destination::Here, LIMITS, pool.clone());
        let pushed = push(&mut outbox, &text, 1);
        let exhausted = PushError::NoMemory(PoolExhausted { limit });
        assert_eq!(pushed, if fits { Ok(()) } else { Err(exhausted) });
        assert_eq!(pool.bytes_lent(), if fits { needed } else { 0 });
    }
}

#[test]
fn few_bytes_cross_without_a_chunk_and_never_find_no_memory() {
    let near = pool();
    let mut outbox = Outbox::new(Destination::Worker, LIMITS, near.clone());
    // No chunk fits into this memory.
    let far = ChunkPool::new(1024, 2, 64);
    let mut landing = Landing::new(far.clone());
    let mut kept = Vec::new();
    for number in 1..=20 {
        push(&mut outbox, "x", number).unwrap();
        let crossing = outbox.pop_crossing().unwrap();
        kept.extend(frames_of(crossing.open(&mut landing, 0)));
        assert_eq!(near.chunks_lent(), 1, "nothing of it has left");
    }
    let seen: Vec<u64> = kept.iter().map(|frame| frame.header().correlation).collect();
    assert_eq!(seen, (1..=20).collect::<Vec<_>>());
    drop((kept, landing));
    assert_eq!(far.bytes_lent(), 0);
}

#[test]
fn few_bytes_land_in_chunks_of_any_size() {
    let mut landed = Vec::new();
    for chunk_size in [64, 128, 192, 1024] {
        let far = ChunkPool::new(chunk_size, 2, 1 << 20);
        let mut landing = Landing::new(far.clone());
        for (len, keeps) in (0..80).flat_map(|len| [(len, false), (len, true)]) {
            let mut outbox = Outbox::new(Destination::Worker, LIMITS, pool());
            let text = Text("x".repeat(len));
            let header = header_of::<Text>(Kind::Tell, len as u64);
            outbox.push_archived(header, archived_of(&text)).unwrap();
            let without_chunk = outbox.crosses_without_chunk();
            let crossing = outbox.pop_crossing().unwrap();
            let Some(parcel) = crossing.land(&mut landing) else {
                assert!(!without_chunk, "{len} bytes in chunks of {chunk_size}");
                continue;
            };
            let frames = frames_of(parcel);
            assert!(without_chunk && frames.len() == 1);
            assert_eq!(frames[0].header().correlation, len as u64);
            assert_eq!(frames[0].payload(), archived_of(&text).bytes());
            // What is kept is not written to again.
            landed.extend(frames.into_iter().filter(|_| keeps).map(|frame| (frame, len)));
        }
        for (frame, len) in landed.drain(..) {
            assert_eq!(frame.payload(), archived_of(&Text("x".repeat(len))).bytes());
        }
        drop(landing);
        assert_eq!(far.bytes_lent(), 0);
    }
}

#[test]
fn what_crosses_without_a_chunk_is_known_before() {
    let push_bytes = |outbox: &mut Outbox, len: usize| {
        outbox.push_archived(header_of::<Text>(Kind::Tell, 1), archived_of(&Text("x".repeat(len))))
    };
    for len in 0..200 {
        let near = pool();
        let mut outbox = Outbox::new(Destination::Worker, LIMITS, near.clone());
        assert!(outbox.crosses_without_chunk(), "nothing does");
        push_bytes(&mut outbox, len).unwrap();
        let (bytes, without) = (outbox.bytes(), outbox.crosses_without_chunk());
        assert_eq!(without, bytes <= 112);
        // What is in its place is the chunk, or nothing.
        let crossing = outbox.pop_crossing().unwrap();
        assert_eq!(near.chunks_lent(), usize::from(without));
        drop(crossing);
    }
    let mut outbox = Outbox::new(Destination::Worker, LIMITS, pool());
    let header = header_of::<Moved>(Kind::Tell, 1);
    ByValue::pack(&mut Some(Moved(1)), header, None, &mut outbox, Admission::Bounded).unwrap();
    assert!(!outbox.crosses_without_chunk(), "a value takes memory, too");
}

#[test]
fn idle_chunks_of_other_threads_can_be_given_back() {
    let (near, far) = (pool(), pool());
    let mut outbox = Outbox::new(Destination::Worker, LIMITS, near);
    let mut landing = Landing::new(far.clone());
    push(&mut outbox, &"x".repeat(500), 1).unwrap();
    let opened = outbox.pop_crossing().unwrap().open(&mut landing, 7);
    assert!(far.pop_borrowed().is_none(), "it is still read");
    drop(opened);
    let (lender, chunk) = far.pop_borrowed().unwrap();
    assert_eq!((lender, chunk.len(), far.bytes_lent()), (7, 0, 0));
    assert!(far.pop_borrowed().is_none());
}
