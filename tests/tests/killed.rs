//! A node is killed while three nodes, each in a process of its own, ask each other. What waited for it
//! ends, the others go on, and when it is there again they find it, wherever it listens now.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use annulus::Node;
use annulus_tests::{
    PATIENCE, Shared,
    children::Process,
    eventually,
    load::{Asker, ECHO, Echo, LANES, PENDING},
};

/// How long asks may wait for a node that was killed.
const PROMPT: Duration = Duration::from_secs(5);

const WORKERS: usize = 2;

const ANYWHERE: &str = "tcp://127.0.0.1:0";

/// A node in a process of its own, and where it listens. It asks both others.
fn start(name: &str, listen: &str, joins: &[&str]) -> (Process, String) {
    let others = ["ann", "bob", "cid"].into_iter().filter(|other| *other != name);
    let pairs: Vec<[&str; 2]> = [["name", name], ["listen", listen], ["workers", "2"]]
        .into_iter()
        .chain(joins.iter().map(|join| ["join", join]))
        .chain(others.map(|other| ["asks", other]))
        .collect();
    let begin = Instant::now();
    loop {
        let mut peer = Command::new(env!("CARGO_BIN_EXE_peer"));
        let child = Process::start(peer.args(pairs.as_flattened()));
        let line = child.line();
        if let Some(endpoint) = line.strip_prefix("ready ") {
            return (child, endpoint.into());
        }
        // The kernel takes a moment to give back the port of a process that was killed.
        assert!(begin.elapsed() < PATIENCE, "{line}");
    }
}

/// What one node has told of its asks so far.
struct Story {
    lines: Vec<String>,
}

impl Story {
    /// How often something was told of a node.
    fn count(&self, what: &str, node: &str) -> usize {
        self.of(what, node).count()
    }

    /// What else the lines say that tell this of a node.
    fn of(&self, what: &str, node: &str) -> impl Iterator<Item = &str> {
        let start = format!("{what} {node}");
        self.lines.iter().filter_map(move |line| line.strip_prefix(&start)).map(str::trim_start)
    }
}

struct Scene {
    /// The node in the process of this test.
    _ann: Node,
    told: Shared<String>,
    bob: Process,
    bob_at: String,
    cid: Process,
    cid_at: String,
    /// What each of the others has printed since it was started.
    by_bob: Story,
    by_cid: Story,
}

impl Scene {
    fn new() -> Self {
        let (bob, bob_at) = start("bob", ANYWHERE, &[]);
        let (cid, cid_at) = start("cid", ANYWHERE, &[&bob_at]);
        let ann = Node::builder("ann").workers(WORKERS).listen(ANYWHERE);
        let ann = ann.join(&bob_at).join(&cid_at).start().unwrap();
        let told = Shared::default();
        ann.run(async || ECHO.register(annulus::spawn(Echo).unwrap()).await).unwrap().unwrap();
        for worker in 0..WORKERS {
            for node in ["bob", "cid"] {
                let told = told.clone();
                let tell = Arc::new(move |line| told.push(line));
                ann.spawn_on(worker, Asker { node: node.into(), tell }).unwrap();
            }
        }
        let by_bob = Story { lines: Vec::new() };
        let by_cid = Story { lines: Vec::new() };
        let mut scene = Scene { _ann: ann, told, bob, bob_at, cid, cid_at, by_bob, by_cid };
        scene.all_ask_all();
        scene
    }

    /// What the node in the process of this test has told.
    fn by_ann(&self) -> Story {
        Story { lines: self.told.all() }
    }

    fn hear(&mut self) {
        self.by_bob.lines.extend(self.bob.lines_so_far());
        self.by_cid.lines.extend(self.cid.lines_so_far());
    }

