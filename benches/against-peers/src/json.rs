//! What came of it as JSON, one object a line.

use serde::Serialize;

use crate::rounds::Row;

#[derive(Serialize)]
struct Line {
    work: &'static str,
    unit: &'static str,
    subject: &'static str,
    config: &'static str,
    setup: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_per_op: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ns_per_op: Option<f64>,
    /// Of the first worker's thread alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_cpu_ns_per_op: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_actor: Option<f64>,
    /// How often it was measured.
    times: usize,
    /// Of what came of that.
    min: Option<f64>,
    max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Prints all rows.
pub(crate) fn print(rows: &[Row]) {
    for row in rows {
        let cost = row.cost();
        let median = cost.map(|cost| cost.median);
        let bytes = row.work.counts_bytes();
        let line = Line {
            work: row.work.name(),
            unit: row.work.unit(),
            subject: row.subject.name(),
            config: row.config.name,
            setup: row.config.setup,
            ns_per_op: median.filter(|_| !bytes),
            cpu_ns_per_op: row.cpu().map(|cpu| cpu.median),
            thread_cpu_ns_per_op: row.thread_cpu().map(|cpu| cpu.median),
            bytes_per_actor: median.filter(|_| bytes),
            times: row.times(),
            min: cost.map(|cost| cost.min),
            max: cost.map(|cost| cost.max),
            note: row.note(),
        };
        println!("{}", serde_json::to_string(&line).expect("numbers and texts can be written"));
    }
}
