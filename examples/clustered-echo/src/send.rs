//! Sends standard input through a cluster, line by line, and prints what comes back.

use std::process::ExitCode;

use crate::{Failure, args::Send};

pub(crate) fn run(options: &Send) -> Result<ExitCode, Failure> {
    let _ = options;
    Err("not there yet".into())
}
