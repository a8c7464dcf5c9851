//! The live table: a row for each pair of nodes.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write, stdout},
};

use crate::report::PairReport;

/// Draws over itself on a terminal, and prints nothing elsewhere.
pub(crate) struct Table {
    live: bool,
    lines: usize,
    last: BTreeMap<(String, String), (u64, u64)>,
}

impl Table {
    pub(crate) fn new(json: bool) -> Self {
        Table { live: !json && stdout().is_terminal(), lines: 0, last: BTreeMap::new() }
    }

    /// Shows the rates since the last call, `seconds` ago.
    pub(crate) fn draw(&mut self, pairs: &[PairReport], seconds: f64) {
        if !self.live {
            return;
        }
        let mut text = String::new();
        if self.lines > 0 {
            text.push_str(&format!("\x1b[{}A", self.lines));
        }
        text.push_str(&header());
        for pair in pairs {
            let key = (pair.from.clone(), pair.to.clone());
            let now = (pair.verified, pair.bytes);
            let before = self.last.insert(key, now).unwrap_or((0, 0));
            let rate =
                |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds.max(0.001);
            text.push_str(&row(pair, rate(now.0, before.0), rate(now.1, before.1)));
        }
        self.lines = pairs.len() + 1;
        show(&text);
    }

    /// Shows the rates of the whole run.
    pub(crate) fn finish(&mut self, pairs: &[PairReport], elapsed_s: f64, json: bool) {
        if json {
            return;
        }
        self.last.clear();
        if self.live {
            self.draw(pairs, elapsed_s);
            return;
        }
        let mut text = header();
        for pair in pairs {
            let (messages, bytes) = (pair.verified as f64, pair.bytes as f64);
            text.push_str(&row(pair, messages / elapsed_s, bytes / elapsed_s));
        }
        show(&text);
    }
}

/// A terminal that cannot be written to shows nothing; the run goes on, and its sum says what happened.
fn show(text: &str) {
    let mut out = stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn header() -> String {
    format!(
        "\x1b[K{:<14}{:>13}{:>9}{:>10}{:>10}{:>11}{:>7}{:>7}\n",
        "from -> to", "messages/s", "MB/s", "p50 µs", "p99 µs", "p99.9 µs", "wrong", "lost"
    )
    .replace("\x1b[K", if stdout().is_terminal() { "\x1b[K" } else { "" })
}

fn row(pair: &PairReport, messages: f64, bytes: f64) -> String {
    let times = pair.histogram();
    format!(
        "{:<14}{:>13.0}{:>9.1}{:>10}{:>10}{:>11}{:>7}{:>7}\n",
        format!("{} -> {}", pair.from, pair.to),
        messages,
        bytes / 1e6,
        times.value_at_quantile(0.5),
        times.value_at_quantile(0.99),
        times.value_at_quantile(0.999),
        pair.mismatches,
        pair.lost,
    )
}
