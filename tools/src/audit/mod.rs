//! `gs audit`: compares a node's log, read over the protocol, with the records of a load.
//!
//! Why after the run: only a comparison of all publications with the whole log shows whether an acknowledged
//! message is lost or is in the log twice.
//! - `compare`: the comparison of message numbers. This file reads every room's log page by page, and gives
//!   the verdict.
//!
//! Invariant: every figure is reported by name; the exit code shows whether a figure that must be 0 is not.
//! Not here: the recording (`load::ledger`), the database itself (`grandstand verify`).

mod compare;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use grandstand_client::core::SubscribeOptions;
use grandstand_client::net::{Client, ClientOptions, History, Url, seed};
use serde_json::{Map, Value, json};

use crate::load::ledger::Ledger;
use crate::say;
use crate::target::{self, DEFAULT_WS, TrustArgs};
use compare::{Comparison, Logged};

/// Messages of one request; the client asks for them page by page.
const REQUEST_MESSAGES: u64 = 5_000;

/// For one request. A node that has just started may read from a cold disk.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The same, where the data was damaged on purpose: the node refuses what it cannot read for a while, and the
/// client retries within this time.
const DAMAGED_WAIT: Duration = Duration::from_secs(2);

/// How far after an offset that cannot be read to try again, and how many times.
const DAMAGED_SKIP: u64 = 64;
const DAMAGED_SKIPS_MAX: u32 = 1;

/// Arguments of `gs audit`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory that `gs load --ledger` wrote.
    ledger: PathBuf,
    /// Address of the node: ws://, wss:// or quic://.
    #[arg(long, value_name = "URL", default_value = DEFAULT_WS)]
    url: Url,
    #[command(flatten)]
    trust: TrustArgs,
    /// File with a signed token.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Require messages that were acknowledged from memory, too.
    #[arg(long)]
    all_levels: bool,
    /// The node kept its logs: require everything that any viewer received.
    #[arg(long)]
    logs_kept: bool,
    /// The data was damaged on purpose: allow missing messages, but no wrong ones.
    #[arg(long)]
    damaged: bool,
    /// Write a fingerprint of every message to this file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Require every message to match this file of an earlier --save.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Print the figures as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Compare; `Ok(false)` when something falls short.
