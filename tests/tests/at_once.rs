//! Asks and answers to another worker that has nothing to do leave at once, in the middle of their sender's turn.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(
    clippy::disallowed_methods,
    reason = "handlers that hold up their worker look at the clock for it"
)]

use std::{
    collections::VecDeque,
    fs,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use annulus::{
    Ask, AskError, Later, Pinning, Responder,
    prelude::*,
    transport::{
        driver::Driver,
        ring::{RingConfig, RingDriver},
    },
};
use annulus_tests::{PATIENCE, Shared, ends, messages::*, start_polling, total};

/// How often a handler sends something within its turn, at most: what is for a worker that is awake waits for the end
/// of the turn, and the other worker may have been about to fall asleep.
const TRIES: usize = 100;

/// How long it looks each time whether that has arrived.
const TRY: Duration = Duration::from_millis(50);

/// Does something over and over, all in one turn, until it shows elsewhere. Returns whether it did.
async fn shows(seen: &AtomicBool, mut act: impl AsyncFnMut()) -> bool {
    for _ in 0..TRIES {
        act().await;
        let begin = Instant::now();
        while begin.elapsed() < TRY {
            if seen.load(Relaxed) {
                return true;
            }
            // The other worker may need this core.
            thread::yield_now();
        }
    }
    false
}

/// What a worker does that has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Idle {
    Sleeps,
    /// And has a core to itself.
    SleepsApart,
    /// And both are pinned to one core.
    SleepsBeside,
    LooksOn,
}

/// A node with two workers that do this; none, with a word why, where the kernel has no quick way to wake them.
fn two_workers(idle: Idle) -> Option<Node> {
    let rings_at_once = || RingDriver::new(&RingConfig::default()).unwrap().rings_at_once();
    let node = Node::builder("ann").workers(2);
    if idle == Idle::LooksOn {
        return Some(node.spin(PATIENCE).start().unwrap());
    }
    if !rings_at_once() {
        println!("skipped: to wake a worker without a ring of one's own takes Linux 6.13");
        return None;
    }
    let pinning = match (idle, &cores()[..]) {
        (Idle::SleepsApart, [one, other, ..]) => Pinning::Cores(vec![*one, *other]),
        (Idle::SleepsApart, _) => {
            println!("skipped: there is one core only");
            return None;
        }
        (Idle::SleepsBeside, [one, ..]) => Pinning::Cores(vec![*one; 2]),
        _ => Pinning::None,
    };
    Some(node.spin(Duration::ZERO).pin(pinning).start().unwrap())
}

/// The cores that this process may use.
fn cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let of_range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().unwrap()..=last.parse().unwrap()
    };
    list.trim().split(',').flat_map(of_range).collect()
}

#[test]
fn p01_an_ask_to_a_worker_that_sleeps_is_handled_within_the_turn_and_behind_what_was_told_before() {
    asks_within_a_turn(Idle::Sleeps, false);
}

#[test]
fn p01_an_ask_to_a_worker_that_looks_on_is_handled_within_the_turn_and_behind_what_was_told_before()
{
    asks_within_a_turn(Idle::LooksOn, false);
}

#[test]
fn p01_an_ask_to_a_worker_that_sleeps_on_its_core_is_handled_within_the_turn_and_behind_what_was_told_before()
 {
    asks_within_a_turn(Idle::SleepsApart, false);
}

#[test]
fn p01_an_ask_behind_one_that_was_refused_is_handled_within_the_turn() {
    asks_within_a_turn(Idle::Sleeps, true);
}

fn asks_within_a_turn(idle: Idle, refused_before: bool) {
    for from in 0..2 {
        let Some(node) = two_workers(idle) else { return };
        let (handled, within) = (Shared::default(), Shared::default());
        let seen = Arc::new(AtomicBool::new(false));
        let asked = Asked { handled: handled.clone(), seen: seen.clone() };
        let asked = node.spawn_on(1 - from, asked).unwrap();
        let asker = Asker { asked, refused_before, seen, within: within.clone() };
        let asker = node.spawn_on(from, asker).unwrap();
        node.run_on(from, async move || asker.tell(Ping).unwrap()).unwrap();
        assert_eq!(within.wait_for(1), [true], "from {from}");
        ends("the node", move || node.shutdown(PATIENCE).unwrap());
        let handled: Vec<u64> = handled.all();
        let in_order: Vec<u64> = (0..handled.len() as u64).collect();
        assert_eq!(handled, in_order, "from {from}");
    }
}

/// Numbers are asked and parcels are told; both are counted together.
type Counted = (Number, Parcel);

struct Asker {
    asked: ActorRef<Counted>,
    /// Whether another ask is made before each, and refused.
    refused_before: bool,
    seen: Arc<AtomicBool>,
    /// Whether an ask was handled within the turn in which it was made.
    within: Shared<bool>,
}

impl Actor for Asker {
    type Protocol = (Ping,);
}

/// Bytes of what is told before an ask: they go into a lane's slot, into a chunk, and into chunks of their own.
const TOLD: [usize; 4] = [0, 100, 5_000, 70_000];

impl Handler<Ping> for Asker {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        let mut numbers = 0..;
        // Dropped, they would be cancelled.
        let mut open: Vec<Pin<Box<Ask<Number>>>> = Vec::new();
        let within = shows(&self.seen, async || {
            if self.refused_before {
                assert!(is_refused(self.asked).await);
            }
            for (bytes, number) in TOLD.into_iter().zip(&mut numbers) {
                self.asked.tell(Parcel { sender: 0, number, filling: vec![0; bytes] }).unwrap();
            }
            for number in numbers.by_ref().take(1) {
                open.extend(start_polling(self.asked.ask(Number { number })).await.err());
            }
        });
        let within = within.await;
        self.within.push(within);
    }
}

