//! Nodes that are told to join each other, themselves, or one node twice: there is one session for each
//! two nodes in the end, and nobody goes on dialling.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    net::TcpListener,
    sync::{Barrier, Mutex, MutexGuard},
    thread,
};

use annulus::prelude::*;
use annulus_tests::{
    Folder, Over, PATIENCE, eventually,
    log::Mark,
    messages::{Ping, Worker},
    sockets,
};

/// One test at a time: they share the log, and count the sockets of the process.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How long nodes are watched after they have been connected. With the pauses of a node that goes on
/// dialling, these are five attempts and more.
const WATCHED: Duration = Duration::from_secs(3);

/// Lines about attempts that led nowhere which the log may have for two nodes that dial each other.
const FEW: usize = 3;

/// An endpoint that can be named before anybody listens there.
fn endpoint(over: Over, folder: &Folder, name: &str) -> String {
    match over {
        Over::Unix => format!("unix://{}/{name}", folder.path().display()),
        Over::Tcp => {
            // On this address no other process gets a port by chance.
            let [.., high, low] = std::process::id().to_be_bytes();
            let socket = TcpListener::bind((format!("127.{}.{low}.1", high | 64), 0)).unwrap();
            format!("tcp://{}", socket.local_addr().unwrap())
        }
    }
}

/// Lines about attempts to connect that led nowhere, and about sessions that ended.
fn trouble(mark: Mark, of: &[&str]) -> Vec<String> {
    let log = mark.since();
    let says = |line: &&str| line.contains("WARN") || line.contains("not connected");
    let lines = log.lines().filter(says);
    lines.filter(|line| of.iter().any(|text| line.contains(text))).map(str::to_owned).collect()
}

fn answers(asker: &Node, other: &Node) {
    for at in 0..other.workers() {
        let worker = other.spawn_on(at, Worker::default()).unwrap();
        let asked = asker.run(async move || worker.ask(Ping).await.is_ok());
        assert_eq!(asked, Ok(true), "from {} to {}", asker.name(), other.name());
    }
}

/// Two nodes, and where they listen.
struct Couple {
    ann: Node,
    bob: Node,
    endpoints: [String; 2],
    mark: Mark,
}

impl Couple {
    /// Two nodes that are told to join each other, started at the same time.
    fn start(over: Over, folder: &Folder, number: usize, workers: (usize, usize)) -> Self {
        let names = [format!("ann-{number:02}"), format!("bob-{number:02}")];
        let endpoints = names.each_ref().map(|name| endpoint(over, folder, name));
        let builder = |own: usize, workers| {
            let node = Node::builder(&*names[own]).workers(workers);
            node.listen(&endpoints[own]).join(&endpoints[1 - own])
        };
        let (ann, bob) = (builder(0, workers.0), builder(1, workers.1));
        let (barrier, mark) = (Barrier::new(2), Mark::now());
        let start = |node: annulus::NodeBuilder| {
            barrier.wait();
            node.start().unwrap()
        };
        let (ann, bob) = thread::scope(|scope| {
            let ann = scope.spawn(|| start(ann));
            let bob = start(bob);
            (ann.join().unwrap(), bob)
        });
        Couple { ann, bob, endpoints, mark }
    }

    /// How many sockets they have when they are at rest: a listener each, and both ends of each link.
    fn sockets(&self) -> usize {
        2 + 2 * self.ann.workers().max(self.bob.workers())
    }

    fn met(&self) {
        self.ann.wait_for(self.bob.name(), PATIENCE).unwrap();
        self.bob.wait_for(self.ann.name(), PATIENCE).unwrap();
    }
}

#[test]
fn r66_two_nodes_that_join_each_other_get_one_session_and_are_at_rest() {
    let _turn = alone();
    let folder = Folder::new();
    let before = sockets();
    let mut couples = Vec::new();
    for over in [Over::Tcp, Over::Unix] {
        for workers in [(1, 1), (2, 2), (1, 3), (3, 1)].repeat(2) {
            couples.push(Couple::start(over, &folder, couples.len(), workers));
        }
    }
    couples.iter().for_each(Couple::met);
    let rest = Mark::now();
    // Nothing is to happen: no condition ends this wait early.
    thread::sleep(WATCHED);
    let mut restless = Vec::new();
    for couple in &couples {
        let [ann, bob] = &couple.endpoints;
        let of = [couple.ann.name(), couple.bob.name(), ann, bob];
        let lines = trouble(couple.mark, &of);
        println!("{}: {} lines, {} later", of[0], lines.len(), trouble(rest, &of).len());
        if lines.len() > 2 * FEW || trouble(rest, &of).len() > FEW {
            restless.push(trouble(rest, &of));
        }
    }
    assert!(restless.is_empty(), "{} of {}: {restless:#?}", restless.len(), couples.len());
    let wanted = before + couples.iter().map(Couple::sockets).sum::<usize>();
    eventually("there is one session for each couple", || sockets() == wanted);
    for couple in couples {
        answers(&couple.ann, &couple.bob);
        answers(&couple.bob, &couple.ann);
        couple.ann.shutdown(PATIENCE).unwrap();
        couple.bob.shutdown(PATIENCE).unwrap();
    }
}

