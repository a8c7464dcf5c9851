//! What goes wrong in a run, and when: drawn from its seed.

use std::time::Duration;

use annulus_sim::{Random, Sim};

/// Faults that a batch of seeds is to have reached.
pub(crate) const MARKS: &[&str] = &[
    "a dropped receive took bytes",
    "accept failed",
    "ask found no link",
    "ask lost its node",
    "ask timed out",
    "clock was set back",
    "clock was set forward",
    "closed with bytes unread",
    "connection was refused",
    "connection was reset",
    "cut in one direction",
    "datagram arrived twice",
    "datagram found no room",
    "datagram was lost",
    "datagram was overtaken",
    "doorbell was late",
    "nodes were cut apart",
    "no memory for an operation",
    "node was killed",
    "node was paused",
    "power was cut",
    "read failed",
    "write failed",
    "write was short",
    "write was torn",
    "disk stalled",
    "receive was short",
    "segment met a cut",
    "segment met no socket",
    "segment was sent again",
    "send was short",
    "turn was slow",
    "window was full",
];

/// Draws what happens to the nodes until `end`.
pub(crate) fn schedule(sim: &mut Sim, random: &mut Random, end: Duration) {
    let mut at = Duration::from_secs(2);
    while at < end {
        let mut chance = random.fork();
        sim.at(at, move |sim| strike(sim, &mut chance));
        at += Duration::from_millis(random.between(200, 6000));
    }
}

fn some<'a>(names: &'a [String], random: &mut Random) -> (Vec<&'a str>, Vec<&'a str>) {
    let picked = names.iter().map(|name| (name.as_str(), random.happens(0.5)));
    let (some, others): (Vec<_>, Vec<_>) = picked.partition(|(_, picked)| *picked);
    let strip = |pairs: Vec<(&'a str, bool)>| pairs.into_iter().map(|(name, _)| name).collect();
    (strip(some), strip(others))
}

/// One thing goes wrong.
fn strike(sim: &mut Sim, random: &mut Random) {
    let names = sim.names();
    let victim = names[random.index(names.len())].clone();
    let (some, others) = some(&names, random);
    let later = Duration::from_millis(random.between(1, 12_000));
    match random.between(0, 9) {
        0 | 1 => {
            sim.mark("nodes were cut apart");
            sim.partition(&some, &others);
            mend_later(sim, &some, &others, later);
        }
        2 => {
            sim.mark("cut in one direction");
            sim.cut(&some, &others);
            mend_later(sim, &some, &others, later);
        }
        3 => flap(sim, &some, &others, random.between(2, 20)),
        4 => {
            sim.mark("node was killed");
            sim.kill(&victim).after(later / 4, move |sim| {
                sim.restart(&victim);
            });
        }
        5 => {
            sim.mark("power was cut");
            sim.cut_power(&victim).after(later / 4, move |sim| {
                sim.restart(&victim);
            });
        }
        6 => {
            sim.mark("node was paused");
            sim.pause(&victim, later / 2);
        }
        7 => {
            sim.mark("clock was set back");
            sim.step_clock(&victim, -(random.between(1, 100_000_000_000) as i64));
        }
        8 => {
            sim.mark("clock was set forward");
            sim.step_clock(&victim, random.between(1, 100_000_000_000) as i64);
        }
        // Other faults for a while.
        _ => {
            sim.swarm();
        }
    }
}

fn mend_later(sim: &mut Sim, some: &[&str], others: &[&str], later: Duration) {
    let [some, others] = [some, others].map(|names| names.iter().map(|n| n.to_string()).collect());
    let (some, others): (Vec<String>, Vec<String>) = (some, others);
    sim.after(later, move |sim| {
        let [some, others] =
            [&some, &others].map(|names| names.iter().map(String::as_str).collect());
        let (some, others): (Vec<&str>, Vec<&str>) = (some, others);
        sim.join(&some, &others).join(&others, &some);
    });
}

/// Cuts and joins, again and again.
fn flap(sim: &mut Sim, some: &[&str], others: &[&str], times: u64) {
    if times == 0 {
        return;
    }
    sim.partition(some, others);
    mend_later(sim, some, others, Duration::from_millis(150));
    let [some, others] = [some, others].map(|names| names.iter().map(|n| n.to_string()).collect());
    let (some, others): (Vec<String>, Vec<String>) = (some, others);
    sim.after(Duration::from_millis(300), move |sim| {
        let [some, others] =
            [&some, &others].map(|names| names.iter().map(String::as_str).collect());
        let (some, others): (Vec<&str>, Vec<&str>) = (some, others);
        flap(sim, &some, &others, times - 1);
    });
}
