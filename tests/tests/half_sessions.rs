//! P16: a peer that opens a session and never brings all of its links keeps nobody out, however lively
//! the links are that it has brought. The session is given up, and the node itself gets in.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    net::TcpListener,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use annulus::{Limits, prelude::*};
use annulus_tests::{
    PATIENCE, comes_to_rest, eventually,
    log::Mark,
    messages::{Ping, Worker},
    raw::{RawPeer, hello},
    sockets,
};

/// One test at a time: they share the log, and count the sockets of the process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How long a handshake may take in these tests.
const BRIEF: Duration = Duration::from_millis(300);

fn limits() -> Limits {
    Limits { handshake: BRIEF, ..Limits::default() }
}

/// A node that waits for others, with two workers: a session has two links at least.
fn ann() -> Node {
    let ann = Node::builder("ann").workers(2).limits(limits());
    ann.listen("tcp://127.0.0.1:0").start().unwrap()
}

fn is_not_there(node: &Node, other: &str) {
    assert_eq!(node.wait_for(other, Duration::from_millis(1)), Err(AskError::Timeout));
}

fn answers(asker: &Node, other: &Node) {
    asker.wait_for(other.name(), PATIENCE).unwrap();
    for at in 0..other.workers() {
        let worker = other.spawn_on(at, Worker::default()).unwrap();
        let asked = asker.run(async move || worker.ask(Ping).await.is_ok());
        assert_eq!(asked, Ok(true), "from {} to {}", asker.name(), other.name());
    }
    comes_to_rest(asker, u64::MAX);
}

#[test]
fn p16_a_session_whose_peer_never_brings_the_other_links_is_given_up() {
    let _turn = alone();
    let mark = Mark::now();
    let ann = ann();
    let before = sockets();
    for (round, brought) in [1, 2, 3].into_iter().enumerate() {
        let name = format!("bob-{round}");
        let mut own = hello(&name);
        own.workers = 4;
        let mut links: Vec<RawPeer> = Vec::new();
        for link in 0..brought {
            own.link = link;
            let mut peer = RawPeer::connect(&ann.endpoints()[0]);
            peer.shake_hands(b"", own.clone()).unwrap();
            links.push(peer);
        }
        is_not_there(&ann, &name);
        let lived = links[0].pings_until_closed();
        println!("{brought} of 4 links lived for {lived:?}");
        assert!(lived < 4 * BRIEF, "{lived:?}");
        mark.wait_for(&["WARN", "disconnected", &name, "not all links came up"]);
        links.iter_mut().for_each(RawPeer::is_closed);
        drop(links);
        eventually("all its connections are closed", || sockets() == before);
        is_not_there(&ann, &name);
        let bob = Node::builder(&*name).workers(4).join(&ann.endpoints()[0]).start().unwrap();
        answers(&ann, &bob);
        answers(&bob, &ann);
        bob.shutdown(PATIENCE).unwrap();
    }
    ann.shutdown(PATIENCE).unwrap();
}

/// The node tries all the while, and looks like an earlier life of the peer that is in its place.
#[test]
fn p16_a_node_whose_place_such_a_peer_holds_gets_in_when_it_is_given_up() {
    let _turn = alone();
    let ann = ann();
    let mark = Mark::now();
    let mut peer = RawPeer::connect(&ann.endpoints()[0]);
    let mut own = hello("bob");
    // It claims to be started an hour later.
    own.incarnation += 3_600_000_000_000;
    peer.shake_hands(b"", own).unwrap();
    let begin = Instant::now();
    let bob = Node::builder("bob").workers(2).join(&ann.endpoints()[0]).start().unwrap();
    mark.wait_for(&["a later start of the node is connected"]);
    is_not_there(&bob, "ann");
    peer.pings_until_closed();
    answers(&bob, &ann);
    println!("it was in after {:?}", begin.elapsed());
    answers(&ann, &bob);
}

/// One that was started later does not wait for that.
#[test]
fn p16_a_node_that_starts_later_takes_the_place_of_such_a_peer_at_once() {
    let _turn = alone();
    let ann = Node::builder("ann").workers(2).listen("tcp://127.0.0.1:0").start().unwrap();
    let mut peer = RawPeer::connect(&ann.endpoints()[0]);
    peer.shake_hands(b"", hello("bob")).unwrap();
    let begin = Instant::now();
    let bob = Node::builder("bob").workers(2).join(&ann.endpoints()[0]).start().unwrap();
    answers(&ann, &bob);
    answers(&bob, &ann);
    // The peer says nothing: its session ends by itself only after that.
    let silence = Limits::default().silence;
    assert!(begin.elapsed() < silence / 2, "{:?}", begin.elapsed());
    peer.is_closed();
}

/// What the peer that was dialled does about the second link.
#[derive(Clone, Copy, Debug)]
enum Second {
    /// It takes the connection and says nothing.
    Silence,
    /// It closes the connection.
    Close,
}

#[test]
fn p16_a_session_with_a_dialled_node_that_takes_one_link_only_is_given_up() {
    let _turn = alone();
    for second in [Second::Silence, Second::Close] {
        let mark = Mark::now();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = format!("tcp://{}", listener.local_addr().unwrap());
        let ann = Node::builder("ann").workers(2).limits(limits()).join(&at).start().unwrap();
        for _ in 0..2 {
            let mut first = RawPeer::accepted(&listener, &hello("bob"));
            let (connection, _) = listener.accept().unwrap();
            let kept = match second {
                Second::Silence => Some(connection),
                Second::Close => {
                    drop(connection);
                    None
                }
            };
            is_not_there(&ann, "bob");
            let lived = first.pings_until_closed();
            println!("{second:?}: it lived for {lived:?}");
            assert!(lived < 4 * BRIEF, "{lived:?}");
            mark.wait_for(&["WARN", "disconnected", "bob"]);
            drop(kept);
        }
        drop(listener);
        let bob = Node::builder("bob").workers(2).listen(&at).start().unwrap();
        answers(&ann, &bob);
        answers(&bob, &ann);
        bob.shutdown(PATIENCE).unwrap();
        ann.shutdown(PATIENCE).unwrap();
    }
}
