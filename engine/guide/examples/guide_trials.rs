//! The guide's trials, whole: `cargo xtask guide` runs them and reads the figures.
//!
//! Why an example: an import of 500 MB is measured in a process of its own, optimised, so that its memory is
//! its own. Arguments: a trial's name, and for some a file. It prints one line of JSON.
//! Not here: limits (`tools/xtask`), the trials (`trials`).

#[path = "../trials/edits.rs"]
mod edits;
#[path = "../trials/listing.rs"]
mod listing;
#[path = "../trials/malformed.rs"]
mod malformed;
#[path = "../trials/zones.rs"]
mod zones;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use grandstand_guide::input::{self, Bounds};
use grandstand_guide::model::{Channel, Programme};
use grandstand_guide::store::{GridQuery, Guide, SearchQuery};
use grandstand_guide::time::Zones;
use grandstand_guide::xmltv::{self, Sink};
use grandstand_guide::{Import, Options, Report, Unused};
use listing::Entry;
use serde_json::{Value, json};

/// 2026-03-01 00:00 UTC.
const FROM: i64 = 1_772_323_200;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let file = args.get(1).map(PathBuf::from);
    let figures = match (args.first().map(String::as_str), file) {
        (Some("make"), Some(file)) => make(&file),
        (Some("import"), Some(file)) => import(&file, args.get(2).map(Path::new)),
        (Some("identity"), file) => identity(file.as_deref()),
        (Some("documents"), Some(folder)) => documents(&folder),
        (Some("malformed"), None) => malformed_all(),
        (Some("zones"), None) => zones_all(),
        _ => panic!(
            "expected make FILE, import FILE [DIR], identity [FILE], documents DIR, malformed or zones"
        ),
    };
    println!("{figures}");
}

/// A listing of 500 MB: 1,560 channels, 393 programmes each.
fn make(file: &Path) -> Value {
    let packed = GzEncoder::new(File::create(file).unwrap(), Compression::fast());
    let mut out = BufWriter::with_capacity(1 << 20, packed);
    let mut names = Vec::new();
    let all = (0..1_560).map(|n| listing::channel(n, FROM, 393, n * 1_000));
    let all: Vec<Vec<Entry>> = all.inspect(|entries| names.push(entries[0].channel.clone())).collect();
    listing::begin(&mut out, names.iter().map(String::as_str)).unwrap();
    let mut programmes = 0;
    for entry in all.iter().flatten() {
        listing::write_entry(&mut out, entry, 14).unwrap();
        programmes += 1;
    }
    writeln!(out, "</tv>").unwrap();
    let bytes = out
        .into_inner()
        .unwrap_or_else(|_| panic!("cannot write"))
        .finish()
        .unwrap()
        .metadata()
        .unwrap()
        .len();
    json!({ "programmes": programmes, "bytes_packed": bytes })
}

/// The most memory that this process had, in MiB.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

/// Import a file into an empty guide, again, and ask it questions.
fn import(file: &Path, dir: Option<&Path>) -> Value {
    let mut guide = dir.map_or_else(|| Guide::temporary().unwrap(), |dir| Guide::open(dir).unwrap());
    let mut run = || {
        let mut report = Report::new("large", FROM);
        let options = Options { source: "large".into(), ..Options::default() };
        let began = Instant::now();
        let import = Import { guide: &mut guide, rooms: &Unused, now: FROM, progress: None };
        import.run(File::open(file).unwrap(), &options, &mut report).unwrap();
        (began.elapsed().as_secs_f64(), report)
    };
    let (first_s, first) = run();
    let first_peak = peak_mib();
    let (again_s, again) = run();
    let queries = guide.queries().unwrap();
    let zone = grandstand_guide::time::zone("utc").unwrap();
    let mut grid = GridQuery {
        from: FROM + 40 * 3_600,
        to: FROM + 41 * 3_600,
        channels: Vec::new(),
        limit: 200,
        after: None,
        full: false,
        zone: zone.clone(),
    };
    let began = Instant::now();
    let mut airings = 0;
    loop {
        let page = queries.grid(&grid).unwrap();
        airings += page.rows.iter().map(|row| row.airings.len()).sum::<usize>();
        grid.after = page.next;
        if grid.after.is_none() {
            break;
        }
    }
    let grid_ms = began.elapsed().as_secs_f64() * 1e3;
    let words = ["midnight murders", "golden", "ha", "\"royal hospital\"", "entertainment"];
    let slowest = words.iter().map(|text| {
        let began = Instant::now();
        let (from, to, after, zone) = (FROM, FROM + 30 * 86_400, None, zone.clone());
        queries.search(&SearchQuery { text: (*text).into(), from, to, limit: 20, after, zone }).unwrap();
        began.elapsed().as_secs_f64() * 1e3
    });
    json!({
        "import_s": first_s, "peak_mib": first_peak, "bytes": first.bytes_out, "programmes": first.programmes,
        "added": first.added, "again_s": again_s, "again_rows_written": again.rows_written,
        "again_result": again.result, "again_peak_mib": peak_mib(),
        "grid_hour_airings": airings, "grid_hour_ms": grid_ms, "search_slowest_ms": slowest.fold(0.0, f64::max),
    })
}

