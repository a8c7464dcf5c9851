//! One run: a cluster under load, first with everything going wrong, then healed.

use std::{cell::Cell, rc::Rc, time::Duration};

use annulus::{Limits, NodeBuilder, NodeHandle};
use annulus_sim::{Checks, Faults, Leftovers, Marks, Random, SendChecks, Sim, Sums, WatchChecks};

use crate::{
    actors::{Canceller, Clockmaker, Hermit, Say, Shopkeeper, shop},
    business::Business,
    clerk::{Books, Clerk},
    crowd::{Host, Occasion, host},
    leaks, plan,
    traffic::{Customer, Shops},
    watchers::{self, Errand, Watcher, watcher},
};

/// What runs have in common.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The number of nodes; drawn from 3 to 9 if not given.
    pub(crate) nodes: Option<usize>,
    /// How long the cluster runs, in simulated time.
    pub(crate) time: Duration,
    /// No faults at all.
    pub(crate) calm: bool,
}

/// What one run came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) violations: Vec<String>,
    pub(crate) marks: Marks,
    pub(crate) simulated: Duration,
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) sums: Sums,
}

/// Of the time of a run, the last part that is without faults.
const CALM_PART: u32 = 3;

/// How long a healed node has to reach another one.
const REACHES: Duration = Duration::from_secs(5);

/// Runs one seed.
pub(crate) fn run(seed: u64, settings: &Settings, aloud: bool) -> Outcome {
    let mut random = Random::new(seed);
    // Some worlds are calm: in those nothing at all may be lost.
    let calm = settings.calm || random.happens(0.1);
    let faults = if calm { Faults::default() } else { Faults::swarm(&mut random) };
    let count = settings.nodes.unwrap_or_else(|| random.between(3, 9) as usize);
    let checks = Checks::default();
    // Timers wake workers, and hide what fails to wake them.
    let quiet = random.happens(0.3);
    let shops: Shops =
        (0..count).map(|node| (format!("n{node}"), random.between(1, 3) as usize)).collect();
    let business = Business::default();
    let books = Books::new(checks.clone(), business.clone());
    let seen = WatchChecks::new(checks.clone());
    let mut watching = Errand::new(&business, &seen, &checks, &shops, seed);
    let sent = SendChecks::new(checks.clone());
    let mut occasion = Occasion::new(&business, &checks, &sent, &shops, calm, seed);
    let ports = Ports { moves: random.happens(0.5), moved: Rc::default() };
    // An ask without a limit does not time out, so what it waits for in vain shows.
    let limits = Limits { ask_timeout: Duration::from_hours(1), ..Limits::default() };
    let mut sim = Sim::with(seed, faults, aloud);
    for (name, workers) in &shops {
        let (checks, shops, random) = (checks.clone(), shops.clone(), random.fork());
        let (business, clerks) = (business.clone(), books.clone());
        let (watching, occasion) = (watching.fork(), occasion.fork());
        let set_up = SetUp { checks, business, shops, random, quiet, clerks, watching, occasion };
        let (ports, lives) = (ports.clone(), Cell::new(0));
        let settings = move |node: NodeBuilder| {
            ports.open(node, lives.replace(lives.get() + 1)).limits(limits)
        };
        sim.node(name, *workers, settings, async move |node| set_up.run(node).await);
    }
    let healed_at = settings.time - settings.time / CALM_PART;
    if !calm {
        plan::schedule(&mut sim, &mut random, healed_at);
    }
    sim.run_for(healed_at);
    heal(&mut sim);
    watchers::settle(&mut sim, &seen, settings.time - healed_at);
    everyone_reaches_everyone(&mut sim, &checks, &shops);
    business.close();
    leaks::at_rest(&mut sim, &checks);
    sent.insist();
    if calm {
        nothing_failed(&checks);
    }
    end(&mut sim, &checks);
    let sums = checks.sums();
    let mut marks = sim.marks();
    sums.failures.keys().for_each(|mark| marks.hit(mark));
    if ports.moved.get() {
        marks.hit("node came back elsewhere");
    }
    marks.add(&seen.marks());
    marks.add(&sent.marks());
    Outcome {
        violations: sums.violations.clone(),
        marks,
        simulated: sim.now(),
        trace: sim.trace_hash(),
        events: sim.events(),
        sums,
    }
}

fn heal(sim: &mut Sim) {
    sim.heal();
    for node in sim.names() {
        sim.pause(&node, Duration::ZERO).restart(&node);
    }
}

/// Where nodes are to be found, besides the place where others join them.
#[derive(Clone)]
struct Ports {
    /// Whether a node that comes back is elsewhere, as in deployments that give out free ports.
    moves: bool,
    /// Whether one has come back elsewhere.
    moved: Rc<Cell<bool>>,
}

