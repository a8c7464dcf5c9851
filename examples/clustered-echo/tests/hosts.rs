//! R78: the deployment on three hosts, as far as one machine can show it.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

mod common;

use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{PATIENCE, PROGRAM, Run};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/hosts.sh");

/// The exit code that says that this machine cannot run it.
const SKIPPED: i32 = 77;

/// How long the script may take to tidy up after it was told to end.
const TIDY: Duration = Duration::from_secs(10);

/// A run of the script. Whatever happens, neither a process nor a network of it outlives the test.
struct Hosts(Run);

impl Hosts {
    fn start() -> Self {
        let mut command = Command::new("bash");
        command.args([SCRIPT, PROGRAM]).env("SECONDS_EACH", "2").stdin(Stdio::null());
        Hosts(Run::start(&mut command))
    }

    /// Signals all processes of the run. Returns whether there are any.
    fn signal_all(&self, signal: &str) -> bool {
        let group = format!("-{}", self.0.id());
        let mut kill = Command::new("kill");
        let kill = kill.args(["-s", signal, "--", &group]).stderr(Stdio::null());
        kill.status().unwrap().success()
    }

    /// The network namespaces of the run.
    fn networks(&self) -> Vec<String> {
        let own = format!("annulus{}-", self.0.id());
        let Ok(all) = std::fs::read_dir("/run/netns") else { return Vec::new() };
        let names = all.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(&own)).collect()
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        if self.0.ended().is_none() {
            self.signal_all("TERM");
            let begin = Instant::now();
            while self.0.ended().is_none() && begin.elapsed() < TIDY {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.signal_all("KILL");
        for name in self.networks() {
            let _ = Command::new("ip").args(["netns", "delete", &name]).status();
        }
    }
}

/// Takes about 8 s. A node among them is killed with SIGKILL, and started again.
#[test]
fn r78_three_hosts_echo_and_go_on_without_one_that_is_killed() {
    let mut hosts = Hosts::start();
    let (status, took) = hosts.0.wait_within(PATIENCE);
    let (out, log) = (hosts.0.out.whole(), hosts.0.log.whole());
    if status.code() == Some(SKIPPED) {
        // To be seen without `--nocapture` too.
        let _ = writeln!(std::io::stderr(), "skipped: {}", log.join("; "));
        return;
    }
    println!("ended after {took:?}: {out:#?}");
    assert_eq!(status.code(), Some(0), "{out:#?} {log:#?}");
    assert_eq!(out.last().map(String::as_str), Some("hosts: all is well"));
    let drives: Vec<serde_json::Value> = out
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(drives.len(), 3, "before, while and after a node is gone");
    for drive in drives {
        assert_eq!(drive["event"], "summary");
        assert!(drive["replies_verified"].as_u64().unwrap() > 0, "{drive}");
        assert_eq!((drive["mismatches"].as_u64(), drive["lost"].as_u64()), (Some(0), Some(0)));
    }
    assert!(!hosts.signal_all("0"), "processes are left behind");
    assert_eq!(hosts.networks(), [""; 0], "networks are left behind");
}
