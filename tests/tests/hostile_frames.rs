//! P16 and P19: what a peer may send after an honest handshake. A malformed frame closes the link; a
//! message that makes no sense is an error to its asker, and the link lives. The node goes on serving
//! others, and holds no more memory than before.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::sync::{Mutex, MutexGuard};

use annulus::{
    Limits,
    codec::{
        address::{Address, Slot},
        frame::{Header, Kind},
        message::{Message, MessageId},
    },
    prelude::*,
};
use annulus_tests::{
    PATIENCE, Shared, comes_to_rest,
    log::Mark,
    messages::*,
    raw::{RawPeer, frame},
    total,
};

/// Codes of failures on the wire.
const DEAD: u64 = 1;
const UNKNOWN: u64 = 2;
const INCOMPATIBLE: u64 = 3;
const INVALID: u64 = 4;

/// One test at a time: they share the log.
static TURN: Mutex<()> = Mutex::new(());

/// A node with an actor, and an honest peer.
struct Scene {
    ann: Node,
    bob: Node,
    actor: ActorRef<Protocol>,
    done: Shared<String>,
    memory: u64,
    mark: Mark,
    _turn: MutexGuard<'static, ()>,
}

type Protocol = (Number, Parcel, Hidden);

/// Only actors of the same node can send this.
#[message(local)]
struct Hidden;

struct Target {
    done: Shared<String>,
}

impl Actor for Target {
    type Protocol = Protocol;
}

impl Handler<Number> for Target {
    async fn handle(&mut self, number: Msg<Number>, _: &mut Context<Self>) -> Number {
        self.done.push("number".into());
        number.decode()
    }
}

impl Handler<Parcel> for Target {
    async fn handle(&mut self, parcel: Msg<Parcel>, _: &mut Context<Self>) -> Parcel {
        self.done.push("parcel".into());
        parcel.decode()
    }
}

impl Handler<Hidden> for Target {
    async fn handle(&mut self, _: Msg<Hidden>, _: &mut Context<Self>) {
        self.done.push("hidden".into());
    }
}

impl Scene {
    fn new(workers: usize) -> Self {
        Self::within(workers, Limits::default())
    }

    fn within(workers: usize, limits: Limits) -> Self {
        let turn = TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mark = Mark::now();
        let ann = Node::builder("ann").workers(workers).limits(limits);
        let ann = ann.listen("tcp://127.0.0.1:0").start().unwrap();
        let bob = Node::builder("bob").join(&ann.endpoints()[0]);
        let bob = bob.start().unwrap();
        bob.wait_for("ann", PATIENCE).unwrap();
        let done = Shared::default();
        let target = Target { done: done.clone() };
        let actor = ann.spawn_on(workers - 1, target).unwrap();
        let scene = Scene { memory: 0, ann, bob, actor, done, mark, _turn: turn };
        scene.serves_bob();
        let memory = total(&scene.ann, |stats| stats.message_memory as u64);
        Scene { memory: memory + (1 << 20), ..scene }
    }

    fn raw(&self, name: &str) -> RawPeer {
        RawPeer::introduced(&self.ann.endpoints()[0], name)
    }

    fn serves_bob(&self) {
        let actor = self.actor;
        let asked = self.bob.run(async move || {
            let asked = actor.ask(Number { number: 5 }).within(PATIENCE);
            asked.await.map(|number| number.number.to_native())
        });
        assert_eq!(asked, Ok(Ok(5)));
    }

    /// An ask for the actor.
    fn ask(&self, message: MessageId) -> Header {
        let at: Address = self.actor.address();
        Header::new(Kind::Ask, at.slot(), at.generation(), message, 77)
    }

    /// An ask with a number, as an honest peer sends it.
    fn honest(&self) -> Vec<u8> {
        frame(self.ask(Number::ID), &[], &9_u64.to_le_bytes())
    }

    /// Sends something that ends the link, with an honest ask in front of it.
    fn ends_the_link(&self, name: &str, bytes: &[u8], says: &str) {
        let mut peer = self.raw(name);
        peer.send(&self.honest());
        let (header, payload) = peer.next_answer();
        assert_eq!((header.kind, header.correlation), (Kind::Reply, 77));
        assert_eq!(payload, 9_u64.to_le_bytes());
        peer.send(bytes);
        peer.is_closed();
        self.mark.wait_for(&["a link was lost", name, says]);
    }

    /// Sends an ask that fails with this code, and an honest one behind it over the same link.
    fn fails_with(&self, name: &str, bytes: &[u8], code: u64) {
        let mut peer = self.raw(name);
        peer.send(bytes);
        let (header, payload) = peer.next_answer();
        let failed = (header.kind, header.message.bits(), header.correlation);
        assert_eq!(failed, (Kind::Failure, code, 77), "{name}");
        assert!(payload.is_empty());
        peer.send(&self.honest());
        assert_eq!(peer.next_answer().0.kind, Kind::Reply, "{name}");
    }

