//! P16: bytes that are corrupted on their way end links, and nothing worse comes of them.
//!
//! What a corrupted message says may be wrong in every way, and so may what is made of it: an actor is called
//! down that lives, a name leads elsewhere. What must not happen is that something is read that has not
//! been validated, that a node panics, grows, or waits for ever, or that anything is left when it is over.
#![allow(missing_docs, reason = "tests are named after what they show")]

use std::{
    cell::Cell,
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
};

use annulus::{
    Access, Ask, AskError, Down, Limits, NodeBuilder, Watch, WorkerStats, codec::message::Message,
    now, prelude::*, transport::driver::Mono,
};
use annulus_sim::{Checks, Faults, Leftovers, Random, Sim, sim_test};

/// Fields of all kinds.
#[message(reply = Parcel)]
struct Parcel {
    number: u64,
    from: ActorRef<Desk>,
    label: String,
    lines: Vec<String>,
    stamp: Option<bool>,
    filling: Vec<u16>,
}

/// Start an actor that ends after a while.
#[message(reply = Hired)]
struct Hire {
    millis: u64,
}

#[message]
struct Hired {
    who: ActorRef<(Go,)>,
}

/// End now.
#[message]
struct Go;

type Desk = (Parcel, Hire, Down);

fn desk(worker: usize) -> Name<Desk> {
    Name::from_string(format!("desk-{worker}"))
}

/// What all desks of a world share.
#[derive(Clone)]
struct Office {
    checks: Checks,
    open: Arc<AtomicBool>,
    /// The nodes, and how many workers they have.
    nodes: Arc<Vec<(String, usize)>>,
}

impl Office {
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}

/// Reads what comes, answers, watches the senders, and sends to other desks.
struct Clerk {
    office: Office,
    random: Random,
    watches: Vec<Watch>,
}

/// Watches that a clerk has open at the same time.
const WATCHES: usize = 32;

impl Clerk {
    fn watch<P>(&mut self, who: ActorRef<P>, context: &mut Context<Self>) {
        if self.watches.len() >= WATCHES {
            let oldest = self.watches.remove(0);
            context.unwatch(oldest);
        }
        if self.office.is_open() {
            self.watches.extend(context.watch(who).ok());
        }
    }
}

impl Actor for Clerk {
    type Protocol = Desk;

    async fn started(&mut self, context: &mut Context<Self>) {
        let (office, random) = (self.office.clone(), self.random.fork());
        context.task(|clerk| async move {
            let _ = do_business(&clerk, office, random).await;
            let call_off = |clerk: &mut Clerk, context: &mut Context<Clerk>| {
                for watch in clerk.watches.drain(..) {
                    context.unwatch(watch);
                }
            };
            let _ = clerk.with(call_off).await;
        });
    }
}

impl Respond<Parcel> for Clerk {
    async fn respond(&mut self, parcel: Msg<Parcel>, context: &mut Context<Self>) -> Reply<Parcel> {
        let Parcel { number, from, label, lines, stamp, filling } = parcel.decode();
        let texts = lines.iter().chain([&label]);
        let read: usize = texts.map(|text| text.chars().count()).sum();
        // All of it lies in the message, and nothing twice.
        let most = parcel.bytes().len();
        if read + 2 * filling.len() > most {
            self.office.checks.violation("P16", format!("{read} characters in {most} bytes"));
        }
        if stamp.is_some() {
            self.watch(from, context);
        }
        if number.is_multiple_of(16) {
            // Whoever that is.
            let _ = from.tell(self::parcel(1, context.me(), 3));
        }
        if number.is_multiple_of(5) { parcel.into() } else { parcel.decode().into() }
    }
}

impl Handler<Hire> for Clerk {
    async fn handle(&mut self, hire: Msg<Hire>, context: &mut Context<Self>) -> Hired {
        let millis = hire.millis.to_native().min(500);
        Hired { who: context.spawn(Hand { millis }).unwrap() }
    }
}

impl Handler<Down> for Clerk {
    async fn handle(&mut self, down: Msg<Down>, _: &mut Context<Self>) {
        self.watches.retain(|watch| *watch != down.watch);
    }
}

struct Hand {
    millis: u64,
}

impl Actor for Hand {
    type Protocol = (Go,);

