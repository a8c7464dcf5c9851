//! Models of the park protocol, by itself and with the flag that calls a worker: loom runs every interleaving of them
//! that the memory model allows. A lost wake-up leaves the worker asleep for ever, which loom reports as a deadlock.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p annulus-transport --release --test loom_park`
#![cfg(loom)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use annulus_transport::{
    call::Call,
    lane::{Receiver, Sender, channel},
    park::Parker,
};
use loom::{
    sync::atomic::AtomicUsize as Slot,
    thread::{self, Thread},
};

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
        self.wake();
    }

    fn send_ahead(&self, lane: usize, value: usize) {
        self.ring_ahead();
        self.send(lane, value);
    }

    fn ring_ahead(&self) {
        self.ring_if(self.parker.claim_ahead());
    }

    fn wake(&self) {
        self.ring_if(self.parker.claim());
    }

    fn ring_if(&self, claimed: bool) {
        if claimed {
            let claims = self.claims.fetch_add(1, Ordering::Relaxed) + 1;
            assert!(claims <= self.parks.load(Ordering::Relaxed));
            self.doorbell.unpark();
        }
    }

    /// Receives `values` values, one per lane and turn, and would rather sleep than work.
    fn run(&self, lanes: &mut [Receiver<usize>], values: usize) {
        let mut received = 0;
        while received < values {
            self.sleep_unless(|| lanes.iter().any(|lane| !lane.is_empty()));
            received += lanes.iter_mut().filter_map(Receiver::try_recv).count();
        }
    }

    fn sleep_unless(&self, has_mail: impl FnOnce() -> bool) {
        self.parks.fetch_add(1, Ordering::Relaxed);
        self.parker.prepare();
        if has_mail() {
            self.parker.cancel();
        } else {
            thread::park();
            self.parker.unpark();
        }
    }
}

/// How a value is sent to a worker.
type Sending = fn(&Worker, usize, usize);

/// Each of `senders` senders sends `values` values, and the worker gets them all. Something else may disturb it.
fn no_wake_up_is_lost(
    senders: usize,
    values: usize,
    send: Sending,
    disturbance: Option<fn(&Worker)>,
) {
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
                    send(&worker, lane, value);
                }
            });
        }
        if let Some(disturb) = disturbance {
            let worker = Arc::clone(&worker);
            thread::spawn(move || disturb(&worker));
        }
        worker.run(&mut receivers, senders * values);
        outlive(&worker);
    });
}

/// Waits until nobody else has this.
fn outlive<T>(shared: &Arc<T>) {
    while Arc::strong_count(shared) > 1 {
        thread::yield_now();
    }
}

/// A worker that looks for commands only if it is called.
struct Called {
    worker: Arc<Worker>,
    call: Call,
    /// How many commands each sender has sent. Nothing but the call orders them: the queue that they stand for has a
    /// lock, but nobody is to rely on that.
    sent: Vec<Slot>,
}

impl Called {
    fn new(senders: usize) -> Arc<Self> {
        let worker = Worker::new(Vec::new());
        let sent = (0..senders).map(|_| Slot::new(0)).collect();
        Arc::new(Called { worker, call: Call::new(), sent })
    }

    fn send(&self, sender: usize, number: usize, wake: fn(&Worker)) {
        self.sent[sender].store(number, Ordering::Relaxed);
        self.call.call();
        wake(&self.worker);
    }

    /// Takes `commands` commands, `most` in a turn.
    fn run(&self, commands: usize, most: usize) {
        let mut taken = 0;
        while taken < commands {
            self.worker.sleep_unless(|| self.call.is_called());
            if !self.call.hear() {
                continue;
            }
            let sent: usize = self.sent.iter().map(|sent| sent.load(Ordering::Relaxed)).sum();
            let now = most.min(sent - taken);
            if now == most {
                // There may be more.
                self.call.call();
            }
            taken += now;
        }
    }
}

/// Each of `senders` sends `commands` commands, and the worker gets them all, though it takes `most` in a turn.
fn no_call_is_lost(senders: usize, commands: usize, most: usize, wake: fn(&Worker)) {
    loom::model(move || {
        let called = Called::new(senders);
        for sender in 0..senders {
            let called = Arc::clone(&called);
            thread::spawn(move || {
                for number in 1..=commands {
                    called.send(sender, number, wake);
                }
            });
        }
        called.run(senders * commands, most);
        outlive(&called);
    });
}

/// A timer, or the doorbell of a park long past.
fn wake_for_nothing(worker: &Worker) {
    worker.doorbell.unpark();
}

#[test]
fn no_wake_up_of_two_senders_is_lost() {
    no_wake_up_is_lost(2, 1, Worker::send, None);
}

#[test]
fn no_wake_up_of_a_sender_that_goes_on_is_lost() {
    no_wake_up_is_lost(1, 2, Worker::send, None);
}

#[test]
fn no_wake_up_is_lost_to_a_worker_that_wakes_up_for_nothing() {
    no_wake_up_is_lost(1, 2, Worker::send, Some(wake_for_nothing));
}

#[test]
fn no_wake_up_of_a_sender_that_rings_ahead_is_lost() {
    no_wake_up_is_lost(1, 1, Worker::send_ahead, None);
    no_wake_up_is_lost(1, 1, Worker::send_ahead, Some(wake_for_nothing));
}

/// The other one does not send what it has rung for.
#[test]
fn no_wake_up_of_a_sender_is_lost_while_another_one_rings_ahead() {
    no_wake_up_is_lost(1, 1, Worker::send, Some(Worker::ring_ahead));
}

/// With the park protocol as well this takes too long, and its own models have two senders.
#[test]
fn whoever_hears_a_call_gets_what_all_have_sent_who_called_before() {
    no_call_is_lost(2, 1, usize::MAX, |worker| worker.doorbell.unpark());
}

#[test]
fn no_call_of_a_sender_that_goes_on_is_lost() {
    no_call_is_lost(1, 2, usize::MAX, Worker::wake);
}

#[test]
fn no_call_is_lost_to_a_worker_that_takes_one_command_in_a_turn() {
    no_call_is_lost(1, 2, 1, Worker::wake);
}

#[test]
fn exactly_one_sender_claims_a_park() {
    loom::model(|| {
        let worker = Worker::new(Vec::new());
        worker.parker.prepare();
        let threads = [Parker::claim, Parker::claim_ahead].map(|claim| {
            let worker = Arc::clone(&worker);
            thread::spawn(move || claim(&worker.parker))
        });
        let here = worker.parker.claim();
        let claims = threads.map(|thread| thread.join().unwrap());
        let claims = claims.into_iter().chain([here]);
        assert_eq!(claims.filter(|claimed| *claimed).count(), 1);
    });
}