    /// Waits until every node has had answers from each other, and waits for further ones there.
    fn all_ask_all(&mut self) {
        let (ann, cid) = (self.told.len(), self.by_cid.lines.len());
        eventually("all nodes ask each other", || {
            self.hear();
            let by_ann = Story { lines: self.told.all()[ann..].to_vec() };
            let by_cid = Story { lines: self.by_cid.lines[cid..].to_vec() };
            [(&by_ann, ["bob", "cid"]), (&self.by_bob, ["ann", "cid"]), (&by_cid, ["ann", "bob"])]
                .into_iter()
                .all(|(by, others)| others.iter().all(|other| by.count("answered", other) >= 2))
        });
        eventually("pings wait everywhere", || {
            self.hear();
            let waiting = |by: &Story, other| by.count("waits", other) - by.count("ended", other);
            let by_ann = self.by_ann();
            [
                (&by_ann, "bob"),
                (&by_ann, "cid"),
                (&self.by_bob, "ann"),
                (&self.by_bob, "cid"),
                (&self.by_cid, "ann"),
                (&self.by_cid, "bob"),
            ]
            .into_iter()
            .all(|(by, other)| waiting(by, other) == WORKERS * PENDING)
        });
    }

    /// Kills one node, and sees all that waited for it end, and the others go on.
    fn kill_bob(&mut self) {
        let counts = |by: &Story| (by.count("ended", "bob"), by.count("lost", "bob"));
        let (ann, cid) = (counts(&self.by_ann()), counts(&self.by_cid));
        self.bob.kill();
        let begin = Instant::now();
        eventually("all asks to the node that was killed end", || {
            self.hear();
            [(counts(&self.by_ann()), ann), (counts(&self.by_cid), cid)].into_iter().all(
                |((ended, lost), before)| {
                    ended == before.0 + WORKERS * PENDING && lost >= before.1 + WORKERS * LANES
                },
            )
        });
        println!("all had ended after {:?}", begin.elapsed());
        assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
        for by in [&self.by_ann(), &self.by_cid] {
            assert!(by.of("ended", "bob").all(|why| why.starts_with("NodeDown ")));
            let typed = ["NodeDown", "Unreachable"];
            assert!(by.of("lost", "bob").all(|why| typed.contains(&why)));
        }
        let (ann, cid) = (self.by_ann(), self.by_cid.count("answered", "ann"));
        let ann = ann.count("answered", "cid");
        eventually("the others go on", || {
            self.hear();
            self.by_ann().count("answered", "cid") >= ann + 5
                && self.by_cid.count("answered", "ann") >= cid + 5
        });
        self.others_have_lost_nothing();
    }

    fn others_have_lost_nothing(&self) {
        let by_ann = self.by_ann();
        for (by, other) in [(&by_ann, "cid"), (&self.by_cid, "ann")] {
            assert_eq!(by.count("lost", other) + by.count("ended", other), 0, "{:?}", by.lines);
        }
        for by in [&by_ann, &self.by_bob, &self.by_cid] {
            assert!(!by.lines.iter().any(|line| line.starts_with("wrong")), "{:?}", by.lines);
        }
    }

    /// Starts the node that was killed again.
    fn start_bob(&mut self, listen: &str, joins: &[&str]) {
        let begin = Instant::now();
        (self.bob, self.bob_at) = start("bob", listen, joins);
        self.by_bob = Story { lines: Vec::new() };
        self.all_ask_all();
        println!("all ask all {:?} after the start", begin.elapsed());
        self.others_have_lost_nothing();
    }
}

#[test]
fn p05_r68_a_killed_node_that_starts_again_on_its_port_is_used_again() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.kill_bob();
        let at = scene.bob_at.clone();
        scene.start_bob(&at, &[]);
        assert_eq!(scene.bob_at, at);
    }
}

#[test]
fn p05_r68_a_killed_node_that_starts_again_on_another_port_and_joins_is_used_again() {
    let mut scene = Scene::new();
    for _ in 0..2 {
        scene.kill_bob();
        let (before, cid) = (scene.bob_at.clone(), scene.cid_at.clone());
        scene.start_bob(ANYWHERE, &[&cid]);
        assert_ne!(scene.bob_at, before);
    }
}