/// Notes the numbers of what it handles.
struct Asked {
    handled: Shared<u64>,
    /// Whether it has been asked.
    seen: Arc<AtomicBool>,
}

impl Actor for Asked {
    type Protocol = Counted;
}

impl Handler<Number> for Asked {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) -> Number {
        self.handled.push(number.number.to_native());
        self.seen.store(true, Relaxed);
        number.decode()
    }
}

impl Handler<Parcel> for Asked {
    async fn handle(&mut self, parcel: Msg<Parcel>, _: &mut Context<Self>) -> Parcel {
        self.handled.push(parcel.number.to_native());
        Parcel { sender: 0, number: 0, filling: Vec::new() }
    }
}

#[test]
fn an_answer_to_a_worker_that_sleeps_is_heard_within_the_turn() {
    answers_within_a_turn(Idle::Sleeps);
}

#[test]
fn an_answer_to_a_worker_that_looks_on_is_heard_within_the_turn() {
    answers_within_a_turn(Idle::LooksOn);
}

#[test]
fn an_answer_to_a_worker_that_sleeps_on_its_core_is_heard_within_the_turn() {
    answers_within_a_turn(Idle::SleepsApart);
}

fn answers_within_a_turn(idle: Idle) {
    for at in 0..2 {
        let Some(node) = two_workers(idle) else { return };
        let (within, seen) = (Shared::default(), Arc::new(AtomicBool::new(false)));
        let owed = VecDeque::new();
        let answers = Answers { owed, seen: seen.clone(), within: within.clone() };
        let answers = node.spawn_on(at, answers).unwrap();
        let asked = node.run_on(1 - at, async move || {
            let mut open = Vec::new();
            for number in 0..TRIES as u64 {
                open.extend(start_polling(answers.ask(Number { number })).await.err());
            }
            // It has them all when this arrives.
            answers.tell(Ping).unwrap();
            let heard = open.swap_remove(0).await.map(|answer| answer.number.to_native());
            seen.store(true, Relaxed);
            heard
        });
        assert_eq!(asked, Ok(Ok(0)), "at {at}");
        assert_eq!(within.wait_for(1), [true], "at {at}");
        ends("the node", move || node.shutdown(PATIENCE).unwrap());
    }
}

/// Answers one ask after the other when it is told to, until an asker has heard it.
struct Answers {
    owed: VecDeque<(u64, Responder<Number>)>,
    seen: Arc<AtomicBool>,
    /// Whether an answer was heard within the turn in which it was given.
    within: Shared<bool>,
}

impl Actor for Answers {
    type Protocol = (Number, Ping);
}

impl Respond<Number> for Answers {
    async fn respond(&mut self, number: Msg<Number>, context: &mut Context<Self>) -> Reply<Number> {
        let (later, responder): (Later, _) = context.defer(&number);
        self.owed.push_back((number.number.to_native(), responder));
        later.into()
    }
}

impl Handler<Ping> for Answers {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        let within = shows(&self.seen, async || {
            let (number, responder) = self.owed.pop_front().expect("there is one for each try");
            responder.reply(Number { number });
        });
        let within = within.await;
        self.within.push(within);
    }
}

/// The doorbell rings before the ask is made, and so before it is refused.
#[test]
fn asks_that_are_refused_wake_a_worker_on_its_core_once() {
    // The worker may be about to fall asleep, and not have done so until the last ask was refused.
    for _ in 0..TRIES {
        match bells_of_refused_asks(Idle::SleepsApart) {
            Some(0) => {}
            bells => return assert!(bells.is_none_or(|bells| bells == 1), "{bells:?}"),
        }
    }
    panic!("nobody was woken");
}

#[test]
fn asks_that_are_refused_wake_no_worker_that_may_be_on_the_same_core() {
    for idle in [Idle::Sleeps, Idle::SleepsBeside] {
        assert!(bells_of_refused_asks(idle).is_none_or(|bells| bells == 0), "{idle:?}");
    }
}

/// How many doorbells ring for asks that are all refused, one after the other, in one turn.
fn bells_of_refused_asks(idle: Idle) -> Option<u64> {
    let node = two_workers(idle)?;
    let asked = Asked { handled: Shared::default(), seen: Arc::default() };
    let asked = node.spawn_on(1, asked).unwrap();
    let refused = Shared::default();
    let asks = Refused { asked, refused: refused.clone() };
    let asks = node.spawn_on(0, asks).unwrap();
    let rung = || total(&node, |stats| stats.doorbells_rung);
    let before = rung();
    node.run_on(0, async move || asks.tell(Ping).unwrap()).unwrap();
    assert!(refused.wait_for(1)[0] >= 2);
    Some(rung() - before)
}

/// Asks what is too large to be asked.
async fn is_refused(asked: ActorRef<Counted>) -> bool {
    let ended = asked.ask(Parcel { sender: 0, number: 0, filling: vec![0; 17 << 20] }).await;
    matches!(ended, Err(AskError::TooLarge { .. }))
}

struct Refused {
    asked: ActorRef<Counted>,
    /// How many asks were refused.
    refused: Shared<u64>,
}

impl Actor for Refused {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Refused {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        let mut refused = 0;
        let begin = Instant::now();
        while begin.elapsed() < TRY {
            refused += u64::from(is_refused(self.asked).await);
            let pause = Instant::now();
            while pause.elapsed() < TRY / 50 {
                thread::yield_now();
            }
        }
        self.refused.push(refused);
    }
}