    fn end_unharmed(self) {
        self.serves_bob();
        comes_to_rest(&self.ann, self.memory);
        self.bob.shutdown(PATIENCE).unwrap();
        self.ann.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn p16_a_malformed_frame_closes_its_link_and_no_other() {
    let scene = Scene::new(2);
    let altered = |alter: fn(&mut Vec<u8>)| {
        let mut bytes = scene.honest();
        alter(&mut bytes);
        bytes
    };
    let extended = |record: [u8; 16]| {
        let header = scene.ask(Number::ID);
        frame(header, &record, &9_u64.to_le_bytes())
    };
    let cases = [
        ("huge", altered(|frame| frame[0..4].fill(0xff)), "4294967295 bytes"),
        (
            "above-limit",
            altered(|frame| frame[0..4].copy_from_slice(&((16 << 20) + 1_u32).to_le_bytes())),
            "16777217 bytes",
        ),
        ("kind-0", altered(|frame| frame[4] = 0), "unknown kind 0"),
        ("kind-6", altered(|frame| frame[4] = 6), "unknown kind 6"),
        ("kind-255", altered(|frame| frame[4] = 255), "unknown kind 255"),
        ("flag", altered(|frame| frame[5] = 1), "unknown flags 0x01"),
        ("foreign-flag", altered(|frame| frame[5] = 0x80), "unknown flags 0x80"),
        ("padding", altered(|frame| frame[47] = 1), "padding that is not zero"),
        ("odd-extensions", altered(|frame| frame[6] = 8), "not a multiple of 16"),
        (
            "empty-record",
            extended([0; 16]),
            "malformed extensions: record with impossible length 0",
        ),
        (
            "long-record",
            extended([1, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "impossible length 32",
        ),
        ("payload-of-failure", altered(|frame| frame[4] = 4), "Failure frame with a payload"),
        ("garbage", (0..999_u32).map(|n| (n * 167 + 99) as u8).collect(), "broke the protocol"),
    ];
    for (name, bytes, says) in cases {
        scene.ends_the_link(name, &bytes, says);
        scene.serves_bob();
    }
    scene.end_unharmed();
}

#[test]
fn p16_a_frame_that_does_not_go_on_closes_its_link_though_its_peer_lives() {
    // Short, as the peer shows quite often that it lives.
    let (heartbeat, silence) = (Duration::from_millis(200), Duration::from_secs(2));
    let scene = Scene::within(1, Limits { heartbeat, silence, ..Limits::default() });
    let mut peer = scene.raw("endless");
    let mut bytes = scene.honest();
    bytes[0..4].copy_from_slice(&(16_u32 << 20).to_le_bytes());
    peer.send(&bytes);
    peer.pings_until_closed();
    scene.mark.wait_for(&["a link was lost", "endless", "does not go on with a frame"]);
    scene.end_unharmed();
}

#[test]
fn p16_an_ask_chain_that_is_too_long_closes_the_link() {
    let scene = Scene::new(1);
    let mut chain = vec![0; 16 * 34];
    chain[0] = 2;
    chain[2..4].copy_from_slice(&(16 * 34_u16).to_le_bytes());
    let bytes = frame(scene.ask(Number::ID), &chain, &9_u64.to_le_bytes());
    scene.ends_the_link("chain", &bytes, "ask chain of 33 actors");
    scene.end_unharmed();
}

#[test]
fn p16_a_connection_that_ends_within_a_frame_is_only_closed() {
    let scene = Scene::new(1);
    let large = frame(scene.ask(Parcel::ID), &[], &vec![1; 1 << 20]);
    for end in [1, 31, 32, 33, 40, 5000, 500_000] {
        let mut peer = scene.raw(&format!("cut-{end}"));
        peer.send(&large[..end]);
        drop(peer);
        scene.mark.wait_for(&["a link was lost", &format!("cut-{end}")]);
    }
    assert!(!scene.done.all().contains(&"parcel".into()));
    scene.end_unharmed();
}

#[test]
fn p16_p19_a_message_that_makes_no_sense_is_an_error_to_its_asker_and_the_link_lives() {
    for workers in [1, 2] {
        let scene = Scene::new(workers);
        let number = 9_u64.to_le_bytes();
        // Not in the protocol, and in no program.
        let unknown = scene.ask(MessageId::from_bits(0x1234_5678_9abc_def0));
        scene.fails_with("unknown", &frame(unknown, &[], &number), UNKNOWN);
        // The name is right, the shape is another one.
        let other = MessageId::from_bits(Number::ID.bits() ^ 1);
        let incompatible = frame(scene.ask(other), &[], &number);
        scene.fails_with("incompatible", &incompatible, INCOMPATIBLE);
        // Too short, too long, and an archive that points out of itself.
        let number = scene.ask(Number::ID);
        scene.fails_with("empty", &frame(number, &[], &[]), INVALID);
        scene.fails_with("short", &frame(number, &[], &[1; 7]), INVALID);
        let parcel = scene.ask(Parcel::ID);
        scene.fails_with("pointer", &frame(parcel, &[], &[0xee; 24]), INVALID);
        scene.fails_with("large", &frame(parcel, &[], &vec![0xee; 100_000]), INVALID);
        // It passes by value, and only within a node.
        scene.fails_with("local", &frame(scene.ask(Hidden::ID), &[], &[]), INVALID);
        assert!(!scene.done.all().contains(&"hidden".into()));
        // Nobody is there.
        let mut dead = scene.ask(Number::ID);
        dead.generation += 1000;
        scene.fails_with("dead", &frame(dead, &[], &9_u64.to_le_bytes()), DEAD);
        let mut nowhere = scene.ask(Number::ID);
        nowhere.slot = Slot::new(workers - 1, 0x00ff_ffff);
        scene.fails_with("nowhere", &frame(nowhere, &[], &9_u64.to_le_bytes()), DEAD);
        assert!(total(&scene.ann, |stats| stats.dead_letters) >= 9);
        scene.end_unharmed();
    }
}

/// The node has no such worker: the asker hears so, as for any other actor that is not there.
#[test]
fn p08_an_ask_to_a_worker_that_does_not_exist_ends() {
    let scene = Scene::new(2);
    let mut nowhere = scene.ask(Number::ID);
    nowhere.slot = Slot::new(200, 1);
    scene.fails_with("worker-200", &frame(nowhere, &[], &9_u64.to_le_bytes()), DEAD);
    scene.end_unharmed();
}

#[test]
fn p19_the_nodes_own_actors_take_no_orders_from_peers() {
    let scene = Scene::new(2);
    let hash = |name: &str| MessageId::new(name, annulus::codec::hash::hash64(b"local"));
    let orders = [
        (1, 3, 2, "annulus::names::Register"),
        (0, 1, 0, "annulus::steward::Order"),
        (1, 1, 0, "annulus::steward::Order"),
        (0, 1, 0, "annulus::steward::Join"),
        (0, 1, 0, "annulus::steward::Attach"),
        (0, 1, 0, "annulus::steward::DropPeer"),
        (0, 2, 1, "annulus::cluster::LinkLost"),
        (0, 2, 1, "annulus::cluster::WaitForPeer"),
        (0, 2, 1, "annulus::cluster::Quiet"),
    ];
    for (at, (worker, generation, index, name)) in orders.into_iter().enumerate() {
        let worker = if name.ends_with("Register") { 0 } else { worker };
        let slot = Slot::new(worker, index);
        let order = Header::new(Kind::Ask, slot, generation, hash(name), 77);
        let order = frame(order, &[], &[0x11; 64]);
        scene.fails_with(&format!("order-{at}"), &order, INVALID);
    }
    scene.end_unharmed();
}

#[test]
fn p16_answers_nobody_waits_for_and_endless_deadlines_do_no_harm() {
    let scene = Scene::new(2);
    let mut peer = scene.raw("answers");
    for worker in [0, 1, 2, 255_u64] {
        for kind in [Kind::Reply, Kind::Failure] {
            let payload: &[u8] = if kind == Kind::Reply { &[7; 40] } else { &[] };
            let answer = Header::new(kind, Slot::new(0, 0), 0, Number::ID, worker << 56 | 5);
            peer.send(&frame(answer, &[], payload));
        }
    }
    // A system frame of a later version, and a deadline at the end of time.
    let system = Header::new(Kind::System, Slot::new(0, 0), 0, MessageId::from_bits(99), 0);
    peer.send(&frame(system, &[], &[]));
    let mut deadline = [0xff; 16];
    deadline[..8].copy_from_slice(&[1, 0, 16, 0, 0, 0, 0, 0]);
    let endless = frame(scene.ask(Number::ID), &deadline, &9_u64.to_le_bytes());
    peer.send(&endless);
    assert_eq!(peer.next_answer().0.kind, Kind::Reply);
    // A record that only workers of this node write: it is not believed.
    let origin = [3, 0, 16, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    peer.send(&frame(scene.ask(Number::ID), &origin, &9_u64.to_le_bytes()));
    assert_eq!(peer.next_answer().0.kind, Kind::Reply);
    scene.end_unharmed();
}

#[test]
fn p16_frames_that_arrive_byte_by_byte_are_whole() {
    let scene = Scene::new(1);
    let mut peer = scene.raw("slow");
    for byte in scene.honest() {
        peer.send(&[byte]);
    }
    assert_eq!(peer.next_answer().0.kind, Kind::Reply);
    scene.end_unharmed();
}
