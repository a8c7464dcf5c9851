//! R70: an interrupt ends the program in order and in time, and no process is left behind.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

mod common;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use common::{Living, Run, eventually, node, program};

/// How long the program may take to end after an interrupt.
const PROMPT: Duration = Duration::from_secs(5);

/// A run of three nodes that has begun to count, and their processes.
fn launched(arguments: &[&str]) -> (Run, Vec<Living>) {
    let mut command = program(&["--seconds", "60", "--json"]);
    launched_as(command.args(arguments))
}

fn launched_as(command: &mut Command) -> (Run, Vec<Living>) {
    let run = Run::start(command);
    run.out.wait_for(&["\"progress\"", "\"from\":\"a\"", "\"to\":\"c\""]);
    let nodes = run.children();
    assert_eq!(nodes.len(), 3);
    (run, nodes)
}

/// What the last line of a run says of a number.
fn number(run: &Run, name: &str) -> u64 {
    let line = run.out.wait_for(&["\"summary\""]);
    let summary: serde_json::Value = serde_json::from_str(&line).unwrap();
    summary[name].as_u64().unwrap()
}

fn ends_in_order(run: &mut Run) {
    let (status, took) = run.wait();
    println!("ended after {took:?}");
    assert!(took < PROMPT, "{took:?}");
    assert_eq!(status.code(), Some(0), "{:?}", run.log.all());
}

#[track_caller]
fn none_lives(nodes: &[Living]) {
    let left: Vec<_> = nodes.iter().filter(|node| node.lives()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn r70_an_interrupt_from_the_terminal_ends_a_run_with_its_sum() {
    for transport in ["tcp", "unix", "udp"] {
        let (mut run, nodes) = launched(&["--transport", transport]);
        run.signal_all("INT");
        ends_in_order(&mut run);
        none_lives(&nodes);
        assert!(number(&run, "replies_verified") > 0);
        assert_eq!(number(&run, "mismatches"), 0);
        if transport != "udp" {
            assert_eq!(number(&run, "lost"), 0);
        }
    }
}

#[test]
fn r70_an_interrupt_to_the_launcher_alone_ends_its_nodes_too() {
    for signal in ["INT", "TERM"] {
        let (mut run, nodes) = launched(&[]);
        run.signal(signal);
        ends_in_order(&mut run);
        none_lives(&nodes);
        assert_eq!((number(&run, "mismatches"), number(&run, "lost")), (0, 0));
    }
}

#[test]
fn r70_an_interrupt_while_the_nodes_come_up_leaves_none_behind() {
    for wanted in 0..4 {
        let mut run = Run::start(&mut program(&["--seconds", "60", "--json"]));
        let mut nodes = Vec::new();
        eventually("some nodes are there", || {
            nodes = run.children();
            nodes.len() >= wanted
        });
        run.signal_all("INT");
        // It may have answered nothing yet, and then it is no success.
        let (status, took) = run.wait();
        println!("with {wanted} nodes or more: {status}, after {took:?}");
        assert!(took < PROMPT, "{took:?}");
        none_lives(&nodes);
    }
}

/// Nobody can tell the nodes then: they see it by themselves.
#[test]
fn r70_no_node_outlives_a_launcher_that_was_killed() {
    // Nor can it remove its folder.
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&["--seconds", "60", "--json"]);
    let (mut run, nodes) = launched_as(command.env("TMPDIR", folder.path()));
    run.signal("KILL");
    run.wait();
    let begin = Instant::now();
    eventually("all nodes end", || !nodes.iter().any(Living::lives));
    println!("all nodes ended after {:?}", begin.elapsed());
    assert!(begin.elapsed() < PROMPT, "{:?}", begin.elapsed());
}

#[test]
fn r70_an_interrupt_ends_an_idle_node() {
    for signal in ["INT", "TERM"] {
        let (mut a, at) = node("a", &[]);
        let (mut b, _) = node("b", &["--join", &at]);
        b.log.wait_for(&["connected", "node=\"a\""]);
        b.signal(signal);
        ends_in_order(&mut b);
        a.log.wait_for(&["disconnected", "node=\"b\""]);
        a.signal(signal);
        ends_in_order(&mut a);
    }
}

#[test]
fn r70_an_interrupt_ends_a_node_that_looks_for_others_in_vain() {
    let (gone, at) = node("gone", &[]);
    drop(gone);
    let (mut a, _) = node("a", &["--join", &at, "--join", "unix:///no/such/socket"]);
    a.signal("INT");
    ends_in_order(&mut a);
}

#[test]
fn r70_an_interrupt_ends_a_node_under_load_and_the_one_that_asks_it() {
    let (mut a, at) = node("a", &[]);
    let (mut b, _) = node("b", &["--join", &at]);
    b.log.wait_for(&["connected", "node=\"a\""]);
    let mut command = program(&["drive", "--join", &at, "--targets", "a,b", "--seconds", "60"]);
    let mut drive = Run::start(command.arg("--json").env("RUST_LOG", "annulus=info"));
    drive.log.wait_for(&["connected", "node=\"b\""]);
    let served = || processor_time(&b) > 20;
    eventually("the node is busy", served);
    b.signal("INT");
    ends_in_order(&mut b);
    drive.signal("INT");
    let (status, took) = drive.wait();
    println!("the asking node ended after {took:?}");
    assert!(took < PROMPT, "{took:?}");
    // What was asked of the node that ended is missing: that is no success.
    assert_eq!(status.code(), Some(1));
    assert!(number(&drive, "replies_verified") > 0 && number(&drive, "lost") > 0);
    assert_eq!(number(&drive, "mismatches"), 0);
    a.signal("INT");
    ends_in_order(&mut a);
}

/// Clock ticks that a process has used.
fn processor_time(run: &Run) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", run.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
