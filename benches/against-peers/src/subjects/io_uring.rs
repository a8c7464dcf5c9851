//! The floor of what parked workers can do: two threads wake each other with MSG_RING, and nothing
//! else. Their rings are set up as those of annulus are.

use std::{os::fd::AsRawFd, sync::mpsc, thread};

use io_uring::{IoUring, opcode, squeue::Flags, types::Fd};

use crate::{at_once::at_once, meter::Meter, pin};

use super::Config;

pub(super) const CONFIGS: [Config; 1] = [Config {
    name: "bare",
    setup: "a ring for each of two threads, SINGLE_ISSUER, DEFER_TASKRUN",
}];

/// Round trips of a lap.
const LAP: u64 = 1000;

/// What tells the other thread to end.
const END: u64 = u64::MAX;

pub(super) fn run(mut meter: Meter) -> Meter {
    let mut ring = Ring::new();
    let (give, take) = mpsc::channel();
    let us = ring.fd();
    let other = thread::spawn(move || {
        pin::to_core(1);
        let mut ring = Ring::new();
        give.send(ring.fd()).expect("it is waited for");
        ring.send_back(us);
    });
    let other_ring = take.recv().expect("the other thread comes up");
    at_once(meter.time(LAP, LAP, async || {
        let came_back = |number: &u64| {
            ring.push(other_ring, *number);
            ring.wait() == *number
        };
        (0..LAP).filter(came_back).count() as u64
    }));
    ring.push(other_ring, END);
    ring.flush();
    other.join().expect("the other thread ends in order");
    meter
}

/// A ring that sends and receives numbers.
struct Ring(IoUring);

impl Ring {
    fn new() -> Self {
        let ring = IoUring::builder()
            .dontfork()
            .setup_clamp()
            .setup_cqsize(4096)
            .setup_submit_all()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(256);
        Ring(ring.expect("a ring can be made"))
    }

    fn fd(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Prepares a number for another ring. It leaves with the next system call.
    fn push(&mut self, to: i32, number: u64) {
        let entry = opcode::MsgRingData::new(Fd(to), 0, number, None).build();
        let entry = entry.flags(Flags::SKIP_SUCCESS);
        // SAFETY: the entry points to no memory.
        unsafe { self.0.submission().push(&entry) }.expect("the queue is empty");
    }

    /// Sends what is prepared, and waits for a number, with one system call.
    fn wait(&mut self) -> u64 {
        loop {
            self.0.submit_and_wait(1).expect("the ring works");
            if let Some(completion) = self.0.completion().next() {
                assert!(completion.result() >= 0, "the other ring takes it");
                return completion.user_data();
            }
        }
    }

    fn flush(&self) {
        self.0.submit().expect("the ring works");
    }

    /// Sends every number back, until the end.
    fn send_back(&mut self, to: i32) {
        loop {
            match self.wait() {
                END => return,
                number => self.push(to, number),
            }
        }
    }
}