/// Whoever gives way: a session there is, and both use it.
#[test]
fn r66_two_nodes_that_join_each_other_are_connected() {
    let _turn = alone();
    let folder = Folder::new();
    for number in 0..20 {
        let over = [Over::Tcp, Over::Unix][number % 2];
        let workers = [(1, 1), (2, 2), (1, 3), (3, 1)][number / 2 % 4];
        let couple = Couple::start(over, &folder, 50 + number, workers);
        couple.met();
        answers(&couple.ann, &couple.bob);
        answers(&couple.bob, &couple.ann);
        couple.bob.shutdown(PATIENCE).unwrap();
        couple.ann.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn r66_a_node_that_joins_itself_gives_up_quietly() {
    let _turn = alone();
    let folder = Folder::new();
    let before = sockets();
    let unix = endpoint(Over::Unix, &folder, "narcissus");
    let tcp = endpoint(Over::Tcp, &folder, "narcissus");
    let mark = Mark::now();
    let node = Node::builder("narcissus").workers(2).listen(&unix).listen(&tcp);
    let node = node.join(&unix).join(&tcp).start().unwrap();
    mark.wait_for(&["not connected", &unix]);
    mark.wait_for(&["not connected", &tcp]);
    let refused = "leads back to the same node";
    eventually("both connections are closed", || sockets() == before + 2);
    let rest = Mark::now();
    // Nothing is to happen: no condition ends this wait early.
    thread::sleep(WATCHED);
    // Each attempt shows at both of its ends.
    let lines = trouble(mark, &[refused]);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(trouble(rest, &[""]), Vec::<String>::new());
    assert_eq!(sockets(), before + 2);
    let echo = Node::builder("echo").join(&unix).start().unwrap();
    echo.wait_for("narcissus", PATIENCE).unwrap();
    answers(&echo, &node);
}

#[test]
fn r66_a_node_that_joins_another_by_two_endpoints_gets_one_session_and_is_at_rest() {
    let _turn = alone();
    let folder = Folder::new();
    let before = sockets();
    let endpoints = [Over::Tcp, Over::Unix].map(|over| endpoint(over, &folder, "ann"));
    let ann = Node::builder("ann").workers(2).listen(&endpoints[0]).listen(&endpoints[1]);
    let ann = ann.start().unwrap();
    let bob = Node::builder("bob").workers(2).join(&endpoints[0]).join(&endpoints[1]);
    let bob = bob.start().unwrap();
    bob.wait_for("ann", PATIENCE).unwrap();
    let rest = Mark::now();
    // Nothing is to happen: no condition ends this wait early.
    thread::sleep(WATCHED);
    let lines = trouble(rest, &["bob", &endpoints[0], &endpoints[1]]);
    assert!(lines.len() <= FEW, "{lines:#?}");
    // Two listeners, and both ends of two links.
    eventually("there is one session", || sockets() == before + 6);
    answers(&ann, &bob);
    answers(&bob, &ann);
}

/// The other endpoint is there for when the first one fails.
#[test]
fn r66_a_node_that_joins_another_by_two_endpoints_finds_it_again_by_either() {
    let _turn = alone();
    let folder = Folder::new();
    let endpoints = [Over::Tcp, Over::Unix].map(|over| endpoint(over, &folder, "ann"));
    let bob = Node::builder("bob").workers(2).join(&endpoints[0]).join(&endpoints[1]);
    let bob = bob.start().unwrap();
    for at in [&endpoints[0], &endpoints[1], &endpoints[0]] {
        let ann = Node::builder("ann").workers(2).listen(at).start().unwrap();
        ann.wait_for("bob", PATIENCE).unwrap();
        bob.wait_for("ann", PATIENCE).unwrap();
        answers(&ann, &bob);
        answers(&bob, &ann);
        ann.shutdown(PATIENCE).unwrap();
    }
}
