//! Runs of the program in processes of its own. All of them end with the test.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_clustered-echo");

/// How long a test waits for what must come. No test ends in it unless something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until a condition holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The program with some arguments.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Lines that a process has printed.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Printed>>);

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<String>,
    /// There will be no more.
    ended: bool,
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let lines = Lines::default();
        let noted = lines.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                noted.0.lock().unwrap().lines.push(line);
            }
            noted.0.lock().unwrap().ended = true;
        });
        lines
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone()
    }

    /// Waits until nobody can print any more, and returns everything.
    #[track_caller]
    pub fn whole(&self) -> Vec<String> {
        eventually("the end of what is printed", || self.0.lock().unwrap().ended);
        self.all()
    }

    /// Waits for a line with all of these texts.
    #[track_caller]
    pub fn wait_for(&self, texts: &[&str]) -> String {
        let wanted = |line: &String| texts.iter().all(|text| line.contains(text));
        let find = || self.all().into_iter().find(wanted);
        eventually(&format!("a line with {texts:?}"), || find().is_some());
        find().unwrap()
    }
}

/// A run of the program, in a process group of its own as a terminal would give it.
#[derive(Debug)]
pub struct Run {
    child: Child,
    pub out: Lines,
    pub log: Lines,
}

impl Run {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let out: ChildStdout = child.stdout.take().unwrap();
        let log: ChildStderr = child.stderr.take().unwrap();
        Run { child, out: Lines::of(out), log: Lines::of(log) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: &str) {
        signal_to(signal, &self.id().to_string());
    }

    /// Sends a signal to the process and all that it has started, as a terminal does.
    pub fn signal_all(&self, signal: &str) {
        signal_to(signal, &format!("-{}", self.id()));
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for the end. Returns how it ended, and how long that took.
    #[track_caller]
    pub fn wait(&mut self) -> (ExitStatus, Duration) {
        self.wait_within(PATIENCE)
    }

    #[track_caller]
    pub fn wait_within(&mut self, patience: Duration) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return (status, begin.elapsed());
            }
            assert!(begin.elapsed() < patience, "it does not end: {:?}", self.log.all());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The processes that it has started and that live.
    pub fn children(&self) -> Vec<Living> {
        let own = self.id();
        let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let id = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Living::find(id)
        });
        all.filter(|process| process.parent == own).collect()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal_to(signal: &str, whom: &str) {
    let status = Command::new("kill").args(["-s", signal, "--", whom]).status().unwrap();
    assert!(status.success());
}

/// A process that lives. Its number may be given to another once it has ended, its start may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Living {
    pub id: u32,
    parent: u32,
    started: u64,
}

impl Living {
    fn find(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        // One that has ended and that nobody has waited for yet does not live.
        let lives = !matches!(fields[0], "Z" | "X");
        let (parent, started) = (fields[1].parse().ok()?, fields[19].parse().ok()?);
        lives.then_some(Living { id, parent, started })
    }

    pub fn lives(&self) -> bool {
        Self::find(self.id).is_some_and(|now| now.started == self.started)
    }
}

/// A node of its own, and where it listens.
pub fn node(name: &str, arguments: &[&str]) -> (Run, String) {
    let mut command = program(&["node", "--name", name, "--listen", "tcp://127.0.0.1:0"]);
    let run = Run::start(command.args(arguments));
    let line = run.out.wait_for(&["listening on "]);
    let endpoint = line.strip_prefix("listening on ").unwrap().to_owned();
    (run, endpoint)
}
