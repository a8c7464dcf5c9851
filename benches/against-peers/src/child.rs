//! A child process: one measurement of one subject, in a process that nothing else has used.

use std::time::Duration;

use crate::{args::Child, meter::Meter, pin};

/// Measures, and prints what it has measured as JSON.
pub(crate) fn run(child: Child) {
    pin::to_core(0);
    let configs = child.subject.configs(child.work);
    let meter = Meter::new(Duration::from_millis(child.millis), child.quick);
    let meter = child.subject.run(child.work, configs[child.config].name, meter);
    let measured = serde_json::to_string(&meter.into_measured());
    println!("{}", measured.expect("numbers can be written as JSON"));
    // What a subject has left running ends with the process.
    std::process::exit(0);
}
