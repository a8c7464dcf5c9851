//! The rounds: each measurement in a process of its own, in another order each time.

use std::{
    io::{self, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    args::Args,
    meter::Measured,
    stats::Spread,
    subjects::{Config, Subject},
    works::Work,
};

/// How long a child may take. Longer means that it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a round measures works of workers that [sleep](Work::sleeps).
const TURNS_OF_SLEEPERS: usize = 5;

/// One subject in one configuration at one work, and what came of it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) work: Work,
    pub(crate) subject: Subject,
    pub(crate) config: Config,
    /// The place of the configuration among those of its subject.
    number: usize,
    measured: Vec<Measured>,
    pub(crate) failure: Option<String>,
}

impl Row {
    /// Nanoseconds for each operation, or bytes for each actor.
    pub(crate) fn cost(&self) -> Option<Spread> {
        let cost = |one: &Measured| one.bytes.unwrap_or(one.wall_nanos) / one.ops as f64;
        Spread::of(self.measured.iter().map(cost))
    }

    /// Nanoseconds of processor time for each operation, of all threads.
    pub(crate) fn cpu(&self) -> Option<Spread> {
        Spread::of(self.timed().map(|one| one.cpu_nanos / one.ops as f64))
    }

    /// The same, of the first worker's thread.
    pub(crate) fn thread_cpu(&self) -> Option<Spread> {
        Spread::of(self.timed().map(|one| one.thread_cpu_nanos / one.ops as f64))
    }

    /// How often it was measured.
    pub(crate) fn times(&self) -> usize {
        self.measured.len()
    }

    /// What is to be said of the figures.
    pub(crate) fn note(&self) -> Option<String> {
        let fuller = cfg!(feature = "peer-defaults")
            && matches!(self.subject, Subject::Kameo | Subject::Ractor);
        self.failure.clone().or_else(|| fuller.then(|| "built with its default features".into()))
    }

    fn timed(&self) -> impl Iterator<Item = &Measured> {
        self.measured.iter().filter(|one| one.bytes.is_none())
    }
}

/// Runs everything that is asked for.
pub(crate) fn run(args: &Args) -> Vec<Row> {
    let mut rows: Vec<Row> = args.works().flat_map(|work| rows_of(args, work)).collect();
    let works: Vec<Work> = args.works().collect();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    fastrand::seed(seed);
    eprintln!("in the order of --seed {seed}");
    let begin = Instant::now();
    for round in 0..args.rounds() {
        for works in works.chunk_by(|one, next| one.sleeps() && next.sleeps()) {
            let seconds = begin.elapsed().as_secs();
            let names: Vec<&str> = works.iter().map(|work| work.name()).collect();
            eprintln!(
                "round {} of {}, {seconds} s: {}",
                round + 1,
                args.rounds(),
                names.join(", ")
            );
            let mut rows: Vec<&mut Row> =
                rows.iter_mut().filter(|row| works.contains(&row.work)).collect();
            measure_together(args, &mut rows, works[0].sleeps());
        }
    }
    rows
}

/// Measures the rows of a round. What was measured before may be felt, so chance says what that is.
fn measure_together(args: &Args, rows: &mut [&mut Row], sleeps: bool) {
    let turns = if sleeps && !args.quick { TURNS_OF_SLEEPERS } else { 1 };
    for _ in 0..turns {
        fastrand::shuffle(rows);
        rows.iter_mut().for_each(|row| measure(args, row));
    }
}

fn rows_of(args: &Args, work: Work) -> Vec<Row> {
    let subjects = Subject::ALL.into_iter().filter(|subject| args.wants(*subject));
    let rows = subjects.flat_map(|subject| {
        let configs = subject.configs(work).into_iter().enumerate();
        configs.map(move |(number, config)| Row {
            work,
            subject,
            config,
            number,
            measured: Vec::new(),
            failure: None,
        })
    });
    rows.collect()
}

fn measure(args: &Args, row: &mut Row) {
    match in_child(args, row) {
        Ok(measured) => row.measured.push(measured),
        Err(failure) => {
            eprintln!("{} {} {}: {failure}", row.work, row.subject, row.config.name);
            row.failure = Some(failure);
        }
    }
}

fn in_child(args: &Args, row: &Row) -> Result<Measured, String> {
    let mut command = Command::new("/proc/self/exe");
    command.args(["child", "--work", row.work.name(), "--subject", row.subject.name()]);
    command.args(["--config", &row.number.to_string()]);
    command.args(["--millis", &args.target().as_millis().to_string()]);
    command.args(args.quick.then_some("--quick"));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| error.to_string())?;
    let text = output_of(&mut child);
    if text.is_err() {
        // It may not have ended by itself; whatever comes of this, it is waited for.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    let text = text?;
    if !status.success() {
        return Err(format!("it ended with {status}"));
    }
    serde_json::from_str(&text).map_err(|error| format!("{error} in {text:?}"))
}

/// All that a child prints until it ends. Nothing runs here meanwhile: the child is measured, and needs all cores.
fn output_of(child: &mut Child) -> Result<String, String> {
    let mut stdout = child.stdout.take().expect("stdout is piped");
    let (give, take) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        // Nobody waits any longer if it took too long.
        let _ = give.send(read.map(|_| text));
    });
    let read: io::Result<String> = take.recv_timeout(PATIENCE).map_err(|error| match error {
        RecvTimeoutError::Timeout => format!("it had not ended after {} s", PATIENCE.as_secs()),
        RecvTimeoutError::Disconnected => "nobody has read what it printed".into(),
    })?;
    read.map_err(|error| error.to_string())
}
