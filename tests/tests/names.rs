//! Names: actors are found by them from other nodes, and each is held by one actor at a time.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use annulus::{Limits, LookupError, Name, RegisterError, StopMode, prelude::*};
use annulus_tests::{Over, PATIENCE, Pair, ends, messages::*};

const DESK: Name<Work> = Name::new("desk");
const BRIEF: Duration = Duration::from_millis(50);

fn register(node: &Node, name: Name<Work>, actor: ActorRef<Work>) -> Result<(), RegisterError> {
    node.run(async move || name.register(actor).await).unwrap()
}

#[test]
fn an_actor_is_found_by_its_name_from_its_own_node_and_from_another() {
    for (over, ann, bob) in [(Over::Tcp, 1, 1), (Over::Unix, 3, 2)] {
        let pair = Pair::new(over, ann, bob);
        let desk = pair.ann.spawn_on(ann - 1, Worker::default()).unwrap();
        assert_eq!(register(&pair.ann, DESK, desk), Ok(()));
        for (node, workers) in [(&pair.ann, ann), (&pair.bob, bob)] {
            let found = node.run_on(workers - 1, async || {
                let found = DESK.find_on("ann", PATIENCE).await.unwrap();
                found.ask(Ping).await.unwrap();
                found.address().slot()
            });
            assert_eq!(found, Ok(desk.address().slot()));
        }
        pair.shut_down();
    }
}

#[test]
fn a_name_is_waited_for_and_so_is_its_node() {
    let ann = Node::builder("ann").listen("tcp://127.0.0.1:0").start().unwrap();
    let endpoint = ann.endpoints()[0].clone();
    ends("the search", move || {
        let finding = std::thread::spawn(move || {
            ann.run(async || DESK.find_on("bob", PATIENCE).await.is_ok()).unwrap()
        });
        let bob = Node::builder("bob").join(endpoint).start().unwrap();
        bob.wait_for("ann", PATIENCE).unwrap();
        let desk = bob.spawn(Worker::default()).unwrap();
        assert_eq!(register(&bob, DESK, desk), Ok(()));
        assert!(finding.join().unwrap());
    });
}

#[test]
fn a_name_that_is_taken_is_refused_and_stays_with_its_holder() {
    let node = Node::builder("ann").start().unwrap();
    let first = node.spawn(Worker::default()).unwrap();
    let second = node.spawn(Worker::default()).unwrap();
    assert_eq!(register(&node, DESK, first), Ok(()));
    assert_eq!(register(&node, DESK, second), Err(RegisterError::Taken("desk".into())));
    assert_eq!(register(&node, Name::new("other"), second), Ok(()));
    let found = node.run(async || DESK.find_on("ann", PATIENCE).await);
    assert_eq!(found, Ok(Ok(first)));
}

#[test]
fn p07_a_name_is_free_as_soon_as_its_holders_end_can_be_seen() {
    for at in 0..2 {
        let node = Node::builder("ann").workers(2).start().unwrap();
        for round in 0..50 {
            let modes = [StopMode::Stop, StopMode::Drain, StopMode::Kill];
            let mode = modes[round % 3];
            let holder = node.spawn_on(at, Worker::default()).unwrap();
            assert_eq!(register(&node, DESK, holder), Ok(()), "round {round} on worker {at}");
            node.run(async move || {
                holder.stop(mode).unwrap();
                let _ = holder.join().await;
            })
            .unwrap();
        }
    }
}

#[test]
fn only_actors_of_the_node_that_live_get_names() {
    let pair = Pair::new(Over::Tcp, 1, 1);
    let away = pair.bob.spawn(Worker::default()).unwrap();
    assert_eq!(register(&pair.ann, DESK, away), Err(RegisterError::NotHere));
    let ended = pair.ann.spawn(Worker::default()).unwrap();
    pair.ann
        .run(async move || {
            ended.stop(StopMode::Kill).unwrap();
            let _ = ended.join().await;
        })
        .unwrap();
    assert_eq!(register(&pair.ann, DESK, ended), Err(RegisterError::NotHere));
}

#[test]
fn a_node_has_as_many_names_as_it_may() {
    let limits = Limits { names: 3, ..Limits::default() };
    let node = Node::builder("ann").limits(limits).start().unwrap();
    let actor = node.spawn(Worker::default()).unwrap();
    for number in 0..3 {
        assert_eq!(register(&node, Name::from_string(number.to_string()), actor), Ok(()));
    }
    assert_eq!(register(&node, DESK, actor), Err(RegisterError::TooManyNames(3)));
}

#[test]
fn an_actor_with_another_protocol_is_not_what_was_looked_for() {
    let pair = Pair::new(Over::Unix, 1, 1);
    let desk = pair.ann.spawn(Worker::default()).unwrap();
    assert_eq!(register(&pair.ann, DESK, desk), Ok(()));
    let found = pair.bob.run(async || {
        let wrong: Name<(Number, Parcel)> = Name::new("desk");
        let wrong = wrong.find_on("ann", PATIENCE).await;
        // A part of the protocol will do.
        let part: Name<(Ping,)> = Name::new("desk");
        let part = part.find_on("ann", PATIENCE).await.unwrap();
        (wrong.map(|_| ()), part.ask(Ping).await.is_ok())
    });
    let missing = <Parcel as annulus::codec::message::Message>::ID;
    assert_eq!(found, Ok((Err(LookupError::OtherProtocol { missing }), true)));
}

#[test]
fn what_is_not_there_is_an_error_after_some_patience() {
    let pair = Pair::new(Over::Tcp, 1, 1);
    let found = pair.bob.run(async || {
        let no_name = DESK.find_on("ann", BRIEF).await.map(|_| ());
        let no_node = DESK.find_on("eve", BRIEF).await.map(|_| ());
        (no_name, no_node)
    });
    let no_name = LookupError::NoSuchName { name: "desk".into(), node: "ann".into() };
    let no_node = LookupError::NoSuchNode("eve".into());
    assert_eq!(found, Ok((Err(no_name), Err(no_node))));
}

/// Waits that were given up leave nothing behind that fills a table.
#[test]
fn a_node_can_be_waited_for_after_many_have_waited_in_vain() {
    let limits = Limits { names: 4, ..Limits::default() };
    let ann = Node::builder("ann").limits(limits).listen("tcp://127.0.0.1:0");
    let ann = ann.start().unwrap();
    for _ in 0..6 {
        let waited = ann.wait_for("bob", Duration::from_millis(2));
        assert_eq!(waited, Err(AskError::Timeout));
    }
    let _bob = Node::builder("bob").join(&ann.endpoints()[0]).start().unwrap();
    assert_eq!(ann.wait_for("bob", PATIENCE), Ok(()));
}
