//! A node that has nothing to do does nothing: it sleeps in the kernel, and wakes for signs of life.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::{process::Command, thread, time::Duration};

use annulus::Node;
use annulus_tests::{PATIENCE, children::Process};

/// Clock ticks of processor time that a process has used, in all.
fn processor_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field is the name in parentheses; user and system time are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn an_idle_node_uses_next_to_no_processor_time() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer"));
    let command = command.args(["workers", "2", "listen", "tcp://127.0.0.1:0"]);
    let child = Process::start(command);
    let line = child.line();
    let endpoint = line.strip_prefix("ready ").expect(&line);
    let node = Node::builder("ann").workers(2).join(endpoint).start().unwrap();
    node.wait_for("child", PATIENCE).unwrap();
    let before = processor_time(child.id());
    // This is the one wait of a fixed length: it is what is measured.
    thread::sleep(Duration::from_secs(2));
    let used = processor_time(child.id()) - before;
    // A tick is 10 ms: 2% of one core in 2 s are 4 of them.
    assert!(used <= 4, "{used} ticks in two seconds");
    node.wait_for("child", PATIENCE).unwrap();
}
