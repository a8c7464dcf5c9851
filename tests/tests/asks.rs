//! P8: every ask ends in exactly one outcome. Here within one node; see `asks_across` for two.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::collections::BTreeMap;

use annulus::{
    Ask, Exit, Later, Limits, Responder, StopMode,
    codec::address::{Address, Slot},
    prelude::*,
};
use annulus_tests::{
    PATIENCE, Shared, comes_to_rest, ends, eventually, messages::*, start_polling, total,
};

fn outcome<M: annulus::codec::message::Message>(
    asked: Result<Msg<M>, AskError>,
) -> Result<(), AskError> {
    asked.map(|_| ())
}

/// Runs the same on one worker and across two, and checks that nothing is left.
fn here_and_across(test: impl AsyncFnOnce(ActorRef<Work>) + Copy + Send + 'static) {
    for worker in 0..2 {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let actor = node.spawn_on(worker, Worker::default()).unwrap();
        ends("the asks", move || {
            node.run(async move || test(actor).await).unwrap();
            comes_to_rest(&node, u64::MAX);
            node.shutdown(PATIENCE).unwrap();
        });
    }
}

#[test]
fn p08_outcome_reply() {
    here_and_across(async |worker| {
        for number in 0..1000 {
            assert_eq!(worker.ask(Number { number }).await.unwrap().number, number);
        }
    });
}

#[test]
fn p08_outcome_timeout() {
    here_and_across(async |worker| {
        let nap = worker.ask(Nap { millis: 50 });
        let ended = nap.within(Duration::from_millis(5)).await;
        assert_eq!(outcome(ended), Err(AskError::Timeout));
    });
}

#[test]
fn p08_outcome_timeout_without_any_time_and_nobody_handles_it() {
    for at in 0..2 {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let done = Shared::default();
        let worker = node.spawn_on(at, Worker::noting(&done)).unwrap();
        let ended = node.run_on(0, async move || {
            // It is idle when this is answered.
            worker.ask(Ping).await.unwrap();
            let ended = outcome(worker.ask(Number { number: 1 }).within(Duration::ZERO).await);
            // What had been sent before would have been handled before this.
            worker.ask(Ping).await.unwrap();
            ended
        });
        assert_eq!(ended, Ok(Err(AskError::Timeout)), "of worker {at}");
        assert_eq!(done.all(), ["ping", "ping"], "on worker {at}");
    }
}

#[test]
fn p08_outcome_timeout_by_the_limit_of_the_node() {
    let limits = Limits { ask_timeout: Duration::from_millis(5), ..Limits::default() };
    let node = Node::builder("ann").limits(limits).start().unwrap();
    let worker = node.spawn(Worker::default()).unwrap();
    let ended = node.run(async move || outcome(worker.ask(Nap { millis: 60_000 }).await));
    assert_eq!(ended, Ok(Err(AskError::Timeout)));
}

#[test]
fn p08_outcome_dead_if_it_had_stopped_before() {
    here_and_across(async |worker| {
        worker.stop(StopMode::Stop).unwrap();
        // It may have ended before this arrives.
        let _ = worker.join().await;
        assert_eq!(outcome(worker.ask(Ping).await), Err(AskError::Dead));
    });
}

#[test]
fn p08_outcome_dead_if_it_panics_within() {
    here_and_across(async |worker| {
        let (fails, waits) = (worker.ask(Fail), worker.ask(Ping));
        let fails = start_polling(fails).await;
        // This one waits in the mailbox, or comes too late.
        let waits = outcome(waits.await);
        assert_eq!(waits, Err(AskError::Dead));
        let fails = match fails {
            Ok(ended) => ended,
            Err(waits) => waits.await,
        };
        assert_eq!(outcome(fails), Err(AskError::Dead));
        assert_eq!(worker.join().await, Err(AskError::Dead));
    });
}

#[test]
fn p08_outcome_dead_if_it_is_killed_within() {
    here_and_across(async |worker| {
        let Err(nap) = start_polling(worker.ask(Nap { millis: 60_000 })).await else {
            panic!("it ends at once")
        };
        let Err(waits) = start_polling(worker.ask(Ping)).await else { panic!("it ends at once") };
        worker.stop(StopMode::Kill).unwrap();
        assert_eq!(outcome(waits.await), Err(AskError::Dead));
        assert_eq!(outcome(nap.await), Err(AskError::Dead));
    });
}