    async fn started(&mut self, context: &mut Context<Self>) {
        let millis = self.millis;
        context.task(move |hand| async move {
            sleep(Duration::from_millis(millis)).await;
            let _ = hand.with(|_, context| context.stop()).await;
        });
    }
}

impl Handler<Go> for Hand {
    async fn handle(&mut self, _: Msg<Go>, context: &mut Context<Self>) {
        context.stop();
    }
}

fn parcel(number: u64, from: ActorRef<Desk>, len: usize) -> Parcel {
    Parcel {
        number,
        from,
        label: "für dich: ✂ hier".into(),
        lines: (0..number % 5).map(|line| format!("zeile {line}")).collect(),
        stamp: [None, Some(true), None, Some(false)][number as usize % 4],
        filling: vec![7; len],
    }
}

/// How long an ask may take, and how much later it may be noticed.
const LIMIT: Duration = Duration::from_secs(1);
const BOUND: Duration = Duration::from_secs(2);

/// Finds desks and sends them all kinds of things, as long as the office is open.
async fn do_business(
    clerk: &Access<Clerk>,
    office: Office,
    mut random: Random,
) -> Result<(), Error> {
    while office.is_open() {
        let (node, workers) = &office.nodes[random.index(office.nodes.len())];
        let found = desk(random.index(*workers)).find_on(node, LIMIT).await;
        let Ok(to) = found else {
            sleep(Duration::from_millis(10)).await;
            continue;
        };
        for _ in 0..random.between(1, 30) {
            // Now and then more than a chunk.
            let len = if random.happens(0.05) { 60_000 } else { random.between(0, 200) };
            let parcel = parcel(random.between(0, 1000), clerk.me(), len as usize);
            let lost = match random.between(0, 9) {
                0..=3 => to.tell(parcel).is_err(),
                4 => to.by_datagram().tell(parcel).is_err(),
                5 => ask(&office, to.by_datagram().ask(parcel)).await.is_none(),
                6..=8 => ask(&office, to.ask(parcel)).await.is_none(),
                _ => hire(clerk, &office, to, random.between(0, 500)).await?,
            };
            if lost || !office.is_open() {
                break;
            }
            sleep(Duration::from_micros(random.between(0, 20_000))).await;
        }
    }
    Ok(())
}

/// Notes how an ask ends.
async fn ask<M: Message>(office: &Office, ask: Ask<M>) -> Option<Msg<M::Reply>> {
    let asked = Asked::new(&office.checks);
    let answer = ask.within(LIMIT).await;
    asked.ended(answer.as_ref().map(drop).map_err(|error| *error));
    answer.ok()
}

/// An ask that has been made. If its node is killed it ends with that.
struct Asked {
    checks: Checks,
    begin: Mono,
    outcome: Result<(), AskError>,
}

impl Asked {
    fn new(checks: &Checks) -> Self {
        checks.asked();
        Asked { checks: checks.clone(), begin: now(), outcome: Err(AskError::Cancelled) }
    }

    fn ended(mut self, outcome: Result<(), AskError>) {
        self.outcome = outcome;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.checks.ended(self.outcome, now().since(self.begin), BOUND);
    }
}

/// Watches somebody who ends soon. Returns whether nobody was found.
async fn hire(
    clerk: &Access<Clerk>,
    office: &Office,
    to: ActorRef<Desk>,
    millis: u64,
) -> Result<bool, Error> {
    let Some(hired) = ask(office, to.ask(Hire { millis })).await else { return Ok(true) };
    let who = hired.decode().who;
    clerk.with(move |clerk, context| clerk.watch(who, context)).await?;
    if millis.is_multiple_of(3) {
        let _ = who.tell(Go);
    }
    Ok(false)
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts panics of this thread from now on: those that a node contains count too.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            print(info);
        }));
    });
    PANICS.set(0);
}

/// A cluster whose desks are open.
struct World<'a> {
    sim: &'a mut Sim,
    office: Office,
    limits: Limits,
}

/// Message memory for a few of the largest frames that a corrupted length can stand for.
const MEMORY: usize = 40 << 20;

