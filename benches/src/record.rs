//! The record: rows of figures, kept with the machine, the commit and the command of the run.
//!
//! Why one file per day and commit: a figure means nothing without them, and two files can be compared.
//! benches/results/README.md describes the files.
//! Invariant: the name of every figure with a unit ends with the unit; every try of a case has its row.
//! Not here: the measurements; the decision to keep a run (the caller: `--record`).

use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use indexmap::{IndexMap, IndexSet};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The version of the files' schema.
const SCHEMA: u32 = 1;

/// The rows of one bench.
pub type Rows = Vec<Row>;

/// Names and values in the order in which they were given; a name given again takes the new value.
pub type Fields = IndexMap<String, Value>;

/// One row: a case and its figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The case: names and values of the choices.
    pub case: Fields,
    /// The figures.
    pub figures: Fields,
    /// Of a search: whether this try held, and why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Why the case failed; its figures mean nothing then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl Row {
    /// A row of this case, without figures.
    #[must_use]
    pub fn of<const N: usize>(case: [(&str, Value); N]) -> Row {
        let case = case.map(|(name, value)| (name.to_owned(), value));
        Row { case: case.into_iter().collect(), ..Row::default() }
    }

    /// One more name and value of what is asked for.
    pub fn ask(&mut self, name: &str, value: Value) {
        self.case.insert(name.to_owned(), value);
    }

    /// A number of what was asked for; 0 if there is none.
    #[must_use]
    pub fn asked(&self, name: &str) -> f64 {
        self.case.get(name).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// With one more figure; a name given again takes the new value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Row {
        self.set(name, value);
        self
    }

    /// One more figure; a name given again takes the new value.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.insert(name.to_owned(), value.into());
    }

    /// A figure as a number; 0 if there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        self.figures.get(name).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// The row of this case that failed.
    #[must_use]
    pub fn failed(self, fault: impl Into<String>) -> Row {
        Row { fault: Some(fault.into()), ..self }
    }

    fn cell(&self, name: &str) -> Option<Value> {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        match name {
            "verdict" => text(&self.verdict),
            "fault" => text(&self.fault),
            name => self.case.get(name).or_else(|| self.figures.get(name)).cloned(),
        }
    }
}

/// Prints a row during a long run, so that it is not lost if a later one fails; returns it.
#[must_use]
pub fn noted(row: Row) -> Row {
    eprintln!("{}", serde_json::to_string(&row).unwrap_or_default());
    row
}

/// A number rounded to this number of digits after the point, so that records can be read.
#[must_use]
pub fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10f64.powi(digits);
    let value = (value * scale).round() / scale;
    if digits == 0 && value.abs() < 9e15 { Value::from(value as i64) } else { Value::from(value) }
}

/// Microseconds as milliseconds with one digit.
#[must_use]
pub fn ms(us: u64) -> Value {
    rounded(us as f64 / 1e3, 1)
}

/// A ratio, rounded to three digits; null where there is nothing to divide by.
#[must_use]
pub fn ratio(part: f64, whole: f64) -> Value {
    if whole > 0.0 { rounded(part / whole, 3) } else { Value::Null }
}

/// The first line of a file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    schema: u32,
    date: String,
    commit: String,
    dirty: bool,
    machine: Machine,
    notes: Vec<String>,
}

/// Every other line.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    bench: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    command: String,
    #[serde(flatten)]
    row: Row,
}

/// Where results are kept: `benches/results`.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// Appends the rows of one bench to the file of this day and commit; returns its path.
///
/// # Errors
/// The file cannot be written.
pub fn keep(
    directory: &Path,
    machine: &Machine,
    bench: &str,
    command: &str,
    rows: &[Row],
) -> Result<PathBuf> {
    let (checkout, (date, time)) = (crate::machine::Checkout::here(), crate::machine::utc_now());
    let name = format!("{date}-{}{}.jsonl", checkout.commit, if checkout.dirty { "-dirty" } else { "" });
    let path = directory.join(name);
    let mut text = String::new();
    if !path.exists() {
        let (commit, dirty, machine) = (checkout.commit, checkout.dirty, machine.clone());
        let header = Header { schema: SCHEMA, date: date.clone(), commit, dirty, machine, notes: Vec::new() };
        text = serde_json::to_string(&header)? + "\n";
    }
    for row in rows {
        let (bench, command) = (bench.to_owned(), command.to_owned());
        let entry = Entry { bench, at: Some(format!("{date} {time}")), command, row: row.clone() };
        text += &(serde_json::to_string(&entry)? + "\n");
    }
    let mut file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.as_mut().map_err(|error| anyhow::anyhow!("cannot write {}: {error}", path.display()))?;
    file.write_all(text.as_bytes())?;
    Ok(path)
}