/// Programmes of a document as entries to edit.
#[derive(Default)]
struct Entries(std::collections::BTreeMap<String, Vec<Entry>>, usize);

impl Sink for Entries {
    fn channel(&mut self, _: Channel, _: u64, _: &mut Report) -> std::io::Result<()> {
        Ok(())
    }

    fn programme(&mut self, channel: &str, programme: Programme, _: &mut Report) -> std::io::Result<()> {
        let Programme { start, stop, show, .. } = programme;
        let stop = stop.unwrap_or(start);
        if stop > start {
            self.1 += 1;
            self.0.entry(channel.to_owned()).or_default().push(Entry {
                id: Some(self.1),
                channel: channel.to_owned(),
                start,
                stop,
                title: show.title,
                sub_title: show.sub_title,
                description: show.description,
                episode: show.episode,
            });
        }
        Ok(())
    }
}

/// Identity over edits of a listing: of `file`, or a synthetic one.
fn identity(file: Option<&Path>) -> Value {
    let channels: Vec<Vec<Entry>> = match file {
        Some(file) => {
            let document = input::open(File::open(file).unwrap(), &Bounds::default()).unwrap();
            let mut entries = Entries::default();
            xmltv::read(document, &Zones::default(), "", &mut Report::new("", 0), &mut entries).unwrap();
            entries.0.into_values().collect()
        }
        None => (0..5).map(|n| listing::channel(n, FROM, 390, n * 1_000)).collect(),
    };
    let channels: Vec<Vec<Entry>> = channels
        .into_iter()
        .map(|mut entries| {
            entries.sort_by_key(|entry| entry.start);
            entries.dedup_by_key(|entry| entry.start);
            entries
        })
        .collect();
    let mut figures = json!({});
    for (name, is_foreseen) in [("foreseen", true), ("unforeseen", false)] {
        let mut score = edits::Score::default();
        for seed in 1..7 {
            score.add(edits::run(&channels, seed, is_foreseen, 1 + seed as usize % 4));
        }
        let percent = |n: u64| n as f64 * 100.0 / score.decisions.max(1) as f64;
        figures[name] = json!({
            "decisions": score.decisions, "right_percent": percent(score.right), "lost_percent": percent(score.lost),
            "hijacked_percent": percent(score.hijacked), "in_use": score.in_use,
            "hijacked_in_use": score.hijacked_in_use,
        });
    }
    figures
}

/// Every file of a folder ends with a report.
fn documents(folder: &Path) -> Value {
    let mut figures = json!({});
    let mut without = 0;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (report, _) = malformed::import(&std::fs::read(entry.path()).unwrap(), "");
        without += u64::from(report.result.is_empty());
        let rules: Vec<&String> = report.rules.keys().collect();
        figures[entry.file_name().to_string_lossy().as_ref()] = json!({
            "result": report.result, "programmes": report.programmes, "kept": report.kept, "mended": report.mended,
            "skipped": report.skipped, "added": report.added, "rules": rules,
        });
    }
    json!({ "files": figures, "without_report": without })
}

fn malformed_all() -> Value {
    let kinds = malformed::kinds();
    let bad = kinds.iter().filter(|kind| !malformed::import(&kind.bytes, kind.told).1).map(|kind| kind.name);
    json!({ "kinds": kinds.len(), "untold": bad.collect::<Vec<_>>() })
}

fn zones_all() -> Value {
    let mut figures = json!({});
    let (mut wrong, mut all) = (0, 0);
    for (zone, days) in zones::ZONES {
        for day in days {
            let (bad, of) = zones::wrong(zone, day);
            (wrong, all) = (wrong + bad, all + of);
            figures[format!("{zone} {day}")] = json!(bad);
        }
    }
    json!({ "wrong": wrong, "instants": all, "by_zone": figures })
}
