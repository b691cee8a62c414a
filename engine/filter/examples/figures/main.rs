//! `figures`: what the filter finds, what it catches wrongly, and what it costs.
//!
//! Why: a list's worth is a number. Each figure has a bound, and one that falls short fails the run.
//! `--list FILE` takes a list (ours, or one that can be imported), `--dictionary FILE` a word a line, `--chat
//! FILE` lines of text whose hits are counted; without them it takes the words of its own. `--json` prints
//! one object.
//! Not here: the ways of writing (`evasions`).

#![allow(clippy::disallowed_methods, reason = "a trial measures time")]

#[path = "allocator.rs"]
mod allocator;
mod evasions;
mod words;

use std::collections::HashSet;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use evasions::EVASIONS;
use grandstand_filter::import::{Options, import};
use grandstand_filter::{Author, Filter, List, Scratch, common_words};

/// Bounds: wrongly caught words of a dictionary of 104,180, and pairs of 100,000.
const WORDS_MAX: usize = 10;
const PAIRS_MAX: usize = 25;
const PAIRS: usize = 100_000;
/// Nanoseconds of the median text of 30 bytes.
const JUDGE_NS_MAX: f64 = 1_500.0;
/// Milliseconds to build a list of 10,000 words.
const BUILD_MS_MAX: f64 = 150.0;

struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    /// Text of the bound, and whether it holds.
    bound: String,
    holds: bool,
}

#[derive(Default)]
struct Trial {
    figures: Vec<Figure>,
    examples: Vec<String>,
}

impl Trial {
    fn at_least(&mut self, name: &str, value: f64, unit: &'static str, min: f64) {
        self.push(name, value, unit, format!(">= {min}"), value >= min);
    }

    fn at_most(&mut self, name: &str, value: f64, unit: &'static str, max: f64) {
        self.push(name, value, unit, format!("<= {max}"), value <= max);
    }

