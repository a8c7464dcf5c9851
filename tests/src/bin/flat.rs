//! Sends very many messages to an actor that is slower than its sender, in each way there is to meet a full
//! mailbox, and shows that memory stays what it was.
//!
//! `cargo run --release -p annulus-tests --bin flat -- --messages 1000000000`
#![allow(clippy::disallowed_methods, reason = "it is a program of the tests")]

use std::time::Duration;

use annulus_tests::flat::{Load, Look, Report};

/// Messages in all, unless the command line says otherwise.
const MESSAGES: u64 = 1_000_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let messages = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => MESSAGES,
        ["--messages", number] => number.parse().expect("a number of messages"),
        _ => return eprintln!("usage: flat [--messages NUMBER]"),
    };
    for load in Load::all(messages) {
        let mut shown = Duration::ZERO;
        let report = load.run(|look| {
            if look.elapsed.as_secs() > shown.as_secs() {
                shown = look.elapsed;
                show(&load, look);
            }
        });
        eprint!("\r\x1b[K");
        println!("{}", json(&load, &report));
    }
}

/// One line that is written over and over.
fn show(load: &Load, look: &Look) {
    eprint!(
        "\r{:?}, {:?} worker: {} s, {} M handled, {} M refused, {} M dead letters, {} MiB resident, \
         {} KiB of messages in {} chunks\x1b[K",
        load.policy,
        load.place,
        look.elapsed.as_secs(),
        look.handled / 1_000_000,
        look.refused / 1_000_000,
        look.dead_letters / 1_000_000,
        look.resident >> 20,
        look.message_memory >> 10,
        look.chunks,
    );
}

fn json(load: &Load, report: &Report) -> String {
    let Report { start, end, peak } = report;
    format!(
        r#"{{"policy":"{:?}","worker":"{:?}","messages":{},"handled":{},"refused":{},"dead_letters":{},"seconds":{:.1},"rss_start":{},"rss_peak":{},"rss_end":{},"message_memory_peak":{},"chunks_peak":{}}}"#,
        load.policy,
        load.place,
        load.messages,
        end.handled,
        end.refused,
        end.dead_letters,
        end.elapsed.as_secs_f64(),
        start.resident,
        peak.resident,
        end.resident,
        peak.message_memory,
        peak.chunks,
    )
}
