//! Who is the best at a work.

use crate::{rounds::Row, subjects::Subject, works::Work};

/// The lowest median of a work among the subjects that `counts` says count.
pub(crate) fn best(rows: &[Row], work: Work, counts: impl Fn(Subject) -> bool) -> Option<f64> {
    let rows = rows.iter().filter(|row| row.work == work && counts(row.subject));
    let medians = rows.filter_map(|row| Some(row.cost()?.median));
    medians.min_by(f64::total_cmp)
}
