//! Who is the best at a work.

use crate::{rounds::Row, subjects::Subject, works::Work};

/// The lowest median of a work among the subjects that `counts` says count.
pub(crate) fn best(rows: &[Row], work: Work, counts: impl Fn(Subject) -> bool) -> Option<f64> {
    best_row(rows, work, counts).and_then(median)
}

/// The row with it.
pub(crate) fn best_row(rows: &[Row], work: Work, counts: impl Fn(Subject) -> bool) -> Option<&Row> {
    let rows = rows.iter().filter(|row| row.work == work && counts(row.subject));
    let rows = rows.filter_map(|row| Some((row, median(row)?)));
    rows.min_by(|(_, left), (_, right)| left.total_cmp(right)).map(|(row, _)| row)
}

fn median(row: &Row) -> Option<f64> {
    row.cost().map(|cost| cost.median)
}
