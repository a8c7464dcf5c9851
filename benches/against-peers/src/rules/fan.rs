//! Fan-in and fan-out.

use crate::flow::{BATCH, sum_below};

/// Senders of the fan-in.
pub(crate) const SENDERS: usize = 8;

/// Messages of each of them in a lap.
pub(crate) const EACH_SENDS: u64 = 10 * BATCH;

/// Receivers of the fan-out.
pub(crate) const RECEIVERS: usize = 1000;

/// Messages that a receiver of the fan-out takes before it says so.
pub(crate) const EACH_TAKES: u64 = 10;

/// Times that each receiver of the fan-out says so in a lap.
pub(crate) const TAKES: u64 = 5;

/// Messages of a lap of the fan-in.
pub(crate) const IN_LAP: u64 = SENDERS as u64 * EACH_SENDS;

/// What they come to.
pub(crate) fn in_sum() -> u64 {
    SENDERS as u64 * sum_below(EACH_SENDS)
}

/// Messages of a lap of the fan-out.
pub(crate) const OUT_LAP: u64 = RECEIVERS as u64 * EACH_TAKES * TAKES;

/// What they come to: each receiver gets the numbers up to [`EACH_TAKES`], every time.
pub(crate) fn out_sum() -> u64 {
    RECEIVERS as u64 * TAKES * sum_below(EACH_TAKES)
}