#[test]
fn p08_outcome_overloaded() {
    for worker in 0..2 {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let done = Shared::default();
        let cramped = Cramped { done: done.clone() };
        let cramped = node.spawn_on(worker, cramped).unwrap();
        let outcomes = ends("the asks", move || {
            node.run(async move || {
                cramped.tell(Nap { millis: 20 }).unwrap();
                while done.is_empty() {
                    sleep(Duration::from_millis(1)).await;
                }
                let mut asks = Vec::new();
                for number in 0..5 {
                    asks.push(start_polling(cramped.ask(Number { number })).await);
                    // What is queued for the worker is in the mailbox then.
                    sleep(Duration::from_micros(300)).await;
                }
                let mut outcomes = Vec::new();
                for ask in asks {
                    outcomes.push(match ask {
                        Ok(ended) => outcome(ended),
                        Err(ask) => outcome(ask.await),
                    });
                }
                outcomes
            })
            .unwrap()
        });
        let full = Err(AskError::Overloaded);
        assert_eq!(outcomes, [Ok(()), Ok(()), full, full, full]);
    }
}

/// Where an asker is and where the one it asks: the workers of a node do not end at the same moment.
const PLACES: [(usize, usize); 4] = [(0, 0), (0, 1), (1, 0), (1, 1)];

/// The asker is dropped with its node; if it still hears something, then that.
#[test]
fn p08_an_ask_that_ends_with_its_own_node_ends_cancelled_or_unheard() {
    // How far one worker is when the other one ends is chance: there are many ends.
    for (from, at) in PLACES.into_iter().cycle().take(200) {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let done = Shared::default();
        let to = node.spawn_on(at, Worker::noting(&done)).unwrap();
        let noted = Shared::default();
        let asker = node.spawn_on(from, Asker { to, noted: noted.clone() }).unwrap();
        let asked = node.run(async move || asker.ask(Ping).await.is_ok());
        assert_eq!(asked, Ok(true));
        done.wait_for(1);
        eventually("the ask is open", || total(&node, |stats| stats.asks_open as u64) == 1);
        ends("the node", move || drop(node));
        let outcomes: Vec<Result<(), AskError>> = noted.all();
        let expected = outcomes.is_empty() || outcomes == [Err(AskError::Cancelled)];
        assert!(expected, "from {from} to {at}: {outcomes:?}");
    }
}

/// Asks somebody who does not answer, and notes the outcome.
struct Asker {
    to: ActorRef<Work>,
    noted: Shared<Result<(), AskError>>,
}

impl Actor for Asker {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Asker {
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        let (to, noted) = (self.to, self.noted.clone());
        context.task(move |_| async move {
            noted.push(outcome(to.ask(Nap { millis: 60_000 }).await));
        });
    }
}

