//! Counts of instructions, and those that are stored to compare them with.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde_json::Value;

use crate::{LAP, PATH_LAP};

/// How much more than its baseline a bench may take. Two clean builds in different places have differed by 0.7 %
/// at most, since the allocator meets other lengths of paths; most do not differ at all.
const TOLERANCE: f64 = 1.02;

/// What counts depend on besides the sources, and the instructions of one operation of each bench, by name.
#[derive(Debug, Default, PartialEq)]
pub struct Counts {
    /// The compiler, the C library, valgrind and the processor, in words.
    pub made_with: String,
    /// The benches.
    pub benches: BTreeMap<String, f64>,
}

/// What comes of comparing counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No bench takes more than it should, and all are there.
    Good,
    /// Some bench takes more than it should, or only one side knows it.
    Bad,
    /// They were made with different things.
    NotComparable,
}

impl Counts {
    /// Reads a stored baseline.
    ///
    /// # Errors
    /// The line that makes no sense.
    pub fn parse(stored: &str) -> Result<Self, String> {
        let mut counts = Counts::default();
        for line in stored.lines() {
            let Some((name, value)) = line.split_once('\t') else { return Err(line.into()) };
            if name == MADE_WITH {
                counts.made_with = value.into();
            } else {
                let count = value.parse().map_err(|_| line)?;
                counts.benches.insert(name.into(), count);
            }
        }
        Ok(counts)
    }

    /// As it is stored.
    pub fn to_text(&self) -> String {
        let mut text = format!("{MADE_WITH}\t{}\n", self.made_with);
        for (name, count) in &self.benches {
            let _ = writeln!(text, "{name}\t{count:.3}");
        }
        text
    }

    /// Takes in a line that the counting benches print: a JSON object. `None` if it is something else.
    pub fn take_in(&mut self, line: &str) -> Option<()> {
        let summary: Value = serde_json::from_str(line).ok()?;
        let text = |field: &str| summary.get(field)?.as_str();
        let group = text("function_name")?;
        let name = format!("{group}/{}", text("id")?);
        let counted =
            summary.pointer("/profiles/0/data/total/metrics/Ir/values/new")?.as_u64()? as f64;
        let lap = if group == "path" { PATH_LAP } else { LAP };
        self.benches.insert(name, counted / lap as f64);
        Some(())
    }

    /// Compares these counts with a baseline. Returns a table for people, too.
    pub fn compare(&self, baseline: &Counts) -> (Verdict, String) {
        let comparable = self.made_with == baseline.made_with;
        let mut table = format!("{:<32}{:>12}{:>12}{:>8}\n", "", "baseline", "now", "ratio");
        let mut good = true;
        let both = self.benches.keys().chain(baseline.benches.keys());
        for name in both.collect::<BTreeSet<_>>() {
            let (before, now) = (baseline.benches.get(name), self.benches.get(name));
            let ratio = before.zip(now).map(|(before, now)| now / before);
            let mark = match ratio {
                None => "  only one side has it",
                Some(ratio) if ratio > TOLERANCE => "  more than it may",
                Some(ratio) if ratio < 1.0 / TOLERANCE => "  less: store it",
                Some(_) => "",
            };
            good &= ratio.is_some_and(|ratio| ratio <= TOLERANCE);
            let number =
                |count: Option<&f64>| count.map_or("-".into(), |count| format!("{count:.2}"));
            let ratio = ratio.map_or("-".into(), |ratio| format!("{ratio:.3}"));
            let (before, now) = (number(before), number(now));
            let _ = writeln!(table, "{name:<32}{before:>12}{now:>12}{ratio:>8}{mark}");
        }
        let verdict = match (comparable, good) {
            (false, _) => Verdict::NotComparable,
            (true, true) => Verdict::Good,
            (true, false) => Verdict::Bad,
        };
        (verdict, table)
    }
}

const MADE_WITH: &str = "made with";

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(made_with: &str, benches: &[(&str, f64)]) -> Counts {
        let benches = benches.iter().map(|(name, count)| ((*name).into(), *count)).collect();
        Counts { made_with: made_with.into(), benches }
    }

    #[test]
    fn what_is_stored_is_read_back() {
        let stored = counts("rustc", &[("codec/a", 12.25), ("path/b", 3.0)]);
        assert_eq!(Counts::parse(&stored.to_text()), Ok(stored));
        assert_eq!(Counts::parse("codec/a\tmany\n"), Err("codec/a\tmany".into()));
    }

    #[test]
    fn more_than_two_percent_is_bad_and_less_is_not() {
        let baseline = counts("rustc", &[("a", 100.0), ("b", 10.0)]);
        let verdict = |a, b| counts("rustc", &[("a", a), ("b", b)]).compare(&baseline).0;
        assert_eq!(verdict(102.0, 10.0), Verdict::Good);
        assert_eq!(verdict(50.0, 10.0), Verdict::Good);
        assert_eq!(verdict(100.0, 10.21), Verdict::Bad);
    }

    #[test]
    fn a_bench_that_only_one_side_has_is_bad() {
        let (one, two) = (counts("", &[("a", 1.0)]), counts("", &[("a", 1.0), ("b", 1.0)]));
        assert_eq!(one.compare(&two).0, Verdict::Bad);
        assert_eq!(two.compare(&one).0, Verdict::Bad);
    }

    #[test]
    fn counts_of_another_compiler_are_not_compared() {
        let baseline = counts("rustc 1", &[("a", 1.0)]);
        assert_eq!(counts("rustc 2", &[("a", 9.0)]).compare(&baseline).0, Verdict::NotComparable);
    }

    #[test]
    fn counts_are_for_one_operation() {
        let line = |group, ir| {
            format!(
                r#"{{"function_name":"{group}","id":"x","profiles":[{{"data":{{"total":
                {{"metrics":{{"Ir":{{"values":{{"new":{ir}}}}}}}}}}}}}]}}"#
            )
        };
        let mut counts = Counts::default();
        assert_eq!(counts.take_in("Compiling"), None);
        assert_eq!(counts.take_in(&line("codec", 1500)), Some(()));
        assert_eq!(counts.take_in(&line("path", 1500)), Some(()));
        assert_eq!(counts.benches["codec/x"], 1.5);
        assert_eq!(counts.benches["path/x"], 0.15);
    }
}
