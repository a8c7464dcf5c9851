//! A whole run on this machine: starts the nodes, watches them, and adds up.

use std::{
    io::{BufRead, BufReader, Write, stdout},
    path::Path,
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use crate::{
    Failure,
    args::{Run, Transport},
    journal, node,
    report::{Asked, Event, PairReport, Summary},
    table::Table,
};

/// How long the nodes may take to come up, and to end after the time is over.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the table is drawn.
const DRAW_EVERY: Duration = Duration::from_secs(1);

/// One node's process.
struct Member {
    name: String,
    child: Child,
    commands: Option<ChildStdin>,
    pairs: Vec<PairReport>,
    asked: Vec<Asked>,
    elapsed_s: Option<f64>,
}

/// What a node's process says, by its place in the list; `None` when its output has ended.
type Events = mpsc::Receiver<(usize, Option<Event>)>;

struct Cluster {
    members: Vec<Member>,
    events: Events,
    sender: mpsc::Sender<(usize, Option<Event>)>,
}

pub(crate) fn run(options: &Run) -> Result<ExitCode, Failure> {
    if let Some(folder) = &options.journal {
        journal::prepare(folder)?;
    }
    let folder = tempfile::Builder::new().prefix("annulus-").tempdir()?;
    let interrupted = node::interrupts()?;
    let (sender, events) = mpsc::channel();
    let mut cluster = Cluster { members: Vec::new(), events, sender };
    cluster.start(options, folder.path())?;
    let start = Instant::now();
    cluster.command_all("go")?;
    let (pairs, elapsed_s) = cluster.watch(options, &interrupted, start)?;
    let asked: Vec<Asked> =
        cluster.members.iter().flat_map(|member| member.asked.iter().cloned()).collect();
    cluster.end()?;
    let mut summary = Summary::new(options.transport.name(), &pairs, elapsed_s);
    if let Some(folder) = &options.journal {
        summary.journal_records = Some(journal::check(folder, &asked, options)?);
    }
    for pair in pairs.iter().filter(|pair| pair.first_loss.is_some()) {
        let why = pair.first_loss.as_deref().unwrap_or_default();
        eprintln!("clustered-echo: {} -> {}: first loss: {why}", pair.from, pair.to);
    }
    summary.print(options.traffic.json)?;
    Ok(if summary.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn node_name(index: usize) -> String {
    let letter = char::from(b'a' + (index % 26) as u8);
    letter.to_string()
}

impl Cluster {
    /// Starts all nodes; each joins those before it.
    fn start(&mut self, options: &Run, folder: &Path) -> Result<(), Failure> {
        let names: Vec<String> = (0..options.nodes as usize).map(node_name).collect();
        let mut joins: Vec<String> = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let others = names.iter().filter(|other| *other != name).cloned();
            let others: Vec<String> = others.collect();
            let member = spawn(options, folder, name, &others, &joins)?;
            self.members.push(member);
            self.listen_to(index);
            let endpoint = self.wait_for(|index_seen, event| match event {
                Event::Listening { endpoint } if index_seen == index => Some(endpoint),
                _ => None,
            })?;
            joins.push(endpoint);
        }
        self.command_all("meet")?;
        let mut missing = names.len();
        self.wait_for(|_, event| {
            missing -= usize::from(matches!(event, Event::Ready));
            (missing == 0).then_some(())
        })
    }

    /// Reads what a node's process says.
    fn listen_to(&mut self, index: usize) {
        let Some(output) = self.members[index].child.stdout.take() else {
            return;
        };
        let sender = self.sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { break };
                let Ok(event) = serde_json::from_str(&line) else {
                    break;
                };
                if sender.send((index, Some(event))).is_err() {
                    return;
                }
            }
            let _ = sender.send((index, None));
        });
    }

    fn wait_for<T>(
        &mut self,
        mut wanted: impl FnMut(usize, Event) -> Option<T>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((index, Some(event))) => {
                    if let Some(found) = wanted(index, event) {
                        return Ok(found);
                    }
                }
                Ok((index, None)) => return Err(self.died(index)),
                Err(_) => return Err("the nodes did not come up in time".into()),
            }
        }
    }

    fn died(&mut self, index: usize) -> Failure {
        let member = &mut self.members[index];
        match member.child.wait() {
            Ok(status) => format!("node {} ended early: {status}", member.name).into(),
            Err(error) => format!("node {}: {error}", member.name).into(),
        }
    }

    /// Draws the table until all nodes have finished. Returns what they measured, and how long it took.
    fn watch(
        &mut self,
        options: &Run,
        interrupted: &mpsc::Receiver<()>,
        start: Instant,
    ) -> Result<(Vec<PairReport>, f64), Failure> {
        let mut table = Table::new(options.traffic.json);
        let mut drawn = start;
        let give_up = start + Duration::from_secs_f64(options.traffic.seconds) + PATIENCE;
        while self.members.iter().any(|member| member.elapsed_s.is_none()) {
            if interrupted.try_recv().is_ok() {
                self.command_all("enough")?;
            }
            if Instant::now() > give_up {
                return Err("the nodes did not finish in time".into());
            }
            match self.events.recv_timeout(Duration::from_millis(100)) {
                Ok((index, Some(event))) => self.note(index, event),
                Ok((index, None)) => return Err(self.died(index)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("no node is left".into()),
            }
            if drawn.elapsed() >= DRAW_EVERY {
                table.draw(&self.pairs(), drawn.elapsed().as_secs_f64());
                if options.traffic.json {
                    self.print_progress()?;
                }
                drawn = Instant::now();
            }
        }
        let longest = self.members.iter().filter_map(|member| member.elapsed_s);
        let elapsed_s = longest.fold(0.0, f64::max);
        let pairs = self.pairs();
        table.finish(&pairs, elapsed_s, options.traffic.json);
        Ok((pairs, elapsed_s))
    }

    fn note(&mut self, index: usize, event: Event) {
        let member = &mut self.members[index];
        match event {
            Event::Progress { pairs } => member.pairs = pairs,
            Event::Finished { pairs, elapsed_s, asked } => {
                member.pairs = pairs;
                member.asked = asked;
                member.elapsed_s = Some(elapsed_s);
            }
            Event::Listening { .. } | Event::Ready => {}
        }
    }

    fn pairs(&self) -> Vec<PairReport> {
        self.members.iter().flat_map(|member| member.pairs.iter().cloned()).collect()
    }

    fn print_progress(&self) -> Result<(), Failure> {
        let mut out = stdout().lock();
        for pair in self.pairs() {
            let times = pair.histogram();
            let line = serde_json::json!({
                "event": "progress", "from": pair.from, "to": pair.to,
                "replies_verified": pair.verified, "mismatches": pair.mismatches,
                "lost": pair.lost, "p50_us": times.value_at_quantile(0.5),
                "p99_us": times.value_at_quantile(0.99),
            });
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    fn command_all(&mut self, command: &str) -> Result<(), Failure> {
        for member in &mut self.members {
            if let Some(commands) = &mut member.commands {
                writeln!(commands, "{command}")?;
                commands.flush()?;
            }
        }
        Ok(())
    }

    /// Ends all nodes in order and waits for them.
    fn end(&mut self) -> Result<(), Failure> {
        self.command_all("end")?;
        let deadline = Instant::now() + PATIENCE;
        for member in &mut self.members {
            member.commands = None;
            loop {
                match member.child.try_wait()? {
                    Some(status) if status.success() => break,
                    Some(status) => {
                        return Err(format!("node {} ended badly: {status}", member.name).into());
                    }
                    None if Instant::now() > deadline => {
                        return Err(format!("node {} does not end", member.name).into());
                    }
                    None => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.commands = None;
            if matches!(member.child.try_wait(), Ok(None)) {
                // It did not end in order: this is after an error, which the user is told.
                let _ = member.child.kill();
                let _ = member.child.wait();
            }
        }
    }
}

fn spawn(
    options: &Run,
    folder: &Path,
    name: &str,
    others: &[String],
    joins: &[String],
) -> Result<Member, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["member", "--name", name, "--cluster", "echo-run"]);
    command.args(["--workers", &options.workers.to_string()]);
    command.args(["--targets", &others.join(",")]);
    command.args(["--transport", options.transport.name()]);
    command.args(["--seconds", &options.traffic.seconds.to_string()]);
    command.args(["--in-flight", &options.traffic.in_flight.to_string()]);
    if let Some(size) = options.traffic.size {
        command.args(["--size", &size.to_string()]);
    }
    let socket = format!("unix://{}", folder.join(format!("{name}.sock")).display());
    let listen = match options.transport {
        Transport::Tcp | Transport::Udp => "tcp://127.0.0.1:0",
        Transport::Unix => &socket,
    };
    command.args(["--listen", listen]);
    if options.transport == Transport::Udp {
        command.args(["--datagrams", "udp://127.0.0.1:0"]);
    }
    for join in joins {
        command.args(["--join", join]);
    }
    if let Some(journal) = &options.journal {
        command.arg("--journal").arg(journal);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let commands = child.stdin.take();
    Ok(Member {
        name: name.into(),
        child,
        commands,
        pairs: Vec::new(),
        asked: Vec::new(),
        elapsed_s: None,
    })
}
