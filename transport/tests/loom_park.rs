//! Models of the park protocol: loom runs every interleaving of them that the memory model allows. A
//! lost wake-up leaves the worker asleep for ever, which loom reports as a deadlock.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p annulus-transport --release --test loom_park`
#![cfg(loom)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use annulus_transport::{
    lane::{Receiver, Sender, channel},
    park::Parker,
};
use loom::thread::{self, Thread};

/// The worker, as its senders see it.
///
/// What comes from the standard library is not part of the model: it orders nothing and costs nothing.
struct Worker {
    parker: Parker,
    /// Each is used by one sender. The ends of lanes have models of their own: here they live on until
    /// all is done, which makes this model much smaller.
    lanes: Vec<Mutex<Sender<usize>>>,
    /// The kernel in this model: the worker waits in `thread::park`, which keeps a ring that comes early.
    doorbell: Thread,
    parks: AtomicUsize,
    claims: AtomicUsize,
}

impl Worker {
    fn new(lanes: Vec<Mutex<Sender<usize>>>) -> Arc<Self> {
        Arc::new(Worker {
            parker: Parker::new(),
            lanes,
            doorbell: thread::current(),
            parks: AtomicUsize::new(0),
            claims: AtomicUsize::new(0),
        })
    }

    fn send(&self, lane: usize, value: usize) {
        self.lanes[lane].lock().unwrap().try_send(value).unwrap();
        if self.parker.claim() {
            let claims = self.claims.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(claims <= self.parks.load(Ordering::Relaxed));
            self.doorbell.unpark();
        }
    }

    /// Receives `values` values, one per lane and turn, and would rather sleep than work.
    fn run(&self, lanes: &mut [Receiver<usize>], values: usize) {
        let mut received = 0;
        while received < values {
            self.parks.fetch_add(1, Ordering::Relaxed);
            self.parker.prepare();
            if lanes.iter().all(|lane| lane.is_empty()) {
                thread::park();
                self.parker.unpark();
            } else {
                self.parker.cancel();
            }
            received += lanes.iter_mut().filter_map(Receiver::try_recv).count();
        }
    }
}

/// Each of `senders` sends `values` values, and the worker gets them all. If `disturbed`, something else
/// wakes it up as well: a timer, or the doorbell of a park long past.
fn no_wake_up_is_lost(senders: usize, values: usize, disturbed: bool) {
    loom::model(move || {
        let (lanes, mut receivers): (Vec<_>, Vec<_>) = (0..senders)
            .map(|_| channel(values))
            .map(|(sender, receiver)| (Mutex::new(sender), receiver))
            .unzip();
        let worker = Worker::new(lanes);
        for lane in 0..senders {
            let worker = Arc::clone(&worker);
            thread::spawn(move || {
                for value in 0..values {
                    worker.send(lane, value);
                }
            });
        }
        if disturbed {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.doorbell.unpark());
        }
        worker.run(&mut receivers, senders * values);
        while Arc::strong_count(&worker) > 1 {
            thread::yield_now();
        }
    });
}

#[test]
fn no_wake_up_of_two_senders_is_lost() {
    no_wake_up_is_lost(2, 1, false);
}

#[test]
fn no_wake_up_of_a_sender_that_goes_on_is_lost() {
    no_wake_up_is_lost(1, 2, false);
}

#[test]
fn no_wake_up_is_lost_to_a_worker_that_wakes_up_for_nothing() {
    no_wake_up_is_lost(1, 2, true);
}

#[test]
fn exactly_one_sender_claims_a_park() {
    loom::model(|| {
        let worker = Worker::new(Vec::new());
        worker.parker.prepare();
        let threads = [(); 2].map(|()| {
            let worker = Arc::clone(&worker);
            thread::spawn(move || worker.parker.claim())
        });
        let here = worker.parker.claim();
        let claims = threads.map(|thread| thread.join().unwrap());
        let claims = claims.into_iter().chain([here]);
        assert_eq!(claims.filter(|claimed| *claimed).count(), 1);
    });
}
