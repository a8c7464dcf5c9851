//! P22: a test that fails says with which seed, and that seed fails in the same way.
#![allow(missing_docs, reason = "tests are named after what they show")]
#![allow(clippy::disallowed_methods, reason = "tests look from the outside")]

use std::process::Command;

use annulus_sim::{Sim, sim_test};

/// Fails with some seeds, on purpose: the test below runs it.
#[sim_test(seeds = 50)]
#[ignore = "fails on purpose"]
fn fails_with_some_seeds(sim: &mut Sim) {
    sim.node("ann", 1, |node| node, async |_| ());
    sim.run_for(std::time::Duration::from_secs(1));
    let drawn = sim.random().between(0, 9);
    assert!(drawn < 9, "drew {drawn}, trace {:x}", sim.trace_hash());
}

/// Runs it in a process of its own; what it said of its failure.
fn run(seed: Option<&str>) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "--nocapture", "fails_with_some_seeds"]);
    command.env("RUST_BACKTRACE", "0").env_remove("SIM_SEED").env_remove("SIM_SEEDS");
    let output = command.envs(seed.map(|seed| ("SIM_SEED", seed))).output().unwrap();
    assert!(!output.status.success(), "it fails");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn p22_a_failing_test_prints_a_seed_that_replays_it() {
    let says = run(None);
    let (_, line) = says.split_once("SIM_SEED=").expect("it names a seed");
    let seed = line.split(' ').next().unwrap();
    let what = |says: &str| says.lines().find(|line| line.starts_with("drew")).map(str::to_owned);
    assert!(what(&says).is_some(), "{says}");
    assert_eq!(what(&says), what(&run(Some(seed))));
}