#[test]
fn p08_an_ask_of_a_node_that_shuts_down_is_answered_until_whom_it_asks_has_drained() {
    for (from, at) in PLACES {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let done = Shared::default();
        let to = node.spawn_on(at, Worker::noting(&done)).unwrap();
        let noted = Shared::default();
        let asker = node.spawn_on(from, Persistent { to, noted: noted.clone() }).unwrap();
        let told = node.run(async move || asker.tell(Ping).is_ok());
        assert_eq!(told, Ok(true));
        done.wait_for(1);
        let ended = ends("the shutdown", move || node.shutdown(PATIENCE));
        assert_eq!(ended, Ok(()), "from {from} to {at}");
        let mut outcomes: Vec<Result<(), AskError>> = noted.all();
        assert_eq!(outcomes.pop(), Some(Err(AskError::Dead)), "from {from} to {at}");
        // The first ask was open when the shutdown began, unless this thread was held up.
        assert!(!outcomes.is_empty() && outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
}

/// Asks on and on within one handler, until that fails, and notes the outcomes.
struct Persistent {
    to: ActorRef<Work>,
    noted: Shared<Result<(), AskError>>,
}

impl Actor for Persistent {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Persistent {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        let mut ended = outcome(self.to.ask(Nap { millis: 20 }).await);
        while ended.is_ok() {
            self.noted.push(ended);
            ended = outcome(self.to.ask(Number { number: 1 }).await);
        }
        self.noted.push(ended);
    }
}

#[test]
fn p08_outcome_unknown() {
    here_and_across(async |worker| {
        let other: ActorRef<(Parcel,)> = ActorRef::from_address(worker.address());
        let parcel = Parcel { sender: 0, number: 0, filling: Vec::new() };
        assert_eq!(outcome(other.ask(parcel).await), Err(AskError::Unknown));
        assert_eq!(worker.ask(Number { number: 1 }).await.unwrap().number, 1);
    });
}

mod other_version {
    use annulus::prelude::*;

    /// A number as the next version of the program has it.
    #[message(name = "annulus_tests::messages::Number")]
    pub struct Number {
        pub number: u32,
        pub unit: u8,
    }
}

#[test]
fn p08_outcome_incompatible() {
    here_and_across(async |worker| {
        let other: ActorRef<(other_version::Number,)> = ActorRef::from_address(worker.address());
        let asked = other.ask(other_version::Number { number: 1, unit: 2 });
        assert_eq!(outcome(asked.await), Err(AskError::Incompatible));
        assert_eq!(worker.ask(Number { number: 1 }).await.unwrap().number, 1);
    });
}

/// Asks whom it is told to ask, itself among others, and answers with the outcome.
#[message(reply = Passed)]
struct Pass {
    along: Vec<ActorRef<Passing>>,
}

#[message]
struct Passed {
    cycles: u64,
}

type Passing = (Pass,);

struct Passer;

impl Actor for Passer {
    type Protocol = Passing;
}

impl Handler<Pass> for Passer {
    async fn handle(&mut self, pass: Msg<Pass>, _: &mut Context<Self>) -> Passed {
        let mut along = pass.decode().along;
        let Some(next) = along.pop() else {
            return Passed { cycles: 0 };
        };
        let cycles = match next.ask(Pass { along }).await {
            Ok(passed) => passed.cycles.to_native(),
            Err(AskError::Cycle) => 1,
            Err(error) => panic!("{error}"),
        };
        Passed { cycles }
    }
}

#[test]
fn p08_outcome_cycle() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    let (a, b) = (node.spawn_on(0, Passer), node.spawn_on(1, Passer));
    let (a, b) = (a.unwrap(), b.unwrap());
    let cycles = |first: ActorRef<Passing>, along: Vec<ActorRef<Passing>>| {
        let asked = node.run(async move || {
            let asked = first.ask(Pass { along }).await;
            asked.map(|passed| passed.cycles.to_native())
        });
        asked.unwrap().unwrap()
    };
    assert_eq!(cycles(a, vec![a]), 1, "it asks itself");
    assert_eq!(cycles(a, vec![a, b]), 1, "it is asked back");
    assert_eq!(cycles(a, vec![b]), 0, "no cycle");
    assert_eq!(cycles(b, vec![]), 0, "no cycle");
}

/// Leaves answers for later, or drops them.
struct Defers {
    kept: BTreeMap<u64, Responder<Number>>,
}

impl Actor for Defers {
    type Protocol = (Number, Ping);
}

impl Respond<Number> for Defers {
    async fn respond(&mut self, number: Msg<Number>, context: &mut Context<Self>) -> Reply<Number> {
        let (later, responder): (Later, _) = context.defer(&number);
        let number = number.number.to_native();
        if number > 0 {
            self.kept.insert(number, responder);
        }
        later.into()
    }
}

/// Answers what was left, the latest first.
impl Handler<Ping> for Defers {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        while let Some((number, responder)) = self.kept.pop_last() {
            responder.reply(Number { number });
        }
    }
}

#[test]
fn p08_outcome_no_reply_and_late_replies_are_dropped_and_counted() {
    for worker in 0..2 {
        let node = Node::builder("ann").workers(2).start().unwrap();
        let kept = BTreeMap::new();
        let defers = node.spawn_on(worker, Defers { kept }).unwrap();
        let outcomes = node.run(async move || {
            let none = outcome(defers.ask(Number { number: 0 }).await);
            let Err(first) = start_polling(defers.ask(Number { number: 1 })).await else {
                panic!("it ends at once")
            };
            let Err(second) = start_polling(defers.ask(Number { number: 2 })).await else {
                panic!("it ends at once")
            };
            let short = defers.ask(Number { number: 3 });
            let timed_out = outcome(short.within(Duration::from_millis(2)).await);
            let Err(given_up) = start_polling(defers.ask(Number { number: 4 })).await else {
                panic!("it ends at once")
            };
            drop(given_up);
            defers.ask(Ping).await.unwrap();
            let replies = (first.await.unwrap().number, second.await.unwrap().number);
            assert_eq!(replies, (1.into(), 2.into()));
            (none, timed_out)
        });
        let expected = (Err(AskError::NoReply), Err(AskError::Timeout));
        assert_eq!(outcomes, Ok(expected));
        eventually("late answers are counted", || total(&node, |stats| stats.answers_late) == 2);
        comes_to_rest(&node, u64::MAX);
    }
}

