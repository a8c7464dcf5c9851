//! P3: a message is handled at most once, also when connections and nodes come and go.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use annulus::{Exit, StopMode, TellError, prelude::*};
use annulus_tests::{
    PATIENCE, Shared,
    children::Process,
    eventually,
    messages::{Number, Ping, Work, Worker},
};

const SINK: Name<Work> = Name::new("sink");

/// Sends numbers to whoever has a name on a node, and finds it again whenever it is gone.
fn pour<P>(node: Arc<Node>, name: Name<P>, on: &'static str, stop: Arc<AtomicBool>) -> u64
where
    P: annulus::Protocol + annulus::Accepts<Number, annulus::At<0>>,
{
    node.run(async move || {
        let mut number = 0;
        while !stop.load(Relaxed) {
            let Ok(sink) = name.find_on(on, Duration::from_secs(1)).await else {
                continue;
            };
            while !stop.load(Relaxed) && sink.send(Number { number }).await.is_ok() {
                number += 1;
                if number % 100 == 0 {
                    sleep(Duration::from_micros(100)).await;
                }
            }
            // This one failed: its number is not used again.
            number += 1;
        }
        number
    })
    .unwrap()
}

#[test]
fn p03_at_most_once_while_a_node_is_shut_down_and_started_again() {
    let start = |at: &str| Node::builder("bob").listen(at).start().unwrap();
    let mut bob = start("tcp://127.0.0.1:0");
    let endpoint = bob.endpoints()[0].clone();
    let ann = Arc::new(Node::builder("ann").join(&endpoint).start().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let (ann, stop) = (ann.clone(), stop.clone());
        thread::spawn(move || pour(ann, SINK, "bob", stop))
    };
    let done = Shared::default();
    for life in 0..5 {
        let sink = bob.spawn(Worker::noting(&done)).unwrap();
        bob.run(async move || SINK.register(sink).await).unwrap().unwrap();
        let before = done.len();
        eventually("messages flow", || done.len() > before + 500);
        if life % 2 == 0 {
            bob.shutdown(PATIENCE).unwrap();
        } else {
            drop(bob);
        }
        bob = start(&endpoint);
    }
    stop.store(true, Relaxed);
    let sent = sender.join().unwrap();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for note in done.all().into_iter().filter(|n| n.starts_with("number")) {
        *seen.entry(note).or_default() += 1;
    }
    assert!(seen.len() > 2500 && seen.len() as u64 <= sent);
    let twice: Vec<_> = seen.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn p03_at_most_once_while_a_process_is_killed_and_started_again() {
    let name: Name<(Number, Ping)> = Name::new("printer");
    let start = |at: &str| {
        // The kernel takes a moment to give back the port of a process that was killed.
        let mut lines = Vec::new();
        loop {
            let mut peer = Command::new(env!("CARGO_BIN_EXE_peer"));
            let child = Process::start(peer.args(["listen", at]));
            let line = child.line();
            if let Some(endpoint) = line.strip_prefix("ready ") {
                println!("{} attempts", lines.len() + 1);
                return (child, endpoint.to_string());
            }
            lines.push(line);
            assert!(lines.len() < 1000, "{lines:?}");
        }
    };
    let (mut child, endpoint) = start("tcp://127.0.0.1:0");
    let ann = Arc::new(Node::builder("ann").join(&endpoint).start().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let (ann, stop) = (ann.clone(), stop.clone());
        thread::spawn(move || pour(ann, name, "child", stop))
    };
    let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
    for _ in 0..4 {
        for _ in 0..300 {
            *seen.entry(child.line().parse().unwrap()).or_default() += 1;
        }
        child.kill();
        // The last line may be cut.
        let mut last = child.last_lines();
        last.pop();
        for line in last {
            *seen.entry(line.parse().unwrap()).or_default() += 1;
        }
        (child, _) = start(&endpoint);
    }
    stop.store(true, Relaxed);
    let sent = sender.join().unwrap();
    assert!(seen.len() >= 1200 && seen.len() as u64 <= sent);
    assert!(seen.values().all(|times| *times == 1));
}

#[test]
fn p05_references_to_an_earlier_life_of_a_node_fail_at_once() {
    let start = |at: &str| Node::builder("bob").listen(at).start().unwrap();
    let bob = start("tcp://127.0.0.1:0");
    let endpoint = bob.endpoints()[0].clone();
    let ann = Node::builder("ann").join(&endpoint).start().unwrap();
    ann.wait_for("bob", PATIENCE).unwrap();
    let old = bob.spawn(Worker::default()).unwrap();
    assert!(ann.run(async move || old.ask(Ping).await.is_ok()) == Ok(true));
    let joined = bob.run(async move || {
        old.stop(StopMode::Stop).unwrap();
        old.join().await
    });
    assert_eq!(joined, Ok(Ok(Exit::Stopped)));
    bob.shutdown(PATIENCE).unwrap();
    let bob = start(&endpoint);
    let new = bob.spawn(Worker::default()).unwrap();
    assert_ne!(old, new);
    assert_eq!(old.address().slot(), new.address().slot());
    assert_eq!(old.address().generation(), new.address().generation());
    let outcome = ann.run(async move || {
        SINK.find_on("bob", Duration::ZERO).await.ok();
        while old.tell(Ping).map_err(|e| e.reason) == Err(TellError::Unreachable) {
            sleep(Duration::from_millis(1)).await;
        }
        let asked = old.ask(Ping).await.map(|_| ());
        (old.tell(Ping).map_err(|e| e.reason), asked)
    });
    let (told, asked) = outcome.unwrap();
    assert_eq!(told, Err(TellError::Dead));
    assert_eq!(asked, Err(AskError::Dead));
}
