//! Tests of generated logs, and (`shapes`) of their likeness to real ones.
//!
//! Not here: words (`words`).

mod shapes;

use super::*;
use clap::Parser;
use std::io::Read;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn log(options: &[&str]) -> String {
    let args = Cli::try_parse_from([&["synth"], options].concat()).unwrap().args;
    String::from_utf8(write(&args, Vec::new()).unwrap().0).unwrap()
}

#[test]
fn the_same_options_give_the_same_log_and_another_seed_another() {
    let options = ["--minutes", "3", "--language", "en,ja", "--bans", "2"];
    assert_eq!(log(&options), log(&options));
    assert_ne!(log(&options), log(&[&options[..], &["--seed", "2"]].concat()));
}

#[test]
fn gzip_holds_the_same_as_plain() {
    let args = Cli::parse_from(["synth", "--minutes", "1"]).args;
    let encoder = write(&args, GzEncoder::new(Vec::new(), Compression::default())).unwrap().0;
    let mut plain = String::new();
    flate2::read::GzDecoder::new(&encoder.finish().unwrap()[..]).read_to_string(&mut plain).unwrap();
    assert_eq!(plain, log(&["--minutes", "1"]));
    assert!(!plain.is_empty());
}

#[test]
fn nonsense_is_refused_with_a_reason() {
    for options in [["--rate", "0"], ["--rate", "nan"], ["--minutes", "inf"], ["--bursts", "NaN"]] {
        let error = Cli::try_parse_from([&["synth"], &options[..]].concat()).err().unwrap().to_string();
        assert!(error.contains(options[0]) && error.contains("expected a number from"), "{error}");
    }
}
