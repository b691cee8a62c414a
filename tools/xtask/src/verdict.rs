//! The verdict: reads and judges the Autobahn suite's report about a server.
//!
//! Why a judgement here: the suite exits with zero whatever its reports say.
//! Invariant: a case counts as passed only if both its behaviour and its close were right; a case that is
//! missing from the reports is a failure.
//! Source of the words: class `Case` in autobahntestsuite/case/case.py.
//! Not here: running the suite (`autobahn`).

use crate::summary::Counts;
use anyhow::{Context, Result};
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// How one case went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    Passed,
    /// The suite watched what the standard leaves open.
    Informational,
    /// Right, but later or less exactly than the suite would have it.
    NonStrict,
    Failed,
}

/// One case that was not simply passed.
pub(crate) struct Case {
    id: String,
    grade: Grade,
    why: String,
}

/// All cases of one run.
pub(crate) struct Verdict {
    passed: u64,
    others: Vec<Case>,
    missing: u64,
}

impl Verdict {
    /// Reads `index.json` and the reports beside it; `expected` is the number of cases that should be there.
    pub(crate) fn read(reports: &Path, expected: Option<u64>) -> Result<Verdict> {
        let index = read_json(&reports.join("index.json")).context("the suite wrote no reports")?;
        let cases = index.as_object().and_then(|agents| agents.values().next()).and_then(Value::as_object);
        let cases = cases.context("the suite's index has no cases")?;
        let mut verdict = Verdict { passed: 0, others: Vec::new(), missing: 0 };
        for (id, case) in cases {
            match grade(id, text(case, "behavior"), text(case, "behaviorClose")) {
                Grade::Passed => verdict.passed += 1,
                grade => verdict.others.push(Case { id: id.clone(), grade, why: why(reports, case) }),
            }
        }
        verdict.others.sort_by_key(|case| order(&case.id));
        verdict.missing = expected.map_or(0, |wanted| wanted.saturating_sub(cases.len() as u64));
        Ok(verdict)
    }

    fn count(&self, grade: Grade) -> u64 {
        self.others.iter().filter(|case| case.grade == grade).count() as u64
    }

    /// The counts as the summary keeps them: whatever did not fail passed.
    pub(crate) fn counts(&self) -> Counts {
        let failed = self.count(Grade::Failed) + self.missing;
        Counts {
            passed: self.passed + self.others.len() as u64 - self.count(Grade::Failed),
            failed,
            skipped: 0,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.others {
            writeln!(f, "{:<8} {:<14} {}", case.id, format!("{:?}", case.grade), case.why)?;
        }
        let [informational, non_strict, failed] =
            [Grade::Informational, Grade::NonStrict, Grade::Failed].map(|grade| self.count(grade));
        let cases = self.passed + self.others.len() as u64;
        write!(f, "autobahn: {cases} cases: {} passed, {non_strict} non-strict, ", self.passed)?;
        write!(f, "{informational} informational, {failed} failed, {} missing", self.missing)
    }
}

/// Grades a case by what the suite says of its behaviour and of its close.
fn grade(id: &str, behavior: &str, close: &str) -> Grade {
    let close_is_right = matches!(close, "OK" | "INFORMATIONAL");
    match behavior {
        _ if !close_is_right => Grade::Failed,
        "OK" => Grade::Passed,
        "INFORMATIONAL" => Grade::Informational,
        // Chapter 6 is UTF-8. Non-strict there means that a bad byte was noticed only at the end of the
        // message, and failing fast is promised.
        "NON-STRICT" if !id.starts_with("6.") => Grade::NonStrict,
        _ => Grade::Failed,
    }
}

/// What was tried and what came of it, from the case's own report.
fn why(reports: &Path, case: &Value) -> String {
    let Ok(report) = read_json(&reports.join(text(case, "reportfile"))) else {
        return format!("{} / {}", text(case, "behavior"), text(case, "behaviorClose"));
    };
    let (result, close) = (text(&report, "result"), text(&report, "resultClose"));
    let said = format!("{} {}", report["remoteCloseCode"], text(&report, "remoteCloseReason"));
    format!("{} | {result} | {close} | closed with {}", headline(text(&report, "description")), said.trim())
}

/// The first line of a description, without its markup.
fn headline(description: &str) -> String {
    let line = description.lines().next().unwrap_or_default();
    line.split('<').map(|piece| piece.split_once('>').map_or(piece, |(_tag, text)| text)).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn read_json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{} is not JSON", path.display()))
}

/// `9.10.2` after `9.2.1`.
fn order(id: &str) -> Vec<u32> {
    id.split('.').map(|part| part.parse().unwrap_or(u32::MAX)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_close_fails_and_so_does_late_utf8() {
        assert_eq!(grade("1.1.1", "OK", "OK"), Grade::Passed);
        assert_eq!(grade("3.2", "NON-STRICT", "OK"), Grade::NonStrict);
        assert_eq!(grade("6.4.1", "NON-STRICT", "OK"), Grade::Failed);
        assert_eq!(grade("7.1.6", "INFORMATIONAL", "INFORMATIONAL"), Grade::Informational);
        assert_eq!(grade("1.1.1", "OK", "WRONG CODE"), Grade::Failed);
        assert_eq!(grade("1.1.1", "UNIMPLEMENTED", "OK"), Grade::Failed);
    }

    #[test]
    fn descriptions_lose_their_markup() {
        assert_eq!(headline("then send <b>RSV = 2</b>, ping<br>\nPARTS"), "then send RSV = 2, ping");
    }

    #[test]
    fn cases_that_never_ran_are_failures() {
        let dir = std::env::temp_dir().join(format!("grandstand-verdict-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let index = json!({"s": {
            "9.10.1": {"behavior": "FAILED", "behaviorClose": "OK", "reportfile": "gone"},
            "9.2.1": {"behavior": "NON-STRICT", "behaviorClose": "OK", "reportfile": "gone"},
            "1.1.1": {"behavior": "OK", "behaviorClose": "OK", "reportfile": "gone"},
        }});
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        let verdict = Verdict::read(&dir, Some(5)).unwrap();
        assert_eq!(verdict.counts(), Counts { passed: 2, failed: 3, skipped: 0 });
        assert_eq!(verdict.others[0].id, "9.2.1");
        assert!(
            verdict
                .to_string()
                .ends_with("3 cases: 1 passed, 1 non-strict, 0 informational, 1 failed, 2 missing")
        );
        std::fs::remove_dir_all(dir).unwrap();
    }
}
