//! P8 across nodes: every ask of an actor on another node ends in exactly one outcome.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::process::Command;

use annulus::{Limits, StopMode, TellError, prelude::*};
use annulus_tests::{
    Over, PATIENCE, Pair, Shared, children::Process, comes_to_rest, ends, messages::*,
    start_polling, total,
};

type Ended = Result<(), AskError>;

/// Asks from one node to an actor on another, over both kinds of sockets.
fn across(test: impl AsyncFnOnce(ActorRef<Work>) + Copy + Send + 'static) {
    for (over, ann, bob) in [(Over::Tcp, 1, 1), (Over::Unix, 2, 1), (Over::Tcp, 1, 2)] {
        let pair = Pair::new(over, ann, bob);
        let worker = Worker::default();
        let actor = pair.ann.spawn_on(ann - 1, worker).unwrap();
        ends("the asks", move || {
            let ran = pair.bob.run_on(bob - 1, async move || test(actor).await);
            ran.unwrap();
            comes_to_rest(&pair.bob, u64::MAX);
            comes_to_rest(&pair.ann, u64::MAX);
            pair.shut_down();
        });
    }
}

#[test]
fn p08_outcome_reply() {
    across(async |worker| {
        for number in 0..300 {
            assert_eq!(worker.ask(Number { number }).await.unwrap().number, number);
        }
    });
}

/// Once a node is connected, its actors answer to every worker, on every worker.
#[test]
fn p08_connected_nodes_reach_each_other_from_all_workers() {
    for _ in 0..30 {
        let pair = Pair::new(Over::Unix, 3, 3);
        let actors: Vec<_> =
            (0..3).map(|at| pair.ann.spawn_on(at, Worker::default()).unwrap()).collect();
        for at in 0..3 {
            let actors = actors.clone();
            let asked = pair.bob.run_on(at, async move || {
                let mut outcomes: Vec<Ended> = Vec::new();
                for actor in actors {
                    outcomes.push(actor.ask(Ping).within(PATIENCE / 4).await.map(|_| ()));
                }
                outcomes
            });
            assert_eq!(asked, Ok(vec![Ok(()); 3]), "from worker {at}");
        }
    }
}

#[test]
fn p08_outcome_timeout() {
    across(async |worker| {
        let nap = worker.ask(Nap { millis: 50 });
        let ended: Ended = nap.within(Duration::from_millis(5)).await.map(|_| ());
        assert_eq!(ended, Err(AskError::Timeout));
    });
}

#[test]
fn p08_outcome_dead() {
    across(async |worker| {
        let Err(fails) = start_polling(worker.ask(Fail)).await else { panic!("it ends at once") };
        let behind: Ended = worker.ask(Ping).await.map(|_| ());
        assert_eq!(behind, Err(AskError::Dead));
        assert_eq!(fails.await.map(|_| ()), Err(AskError::Dead));
        let after: Ended = worker.ask(Ping).await.map(|_| ());
        assert_eq!(after, Err(AskError::Dead));
    });
}

#[test]
fn p08_outcome_unknown_and_local_only() {
    across(async |worker| {
        let other: ActorRef<(Parcel,)> = ActorRef::from_address(worker.address());
        let parcel = Parcel { sender: 0, number: 0, filling: vec![1; 100_000] };
        let ended: Ended = other.ask(parcel).await.map(|_| ());
        assert_eq!(ended, Err(AskError::Unknown));
        assert_eq!(worker.stop(StopMode::Stop), Err(TellError::LocalOnly));
        assert_eq!(worker.join().await, Err(AskError::LocalOnly));
        assert_eq!(worker.ask(Number { number: 1 }).await.unwrap().number, 1);
    });
}

#[test]
fn p08_outcome_too_large_for_the_other_node() {
    let small = Limits { max_payload: 10_000, ..Limits::default() };
    let pair = Pair::with(Over::Tcp, |ann| ann.limits(small), |bob| bob);
    let worker = pair.ann.spawn(Worker::default()).unwrap();
    let asked = pair.bob.run(async move || {
        let sink: ActorRef<(Parcel,)> = ActorRef::from_address(worker.address());
        let parcel = Parcel { sender: 0, number: 0, filling: vec![0; 10_000] };
        let ended: Ended = sink.ask(parcel).await.map(|_| ());
        (ended, worker.ask(Ping).await.is_ok())
    });
    let too_large = Err(AskError::TooLarge { max: 10_000 });
    assert_eq!(asked, Ok((too_large, true)));
}

#[test]
fn p08_outcome_overloaded_by_a_full_mailbox() {
    for workers in 1..3 {
        let pair = Pair::new(Over::Tcp, workers, 1);
        let done = Shared::default();
        let cramped = Cramped { done: done.clone() };
        let cramped = pair.ann.spawn_on(workers - 1, cramped).unwrap();
        let outcomes = pair.bob.run(async move || {
            cramped.tell(Nap { millis: 50 }).unwrap();
            while done.is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
            let mut asks = Vec::new();
            for number in 0..5 {
                asks.push(start_polling(cramped.ask(Number { number })).await);
            }
            let mut outcomes: Vec<Ended> = Vec::new();
            for ask in asks {
                outcomes.push(match ask {
                    Ok(ended) => ended.map(|_| ()),
                    Err(ask) => ask.await.map(|_| ()),
                });
            }
            outcomes
        });
        let full = Err(AskError::Overloaded);
        assert_eq!(outcomes, Ok(vec![Ok(()), Ok(()), full, full, full]));
        assert_eq!(total(&pair.ann, |stats| stats.dead_letters), 3);
    }
}