impl Ports {
    fn open(&self, node: NodeBuilder, life: u16) -> NodeBuilder {
        if !self.moves {
            return node.datagrams("udp://0.0.0.0:8000");
        }
        self.moved.set(self.moved.get() || life > 0);
        // Further apart than a node has workers.
        let port = 8000 + 10 * (life % 5000);
        let here = format!("tcp://0.0.0.0:{port}");
        node.listen(&here).advertise(&here).datagrams(format!("udp://0.0.0.0:{port}"))
    }
}

/// What runs on a node when it starts.
#[derive(Clone)]
struct SetUp {
    checks: Checks,
    business: Business,
    shops: Shops,
    random: Random,
    /// Without actors that have timers.
    quiet: bool,
    clerks: Books,
    watching: Errand,
    occasion: Occasion,
}

impl SetUp {
    async fn run(mut self, node: NodeHandle) {
        for worker in 0..node.workers() {
            let SetUp { checks, business, shops, .. } = self.clone();
            let (id, books) = (checks.unique(), checks.clone());
            let keeper = move || Shopkeeper { id, checks: books, slow_every: 50 };
            let (books, open, chance) = (checks.clone(), business.clone(), self.random.fork());
            let clockmaker = move || Clockmaker::new(books, open, chance);
            let (books, open) = (checks.clone(), business.clone());
            let canceller = move || Canceller::new(books, open);
            let (books, open) = (checks.clone(), business.clone());
            let hermit = move || Hermit { checks: books, business: open, alone: true };
            let random = self.random.fork();
            let customer = move || Customer { checks, business, shops, random };
            // A node that is stopped while it starts spawns no more.
            let Ok(keeper) = node.spawn_with(worker, keeper).await else { return };
            let _ = shop(worker).register(keeper).await;
            let _ = node.spawn_with(worker, customer).await;
            let occasion = self.occasion.fork();
            let crowd = node.spawn_with(worker, move || Host::new(occasion)).await;
            let Ok(crowd) = crowd else { return };
            let _ = host(worker).register(crowd).await;
            if worker == 0 {
                let (books, id) = (self.clerks.clone(), node.name().to_owned());
                let _ = node.spawn_with(worker, move || Clerk::new(books, id)).await;
            }
            if !self.quiet {
                let _ = node.spawn_with(worker, clockmaker).await;
                let _ = node.spawn_with(worker, canceller).await;
                let _ = node.spawn_with(worker, hermit).await;
                let errand = self.watching.fork();
                let watches = node.spawn_with(worker, move || Watcher::new(errand)).await;
                let Ok(watches) = watches else { return };
                let _ = watcher(worker).register(watches).await;
            }
        }
    }
}

/// In a healed cluster every node reaches every other.
fn everyone_reaches_everyone(sim: &mut Sim, checks: &Checks, shops: &Shops) {
    for (from, _) in shops {
        let others: Vec<String> = shops.iter().map(|(node, _)| node.clone()).collect();
        let reached = sim.run_on(from, async move || {
            let mut unreached = Vec::new();
            for node in others {
                let found = shop(0).find_on(&node, REACHES).await;
                let answered = match found {
                    Ok(keeper) => {
                        let say = Say { number: 1, text: Vec::new() };
                        keeper.ask(say).within(REACHES).await.map(|_| ()).map_err(|e| e.to_string())
                    }
                    Err(error) => Err(error.to_string()),
                };
                unreached.extend(answered.err().map(|why| format!("{node}: {why}")));
            }
            unreached
        });
        match reached {
            Ok(unreached) if unreached.is_empty() => {}
            Ok(unreached) => {
                checks.violation("healing", format!("{from} does not reach {unreached:?}"))
            }
            Err(error) => checks.violation("healing", format!("{from}: {error}")),
        }
    }
}

/// In a calm world no message is lost, no ask fails, and none takes long.
fn nothing_failed(checks: &Checks) {
    let sums = checks.sums();
    if sums.arrived != sums.told {
        checks.violation("P4", format!("{} of {} messages arrived", sums.arrived, sums.told));
    }
    if !sums.failures.is_empty() {
        checks.violation("P8", format!("asks failed in a calm world: {:?}", sums.failures));
    }
    if sums.slowest_ask > SLOWEST {
        checks.violation("P8", format!("an ask took {:?} in a calm world", sums.slowest_ask));
    }
}

/// How long an ask takes at most where nothing goes wrong.
const SLOWEST: Duration = Duration::from_millis(150);

/// Ends all nodes in order; nothing may be left of them.
fn end(sim: &mut Sim, checks: &Checks) {
    for node in sim.names() {
        let Some(handle) = sim.handle(&node) else { continue };
        let ended = sim.drive(async move { handle.shutdown(Duration::from_secs(20)).await });
        if let Err(error) = ended {
            checks.violation("shutdown", format!("{node}: {error}"));
        }
        leaks::after_shutdown(sim, &node, checks);
    }
    let left = sim.end();
    if left != Leftovers::default() {
        checks.violation("leak", format!("{left:?}"));
    }
}
