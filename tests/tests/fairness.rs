//! Busy actors leave time for others, and whoever takes too much of it is named.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(
    clippy::disallowed_methods,
    reason = "handlers that take their time look at the clock for it"
)]

use std::time::Instant;

use annulus::{Limits, prelude::*};
use annulus_tests::{Over, PATIENCE, Pair, ends, log::Mark, messages::*};

#[message]
struct Again {}

/// Mails itself without end, and is slow about each of its messages.
struct Busy {
    /// How long a message takes.
    takes: Duration,
    /// How many messages it keeps in its own mailbox.
    mails: usize,
}

impl Actor for Busy {
    type Protocol = (Again,);

    async fn started(&mut self, context: &mut Context<Self>) {
        for _ in 0..self.mails {
            context.me().tell(Again {}).unwrap();
        }
    }
}

impl Handler<Again> for Busy {
    async fn handle(&mut self, _: Msg<Again>, context: &mut Context<Self>) {
        spin(self.takes);
        context.me().tell(Again {}).unwrap();
    }
}

fn spin(takes: Duration) {
    let began = Instant::now();
    while began.elapsed() < takes {}
}

/// What a worker with a busy actor on it still does: how long timers, asks on the worker and asks from
/// another node take, the median of each.
fn delays(takes: Duration, mails: usize) -> [Duration; 3] {
    const ROUNDS: usize = 15;
    let _log = Mark::now();
    let pair = Pair::new(Over::Tcp, 1, 1);
    let worker = pair.ann.spawn(Worker::default()).unwrap();
    pair.ann.spawn(Busy { takes, mails }).unwrap();
    let measure = async move |own: bool| {
        let mut all = [const { Vec::new() }; 2];
        for number in 0..ROUNDS as u64 {
            let began = Instant::now();
            worker.ask(Number { number }).within(PATIENCE).await.unwrap();
            all[0].push(began.elapsed());
            if own {
                let began = Instant::now();
                sleep(Duration::from_millis(5)).await;
                all[1].push(began.elapsed() - Duration::from_millis(5));
            }
        }
        all.map(|mut delays| {
            delays.sort();
            delays.get(ROUNDS / 2).copied().unwrap_or_default()
        })
    };
    let [from_afar, _] = pair.bob.run(async move || measure(false).await).unwrap();
    let [here, timers] = pair.ann.run(async move || measure(true).await).unwrap();
    [from_afar, here, timers]
}

/// How long a worker may keep others waiting.
const MOST: Duration = Duration::from_millis(50);

#[test]
fn r61_an_actor_that_mails_itself_without_end_delays_nobody_for_long() {
    for (takes, mails) in [(0, 1), (0, 5_000), (20, 5_000), (1000, 1_000)] {
        let takes = Duration::from_micros(takes);
        let delays = ends("others have their turn", move || delays(takes, mails));
        assert!(delays.iter().all(|delay| *delay < MOST), "{takes:?} {mails}: {delays:?}");
    }
}

#[test]
fn r64_a_handler_that_takes_too_long_is_reported_by_the_name_of_its_actor() {
    let log = Mark::now();
    let limits = Limits { slow_handler: Duration::from_millis(5), ..Limits::default() };
    let node = Node::builder("ann").limits(limits).start().unwrap();
    node.spawn(Busy { takes: Duration::from_millis(20), mails: 1 }).unwrap();
    log.wait_for(&["a handler holds up its worker", "fairness::Busy"]);
}

/// Answers at once.
struct Quick;

impl Actor for Quick {
    type Protocol = (Again,);
}

impl Handler<Again> for Quick {
    async fn handle(&mut self, _: Msg<Again>, _: &mut Context<Self>) {}
}

#[test]
fn r61_a_task_that_asks_in_a_loop_leaves_time_for_timers_and_other_threads() {
    let node = Node::builder("ann").workers(1).start().unwrap();
    let quick = node.spawn(Quick).unwrap();
    let asked = ends("the loop", move || {
        node.run(async move || {
            let mut asked = 0_u64;
            let forever = async {
                loop {
                    quick.ask(Again {}).await.unwrap();
                    asked += 1;
                }
            };
            let _: Result<(), _> = annulus::timeout(Duration::from_millis(100), forever).await;
            asked
        })
    });
    assert!(asked.unwrap() > 0);
}
