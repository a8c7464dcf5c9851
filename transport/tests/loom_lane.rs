//! Models of the lane: loom runs every interleaving of them that the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p annulus-transport --release --test loom_lane`
#![cfg(loom)]

use std::sync::atomic::{AtomicUsize, Ordering};

use annulus_transport::lane::{Receiver, Sender, channel};
use loom::{sync::Arc, thread};

fn send<T: Send>(sender: &mut Sender<T>, mut value: T) {
    while let Err(back) = sender.try_send(value) {
        value = back;
        thread::yield_now();
    }
}

fn receive<T: Send>(receiver: &mut Receiver<T>) -> T {
    loop {
        if let Some(value) = receiver.try_recv() {
            return value;
        }
        thread::yield_now();
    }
}

/// The next value, which stays in the lane.
fn look(receiver: &mut Receiver<Box<usize>>) -> usize {
    loop {
        if let Some(value) = receiver.peek(|value| **value) {
            return value;
        }
        thread::yield_now();
    }
}

/// More values than slots: every slot is used again, so the head's ordering matters as well.
fn every_value_arrives_once_and_in_order(capacity: usize, values: usize) {
    loom::model(move || {
        let (mut sender, mut receiver) = channel(capacity);
        let other = thread::spawn(move || {
            for value in 0..values {
                send(&mut sender, Box::new(value));
            }
        });
        for value in 0..values {
            assert_eq!(look(&mut receiver), value);
            assert_eq!(*receive(&mut receiver), value);
        }
        assert!(receiver.peek(|_| ()).is_none() && receiver.try_recv().is_none());
        other.join().unwrap();
    });
}

#[test]
fn every_value_arrives_once_and_in_order_through_one_slot() {
    every_value_arrives_once_and_in_order(1, 3);
}

#[test]
fn every_value_arrives_once_and_in_order_through_two_slots() {
    every_value_arrives_once_and_in_order(2, 3);
}

#[test]
fn what_the_lane_is_said_to_hold_is_there() {
    loom::model(|| {
        let (mut sender, mut receiver) = channel(2);
        let other = thread::spawn(move || {
            for value in 0..3 {
                let free = sender.free();
                assert!(free <= 2);
                if free > 0 {
                    assert_eq!(sender.try_send(value), Ok(()));
                }
            }
        });
        for _ in 0..2 {
            let (empty, len) = (receiver.is_empty(), receiver.len());
            assert!(len <= 2);
            if !empty {
                assert!(receiver.try_recv().is_some());
            }
        }
        other.join().unwrap();
    });
}

/// Counts itself. The counters are not part of the model: they order nothing.
struct Witness(Arc<Counts>);

#[derive(Default)]
struct Counts {
    made: AtomicUsize,
    dropped: AtomicUsize,
}

impl Witness {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.made.fetch_add(1, Ordering::Relaxed);
        Witness(Arc::clone(counts))
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn leftovers_are_dropped_once_whoever_leaves_last() {
    loom::model(|| {
        let counts = Arc::new(Counts::default());
        let (mut sender, mut receiver) = channel(2);
        let other = {
            let counts = Arc::clone(&counts);
            thread::spawn(move || {
                for _ in 0..3 {
                    // What is handed back by a full lane is dropped here.
                    let _ = sender.try_send(Witness::new(&counts));
                }
            })
        };
        drop(receiver.try_recv());
        drop(receiver);
        other.join().unwrap();
        assert_eq!(counts.made.load(Ordering::Relaxed), 3);
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn a_closed_and_empty_lane_has_given_everything() {
    loom::model(|| {
        let (mut sender, mut receiver) = channel(2);
        let other = thread::spawn(move || {
            sender.try_send(0).unwrap();
            sender.try_send(1).unwrap();
        });
        let mut received = 0;
        loop {
            let closed = receiver.is_closed();
            while let Some(value) = receiver.try_recv() {
                assert_eq!(value, received);
                received += 1;
            }
            if closed {
                break;
            }
            thread::yield_now();
        }
        assert_eq!(received, 2);
        other.join().unwrap();
    });
}
