//! Who hears that a handler holds up its worker may be the user's code, and may give that worker something to do.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(
    clippy::disallowed_methods,
    reason = "a handler that takes its time looks at the clock for it"
)]

use std::{
    future::poll_fn,
    io, mem,
    sync::{Arc, Mutex, MutexGuard, Once},
    task::{Poll, Waker},
    time::Instant,
};

use annulus::{Limits, prelude::*};
use annulus_tests::{Shared, eventually, messages::*, quiet};

/// What the log does when it hears of the slow handler, on the worker that says so.
static ON_REPORT: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

struct Log;

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(line);
        if line.contains("a handler holds up its worker") && line.contains("reports::Slow") {
            let act = ON_REPORT.lock().unwrap().take();
            act.into_iter().for_each(|act| act());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One test at a time: the process has one log. The first one starts it.
fn alone() -> MutexGuard<'static, ()> {
    static LOG: Once = Once::new();
    static TURN: Mutex<()> = Mutex::new(());
    LOG.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Is slow about pings, and quick about numbers.
struct Slow;

impl Actor for Slow {
    type Protocol = (Number, Ping);
}

impl Handler<Number> for Slow {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) -> Number {
        number.decode()
    }
}

impl Handler<Ping> for Slow {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        let begin = Instant::now();
        while begin.elapsed() <= Limits::default().slow_handler {}
    }
}

/// Messages after which the clock is read rarely: a slow one behind them is found out when the turn ends.
const QUICK: u64 = 20;

/// Does `act` when a handler is reported that was the last work of a turn.
fn at_a_report(node: &Node, slow: ActorRef<(Number, Ping)>, act: impl FnOnce() + Send + 'static) {
    *ON_REPORT.lock().unwrap() = Some(Box::new(act));
    let told = node.run(async move || {
        for number in 0..QUICK {
            slow.ask(Number { number }).await.unwrap();
        }
        slow.tell(Ping).is_ok()
    });
    assert_eq!(told, Ok(true));
    // From here on nobody calls the worker until the test has seen what it waits for.
}

/// A worker that nothing wakes by itself.
fn one_worker() -> Node {
    Node::builder("ann").workers(1).limits(quiet()).start().unwrap()
}

/// Not each of them is reported at the end of a turn, where the machine is busy.
const ROUNDS: usize = 10;

#[test]
fn r64_a_worker_does_not_sleep_over_what_is_told_when_a_slow_handler_is_reported() {
    let _turn = alone();
    let node = one_worker();
    let heard = Shared::default();
    let slow = node.spawn(Slow).unwrap();
    let listener = node.spawn(Worker::noting(&heard)).unwrap();
    for round in 1..=ROUNDS {
        at_a_report(&node, slow, move || listener.tell(Ping).unwrap());
        heard.wait_for(round);
    }
}

#[test]
fn r64_a_worker_does_not_sleep_over_a_task_that_is_woken_when_a_slow_handler_is_reported() {
    let _turn = alone();
    let node = one_worker();
    let (waits, woken) = (Arc::default(), Shared::default());
    let slow = node.spawn(Slow).unwrap();
    let waiter = node.spawn(Waiter { waits: Arc::clone(&waits), woken: woken.clone() }).unwrap();
    for round in 1..=ROUNDS {
        node.run(async move || waiter.tell(Ping).unwrap()).unwrap();
        eventually("the task waits", || waits.lock().unwrap().is_some());
        let waker = waits.lock().unwrap().take().unwrap();
        at_a_report(&node, slow, move || waker.wake());
        woken.wait_for(round);
    }
}

/// Starts a task that waits until it is woken, and notes that it was.
struct Waiter {
    waits: Arc<Mutex<Option<Waker>>>,
    woken: Shared<()>,
}

impl Actor for Waiter {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Waiter {
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        let (waits, woken) = (Arc::clone(&self.waits), self.woken.clone());
        context.task(move |_| async move {
            is_woken(&waits).await;
            woken.push(());
        });
    }
}

/// Leaves the waker of its task there, and waits for it.
async fn is_woken(left_at: &Mutex<Option<Waker>>) {
    let mut waits = true;
    poll_fn(|context| {
        if !mem::take(&mut waits) {
            return Poll::Ready(());
        }
        *left_at.lock().unwrap() = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
}
