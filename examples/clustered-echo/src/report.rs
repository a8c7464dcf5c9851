//! What a node has measured, as it is passed on and shown.

use std::io::{Write, stdout};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::Failure;

/// The echo traffic from one node to another, since it started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct PairReport {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Replies that were checked and right.
    pub(crate) verified: u64,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
    /// Replies that were wrong.
    pub(crate) mismatches: u64,
    /// Asks that ended without a reply.
    pub(crate) lost: u64,
    /// Why, for the first one.
    pub(crate) first_loss: Option<String>,
    /// Times to the reply: microseconds, and how many replies took that long.
    pub(crate) times: Vec<(u64, u64)>,
}

/// Times to the reply, in microseconds, up to a minute.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 2).expect("the bounds are in order")
}

impl PairReport {
    pub(crate) fn histogram(&self) -> Histogram<u64> {
        let mut histogram = new_histogram();
        for (value, count) in &self.times {
            histogram.saturating_record_n(*value, *count);
        }
        histogram
    }
}

/// What a member of a run tells the process that started it, one JSON object a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// It listens here.
    Listening { endpoint: String },
    /// It is connected to all others.
    Ready,
    /// How far it is.
    Progress { pairs: Vec<PairReport> },
    /// It has asked for as long as it was to, and every ask has ended.
    Finished { pairs: Vec<PairReport>, elapsed_s: f64, asked: Vec<Asked> },
}

/// How many asks a worker has made to a node; they are numbered from zero.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) to: String,
    pub(crate) asker: u64,
    pub(crate) count: u64,
}

/// The end of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) event: String,
    pub(crate) transport: String,
    pub(crate) replies_verified: u64,
    pub(crate) mismatches: u64,
    pub(crate) lost: u64,
    pub(crate) elapsed_s: f64,
    pub(crate) messages_per_s: f64,
    pub(crate) mb_per_s: f64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    /// Messages found in the journals, if any were kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) journal_records: Option<u64>,
}

impl Summary {
    pub(crate) fn new(transport: &str, pairs: &[PairReport], elapsed_s: f64) -> Self {
        let mut all = new_histogram();
        for pair in pairs {
            all.add(pair.histogram()).expect("all histograms have the same bounds");
        }
        let verified: u64 = pairs.iter().map(|pair| pair.verified).sum();
        let bytes: u64 = pairs.iter().map(|pair| pair.bytes).sum();
        Summary {
            event: "summary".into(),
            transport: transport.into(),
            replies_verified: verified,
            mismatches: pairs.iter().map(|pair| pair.mismatches).sum(),
            lost: pairs.iter().map(|pair| pair.lost).sum(),
            elapsed_s,
            messages_per_s: verified as f64 / elapsed_s,
            mb_per_s: bytes as f64 / elapsed_s / 1e6,
            p50_us: all.value_at_quantile(0.5),
            p99_us: all.value_at_quantile(0.99),
            p999_us: all.value_at_quantile(0.999),
            journal_records: None,
        }
    }

    /// Whether the run is a success: losses are part of the deal with datagrams only.
    pub(crate) fn is_good(&self) -> bool {
        self.mismatches == 0
            && self.replies_verified > 0
            && (self.lost == 0 || self.transport == "udp")
    }

    pub(crate) fn print(&self, json: bool) -> Result<(), Failure> {
        let mut out = stdout().lock();
        if json {
            writeln!(out, "{}", serde_json::to_string(self)?)?;
            return Ok(());
        }
        writeln!(
            out,
            "{} replies verified, {} mismatches, {} lost in {:.1} s over {}: {:.0} messages/s, \
             {:.1} MB/s each way, p50 {} µs, p99 {} µs, p99.9 {} µs",
            self.replies_verified,
            self.mismatches,
            self.lost,
            self.elapsed_s,
            self.transport,
            self.messages_per_s,
            self.mb_per_s,
            self.p50_us,
            self.p99_us,
            self.p999_us,
        )?;
        if let Some(records) = self.journal_records {
            writeln!(out, "{records} messages found in the journals, each just as it was asked")?;
        }
        Ok(())
    }
}
