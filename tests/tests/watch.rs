//! P6: one `Down` for each watch, behind everything else, whatever becomes of the actor, its node, and the way
//! to it.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{process::Command, sync::atomic::Ordering::Relaxed};

use annulus::{
    Limits, StopMode, TellError,
    codec::{
        address::{Address, NodeId, Slot},
        frame::{Header, Kind},
        message::MessageId,
    },
    prelude::*,
};
use annulus_tests::{
    Over, PATIENCE, Pair, Shared,
    cable::Cable,
    children::Process,
    eventually,
    messages::{Number, Ping},
    raw::{RawPeer, frame},
    total,
    watching::{CallOff, Follow, Hears, Hold, Listener, Talk, Talker, Talks, Word},
};

const ENDS: [(&str, &str); 4] =
    [("stop", "stopped"), ("drain", "stopped"), ("kill", "killed"), ("panic", "panicked")];

/// How many words are said; those at multiples of three of them are large.
const WORDS: u64 = 20;

fn words(last: &str) -> Vec<String> {
    let words = (0..WORDS).map(|number| format!("word {number}"));
    words.chain([format!("down: {last}")]).collect()
}

/// Watches from a node.
fn follow(node: &Node, listener: ActorRef<Hears>, talker: ActorRef<Talks>, times: u64) -> String {
    let asked = node.run(async move || {
        let watched = listener.ask(Follow { talker, times }).await.unwrap();
        watched.refused.as_str().to_owned()
    });
    asked.unwrap()
}

/// Has a talker say its words, and end. What comes of the ask is not looked at: many ends leave it without
/// an answer.
fn talk(node: &Node, talker: ActorRef<Talks>, to: ActorRef<Hears>, end: &str) {
    let end = end.to_owned();
    let _ = node.run(async move || talker.ask(Talk { to, words: WORDS, end }).await.map(|_| ()));
}

/// How many ends of watches a node knows of: those of its watchers, and those of the watched.
fn ends(node: &Node) -> (u64, u64) {
    let watches = total(node, |stats| stats.watches as u64);
    (watches, total(node, |stats| stats.watchers as u64))
}

/// An actor of `nodes[from.0]` says its last words to one of `nodes[to.0]`.
fn last_words(nodes: [&Node; 2], from: (usize, usize), to: (usize, usize)) {
    for (end, down) in ENDS {
        let heard = Shared::default();
        let listener = nodes[to.0].spawn_on(to.1, Listener::noting(&heard)).unwrap();
        let talker = nodes[from.0].spawn_on(from.1, Talker).unwrap();
        assert_eq!(follow(nodes[to.0], listener, talker, 1), "");
        // The two may take different ways.
        eventually("the watch is known", || ends(nodes[from.0]).1 == 1);
        talk(nodes[to.0], talker, listener, end);
        heard.wait_for(WORDS as usize + 1);
        // Nothing comes behind it.
        assert_eq!(follow(nodes[to.0], listener, talker, 1), "");
        let heard = heard.wait_for(WORDS as usize + 2);
        assert_eq!(heard[..heard.len() - 1], words(down), "{end} from {from:?} to {to:?}");
        assert_eq!(heard.last().unwrap(), "down: gone");
        for node in nodes {
            assert_eq!(ends(node), (0, 0));
        }
    }
}

#[test]
fn p06_down_comes_behind_the_last_words_on_one_worker_and_across_workers() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        last_words([&node, &node], (0, from), (0, to));
    }
}

#[test]
fn p06_down_comes_behind_the_last_words_of_one_that_somebody_kills() {
    let node = Node::builder("ann").workers(2).start().unwrap();
    for (from, at, to) in (0..8).map(|bits| (bits & 1, bits >> 1 & 1, bits >> 2)) {
        let heard = Shared::default();
        let listener = node.spawn_on(to, Listener::noting(&heard)).unwrap();
        let talker = node.spawn_on(at, Talker).unwrap();
        assert_eq!(follow(&node, listener, talker, 1), "");
        eventually("the watch is known", || ends(&node).1 == 1);
        let killed = node.run_on(from, async move || {
            let talk = Talk { to: listener, words: WORDS, end: String::new() };
            talker.tell(talk).unwrap();
            talker.stop(StopMode::Kill).unwrap();
        });
        killed.unwrap();
        let heard = heard.wait_for(WORDS as usize + 1);
        assert_eq!(heard, words("killed"), "worker {from} kills one of {at}, {to} listens");
    }
}

