//! The record: rows of figures, kept with the machine, the commit and the command that made them.
//!
//! Why one directory per date and commit: a figure without them is worth nothing, and two of them can be
//! compared. `NAME.json` holds a bench's rows as they were; `summary.md` is made anew from all `*.json`
//! beside it.
//! Invariant: a row is flat, and every name that has a unit ends with it.
//! Not here: what is measured; whether a run is worth keeping (the caller: `--record`).

use crate::machine::Machine;
use anyhow::{Context, Result};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The rows of one bench.
pub type Rows = Vec<Row>;

/// Name of the text that stands in a row in place of figures when its case failed.
pub const FAULT: &str = "fault";

/// One row: names and values in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row(Vec<(String, Value)>);

impl Row {
    /// A row without figures.
    #[must_use]
    pub fn new() -> Row {
        Row::default()
    }

    /// With one more figure; a name given again takes the new value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Row {
        self.set(name, value);
        self
    }

    /// One more figure; a name given again takes the new value.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// A figure by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A figure as a number; 0 if there is none.
    #[must_use]
    pub fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(Value::as_f64).unwrap_or(0.0)
    }

    /// All names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The same row, said to whoever waits for a long run, and so not lost if a later one fails.
#[must_use]
pub fn noted(row: Row) -> Row {
    eprintln!("{}", serde_json::to_string(&row).unwrap_or_default());
    row
}

/// A number rounded to so many digits after the point, so that records can be read.
#[must_use]
pub fn rounded(value: f64, digits: i32) -> Value {
    let scale = 10f64.powi(digits);
    let value = (value * scale).round() / scale;
    if digits == 0 && value.abs() < 9e15 { Value::from(value as i64) } else { Value::from(value) }
}

/// A ratio, rounded to three digits; null where there is nothing to divide by.
#[must_use]
pub fn ratio(part: f64, whole: f64) -> Value {
    if whole > 0.0 { rounded(part / whole, 3) } else { Value::Null }
}

/// What is written of one run of a bench. Rows are kept as the text that they are, so that their order stays.
#[derive(Serialize)]
struct Record<'a> {
    bench: &'a str,
    command: &'a str,
    machine: &'a Machine,
    rows: &'a [Row],
}

/// The same, read again.
#[derive(Deserialize)]
struct Kept {
    bench: String,
    command: String,
    machine: Machine,
    #[serde(default)]
    columns: Vec<String>,
    rows: Vec<Map<String, Value>>,
}

/// Where results are kept: `benches/results/DATE-COMMIT`.
#[must_use]
pub fn directory(machine: &Machine) -> PathBuf {
    let dirty = if machine.dirty { "-dirty" } else { "" };
    let name = format!("{}-{}{dirty}", machine.day(), machine.commit);
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(name)
}

/// Keeps the rows of one bench, and makes the summary of the directory anew. Returns the directory.
///
/// # Errors
/// The directory cannot be written.
pub fn keep(directory: &Path, machine: &Machine, bench: &str, command: &str, rows: &[Row]) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut record = serde_json::to_value(Record { bench, command, machine, rows })?;
    record["columns"] = columns_of(rows).into();
    let text = serde_json::to_string_pretty(&record)?;
    fs::write(directory.join(format!("{bench}.json")), text + "\n")?;
    fs::write(directory.join("summary.md"), summary(directory)?)?;
    Ok(())
}

/// All names of the rows, in the order in which they first come.
fn columns_of(rows: &[Row]) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for (name, _) in rows.iter().flat_map(Row::iter) {
        if !columns.iter().any(|known| known == name) {
            columns.push(name.to_owned());
        }
    }
    columns
}

/// All benches of a directory as tables.
fn summary(directory: &Path) -> Result<String> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|end| end == "json"));
    files.sort();
    let mut text = String::from("# Bench results\n");
    for file in files {
        let kept: Kept = serde_json::from_slice(&fs::read(&file)?)
            .with_context(|| format!("{} is no record", file.display()))?;
        section(&kept, &mut text);
    }
    Ok(text)
}

fn section(kept: &Kept, text: &mut String) {
    let machine = &kept.machine;
    let dirty = if machine.dirty { ", changed" } else { "" };
    let debug = if machine.debug_build { ", NOT OPTIMISED: figures mean nothing" } else { "" };
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n## {}\n\n{} UTC, commit {}{dirty}{debug}. {} cores of {}, {} MB, Linux {}.\n`{}`\n\n",
        kept.bench,
        machine.date,
        machine.commit,
        machine.cores,
        machine.cpu,
        machine.memory_mb,
        machine.kernel,
        kept.command
    );
    text.push_str(&table(&kept.columns, &kept.rows));
}

fn table(columns: &[String], rows: &[Map<String, Value>]) -> String {
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len()));
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|name| cell(row.get(name))).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn cell(value: Option<&Value>) -> String {
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

/// The rows as one Markdown table, for people.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let maps: Vec<Map<String, Value>> = rows
        .iter()
        .map(|row| row.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect())
        .collect();
    table(&columns_of(rows), &maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        vec![
            Row::new().with("transport", "ws").with("viewers", 5000).with("cpu_ns_per_frame", 2_612.5),
            Row::new().with("transport", "a|b").with("p99_us", Value::Null),
        ]
    }

    #[test]
    fn tables_keep_the_order_of_names_and_leave_empty_what_is_missing() {
        assert_eq!(
            markdown(&rows()),
            "| transport | viewers | cpu_ns_per_frame | p99_us |\n|---|---|---|---|\n\
             | ws | 5,000 | 2,612.5 |  |\n| a\\|b |  |  |  |\n"
        );
    }

    #[test]
    fn what_is_kept_stands_in_the_summary_and_a_second_bench_beside_the_first() {
        let directory = std::env::temp_dir().join(format!("grandstand-record-{}", std::process::id()));
        let machine = Machine { commit: "abc1234".into(), dirty: true, ..Machine::here() };
        keep(&directory, &machine, "floor", "cargo xtask bench floor", &rows()).unwrap();
        keep(&directory, &machine, "fanout", "cargo xtask bench fanout", &rows()).unwrap();
        let summary = fs::read_to_string(directory.join("summary.md")).unwrap();
        let kept: Kept = serde_json::from_slice(&fs::read(directory.join("floor.json")).unwrap()).unwrap();
        fs::remove_dir_all(&directory).unwrap();
        assert!(summary.find("## fanout").unwrap() < summary.find("## floor").unwrap(), "{summary}");
        assert!(
            summary.contains("commit abc1234, changed") && summary.contains("| ws | 5,000 | 2,612.5 |  |")
        );
        assert_eq!((kept.machine, kept.rows[0]["viewers"].as_u64()), (machine, Some(5000)));
    }

    #[test]
    fn numbers_are_grouped_and_rounded() {
        for (number, text) in
            [("0", "0"), ("999", "999"), ("1000", "1,000"), ("-1234567.25", "-1,234,567.25")]
        {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(
            (rounded(1.2345, 2), rounded(2.5, 0), ratio(1.0, 0.0)),
            (1.23.into(), 3.into(), Value::Null)
        );
    }

    #[test]
    fn a_name_given_again_takes_the_new_value() {
        let row = Row::new().with("a", 1).with("b", 2).with("a", 3);
        assert_eq!(serde_json::to_string(&row).unwrap(), r#"{"a":3,"b":2}"#);
    }
}
