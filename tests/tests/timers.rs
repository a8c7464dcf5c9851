//! P14: timers are never early, and never fire once they were cancelled or their actor has ended.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::time::Instant;

use annulus::{StopMode, TimerHandle, prelude::*, timeout, transport::driver::Mono};
use annulus_tests::{PATIENCE, Shared, ends, messages::*};

/// Sets itself a timer: once, or again and again.
#[message]
struct Set {
    number: u64,
    micros: u64,
    again: bool,
}

/// Comes from the timer.
#[message]
struct Ring {
    number: u64,
}

/// Cancels the timers, and says how many there were.
#[message(reply = Number)]
struct Cancel;

#[derive(Default)]
struct Alarm {
    /// The number of the timer, when it was set, and when it rang.
    rings: Shared<(u64, Mono, Mono)>,
    set: Vec<(Mono, TimerHandle)>,
}

impl Actor for Alarm {
    type Protocol = (Set, Ring, Cancel, Nap);
}

impl Handler<Set> for Alarm {
    async fn handle(&mut self, set: Msg<Set>, context: &mut Context<Self>) {
        let (number, time) = (set.number.to_native(), set.micros.to_native());
        let time = Duration::from_micros(time);
        let ring = Ring { number };
        let handle =
            if set.again { context.every(time, &ring) } else { context.after(time, &ring) };
        self.set.push((context.now(), handle.unwrap()));
    }
}

impl Handler<Ring> for Alarm {
    async fn handle(&mut self, ring: Msg<Ring>, context: &mut Context<Self>) {
        let number = ring.number.to_native();
        let (set, _) = self.set[number as usize % self.set.len()];
        self.rings.push((number, set, context.now()));
    }
}

impl Handler<Cancel> for Alarm {
    async fn handle(&mut self, _: Msg<Cancel>, _: &mut Context<Self>) -> Number {
        let cancelled = self.set.drain(..).filter(|(_, handle)| handle.cancel());
        Number { number: cancelled.count() as u64 }
    }
}

impl Handler<Nap> for Alarm {
    async fn handle(&mut self, nap: Msg<Nap>, context: &mut Context<Self>) {
        context.sleep(Duration::from_millis(nap.millis.to_native())).await;
        for (_, handle) in self.set.drain(..) {
            assert!(handle.cancel());
            assert!(!handle.cancel());
        }
    }
}

fn set(number: u64, micros: u64, again: bool) -> Set {
    Set { number, micros, again }
}

#[test]
fn p14_timers_are_never_early() {
    let node = Node::builder("ann").start().unwrap();
    let rings = Shared::default();
    let alarm = Alarm { rings: rings.clone(), set: Vec::new() };
    let alarm = node.spawn(alarm).unwrap();
    let micros = |number: u64| number * 7919 % 20_000;
    node.run(async move || {
        for number in 0..500 {
            alarm.ask(set(number, micros(number), false)).await.unwrap();
            if number % 50 == 0 {
                sleep(Duration::from_micros(300)).await;
            }
        }
    })
    .unwrap();
    let rings = rings.wait_for(500);
    for (number, set, rang) in &rings {
        let took = rang.since(*set);
        assert!(took >= Duration::from_micros(micros(*number)), "{number}: {took:?}");
    }
    let mut numbers: Vec<u64> = rings.iter().map(|(number, ..)| *number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).collect::<Vec<u64>>(), "each rings once");
}

#[test]
fn p14_sleeps_and_timeouts_are_never_early() {
    let node = Node::builder("ann").start().unwrap();
    for micros in [0, 1, 100, 999, 1000, 5000, 20_000] {
        let time = Duration::from_micros(micros);
        let took = node.run(async move || {
            let begin = Instant::now();
            sleep(time).await;
            let slept = begin.elapsed();
            let begin = Instant::now();
            let never = timeout(time, std::future::pending::<()>()).await;
            assert!(never.is_err());
            slept.min(begin.elapsed())
        });
        // The worker's clock may be a little behind at the start of a turn, never ahead.
        let took = took.unwrap();
        assert!(took + Duration::from_micros(50) >= time, "{took:?} of {time:?}");
    }
}

