//! Running one test over many seeds.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::{Faults, Sim};

/// Runs a test over `count` seeds. The first that fails ends it, with a line that says how to replay it.
///
/// `SIM_SEED=n` in the environment runs that seed alone, and prints what happens. `SIM_SEEDS=n` runs
/// more of them, or fewer.
///
/// # Panics
/// If the test does.
#[allow(clippy::disallowed_methods, reason = "this is the harness, not what it simulates")]
pub fn run_seeds(name: &str, count: u64, test: impl Fn(&mut Sim)) {
    let number = |variable| std::env::var(variable).ok()?.parse::<u64>().ok();
    if let Some(seed) = number("SIM_SEED") {
        return test(&mut Sim::with(seed, Faults::default(), true));
    }
    for seed in 0..number("SIM_SEEDS").unwrap_or(count) {
        let ran = catch_unwind(AssertUnwindSafe(|| test(&mut Sim::new(seed))));
        if let Err(panic) = ran {
            eprintln!(
                "{name} fails with seed {seed}; to see it again: SIM_SEED={seed} cargo test {name} -- --nocapture"
            );
            resume_unwind(panic);
        }
    }
}