impl<'a> World<'a> {
    fn new(sim: &'a mut Sim) -> Self {
        count_panics();
        let count = sim.random().between(2, 6);
        let workers = |sim: &mut Sim| sim.random().between(1, 2) as usize;
        let nodes: Vec<_> = (0..count).map(|node| (format!("n{node}"), workers(sim))).collect();
        let (checks, open) = (Checks::default(), Arc::new(AtomicBool::new(true)));
        let office = Office { checks, open, nodes: Arc::new(nodes) };
        let limits = Limits { message_memory: MEMORY, ..Limits::default() };
        let mut world = World { sim, office, limits };
        for (name, workers) in world.office.nodes.clone().iter() {
            world.add(name, *workers);
        }
        world
    }

    fn add(&mut self, name: &str, workers: usize) {
        let (office, random, limits) = (self.office.clone(), self.sim.random().fork(), self.limits);
        let settings = move |node: NodeBuilder| node.limits(limits).datagrams("udp://0.0.0.0:8000");
        self.sim.node(name, workers, settings, async move |node| {
            let mut random = random;
            for worker in 0..workers {
                let (office, random) = (office.clone(), random.fork());
                let clerk = move || Clerk { office, random, watches: Vec::new() };
                let clerk = node.spawn_with(worker, clerk).await.unwrap();
                desk(worker).register(clerk).await.unwrap();
            }
        });
    }

    /// Bytes are corrupted for so long, at this rate; and perhaps more goes wrong.
    fn corrupt(&mut self, rate: f64, time: Duration) {
        let mut random = self.sim.random().fork();
        let others =
            if random.happens(0.5) { Faults::default() } else { Faults::swarm(&mut random) };
        self.sim.set_faults(Faults { corrupt: rate, ..others });
        let end = self.sim.now() + time;
        while self.sim.now() < end {
            self.sim.run_for(Duration::from_millis(50));
            self.is_within_bounds();
        }
        self.sim.heal();
    }

    fn stats(&self) -> Vec<(String, WorkerStats)> {
        let of_node = |node: String| {
            let stats = self.sim.stats(&node).into_iter().enumerate();
            stats.map(move |(worker, stats)| (format!("worker {worker} of {node}"), stats))
        };
        self.sim.names().into_iter().flat_map(of_node).collect()
    }

    fn is_within_bounds(&self) {
        for (worker, stats) in self.stats() {
            assert!(stats.message_memory <= MEMORY, "{worker} holds {stats:?}");
        }
    }

    /// Every worker finds every desk, and is answered, within a time.
    fn everyone_reaches_everyone(&mut self) {
        let (end, nodes) = (self.sim.now() + REACHES, self.office.nodes.clone());
        for (from, workers) in nodes.iter() {
            for worker in 0..*workers {
                let (handle, nodes) = (self.sim.handle(from).unwrap(), nodes.clone());
                let left = end.saturating_sub(self.sim.now());
                let reach = async move || reach_all(&nodes, now().after(left)).await;
                let unreached = self.sim.drive(handle.run_on(worker, reach)).unwrap();
                assert_eq!(unreached, None, "{worker} of {from} in {REACHES:?}");
            }
        }
    }

    /// Nobody has business any more, and all links end once, with what they have brought.
    fn close(&mut self) {
        self.office.open.store(false, Ordering::Relaxed);
        let names = self.sim.names();
        for name in &names {
            let others: Vec<_> = names.iter().filter(|other| *other != name).collect();
            let others: Vec<_> = others.into_iter().map(String::as_str).collect();
            self.sim.cut(&[name], &others);
        }
        self.sim.run_for(2 * self.limits.silence);
        self.sim.heal();
    }