#[test]
fn p14_a_periodic_timer_keeps_its_beat() {
    let node = Node::builder("ann").start().unwrap();
    let rings = Shared::default();
    let alarm = Alarm { rings: rings.clone(), set: Vec::new() };
    let alarm = node.spawn(alarm).unwrap();
    node.run(async move || alarm.ask(set(0, 1000, true)).await.is_ok()).unwrap();
    for (beat, (_, set, rang)) in rings.wait_for(20).into_iter().enumerate() {
        assert!(rang.since(set) >= Duration::from_millis(beat as u64 + 1));
    }
    let cancelled = node.run(async move || alarm.ask(Cancel).await.unwrap().number.to_native());
    assert_eq!(cancelled, Ok(1));
    let then = rings.len();
    node.run(async || sleep(Duration::from_millis(10)).await).unwrap();
    assert_eq!(rings.len(), then, "none after it was cancelled");
}

#[test]
fn p14_none_after_cancel_even_if_the_message_waits_in_the_mailbox() {
    let node = Node::builder("ann").start().unwrap();
    let rings = Shared::default();
    let alarm = Alarm { rings: rings.clone(), set: Vec::new() };
    let alarm = node.spawn(alarm).unwrap();
    ends("the nap", move || {
        node.run(async move || {
            alarm.tell(set(0, 1000, false)).unwrap();
            alarm.tell(set(1, 1000, true)).unwrap();
            // Both are due within the nap, and are cancelled at its end.
            alarm.ask(Nap { millis: 10 }).await.unwrap();
            // This comes behind them.
            assert_eq!(alarm.ask(Cancel).await.unwrap().number, 0);
            sleep(Duration::from_millis(5)).await;
        })
        .unwrap();
    });
    assert!(rings.is_empty());
}

#[test]
fn p14_none_after_the_actor_has_ended() {
    for mode in [StopMode::Stop, StopMode::Drain, StopMode::Kill] {
        let node = Node::builder("ann").start().unwrap();
        let rings = Shared::default();
        let alarm = Alarm { rings: rings.clone(), set: Vec::new() };
        let alarm = node.spawn(alarm).unwrap();
        node.run(async move || {
            alarm.ask(set(0, 2000, false)).await.unwrap();
            alarm.ask(set(1, 2000, true)).await.unwrap();
            alarm.stop(mode).unwrap();
            alarm.join().await.unwrap();
        })
        .unwrap();
        let then = rings.len();
        // The next actor has the slot, and no timers.
        let other = node.spawn(Worker::default()).unwrap();
        assert_eq!(other.address().slot(), alarm.address().slot());
        node.run(async || sleep(Duration::from_millis(10)).await).unwrap();
        assert_eq!(rings.len(), then);
        node.shutdown(PATIENCE).unwrap();
    }
}

/// Hands out the handle of its timer.
struct Lends {
    rings: Shared<()>,
}

#[message(local, reply = Handle)]
struct Borrow;

#[message(local)]
struct Handle(TimerHandle);

impl Actor for Lends {
    type Protocol = (Borrow, Ping);
}

impl Handler<Borrow> for Lends {
    async fn handle(&mut self, _: Msg<Borrow>, context: &mut Context<Self>) -> Handle {
        Handle(context.after(Duration::from_millis(20), &Ping).unwrap())
    }
}

impl Handler<Ping> for Lends {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        self.rings.push(());
    }
}

/// A handle that got to another worker by a local message names no timer of that worker.
#[test]
fn p14_a_handle_from_another_worker_cancels_nobody_elses_timer() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let rings: [Shared<()>; 2] = Default::default();
    let spawn = |at: usize| {
        let rings = rings[at].clone();
        node.spawn_on(at, Lends { rings }).unwrap()
    };
    let (here, there) = (spawn(0), spawn(1));
    node.run_on(1, async move || {
        let foreign = here.ask(Borrow).await.unwrap().into_inner().0;
        let _own = there.ask(Borrow).await.unwrap().into_inner().0;
        foreign.cancel();
    })
    .unwrap();
    rings[1].wait_for(1);
}
