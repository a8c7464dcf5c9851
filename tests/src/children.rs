//! Nodes in processes of their own.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use crate::PATIENCE;

/// A child process that is killed with the test.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// The child goes on as long as this is open.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts a command, and listens to what it prints.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Process { stdin: child.stdin.take(), child, lines }
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// If there is none in time.
    #[track_caller]
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("the child prints")
    }

    /// The lines that it has printed and nobody has taken yet.
    pub fn lines_so_far(&self) -> Vec<String> {
        self.lines.try_iter().collect()
    }

    /// All lines that have come until it has ended.
    pub fn last_lines(&mut self) -> Vec<String> {
        self.stdin = None;
        let _ = self.child.wait();
        self.lines.iter().collect()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// See [`processor_time`].
    pub fn processor_time(&self) -> u64 {
        processor_time(self.id())
    }
}

/// Clock ticks of processor time that a process has used so far, in all: those of its own and those of the
/// system for it.
pub fn processor_time(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The second field is the name in parentheses; user and system time are the 14th and 15th.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