/// Reads a file.
///
/// # Errors
/// It is not of this schema; the text names the line.
pub fn read(path: &Path) -> Result<(Header, Vec<Entry>)> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = text.lines();
    let header: Header = serde_json::from_str(lines.next().context("an empty file")?).context("line 1")?;
    ensure!(header.schema == SCHEMA, "schema {}, expected {SCHEMA}", header.schema);
    let entry = |(n, line)| serde_json::from_str(line).with_context(|| format!("line {n}"));
    Ok((header, (2..).zip(lines).map(entry).collect::<Result<_>>()?))
}

/// A file as tables, one for each bench and command.
///
/// # Errors
/// It is not of this schema.
pub fn tables(path: &Path) -> Result<String> {
    let (header, entries) = read(path)?;
    let mut text = serde_json::to_string(&header)? + "\n";
    for run in entries.chunk_by(|a, b| (&a.bench, &a.command) == (&b.bench, &b.command)) {
        let rows: Vec<Row> = run.iter().map(|entry| entry.row.clone()).collect();
        text += &format!("\n## {}\n\n`{}`\n\n{}", run[0].bench, run[0].command, markdown(&rows));
    }
    Ok(text)
}

/// The rows as one Markdown table, for people.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let fields = rows.iter().map(|row| &row.case).chain(rows.iter().map(|row| &row.figures));
    let mut columns: IndexSet<&str> = fields.flat_map(Fields::keys).map(String::as_str).collect();
    columns.extend(["verdict", "fault"].into_iter().filter(|n| rows.iter().any(|row| row.cell(n).is_some())));
    let columns: Vec<&str> = columns.into_iter().collect();
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|name| cell(row.cell(name))).collect();
        text += &format!("| {} |\n", cells.join(" | "));
    }
    text
}

fn cell(value: Option<Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.replace('|', "\\|").replace('\n', " "),
        Some(Value::Number(number)) => grouped(&number.to_string()),
        Some(value) => value.to_string(),
    }
}

/// With a comma between thousands, as docs/CAPACITY.md writes numbers.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.find(['.', 'e']).map_or((number, ""), |at| number.split_at(at));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rows() -> Rows {
        vec![
            Row::of([("transport", json!("ws")), ("viewers", json!(5000))]).with("cpu_ns_per_frame", 2_612.5),
            Row::of([("transport", json!("a|b"))]).with("p99_us", Value::Null).failed("cut"),
        ]
    }

    #[test]
    fn tables_keep_the_order_of_names_and_leave_empty_what_is_missing() {
        assert_eq!(
            markdown(&rows()),
            "| transport | viewers | cpu_ns_per_frame | p99_us | fault |\n|---|---|---|---|---|\n\
             | ws | 5,000 | 2,612.5 |  |  |\n| a\\|b |  |  |  | cut |\n"
        );
    }

    #[test]
    fn what_is_kept_is_read_again_and_a_second_bench_is_in_the_same_file() {
        let directory = std::env::temp_dir().join(format!("grandstand-record-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let machine = Machine::here();
        let path = keep(&directory, &machine, "floor", "cargo xtask bench floor", &rows()).unwrap();
        assert_eq!(keep(&directory, &machine, "fanout", "fanout", &rows()).unwrap(), path);
        let ((header, entries), tables) = (read(&path).unwrap(), tables(&path).unwrap());
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!((header.schema, header.machine, entries.len()), (SCHEMA, machine, 4));
        assert_eq!(entries[2].row, rows()[0]);
        assert!(tables.find("## floor").unwrap() < tables.find("## fanout").unwrap(), "{tables}");
    }

    #[test]
    fn every_result_that_is_kept_reads() {
        for entry in fs::read_dir(super::directory()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "jsonl") {
                let (_, entries) =
                    read(&path).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
                assert!(!entries.is_empty());
            }
        }
    }

    #[test]
    fn numbers_are_grouped_and_rounded() {
        let cases = [("0", "0"), ("999", "999"), ("1000", "1,000"), ("-1234567.25", "-1,234,567.25")];
        cases.iter().for_each(|(number, text)| assert_eq!(grouped(number), *text));
        assert_eq!(rounded(1.2345, 2), 1.23);
        assert_eq!((rounded(2.5, 0), ratio(1.0, 0.0), ms(1_250)), (3.into(), Value::Null, json!(1.3)));
    }

    #[test]
    fn a_name_given_again_takes_the_new_value() {
        let row = Row::default().with("a", 1).with("b", 2).with("a", 3);
        assert_eq!(serde_json::to_string(&row.figures).unwrap(), r#"{"a":3,"b":2}"#);
    }
}