#[test]
fn p08_outcome_unreachable() {
    let pair = Pair::new(Over::Tcp, 1, 1);
    let worker = pair.ann.spawn(Worker::default()).unwrap();
    let stranger = Node::builder("cid").start().unwrap();
    let ended: Result<Ended, _> = stranger.run(async move || worker.ask(Ping).await.map(|_| ()));
    assert_eq!(ended, Ok(Err(AskError::Unreachable)));
    let told = stranger.run(async move || worker.tell(Ping).map_err(|e| e.reason));
    assert_eq!(told, Ok(Err(TellError::Unreachable)));
}

#[test]
fn p08_outcome_node_down_if_the_other_process_is_killed() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    let command = command.args(["workers", "2", "listen", "tcp://127.0.0.1:0"]);
    let mut child = Process::start(command);
    let line = child.line();
    let endpoint = line.strip_prefix("ready ").expect(&line);
    let node = Node::builder("ann").workers(2).join(endpoint);
    let node = node.start().unwrap();
    let outcomes: Shared<Ended> = Shared::default();
    let askers: Vec<_> = (0..2)
        .map(|worker| {
            let noted = outcomes.clone();
            let asker = node.spawn_on(worker, Asker { noted }).unwrap();
            let told = node.run(async move || asker.tell(Ping).is_ok());
            assert_eq!(told, Ok(true));
        })
        .collect();
    assert_eq!(askers.len(), 2);
    assert_eq!(child.line(), "asked");
    let waiting = || total(&node, |stats| stats.asks_open as u64);
    annulus_tests::eventually("twenty asks wait", || waiting() == 20);
    assert!(outcomes.is_empty());
    child.kill();
    let outcomes = outcomes.wait_for(20);
    assert_eq!(outcomes, [Err(AskError::NodeDown); 20]);
    comes_to_rest(&node, u64::MAX);
}

/// Asks the printer of the child ten times, and notes the outcomes.
struct Asker {
    noted: Shared<Ended>,
}

impl Actor for Asker {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Asker {
    async fn handle(&mut self, _: Msg<Ping>, context: &mut Context<Self>) {
        let name: Name<(Number, Ping)> = Name::new("printer");
        let printer = name.find_on("child", PATIENCE).await.unwrap();
        for _ in 0..10 {
            let noted = self.noted.clone();
            context.task(move |_| async move {
                let ended = printer.ask(Ping).within(PATIENCE).await;
                noted.push(ended.map(|_| ()));
            });
        }
    }
}

#[test]
fn p08_outcome_node_down_if_the_other_node_shuts_down() {
    let pair = Pair::new(Over::Unix, 1, 1);
    let done = Shared::default();
    let worker = pair.ann.spawn(Worker::noting(&done)).unwrap();
    let (ann, bob) = (pair.ann, pair.bob);
    let ended: Shared<Ended> = Shared::default();
    let noted = ended.clone();
    let asking = std::thread::spawn(move || {
        let asked = bob.run(async move || {
            let nap = worker.ask(Nap { millis: 60_000 }).within(PATIENCE);
            noted.push(nap.await.map(|_| ()));
        });
        asked.unwrap();
        comes_to_rest(&bob, u64::MAX);
    });
    done.wait_for(1);
    drop(ann);
    asking.join().unwrap();
    assert_eq!(ended.all(), [Err(AskError::NodeDown)]);
}

#[test]
fn p08_an_ask_ends_with_the_deadline_of_the_first_asker() {
    let pair = Pair::new(Over::Tcp, 1, 1);
    let sleeper = pair.ann.spawn(Worker::default()).unwrap();
    let ended: Shared<Ended> = Shared::default();
    let noted = ended.clone();
    let relay = pair.bob.spawn(Relay { sleeper, noted }).unwrap();
    let outcome = pair.ann.run(async move || {
        let relayed = relay.ask(Ping).within(Duration::from_millis(20));
        relayed.await.map(|_| ())
    });
    assert_eq!(outcome, Ok(Err(AskError::Timeout)));
    assert_eq!(ended.wait_for(1), [Err(AskError::Timeout)]);
}

/// Passes each ping on, without a limit of its own.
struct Relay {
    sleeper: ActorRef<Work>,
    noted: Shared<Ended>,
}

impl Actor for Relay {
    type Protocol = (Ping,);
}

impl Handler<Ping> for Relay {
    async fn handle(&mut self, _: Msg<Ping>, _: &mut Context<Self>) {
        let ended = self.sleeper.ask(Nap { millis: 60_000 }).await;
        self.noted.push(ended.map(|_| ()));
    }
}
