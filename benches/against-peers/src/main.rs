//! The same work on annulus and on its peers, side by side.
//!
//! [`works`] says what the works are, [`subjects`] who does them, and [`shapes`] how the peers do.
//! [`rounds`] starts a process for each measurement: a [`child`], which measures with a [`meter`]. What
//! came of it goes to a [`table`], to [`json`], or to a [`chart`].

mod alloc;
mod args;
mod asks;
mod at_once;
mod best;
mod chart;
mod child;
mod finish;
mod flow;
mod json;
mod meter;
mod payload;
mod pin;
mod rounds;
mod rules;
mod shapes;
mod stats;
mod subjects;
mod table;
mod works;

use std::process::ExitCode;

use clap::Parser;

use crate::{
    args::{Args, Role},
    subjects::Subject,
    works::Work,
};

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Role::Child(child)) = args.role {
        child::run(child);
        return ExitCode::SUCCESS;
    }
    if args.list {
        list();
        return ExitCode::SUCCESS;
    }
    let rows = rounds::run(&args);
    if args.json {
        json::print(&rows);
    } else {
        table::print(&rows);
    }
    if let Some(path) = &args.svg
        && let Err(error) = std::fs::write(path, chart::draw(&rows))
    {
        eprintln!("{}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    let failed = rows.iter().any(|row| row.failure.is_some());
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn list() {
    println!("works:");
    Work::ALL.iter().for_each(|work| println!("  {work}"));
    println!("subjects:");
    Subject::ALL.iter().for_each(|subject| println!("  {subject}"));
}
