//! Marks: what a batch of seeds is to reach at least once.

use std::collections::BTreeMap;

/// How often things have happened. A simulation that never reaches a fault shows nothing about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks(BTreeMap<&'static str, u64>);

impl Marks {
    /// Notes that something has happened.
    pub fn hit(&mut self, mark: &'static str) {
        *self.0.entry(mark).or_default() += 1;
    }

    /// How often something has happened.
    pub fn count(&self, mark: &str) -> u64 {
        self.0.get(mark).copied().unwrap_or(0)
    }

    /// Adds the marks of another run.
    pub fn add(&mut self, other: &Marks) {
        for (mark, count) in &other.0 {
            *self.0.entry(mark).or_default() += count;
        }
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(mark, count)| (*mark, *count))
    }

    /// Those of `wanted` that have never happened.
    pub fn missed(&self, wanted: &[&'static str]) -> Vec<&'static str> {
        wanted.iter().copied().filter(|mark| self.count(mark) == 0).collect()
    }
}