#[test]
fn p06_down_comes_behind_the_last_words_across_nodes() {
    for (over, ann, bob) in [(Over::Tcp, 1, 1), (Over::Unix, 3, 2), (Over::Tcp, 1, 2)] {
        let pair = Pair::new(over, ann, bob);
        for at in 0..ann {
            for to in 0..bob {
                last_words([&pair.ann, &pair.bob], (0, at), (1, to));
                last_words([&pair.ann, &pair.bob], (1, to), (0, at));
            }
        }
        pair.shut_down();
    }
}

#[test]
fn p06_down_comes_at_once_if_there_is_no_such_actor_or_no_way_to_it() {
    let pair = Pair::new(Over::Tcp, 2, 2);
    let heard = Shared::default();
    let listener = pair.ann.spawn_on(0, Listener::noting(&heard)).unwrap();
    let mut expected: Vec<String> = Vec::new();
    let mut goes = |address: Address, down: &str| {
        assert_eq!(follow(&pair.ann, listener, ActorRef::from_address(address), 1), "");
        expected.push(format!("down: {down}"));
        assert_eq!(heard.wait_for(expected.len()), expected);
    };
    for node in [&pair.ann, &pair.bob] {
        for worker in 0..2 {
            let talker = node.spawn_on(worker, Talker).unwrap();
            let ended = node.run(async move || {
                talker.stop(StopMode::Stop).unwrap();
                let _ = talker.join().await;
            });
            ended.unwrap();
            let at = talker.address();
            goes(at, "gone");
            // No such place, no such worker, another life of the node.
            let with = |incarnation, slot| Address::new(at.node(), incarnation, slot, 7);
            goes(with(at.incarnation(), Slot::new(worker, 70_000)), "gone");
            goes(with(at.incarnation(), Slot::new(200, 1)), "gone");
            let here = node.name() == "ann";
            let earlier = with(at.incarnation() ^ 1, at.slot());
            goes(earlier, if here { "gone" } else { "node lost" });
        }
    }
    let nowhere = NodeId::from_name("eve");
    goes(Address::new(nowhere, 1, Slot::new(0, 9), 9), "node lost");
    assert_eq!((ends(&pair.ann), ends(&pair.bob)), ((0, 0), (0, 0)));
}

