//! `grandstand`: a whole node in one binary.
//!
//! Why so little: the node itself is in the library, so that tests start it the same way.
//! Exit codes: 0 after a drain or an answer; 1 when the node could not run or a command found a fault; 2 for
//! a wrong command line or configuration.
//! Not here: start-up (the library), keys (`grandstand_edge::config`) and flags (`config_command`).
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{ArgMatches, Command};
use grandstand::{
    check, cluster_command, config_command, file_limit, file_modes, key_command, logging, store_command,
    webhook_command,
};
use grandstand_edge::config::{ConfigError, LogFormat};

/// Shards allocate batches and workers free them all the time, for which mimalloc is designed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A wrong command line or configuration; clap uses the same code.
const EXIT_USAGE: u8 = 2;
/// What to do about a wrong configuration.
const CONFIG_HELP: &str =
    "`grandstand config` prints every value and its source, `grandstand config --sample` every key";
/// The node could not run.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    file_modes::close_new_files();
    match command().get_matches().subcommand() {
        Some(("serve", matches)) => serve(matches),
        Some(("config", matches)) => print_config(matches),
        Some(("check", matches)) => check_config(matches),
        Some(("version", _)) => print_version(),
        Some(("cluster", matches)) => match cluster_command::run(matches, &mut io::stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(EXIT_FAILED),
            Err(error) => written(Err(error)),
        },
        Some(("webhook", matches)) => match webhook_command::run(matches, &mut io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
        Some(("key", matches)) => match key_command::run(matches, &mut io::stdout().lock()) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(EXIT_FAILED),
            Err(error) => written(Err(error)),
        },
        Some((name @ ("backup" | "restore" | "verify"), matches)) => store_command(name, matches),
        _ => unreachable!("clap asks for one of these"),
    }
}

fn command() -> Command {
    Command::new("grandstand")
        .about("A real-time chat and fan-out server for live audiences")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(config_command::serve())
        .subcommand(config_command::command())
        .subcommand(check::command())
        .subcommands(store_command::commands())
        .subcommand(webhook_command::command())
        .subcommand(cluster_command::command())
        .subcommand(key_command::command())
        .subcommand(Command::new("version").about("Print the version"))
}

fn serve(matches: &ArgMatches) -> ExitCode {
    if config_command::wants_short_help(matches) {
        return written(io::stdout().lock().write_all(config_command::short_help().as_bytes()));
    }
    let effective = match config_command::from_matches(matches) {
        Ok(effective) => effective,
        Err(error) if config_command::wants_json_log(matches) => {
            logging::fatal(None, LogFormat::Json, &error, &CONFIG_HELP);
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => return wrong_config(&error),
    };
    let log = effective.config.log.clone();
    logging::init(&log);
    let again = matches.clone();
    let read_config = move || {
        config_command::from_matches(&again).map(|read| read.config).map_err(|error| error.to_string())
    };
    let ended = grandstand::run(effective, read_config);
    logging::finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::fatal(Some(&log), log.format, &error, &error.hint());
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn print_config(matches: &ArgMatches) -> ExitCode {
    match config_command::run(matches, &mut io::stdout().lock()) {
        Ok(printed) => {
            note_file_limit(matches);
            written(printed)
        }
        Err(error) => wrong_config(&error),
    }
}

fn check_config(matches: &ArgMatches) -> ExitCode {
    match check::run(matches, &mut io::stdout().lock()) {
        Ok(verdict) => ExitCode::from(verdict.code()),
        Err(error) => written(Err(error)),
    }
}

/// What is printed is a file, so what would take effect otherwise is said on standard error.
fn note_file_limit(matches: &ArgMatches) {
    let effective = config_command::from_matches(matches).ok();
    if let Some(fitted) = effective.and_then(|effective| file_limit::look(&effective.config)) {
        // If standard error is closed, nobody reads it.
        let _ = writeln!(io::stderr().lock(), "note: {fitted}");
    }
}

fn store_command(name: &str, matches: &ArgMatches) -> ExitCode {
    match store_command::run(name, matches, &mut io::stdout().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => written(Err(error)),
    }
}

fn print_version() -> ExitCode {
    written(writeln!(io::stdout().lock(), "grandstand {}", env!("CARGO_PKG_VERSION")))
}

/// A reader that closes the pipe (`| head`) is not a failure.
fn written(result: io::Result<()>) -> ExitCode {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => fail(
            EXIT_FAILED,
            &format!("cannot write to standard output: {error}"),
            "free its disk, or read its pipe",
        ),
        _ => ExitCode::SUCCESS,
    }
}

fn wrong_config(error: &ConfigError) -> ExitCode {
    fail(EXIT_USAGE, error, CONFIG_HELP)
}

fn fail(code: u8, error: &impl fmt::Display, hint: impl fmt::Display) -> ExitCode {
    let hint = hint.to_string();
    let mut err = io::stderr().lock();
    // If standard error is closed, the exit code still reports the error.
    let _ = writeln!(err, "error: {error}");
    if !hint.is_empty() {
        let _ = writeln!(err, "help: {hint}");
    }
    ExitCode::from(code)
}