///
/// # Errors
/// When the ledger or the node's log cannot be read.
pub(crate) async fn run(args: Args) -> anyhow::Result<bool> {
    let ledger = Ledger::read(&args.ledger)?;
    let mut logs = Vec::new();
    let mut unread = 0;
    let mut saved = Vec::new();
    let rooms = &ledger.header.rooms;
    let read_all = futures_util::future::join_all(rooms.iter().map(|room| read(&args, room))).await;
    for (room, log) in rooms.iter().zip(read_all) {
        let log = match log {
            Ok(log) => log,
            // The node may refuse a room whose data is damaged; that is not serving it.
            Err(error) if args.damaged => {
                say::notice(&format!("{room}: {error:#}"));
                unread += 1;
                History::default()
            }
            Err(error) => return Err(error.context(format!("reading the log of {room}"))),
        };
        saved.push(prints(&log));
        logs.push(
            log.messages.iter().map(|m| Logged::read(&ledger.header.marked, m.offset, &m.text)).collect(),
        );
    }
    if let Some(path) = &args.save {
        std::fs::write(path, serde_json::to_vec(&saved)?)
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let comparison = Comparison::new(&ledger, &logs);
    let mut figures = comparison.figures();
    figures.insert("rooms".into(), json!(ledger.header.rooms.len()));
    figures.insert("rooms_unread".into(), json!(unread));
    if let Some(path) = &args.compare {
        figures.insert("served_wrong".into(), json!(differences(path, &saved)?));
    }
    let faults = faults(&args, &figures);
    let ok = faults.is_empty();
    figures.insert("ok".into(), json!(ok));
    figures.insert("faults".into(), json!(&faults));
    let not_fresh = (0..rooms.len()).filter(|&room| ledger.header.began_at(room) > 0).count();
    figures.insert("rooms_not_fresh".into(), json!(not_fresh));
    for (room, name) in rooms.iter().enumerate() {
        let earlier = ledger.header.began_at(room);
        if earlier > 0 {
            say::notice(&format!(
                "{name}: not a fresh room: its log was at offset {earlier} when the run began; what is before that is \
                 not compared"
            ));
        }
    }
    let text = if args.json {
        format!("{}\n", Value::Object(figures))
    } else {
        figures.iter().map(|(name, value)| format!("{name:<28}{value}\n")).collect()
    };
    say::result(&text)?;
    if !ok {
        say::notice(&format!("error: {}", faults.join("; ")));
    }
    Ok(ok)
}

/// Counts that must be 0 and are not.
fn faults(args: &Args, figures: &Map<String, Value>) -> Vec<String> {
    let mut zero = vec!["wrong", "duplicates", "displaced", "served_wrong", "order_differences"];
    if !args.damaged {
        zero.extend(["acknowledged_lost", "log_holes"]);
    }
    if args.logs_kept {
        zero.push("shown_and_gone");
    }
    if args.all_levels {
        zero.push("acknowledged_memory_gone");
    }
    let count = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap_or(0);
    zero.into_iter().filter(|name| count(name) > 0).map(|name| format!("{name} is {}", count(name))).collect()
}

/// The whole log of a room, on a connection of its own.
async fn read(args: &Args, room: &str) -> anyhow::Result<History> {
    let connector = args.trust.decide(std::slice::from_ref(&args.url))?.connector(None)?;
    let mut options = ClientOptions::default();
    options.session.token = target::token(args.token.as_deref())?;
    options.session.seed = seed();
    options.session.keep_state = false;
    let client = Client::connect(&connector, &args.url, options)?;
    client.subscribe(room, SubscribeOptions::default())?;
    let mut all = History::default();
    let (mut count, mut skips) = (REQUEST_MESSAGES, 0);
    loop {
        let wait = if args.damaged { DAMAGED_WAIT } else { ANSWER_WAIT };
        let page = client.history(room, all.next, count);
        let page = tokio::select! {
            page = tokio::time::timeout(wait, page) => page,
            () = drain(&client) => bail!("the session ended"),
        };
        let goes_on = match page {
            Ok(page) => {
                let page = page?;
                let goes_on = page.next > all.next && page.next < page.head;
                all.messages.extend(page.messages);
                (all.next, all.head) = (page.next, page.head);
                goes_on
            }
            Err(_) if !args.damaged => bail!("the node does not answer"),
            // The messages up to there one by one, then the rest.
            Err(_) if count > 1 => {
                count = 1;
                true
            }
            Err(_) => {
                (count, skips) = (REQUEST_MESSAGES, skips + 1);
                all.next += DAMAGED_SKIP;
                skips <= DAMAGED_SKIPS_MAX
            }
        };
        if !goes_on {
            client.close();
            return Ok(all);
        }
    }
}

/// Takes other events off the connection, so that they do not pile up.
async fn drain(client: &Client) {
    while client.next_event().await.is_some() {}
}

/// Offset, and a fingerprint of everything that is shown there.
fn prints(log: &History) -> Vec<(u64, u64)> {
    let print = |m: &grandstand_client::net::HistoryMessage| {
        let mut hasher = DefaultHasher::new();
        (m.time_ms, &m.author, m.role as u8, &m.text, &m.attachment, m.reply_to).hash(&mut hasher);
        (m.offset, hasher.finish())
    };
    log.messages.iter().map(print).collect()
}

/// Messages that are served and differ from the saved ones.
fn differences(path: &Path, served: &[Vec<(u64, u64)>]) -> anyhow::Result<u64> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let truth: Vec<Vec<(u64, u64)>> = serde_json::from_slice(&bytes)?;
    let mut count = 0;
    for (truth, served) in truth.iter().zip(served) {
        let truth: std::collections::HashMap<u64, u64> = truth.iter().copied().collect();
        count += served.iter().filter(|(offset, print)| truth.get(offset) != Some(print)).count() as u64;
    }
    Ok(count)
}