    fn is_at_rest(&mut self) {
        let rests = |sim: &World<'_>| {
            sim.stats().into_iter().find_map(|(worker, stats)| {
                Some(format!("{worker} holds {}: {stats:?}", sim.excess(&worker, &stats)?))
            })
        };
        let end = self.sim.now() + RESTS;
        while let Some(excess) = rests(self) {
            assert!(self.sim.now() < end, "{excess}");
            self.sim.run_for(Duration::from_millis(100));
        }
    }

    /// What a worker holds and does not need.
    fn excess(&self, worker: &str, stats: &WorkerStats) -> Option<&'static str> {
        let node = self.office.nodes.iter().find(|(node, _)| worker.ends_with(node.as_str()))?;
        // For each name of an actor of another worker, the first one waits for its end.
        let names = if worker.starts_with("worker 0") { node.1 - 1 } else { 0 };
        let actors = if worker.starts_with("worker 0") { SYSTEM_ACTORS } else { 1 } + 1;
        // For each of the others there is one that messages to it are written in.
        let chunks = IDLE_CHUNKS + (node.1 - 1) + 2 * stats.links;
        let excess = [
            ("asks", stats.asks_open > names),
            ("messages", stats.mailbox_messages > 0 || stats.mailbox_bytes > 0),
            ("watches", stats.watches > 0),
            ("watchers", stats.watchers > 0),
            ("actors", stats.actors > actors),
            ("chunks", stats.chunks > chunks),
        ];
        excess.into_iter().find_map(|(what, more)| more.then_some(what))
    }

    fn end(self) {
        let World { sim, office, .. } = self;
        for node in sim.names() {
            let handle = sim.handle(&node).unwrap();
            let ended = sim.drive(async move { handle.shutdown(Duration::from_secs(20)).await });
            assert!(ended.is_ok(), "{node}: {ended:?}");
        }
        assert_eq!(sim.end(), Leftovers::default());
        let sums = office.checks.sums();
        assert!(sums.violations.is_empty(), "{:#?}", sums.violations);
        let ended = sums.answers + sums.failures.values().sum::<u64>();
        assert_eq!(sums.asks, ended, "asks that never ended");
        assert_eq!(PANICS.get(), 0, "something has panicked");
    }
}

/// How long after the corruption all are found again. Corrupted lists of members are made good in this time.
const REACHES: Duration = Duration::from_secs(90);

/// How long it takes until those who had business have none.
const RESTS: Duration = Duration::from_secs(40);

/// The actors of a node that are on its first worker: steward, cluster, names.
const SYSTEM_ACTORS: usize = 3;

/// Chunks of a worker without links: those that datagrams are received in, the one that they are written in,
/// those of messages and answers to itself, and the one that small messages of other workers come in.
const IDLE_CHUNKS: usize = 16 + 1 + 1 + 1 + 1;

/// Returns who is not reached in time.
async fn reach_all(nodes: &[(String, usize)], end: Mono) -> Option<String> {
    for (node, workers) in nodes {
        for worker in 0..*workers {
            while let Err(error) = reach(node, worker).await {
                if now() >= end {
                    return Some(format!("{worker} of {node}: {error}"));
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
    }
    None
}

async fn reach(node: &str, worker: usize) -> Result<(), Error> {
    let to = desk(worker).find_on(node, LIMIT).await?;
    to.ask(parcel(1, to, 10)).within(LIMIT).await?;
    Ok(())
}

/// From one segment in ten thousand to one in three.
fn rate(sim: &Sim) -> f64 {
    [1e-4, 1e-3, 0.01, 0.1, 1.0 / 3.0][sim.seed() as usize % 5]
}

#[sim_test(seeds = 60)]
fn p16_corrupted_bytes_end_links_and_nothing_worse_comes_of_them(sim: &mut Sim) {
    let rate = rate(sim);
    let mut world = World::new(sim);
    world.sim.run_for(Duration::from_secs(1));
    world.corrupt(rate, Duration::from_secs(5));
    world.everyone_reaches_everyone();
    world.close();
    world.everyone_reaches_everyone();
    world.is_at_rest();
    let was_corrupted = world.sim.marks().iter().any(|(mark, _)| mark == "bytes were corrupted");
    assert!(was_corrupted || rate < 0.01);
    assert!(world.office.checks.sums().answers > 0);
    world.end();
}

/// Handshakes and the first lists of members are corrupted too, and nodes start anew meanwhile.
#[sim_test(seeds = 60)]
fn p16_a_cluster_that_forms_among_corrupted_bytes_is_whole_when_it_is_over(sim: &mut Sim) {
    let rate = rate(sim);
    let mut world = World::new(sim);
    for _ in 0..3 {
        let time = Duration::from_millis(world.sim.random().between(1, 3000));
        world.corrupt(rate, time);
        let names = world.sim.names();
        let node = &names[world.sim.random().index(names.len())];
        world.sim.kill(node).restart(node);
    }
    world.everyone_reaches_everyone();
    world.close();
    world.everyone_reaches_everyone();
    world.is_at_rest();
    world.end();
}
