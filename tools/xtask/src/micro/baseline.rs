//! The baseline: instructions per operation of each bench, and the toolchain with which they were counted.
//!
//! Invariant: a written file reads back equal; one bench is one line, so that a diff of the file shows which
//! bench grew.
//! Not here: the measurement (the parent).

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Growth that fails, as a part of what was: above what inlining moves when code elsewhere in a crate
/// changes.
const GROWTH_MAX: f64 = 0.03;

/// See the file's head.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Baseline {
    pub(super) facts: BTreeMap<String, String>,
    pub(super) benches: BTreeMap<String, f64>,
}

/// How a bench stands against the baseline: instructions per operation, then and now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finding {
    Same(f64, f64),
    Grown(f64, f64),
    Shrunk(f64, f64),
    /// Not in the baseline.
    New(f64),
    /// In the baseline, and no bench any more.
    Gone(f64),
}

impl Baseline {
    /// Read the file.
    pub(super) fn parse(text: &str) -> Result<Baseline> {
        let value: Value = serde_json::from_str(text)?;
        let object = |name: &str| value[name].as_object().with_context(|| format!("no object {name:?}"));
        let fact = |(name, value): (&String, &Value)| {
            Ok((name.clone(), value.as_str().with_context(|| format!("{name} is no text"))?.to_owned()))
        };
        let bench = |(name, value): (&String, &Value)| {
            Ok((name.clone(), value.as_f64().with_context(|| format!("{name} is no number"))?))
        };
        Ok(Baseline {
            facts: object("facts")?.iter().map(fact).collect::<Result<_>>()?,
            benches: object("instructions_per_operation")?.iter().map(bench).collect::<Result<_>>()?,
        })
    }

    /// The file's text. Hundredths are enough for the shortest bench.
    pub(super) fn to_json(&self) -> String {
        let rounded = |(name, count): (&String, &f64)| (name.clone(), json!((count * 100.0).round() / 100.0));
        let benches: serde_json::Map<_, _> = self.benches.iter().map(rounded).collect();
        let value = json!({ "facts": self.facts, "instructions_per_operation": benches });
        format!("{value:#}\n")
    }

    /// Name, value here and value in `other` of every fact that is not the same.
    pub(super) fn differing_facts(&self, other: &Baseline) -> Vec<(String, String, String)> {
        let of = |side: &Baseline, name: &str| side.facts.get(name).cloned().unwrap_or_default();
        let names = self.facts.keys().chain(other.facts.keys().filter(|n| !self.facts.contains_key(*n)));
        names.map(|name| (name.clone(), of(self, name), of(other, name))).filter(|(_, a, b)| a != b).collect()
    }

    /// Every bench of either, in order of their names.
    pub(super) fn compare<'a>(&'a self, counted: &'a Baseline) -> BTreeMap<&'a str, Finding> {
        let now = counted.benches.iter().map(|(name, &is)| {
            (name.as_str(), self.benches.get(name).map_or(Finding::New(is), |&was| finding(was, is)))
        });
        let gone = self.benches.iter().filter(|(name, _)| !counted.benches.contains_key(*name));
        now.chain(gone.map(|(name, &was)| (name.as_str(), Finding::Gone(was)))).collect()
    }
}

fn finding(was: f64, is: f64) -> Finding {
    if is > was * (1.0 + GROWTH_MAX) {
        Finding::Grown(was, is)
    } else if is < was * (1.0 - GROWTH_MAX) {
        Finding::Shrunk(was, is)
    } else {
        Finding::Same(was, is)
    }
}

impl Finding {
    /// Must the change that brought it update the baseline, or mend it?
    pub(super) fn fails(self) -> bool {
        matches!(self, Finding::Grown(..) | Finding::New(_) | Finding::Gone(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = |was: f64, is: f64| (is / was - 1.0) * 100.0;
        match *self {
            Finding::Same(was, is) => write!(f, "{is:>10.1}  {:+.1} %", ratio(was, is)),
            Finding::Grown(was, is) => write!(f, "{is:>10.1}  {:+.1} %, grown from {was:.1}", ratio(was, is)),
            Finding::Shrunk(was, is) => {
                write!(f, "{is:>10.1}  {:+.1} %, shrunk from {was:.1}", ratio(was, is))
            }
            Finding::New(is) => write!(f, "{is:>10.1}  not in the baseline: --update"),
            Finding::Gone(was) => write!(f, "{:>10}  was {was:.1} and is no bench any more: --update", "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn baseline(benches: &[(&str, f64)]) -> Baseline {
        let facts = [("rustc".to_owned(), "1".to_owned())].into();
        Baseline { facts, benches: benches.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect() }
    }

    #[test]
    fn three_percent_pass_and_more_does_not() {
        let was = baseline(&[("a", 100.0), ("b", 100.0), ("c", 100.0), ("d", 100.0), ("gone", 1.0)]);
        let is = baseline(&[("a", 103.0), ("b", 103.1), ("c", 97.0), ("d", 96.9), ("new", 1.0)]);
        let found = was.compare(&is);
        let failing: Vec<_> = found.iter().filter(|(_, f)| f.fails()).map(|(name, _)| *name).collect();
        assert_eq!(failing, ["b", "gone", "new"]);
        assert_eq!((found["c"], found["d"]), (Finding::Same(100.0, 97.0), Finding::Shrunk(100.0, 96.9)));
    }

    #[test]
    fn what_is_written_reads_back_and_a_bench_is_a_line() {
        let written = baseline(&[("seal/1", 12.344), ("walk", 3.0)]);
        let text = written.to_json();
        assert!(text.contains("    \"seal/1\": 12.34,\n"), "{text}");
        let read = Baseline::parse(&text).unwrap();
        assert_eq!(read, baseline(&[("seal/1", 12.34), ("walk", 3.0)]));
        assert!(Baseline::parse("{}").is_err());
    }

    #[test]
    fn other_facts_are_told_apart() {
        let (a, mut b) = (baseline(&[]), baseline(&[]));
        assert!(a.differing_facts(&b).is_empty());
        b.facts.insert("libc".into(), "2".into());
        b.facts.insert("rustc".into(), "3".into());
        let names: Vec<_> = a.differing_facts(&b).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["rustc", "libc"]);
    }
}
