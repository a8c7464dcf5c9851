//! A driver in its stride allocates nothing. Alone in its process, as everybody's allocations count.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::Write as _,
    task::{Poll, Waker},
    time::Duration,
};

use annulus_transport::{
    driver::{Driver, Fill, Operation, Output, Wait},
    ring::{RingConfig, RingDriver},
};
use common::*;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, counting for each thread.
struct Counting;

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn an_operation_allocates_nothing_in_the_long_run() {
    let mut driver = RingDriver::new(&RingConfig::default()).unwrap();
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = descriptor(ours);
    let mut bytes = Vec::with_capacity(64);
    let mut woken = Vec::with_capacity(8);
    let mut before = 0;
    for round in 0..1000 {
        if round == 100 {
            before = ALLOCATIONS.get();
        }
        bytes.clear();
        let receive = Operation::Receive { socket: socket.clone(), into: Fill::Bytes(bytes) };
        let key = driver.start(receive, Some(Duration::from_secs(60)));
        theirs.write_all(b"four").unwrap();
        bytes = loop {
            match driver.poll(key, Waker::noop()) {
                Poll::Ready(Ok(Output::Received { into, .. })) => break into.into_bytes().unwrap(),
                Poll::Ready(other) => panic!("{other:?}"),
                Poll::Pending => driver.enter(Wait::Until(None), &mut woken).unwrap(),
            }
            woken.clear();
        };
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
