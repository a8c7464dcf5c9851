//! P16 and P19: what a stranger may do before it has proved who it is. Its connection is closed, the
//! log says why, and the node goes on serving others.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::sync::{Mutex, MutexGuard};

use annulus::{
    Limits,
    codec::handshake::{Handshake, HandshakeError, Refusal},
    prelude::*,
};
use annulus_tests::{
    PATIENCE, comes_to_rest,
    log::Mark,
    messages::*,
    raw::{RawPeer, hello},
    total,
};

/// One test at a time: they share the log.
static TURN: Mutex<()> = Mutex::new(());

const CLOSED: &str = "a connection was closed in its handshake";

struct Scene {
    ann: Node,
    memory: u64,
    mark: Mark,
    _turn: MutexGuard<'static, ()>,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mark = Mark::now();
        let ann = Node::builder("ann").secret("open sesame").limits(limits);
        let ann = ann.listen("tcp://127.0.0.1:0").start().unwrap();
        let memory = total(&ann, |stats| stats.message_memory as u64) + (1 << 20);
        Scene { ann, memory, mark, _turn: turn }
    }

    fn stranger(&self) -> RawPeer {
        RawPeer::connect(&self.ann.endpoints()[0])
    }

    fn end_unharmed(self) {
        let bob = Node::builder("bob").secret("open sesame");
        let bob = bob.join(&self.ann.endpoints()[0]).start().unwrap();
        bob.wait_for("ann", PATIENCE).unwrap();
        let worker = self.ann.spawn(Worker::default()).unwrap();
        let asked = bob.run(async move || worker.ask(Ping).await.is_ok());
        assert_eq!(asked, Ok(true));
        bob.shutdown(PATIENCE).unwrap();
        comes_to_rest(&self.ann, self.memory);
        self.ann.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn p16_garbage_is_closed_and_the_log_says_why() {
    let scene = Scene::new(Limits::default());
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0; 100],
        vec![0xff; 100_000],
        b"ANNULUS!".to_vec(),
    ] {
        let mark = Mark::now();
        let mut peer = scene.stranger();
        peer.send(&garbage);
        peer.is_closed();
        mark.wait_for(&[CLOSED, "does not speak annulus"]);
    }
    scene.end_unharmed();
}

#[test]
fn p20_another_version_is_closed_and_the_log_says_which() {
    let scene = Scene::new(Limits::default());
    let mut greeting = Handshake::dial(b"", [1; 32], hello("eve")).greeting();
    greeting[8..12].copy_from_slice(&[9, 0, 7, 0]);
    let mut peer = scene.stranger();
    peer.send(&greeting);
    peer.is_closed();
    scene.mark.wait_for(&[CLOSED, "versions 7 to 9"]);
    scene.end_unharmed();
}

#[test]
fn p19_a_peer_without_the_secret_is_closed_before_its_hello_is_read() {
    let scene = Scene::new(Limits::default());
    for secret in [&b""[..], b"open sesam", b"open sesame "] {
        let mark = Mark::now();
        let mut peer = scene.stranger();
        assert_eq!(peer.shake_hands(secret, hello("eve")), Err(None));
        mark.wait_for(&[CLOSED, "does not know this cluster's secret"]);
    }
    assert!(!scene.mark.since().contains("eve"));
    let sessions = scene.ann.wait_for("eve", Duration::from_millis(1));
    assert_eq!(sessions, Err(AskError::Timeout));
    scene.end_unharmed();
}

#[test]
fn p19_a_node_of_another_cluster_or_with_a_name_that_is_taken_is_refused() {
    let scene = Scene::new(Limits::default());
    let refused = |hello, refusal, says: &[&str]| {
        let mut peer = scene.stranger();
        let shaken = peer.shake_hands(b"open sesame", hello);
        assert_eq!(shaken, Err(Some(HandshakeError::Refused(refusal))));
        peer.is_closed();
        scene.mark.wait_for(&[&[CLOSED], says].concat());
    };
    let mut other = hello("eve");
    other.cluster = "other".into();
    refused(other, Refusal::OtherCluster, &["eve", "another cluster"]);
    refused(hello("ann"), Refusal::NameTaken, &["ann", "has this name"]);
    let mut idle = hello("mallory");
    idle.workers = 0;
    refused(idle, Refusal::Unavailable, &["mallory"]);
    let mut many = hello("trent");
    many.workers = 100_000;
    refused(many, Refusal::Unavailable, &["trent"]);
    let mut second = hello("peggy");
    second.link = 1;
    let node = annulus::codec::address::NodeId::from_name("ann");
    refused(second, Refusal::Duplicate { node }, &["peggy"]);
    scene.end_unharmed();
}

#[test]
fn p16_a_hello_that_claims_too_much_or_makes_no_sense_is_closed() {
    let scene = Scene::new(Limits::default());
    let greeting = Handshake::dial(b"open sesame", [1; 32], hello("eve")).greeting();
    for (introduction, says) in [
        (vec![0xff; 48], "hello of 4294967295 bytes"),
        ([&[0, 0, 0, 0, 9][..], &[0; 43]].concat(), "secret"),
    ] {
        let mark = Mark::now();
        let mut peer = scene.stranger();
        peer.send(&greeting);
        peer.send(&introduction);
        peer.is_closed();
        mark.wait_for(&[CLOSED, says]);
    }
    scene.end_unharmed();
}

/// How long a handshake may take in the tests below.
const BRIEF: Duration = Duration::from_millis(200);

#[test]
fn p16_a_peer_that_says_nothing_or_too_little_is_closed_after_a_while() {
    let scene = Scene::new(Limits { handshake: BRIEF, ..Limits::default() });
    let greeting = Handshake::dial(b"open sesame", [1; 32], hello("eve")).greeting();
    for bytes in [&greeting[..0], &greeting[..30], &greeting[..]] {
        let mark = Mark::now();
        let mut peer = scene.stranger();
        peer.send(bytes);
        peer.is_closed();
        mark.wait_for(&[CLOSED, "took too long"]);
    }
    scene.end_unharmed();
}

#[test]
fn p16_more_silent_peers_than_handshakes_are_closed_at_once_and_honest_ones_get_in() {
    let scene = Scene::new(Limits { handshake: BRIEF, handshakes: 4, ..Limits::default() });
    let mut strangers: Vec<RawPeer> = (0..40).map(|_| scene.stranger()).collect();
    scene.mark.wait_for(&["too many handshakes"]);
    for stranger in &mut strangers {
        stranger.is_closed();
    }
    scene.end_unharmed();
}

/// A peer that opens a session, and never its other links, keeps nobody out for long.
#[test]
fn p16_a_session_that_is_never_complete_ends() {
    let scene = Scene::new(Limits { handshake: BRIEF, ..Limits::default() });
    let mut half = hello("eve");
    half.workers = 8;
    let mut peer = scene.stranger();
    peer.shake_hands(b"open sesame", half).unwrap();
    peer.is_closed();
    scene.mark.wait_for(&["eve", "not all links came up"]);
    scene.end_unharmed();
}