#[test]
fn p08_outcome_too_large() {
    here_and_across(async |worker| {
        let sink: ActorRef<(Parcel,)> = ActorRef::from_address(worker.address());
        let parcel = Parcel { sender: 0, number: 0, filling: vec![0; 17 << 20] };
        let max = 16 << 20;
        let ended = outcome(sink.ask(parcel).await);
        assert_eq!(ended, Err(AskError::TooLarge { max }));
    });
}

/// N asks, N outcomes: actors stop, panic and sleep while many ask them.
#[test]
fn p08_as_many_outcomes_as_asks() {
    const ASKS: usize = 3000;
    let node = Node::builder("ann").workers(2).start().unwrap();
    let outcomes: Shared<Result<(), AskError>> = Shared::default();
    for round in 0..30 {
        let worker = node.spawn(Worker::default()).unwrap();
        let noted = outcomes.clone();
        ends("a round of asks", {
            let many = async move || {
                let mut asks: Vec<Ask<Number>> = Vec::new();
                for number in 0..ASKS as u64 / 30 {
                    let limit = Duration::from_millis(1 + number % 3);
                    asks.push(worker.ask(Number { number }).within(limit));
                }
                let mut open = Vec::new();
                for (at, ask) in asks.into_iter().enumerate() {
                    match (round % 4, at) {
                        (0, 50) => worker.stop(StopMode::Stop).unwrap(),
                        (1, 50) => worker.tell(Fail).unwrap(),
                        (2, 50) => worker.tell(Nap { millis: 2 }).unwrap(),
                        (3, 50) => worker.stop(StopMode::Kill).unwrap(),
                        _ => {}
                    }
                    match start_polling(ask).await {
                        Ok(ended) => noted.push(outcome(ended)),
                        Err(ask) => open.push(ask),
                    }
                }
                for ask in open {
                    noted.push(outcome(ask.await));
                }
            };
            let ran = node.run_on(round % 2, many);
            move || ran.unwrap()
        });
    }
    let outcomes = outcomes.all();
    assert_eq!(outcomes.len(), ASKS);
    for expected in [Ok(()), Err(AskError::Dead)] {
        assert!(outcomes.contains(&expected), "{expected:?}");
    }
    let told = [Ok(()), Err(AskError::Dead), Err(AskError::Timeout)];
    let other = outcomes.iter().find(|outcome| !told.contains(outcome));
    assert_eq!(other, None);
    comes_to_rest(&node, u64::MAX);
}

#[test]
fn p08_how_an_actor_ended_is_told_to_all_who_wait_for_it() {
    let modes = [
        (StopMode::Stop, Exit::Stopped),
        (StopMode::Drain, Exit::Stopped),
        (StopMode::Kill, Exit::Killed),
    ];
    for (mode, exit) in modes {
        for worker in 0..2 {
            let node = Node::builder("ann").workers(2).start().unwrap();
            let actor = node.spawn_on(worker, Worker::default()).unwrap();
            let joined = node.run(async move || {
                let Err(early) = start_polling(actor.join()).await else {
                    panic!("it ends at once")
                };
                actor.stop(mode).unwrap();
                (early.await, actor.join().await)
            });
            assert_eq!(joined, Ok((Ok(exit), Err(AskError::Dead))));
        }
    }
}

#[test]
fn p16_an_ask_to_an_address_that_is_nobodys_is_dead() {
    let node = Node::builder("ann").start().unwrap();
    let worker = node.spawn(Worker::default()).unwrap();
    let outcome = node.run(async move || {
        let somebody = worker.address();
        let slot = Slot::new(somebody.slot().worker(), 0);
        let nobody = Address::new(somebody.node(), somebody.incarnation(), slot, 0);
        let nobody: ActorRef<Work> = ActorRef::from_address(nobody);
        nobody.ask(Number { number: 1 }).await.map(|number| number.number.to_native())
    });
    assert_eq!(outcome, Ok(Err(AskError::Dead)));
}
