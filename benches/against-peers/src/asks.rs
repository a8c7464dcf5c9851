//! Asks, one after the other: what all subjects do alike. Each has its own idiom for them.

/// Asks of a lap.
pub(crate) const LAP: u64 = 1000;

/// What is asked is a number; the answer is the next one.
#[inline]
pub(crate) fn answer(number: u64) -> u64 {
    number + 1
}

/// What the answers of a lap come to.
pub(crate) fn sum_of_answers() -> u64 {
    (0..LAP).map(answer).sum()
}