/// A listener of a node that holds, with a talker on each node and worker that it watches.
struct Held {
    pair: Pair,
    listener: ActorRef<Hears>,
    talkers: Vec<ActorRef<Talks>>,
    heard: Shared<String>,
    gate: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Held {
    fn new() -> Self {
        let pair = Pair::new(Over::Tcp, 2, 2);
        let heard = Shared::default();
        let listener = Listener::noting(&heard);
        let gate = listener.gate.clone();
        let listener = pair.ann.spawn_on(0, listener).unwrap();
        let places = [(&pair.ann, 0), (&pair.ann, 1), (&pair.bob, 0), (&pair.bob, 1)];
        let spawn = |(node, worker): (&Node, usize)| node.spawn_on(worker, Talker).unwrap();
        let talkers: Vec<_> = places.map(spawn).into();
        for talker in &talkers {
            assert_eq!(follow(&pair.ann, listener, *talker, 1), "");
        }
        Held { pair, listener, talkers, heard, gate }
    }

    fn hold(&self) {
        let listener = self.listener;
        self.pair.ann.run(async move || listener.tell(Hold).unwrap()).unwrap();
        self.heard.wait_for(1);
    }

    /// All talkers end, and the listener's worker knows it.
    fn all_end(&self) {
        let watchers = || ends(&self.pair.ann).1 + ends(&self.pair.bob).1;
        eventually("the watches are known", || watchers() == self.talkers.len() as u64);
        for (at, talker) in self.talkers.iter().copied().enumerate() {
            let node = if at < 2 { &self.pair.ann } else { &self.pair.bob };
            node.run(async move || talker.stop(StopMode::Stop).unwrap()).unwrap();
        }
        eventually("all have ended", || watchers() == 0);
        // What is asked later over the same links and lanes comes later.
        let bystander = Shared::default();
        let other = self.pair.ann.spawn_on(0, Listener::noting(&bystander)).unwrap();
        for talker in &self.talkers {
            assert_eq!(follow(&self.pair.ann, other, *talker, 1), "");
        }
        bystander.wait_for(self.talkers.len());
    }
}

#[test]
fn p06_none_after_unwatch_even_if_it_is_in_the_mailbox() {
    let held = Held::new();
    held.hold();
    let listener = held.listener;
    held.pair.ann.run(async move || listener.tell(CallOff).unwrap()).unwrap();
    held.all_end();
    assert_eq!(ends(&held.pair.ann), (4, 0), "they wait in the mailbox");
    held.gate.store(true, Relaxed);
    let open =
        held.pair.ann.run(async move || listener.ask(CallOff).await.unwrap().open.to_native());
    assert_eq!(open, Ok(0), "they have been called off already");
    assert_eq!(held.heard.all(), ["holds"]);
    assert_eq!(ends(&held.pair.ann), (0, 0));
}

#[test]
fn p06_unwatch_says_whether_it_was_still_to_come() {
    let held = Held::new();
    let listener = held.listener;
    let call_off = async move || listener.ask(CallOff).await.unwrap().open.to_native();
    assert_eq!(held.pair.ann.run(call_off), Ok(4));
    eventually("the other end knows", || ends(&held.pair.bob) == (0, 0));
    assert_eq!(ends(&held.pair.ann), (0, 0));
    for talker in &held.talkers {
        talk(&held.pair.ann, *talker, listener, "");
    }
    held.heard.wait_for(4 * WORDS as usize);
    assert_eq!(held.pair.ann.run(call_off), Ok(0));
}

#[test]
fn p06_a_full_mailbox_does_not_refuse_it() {
    let held = Held::new();
    held.hold();
    let listener = held.listener;
    let taken = held.pair.ann.run(async move || {
        let mut taken = 0;
        loop {
            match listener.tell(Word::new(0)) {
                Ok(()) => taken += 1,
                Err(undelivered) => return (taken, undelivered.reason),
            }
        }
    });
    assert_eq!(taken, Ok((64, TellError::Full)));
    held.all_end();
    held.gate.store(true, Relaxed);
    let heard = held.heard.wait_for(1 + 64 + 4);
    assert!(heard[65..].iter().all(|line| line == "down: stopped"), "{:?}", &heard[65..]);
}

#[test]
fn p06_each_of_many_watches_has_a_down_of_its_own_and_nothing_is_left() {
    let pair = Pair::new(Over::Tcp, 2, 1);
    let talker = pair.ann.spawn_on(1, Talker).unwrap();
    let heard: Vec<Shared<String>> = (0..9).map(|_| Shared::default()).collect();
    let mut listeners = Vec::new();
    for (at, heard) in heard.iter().enumerate() {
        let (node, worker) = [(&pair.ann, 0), (&pair.ann, 1), (&pair.bob, 0)][at % 3];
        let listener = node.spawn_on(worker, Listener::noting(heard)).unwrap();
        assert_eq!(follow(node, listener, talker, 100), "");
        listeners.push((node, listener));
    }
    eventually("all are known", || ends(&pair.ann) == (600, 900) && ends(&pair.bob) == (300, 0));
    // Those who end are owed nothing, and leave nothing behind.
    for (node, listener) in &listeners[3..6] {
        let listener = *listener;
        node.run(async move || listener.stop(StopMode::Kill).unwrap()).unwrap();
    }
    eventually("the rest is known", || {
        ends(&pair.ann) == (400, 600) && ends(&pair.bob) == (200, 0)
    });
    pair.ann.run(async move || talker.stop(StopMode::Stop).unwrap()).unwrap();
    for (at, heard) in heard.iter().enumerate() {
        let count = if (3..6).contains(&at) { 0 } else { 100 };
        assert_eq!(heard.wait_for(count), vec!["down: stopped"; count]);
    }
    assert_eq!((ends(&pair.ann), ends(&pair.bob)), ((0, 0), (0, 0)));
    pair.shut_down();
}

#[test]
fn p06_there_are_as_many_watches_as_there_may_be() {
    let limits = Limits { watches: 3, ..Limits::default() };
    let pair = Pair::with(Over::Tcp, |node| node.limits(limits), |node| node);
    let (heard, told) = (Shared::default(), Shared::default());
    let few = pair.ann.spawn(Listener::noting(&heard)).unwrap();
    let away = pair.bob.spawn(Talker).unwrap();
    assert_eq!(follow(&pair.ann, few, away, 4), "the worker has 3 watches already");
    assert_eq!(ends(&pair.ann), (3, 0));
    // The other way round: those who watch do not know how many there may be.
    let many = pair.bob.spawn(Listener::noting(&told)).unwrap();
    let target = pair.ann.spawn(Talker).unwrap();
    assert_eq!(follow(&pair.bob, many, target, 5), "");
    assert_eq!(told.wait_for(2), ["down: refused"; 2]);
    eventually("the others are known", || ends(&pair.ann) == (3, 3));
    talk(&pair.ann, target, few, "stop");
    assert_eq!(told.wait_for(5)[2..], ["down: stopped"; 3]);
    pair.shut_down();
}

/// A name that a process of its own gives to one of its actors.
const PRINTER: Name<(Number, Ping)> = Name::new("printer");

#[test]
fn p06_the_loss_of_a_node_and_its_shutdown_are_told_once_to_each_watcher() {
    let ann = Node::builder("ann").workers(2).listen("tcp://127.0.0.1:0").start().unwrap();
    let join = ann.endpoints()[0].clone();
    for (killed, down) in [(true, "down: node lost"), (false, "down: stopped")] {
        let mut peer = Command::new(env!("CARGO_BIN_EXE_peer"));
        let mut child = Process::start(peer.args(["join", &join, "workers", "2"]));
        assert!(child.line().starts_with("ready"));
        let printer = ann.run(async || PRINTER.find_on("child", PATIENCE).await).unwrap().unwrap();
        let printer = ActorRef::from_address(printer.address());
        let heard: Vec<Shared<String>> = (0..4).map(|_| Shared::default()).collect();
        for (at, heard) in heard.iter().enumerate() {
            let listener = ann.spawn_on(at % 2, Listener::noting(heard)).unwrap();
            assert_eq!(follow(&ann, listener, printer, 2), "");
        }
        // When this is answered, the watches have come: that of the other worker goes over its own link.
        for worker in 0..2 {
            let asked = ann.run_on(worker, async move || {
                let printer = PRINTER.find_on("child", PATIENCE).await.unwrap();
                printer.ask(Number { number: 1 }).await.is_ok()
            });
            assert_eq!(asked, Ok(true));
        }
        if killed {
            child.kill();
        } else {
            child.last_lines();
        }
        for heard in &heard {
            assert_eq!(heard.wait_for(2), [down; 2]);
        }
        assert_eq!(ends(&ann), (0, 0));
    }
}

#[test]
fn p05_p06_after_the_loss_of_a_link_what_both_ends_knew_is_dead_and_can_be_looked_up_again() {
    const TALKER: Name<Talks> = Name::new("talker");
    const LISTENER: Name<Hears> = Name::new("listener");
    let ann = Node::builder("ann").workers(2).listen("tcp://127.0.0.1:0").start().unwrap();
    let cable = Cable::to(&ann.endpoints()[0]);
    let bob = Node::builder("bob").join(cable.endpoint()).start().unwrap();
    let heard = Shared::default();
    let talker = ann.spawn_on(1, Talker).unwrap();
    ann.run(async move || TALKER.register(talker).await).unwrap().unwrap();
    let listener = bob.spawn(Listener::noting(&heard)).unwrap();
    bob.run(async move || LISTENER.register(listener).await).unwrap().unwrap();
    let find_talker = async || TALKER.find_on("ann", PATIENCE).await.unwrap();
    let find_listener = async || LISTENER.find_on("bob", PATIENCE).await.unwrap();
    for round in 1..=3 {
        let (away, back) = (bob.run(find_talker).unwrap(), ann.run(find_listener).unwrap());
        assert_eq!(follow(&bob, listener, away, 1), "");
        talk(&ann, talker, back, "");
        heard.wait_for((WORDS as usize + 1) * round - 1);
        cable.cut();
        let all = heard.wait_for((WORDS as usize + 1) * round);
        assert_eq!(all[all.len() - WORDS as usize - 1..], words("node lost"));
        // In this order: the other node may not have seen yet that it has lost this one.
        bob.wait_for("ann", PATIENCE).unwrap();
        ann.wait_for("bob", PATIENCE).unwrap();
        // Both live, and are connected; but not to each other any more.
        let refused = ann.run(async move || {
            let told = talker.ask(Talk { to: back, words: 1, end: String::new() }).await.unwrap();
            told.refused.as_str().to_owned()
        });
        assert_eq!(refused, Ok(TellError::Dead.to_string()));
        let asked = bob.run(async move || {
            away.ask(Talk { to: listener, words: 1, end: String::new() }).await.map(|_| ())
        });
        assert_eq!(asked, Ok(Err(AskError::Dead)));
        assert_eq!((ends(&ann), ends(&bob)), ((0, 0), (0, 0)));
        assert_eq!(heard.len(), all.len());
    }
}

/// Operations of system frames that are about watches.
const WATCH: u64 = 2;
const UNWATCH: u64 = 3;
const DOWN: u64 = 4;

#[test]
fn p06_p16_a_peer_that_talks_nonsense_of_watches_ends_none_and_takes_no_more_room_than_there_is() {
    let limits = Limits { watches: 100, ..Limits::default() };
    let pair = Pair::with(Over::Tcp, |node| node.workers(2).limits(limits), |node| node);
    let heard = Shared::default();
    let listener = pair.ann.spawn_on(0, Listener::noting(&heard)).unwrap();
    let (near, far) = (pair.ann.spawn_on(1, Talker).unwrap(), pair.bob.spawn(Talker).unwrap());
    assert_eq!(follow(&pair.ann, listener, near, 1), "");
    assert_eq!(follow(&pair.ann, listener, far, 1), "");
    let mut eve = RawPeer::introduced(&pair.ann.endpoints()[0], "eve");
    let mut say = |operation, slot: Slot, generation, id| {
        let operation = MessageId::from_bits(operation);
        let header = Header::new(Kind::System, slot, generation, operation, id);
        eve.send(&frame(header, &[], &[]));
    };
    let (slot, generation) = (near.address().slot(), near.address().generation());
    let watcher = u64::from(listener.address().slot().bits()) << 32;
    for serial in 0..300 {
        // That those whom others watch are down; that others watch no more; things that make no sense.
        say(DOWN, listener.address().slot(), 1, watcher | serial);
        say(UNWATCH, slot, generation, watcher | serial);
        say(WATCH, slot, generation, serial);
        say(WATCH, Slot::new(200, 3), 1, serial);
        say(UNWATCH, Slot::new(200, 3), 1, serial);
        say(DOWN, Slot::new(200, 3), 1, serial);
        say(99 + serial, slot, generation, serial);
    }
    eventually("all of it has been taken in", || ends(&pair.ann).1 == 100);
    assert_eq!(ends(&pair.ann), (2, 100));
    drop(eve);
    eventually("it leaves nothing behind", || ends(&pair.ann) == (2, 1));
    for (node, talker) in [(&pair.ann, near), (&pair.bob, far)] {
        talk(node, talker, listener, "stop");
    }
    let heard = heard.wait_for(2 * WORDS as usize + 2);
    assert_eq!(heard.iter().filter(|line| line.starts_with("down: stopped")).count(), 2);
}
