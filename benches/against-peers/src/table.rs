//! What came of it as a table, one for each work.

use crate::{best::best, rounds::Row, subjects::Subject, works::Work};

/// Prints all works.
pub(crate) fn print(rows: &[Row]) {
    for work in Work::ALL {
        if rows.iter().any(|row| row.work == work) {
            print_work(rows, work);
        }
    }
}

fn print_work(rows: &[Row], work: Work) {
    let what = if work.counts_bytes() { "bytes" } else { "ns" };
    println!("\n{work}: {what} for each {}", work.unit());
    println!(
        "  {:<11} {:<15} {:>10} {:>10} {:>10} {:>12} {:>9}",
        "subject", "config", "ns", "min", "max", "cpu s/M", "to best"
    );
    let best_peer = best(rows, work, |subject| subject != Subject::Annulus);
    for row in rows.iter().filter(|row| row.work == work) {
        print_row(row, best_peer);
    }
    for (name, peer) in [
        ("the best actor framework", best(rows, work, Subject::is_peer_framework)),
        ("raw tokio", best(rows, work, |subject| subject == Subject::TokioMpsc)),
    ] {
        let ours = best(rows, work, |subject| subject == Subject::Annulus);
        if let (Some(ours), Some(peer)) = (ours, peer) {
            println!("  annulus: {:.2} times better than {name}", peer / ours);
        }
    }
}

fn print_row(row: &Row, best_peer: Option<f64>) {
    let names = format!("{:<11} {:<15}", row.subject.name(), row.config.name);
    let Some(cost) = row.cost() else {
        let why = row.failure.as_deref().unwrap_or("nothing was measured");
        return println!("  {names} {why}");
    };
    let number = |value: f64| format!("{value:.1}");
    // A second for a million is a microsecond for one.
    let cpu = row.cpu().map_or(String::from("-"), |cpu| format!("{:.4}", cpu.median / 1000.0));
    let ratio = best_peer.map_or(String::from("-"), |best| format!("{:.2}", cost.median / best));
    println!(
        "  {names} {:>10} {:>10} {:>10} {cpu:>12} {ratio:>9}",
        number(cost.median),
        number(cost.min),
        number(cost.max),
    );
    if let Some(note) = row.note() {
        println!("    measured {} times: {note}", row.times());
    }
}
