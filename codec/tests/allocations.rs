//! The way of a message from its sender to its receiver on one worker allocates nothing, once it is
//! warm.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use annulus_codec::{
    archive::Archived,
    frame::Kind,
    outbox::{Admission, Destination, Outbox, Parcel},
};
use common::*;

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise is the same as ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same as ours.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn pass<M: annulus_codec::archive::Archivable>(
    outbox: &mut Outbox,
    message: &M,
    read: impl Fn(&M::Archived) -> u64,
) -> u64 {
    let mut sum = 0;
    for correlation in 0..64 {
        let header = header_of::<M>(Kind::Tell, correlation);
        outbox.push_message(header, None, message, Admission::Bounded).unwrap();
    }
    while let Some(Parcel::Frames(mut frames)) = outbox.pop() {
        for frame in frames.by_ref() {
            sum += read(&*Archived::<M>::open(frame).unwrap());
        }
    }
    outbox.rewind();
    sum
}

#[test]
fn messages_on_one_worker_allocate_nothing() {
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool());
    let text = Text("thirty-two bytes of text, or so.".into());
    let all = |outbox: &mut Outbox| {
        pass(outbox, &Inc(1), |inc| inc.0.into()) + pass(outbox, &text, |text| text.0.len() as u64)
    };
    all(&mut outbox);
    let before = COUNT.get();
    for _ in 0..100 {
        assert_eq!(all(&mut outbox), 64 * 33);
    }
    assert_eq!(COUNT.get() - before, 0);
}

#[test]
fn leased_chunks_come_from_the_pool_when_it_is_warm() {
    let pool = annulus_codec::chunk::ChunkPool::new(4096, 4, 1 << 20);
    let mut outbox = Outbox::new(Destination::Here, LIMITS, pool);
    let mut before = 0;
    for round in 0..2000 {
        if round == 1000 {
            before = COUNT.get();
        }
        // Without rewinding the chunk fills up and is changed for another one.
        let header = header_of::<Inc>(Kind::Tell, 1);
        outbox.push_message(header, None, &Inc(1), Admission::Bounded).unwrap();
        assert!(matches!(outbox.pop(), Some(Parcel::Frames(_))));
    }
    assert_eq!(COUNT.get() - before, 0);
}