    fn push(&mut self, name: &str, value: f64, unit: &'static str, bound: String, holds: bool) {
        self.figures.push(Figure { name: name.to_owned(), value, unit, bound, holds });
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |flag: &str| arguments.iter().position(|a| a == flag).and_then(|at| arguments.get(at + 1));
    let read = |path: &String| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let trial = (|| {
        let list = value("--list").map(read).transpose()?;
        let dictionary = value("--dictionary").map(read).transpose()?;
        let chat = value("--chat").map(read).transpose()?;
        try_all(list.as_deref(), dictionary.as_deref(), chat.as_deref())
    })();
    match trial {
        Ok(trial) => {
            print(&trial, arguments.iter().any(|a| a == "--json"));
            ExitCode::from(u8::from(trial.figures.iter().any(|figure| !figure.holds)))
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn try_all(list: Option<&str>, dictionary: Option<&str>, chat: Option<&str>) -> Result<Trial, String> {
    let mut trial = Trial::default();
    let text = match list {
        Some(text) if text.trim_start().starts_with('[') => import(text, Options::default())?.text,
        Some(text) => text.to_owned(),
        None => words::LISTED.split_whitespace().collect::<Vec<_>>().join("\n"),
    };
    let build = |text: &str| {
        let says = |faults: Vec<grandstand_filter::Fault>| format!("the list: {}", faults[0]);
        List::parse("tried", text).map_err(says)
    };
    let built = Instant::now();
    let list = build(&text)?;
    trial.at_most("build of the list", ms_since(built), "ms", BUILD_MS_MAX);
    trial.at_most("its automaton", list.automaton_bytes() as f64 / 1024.0, "KiB", 16_384.0);
    let listed: Vec<String> =
        list.rules().iter().map(|rule| rule.text.to_lowercase().replace('*', "")).collect();
    let single: Vec<&str> = listed
        .iter()
        .map(|w| &**w)
        .filter(|w| w.len() >= 4 && w.bytes().all(|b| b.is_ascii_lowercase()))
        .collect();
    let (filter, mut scratch) = (Filter::of(list), Scratch::new());
    let mut is_met =
        |text: &str| filter.judge(filter.select(""), text, Author::default(), &mut scratch).hit.is_some();
    for evasion in EVASIONS {
        let missed: Vec<_> = single
            .iter()
            .map(|word| (evasion.write)(word))
            .filter(|w| !is_met(&format!("you {w} now")))
            .collect();
        let found = 100.0 * (single.len() - missed.len()) as f64 / single.len() as f64;
        trial.at_least(evasion.name, found, "% found", evasion.percent_min);
        if !missed.is_empty() {
            trial.examples.push(format!(
                "{}: missed {}",
                evasion.name,
                missed.iter().take(8).cloned().collect::<Vec<_>>().join(", ")
            ));
        }
    }
    let starred = single.iter().map(|word| format!("*{word}*\n")).collect::<String>();
    let open = Filter::of(build(&starred)?);
    let glued = single.iter().filter(|word| {
        let text = format!("you hello{word}world now");
        open.judge(open.select(""), &text, Author::default(), &mut Scratch::new()).hit.is_some()
    });
    trial.at_least(
        "glued, listed as *word*",
        100.0 * glued.count() as f64 / single.len() as f64,
        "% found",
        100.0,
    );

    let known: HashSet<&str> = listed.iter().map(|w| &**w).collect();
    let all: Vec<String> = match dictionary {
        Some(text) => text.lines().map(|line| line.trim().to_lowercase()).collect(),
        None => common_words().map(str::to_owned).collect(),
    };
    let innocent: Vec<&str> = all
        .iter()
        .map(|w| &**w)
        .filter(|w| !known.contains(w.trim_end_matches("'s")) && !w.is_empty())
        .collect();
    let caught: Vec<&&str> = innocent.iter().filter(|word| is_met(word)).collect();
    trial.at_most(&format!("of {} words", innocent.len()), caught.len() as f64, "caught", WORDS_MAX as f64);
    trial.examples.push(format!("words: caught {caught:?}"));
    let (mut state, mut pairs) = (12_345_u64, Vec::new());
    let mut draw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        innocent[(state >> 33) as usize % innocent.len()]
    };
    for _ in 0..PAIRS {
        let pair = format!("{} {}", draw(), draw());
        if is_met(&pair) {
            pairs.push(pair);
        }
    }
    trial.at_most(&format!("of {PAIRS} pairs of words"), pairs.len() as f64, "caught", PAIRS_MAX as f64);
    trial.examples.push(format!("pairs: caught {:?}", pairs.iter().take(25).collect::<Vec<_>>()));
    if let Some(chat) = chat {
        let met: Vec<&str> = chat.lines().filter(|line| is_met(line)).collect();
        let mut scratch = Scratch::new();
        for line in &met {
            let hit = filter.judge(filter.select(""), line, Author::default(), &mut scratch).hit;
            let part =
                hit.map(|hit| (&line[hit.start as usize..hit.end as usize], &*filter.rule(&hit).1.text));
            let part = part.filter(|(part, rule)| !part.eq_ignore_ascii_case(&rule.replace('*', "")));
            trial.examples.extend(part.map(|(part, rule)| format!("chat: `{part}` by `{rule}` in: {line}")));
        }
        let share = 100.0 * met.len() as f64 / chat.lines().count().max(1) as f64;
        trial.at_most(
            &format!("of {} lines of chat ({} lines)", chat.lines().count(), met.len()),
            share,
            "% met",
            100.0,
        );
    }
    costs(&mut trial, &filter)?;
    Ok(trial)
}

fn costs(trial: &mut Trial, filter: &Filter) -> Result<(), String> {
    // Texts of 30 bytes, of common words.
    let words: Vec<&str> = common_words().filter(|word| word.len() > 1).collect();
    let texts: Vec<String> = (0..400)
        .map(|at| {
            (0..12).map(|ix| words[(at * 131 + ix * 977) % words.len()]).collect::<Vec<_>>().join(" ")[..30]
                .to_owned()
        })
        .collect();
    let (mut scratch, selection) = (Scratch::new(), filter.select(""));
    let mut judge =
        |text: &str| black_box(filter.judge(selection, black_box(text), Author::default(), &mut scratch));
    texts.iter().for_each(|text| _ = judge(text));
    let before = allocator::ALLOCATIONS.get();
    texts.iter().for_each(|text| _ = judge(text));
    trial.at_most("allocations of 400 texts", (allocator::ALLOCATIONS.get() - before) as f64, "", 0.0);
    let mut times: Vec<f64> = texts
        .iter()
        .map(|text| {
            // The least of a few: others use the machine, too.
            let round = || {
                let began = Instant::now();
                for _ in 0..50 {
                    judge(text);
                }
                began.elapsed().as_nanos() as f64 / 50.0
            };
            std::iter::repeat_with(round).take(5).fold(f64::INFINITY, f64::min)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    trial.at_most("judging 30 bytes, median", times[times.len() / 2], "ns", JUDGE_NS_MAX);
    trial.at_most("judging 30 bytes, 99 %", times[times.len() * 99 / 100], "ns", 4.0 * JUDGE_NS_MAX);
    let syllables = ["ba", "ke", "lo", "mi", "nu", "pra", "que", "ros", "tiv", "zan"];
    let many: String = (0..10_000)
        .map(|n| {
            format!("{}\n", (0..4).map(|place| syllables[n / 10_usize.pow(place) % 10]).collect::<String>())
        })
        .collect();
    let began = Instant::now();
    List::parse("many", &many).map_err(|faults| faults[0].to_string())?;
    trial.at_most("build of 10,000 words", ms_since(began), "ms", BUILD_MS_MAX);
    Ok(())
}

fn ms_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}

fn print(trial: &Trial, as_json: bool) {
    if as_json {
        let figures: Vec<_> = trial
            .figures
            .iter()
            .map(|f| serde_json::json!({"name": f.name, "value": f.value, "unit": f.unit, "bound": f.bound, "holds": f.holds}))
            .collect();
        println!("{}", serde_json::json!({ "figures": figures, "examples": trial.examples }));
        return;
    }
    for Figure { name, value, unit, bound, holds } in &trial.figures {
        let verdict = if *holds { "ok" } else { "FALLS SHORT" };
        println!("{name:40} {value:10.1} {unit:8} {bound:12} {verdict}");
    }
    trial.examples.iter().for_each(|example| println!("{example}"));
}
