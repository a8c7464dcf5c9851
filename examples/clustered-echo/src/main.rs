//! A cluster of nodes that ask each other's echo actors, and check every reply byte for byte.
//!
//! Without an argument it starts three nodes as three processes on this machine. See `--help`.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "this program runs on a real machine only: it starts processes and reads the clock"
)]

mod args;
mod drive;
mod echo;
mod journal;
mod launch;
mod load;
mod member;
mod messages;
mod node;
mod report;
mod send;
mod table;

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;

use crate::args::{Args, Command};

/// Why the program ends with an error: one line for the user.
pub(crate) type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default_filter(&args))),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let result = match args.command {
        None => launch::run(&args.run),
        Some(Command::Node(options)) => node::run(&options),
        Some(Command::Drive(options)) => drive::run(&options),
        Some(Command::Send(options)) => send::run(&options),
        Some(Command::Member(options)) => member::run(&options),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("clustered-echo: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// What is logged unless `RUST_LOG` says otherwise: nodes tell of connections that come and go.
fn default_filter(args: &Args) -> &'static str {
    match args.command {
        Some(Command::Node(_)) => "info",
        _ => "error",
    }
}
