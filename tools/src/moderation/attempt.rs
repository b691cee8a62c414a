//! `gs mod try`: what a word list catches in texts, or would have caught in a log or at a node.
//!
//! Why on a log: a list that looks right on paper is judged by what people really said.
//! Invariant: nothing is changed, and a running node may use the log meanwhile.
//! Not here: reading a database (`grandstand_store::scan`), judging (`grandstand_filter`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use grandstand_client::core::SubscribeOptions;
use grandstand_client::net::{Client, ClientOptions, Url, seed};
use grandstand_filter::{Author, Filter, Rooms, Scratch, Seen};
use serde_json::json;

use crate::say;
use crate::target::{self, TrustArgs};

/// Examples of each rule.
const EXAMPLES: usize = 3;

/// Messages of one request to a node.
const REQUEST_MESSAGES: u64 = 5_000;

/// For one request to a node.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// Arguments of `gs mod try`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Word list to try; several may be named, in their order.
    #[arg(long, value_name = "FILE", required = true)]
    list: Vec<PathBuf>,
    /// Text to judge; several may be named.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["log", "node"])]
    text: Vec<String>,
    /// Folder of a durable log, or a backup: judge what was said in --room.
    #[arg(long, value_name = "DIR", requires = "room", conflicts_with = "node")]
    log: Option<PathBuf>,
    /// Address of a node (ws://, wss:// or quic://): judge what its log of --room has.
    #[arg(long, value_name = "URL", requires = "room")]
    node: Option<Url>,
    /// Room whose messages are judged.
    #[arg(long, value_name = "ROOM")]
    room: Option<String>,
    /// How far back: 30m, 24h, 7d. Everything if it is not given.
    #[arg(long, value_name = "TIME", value_parser = time_span)]
    last: Option<u64>,
    #[command(flatten)]
    trust: TrustArgs,
    /// File with a signed token.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Minutes, hours or days as milliseconds.
fn time_span(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("got `{text}`, expected a number with m, h or d behind it, such as 24h, at most 3650d");
    let (number, unit_ms) = [("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)]
        .into_iter()
        .find_map(|(unit, ms)| Some((text.strip_suffix(unit)?, ms)))
        .ok_or_else(wrong)?;
    let span = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms)).filter(|&ms| ms > 0);
    span.filter(|&ms| ms <= 3_650 * 86_400_000).ok_or_else(wrong)
}

/// What one rule caught.
#[derive(Debug, Default)]
struct Caught {
    action: String,
    count: u64,
    examples: Vec<String>,
}

/// Judges texts, and keeps what was caught by list, line and rule.
struct Trial {
    filter: Filter,
    scratch: Scratch,
    judged: u64,
    caught: u64,
    rules: BTreeMap<(String, u32, String), Caught>,
}

impl Trial {
    fn judge(&mut self, text: &str) -> Option<String> {
        self.judged += 1;
        let verdict = self.filter.judge(self.filter.select(""), text, Author::default(), &mut self.scratch);
        let hit = verdict.hit?;
        self.caught += 1;
        let mut seen = Vec::new();
        for hit in self.scratch.hits() {
            let (list, rule) = self.filter.rule(hit);
            let key = (list.name().to_owned(), rule.line, rule.text.to_string());
            // One text counts once for a rule.
            if !seen.contains(&key) {
                let caught = self.rules.entry(key.clone()).or_default();
                caught.count += 1;
                caught.action = rule.marks.action.to_string();
                if caught.examples.len() < EXAMPLES {
                    caught.examples.push(text.to_owned());
                }
                seen.push(key);
            }
        }
        let (list, rule) = self.filter.rule(&hit);
        let how = match hit.seen {
            Seen::Plain => "as written",
            Seen::AsLetters => "with digits or signs for letters",
            Seen::Hidden => "with hidden letters",
            Seen::Turned => "written backwards",
            Seen::Expression => "by its regular expression",
        };
        let part = &text[hit.start as usize..hit.end as usize];
        Some(format!(
            "{} by {}, line {}: `{}` in `{part}`, {how}",
            verdict.action,
            list.name(),
            rule.line,
            rule.text
        ))
    }
}

pub(super) async fn run(args: Args) -> anyhow::Result<bool> {
    let lists: Result<Vec<_>, _> = args.list.iter().map(|path| super::read_list(path)).collect();
    let lists = lists?.into_iter().map(|list| (Rooms::All, list.into()));
    let (filter, scratch) = (Filter::new(lists), Scratch::new());
    let mut trial = Trial { filter, scratch, judged: 0, caught: 0, rules: BTreeMap::new() };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64);
    let since_ms = args.last.map_or(0, |span| now_ms.saturating_sub(span));
    let room = args.room.as_deref().unwrap_or_default();
    let mut verdicts = Vec::new();
    match (&args.log, &args.node) {
        (Some(log), _) => of_log(log, room, since_ms, &mut trial)?,
        (None, Some(node)) => of_node(&args, node, room, since_ms, &mut trial).await?,
        (None, None) if args.text.is_empty() => bail!("nothing to try: name --text, --log or --node"),
        (None, None) => verdicts = args.text.iter().map(|text| (text, trial.judge(text))).collect(),
    }
    if args.json {
        let rule = |((list, line, rule), caught): (&(String, u32, String), &Caught)| {
            json!({"list": list, "line": line, "rule": rule, "action": caught.action, "count": caught.count,
                "examples": caught.examples})
        };
        let rules: Vec<_> = trial.rules.iter().map(rule).collect();
        let all = json!({"judged": trial.judged, "caught": trial.caught, "rules": rules});
        say::result(&format!("{all}\n"))?;
        return Ok(true);
    }
    for (text, verdict) in &verdicts {
        say::result(&format!("{text}: {}\n", verdict.as_deref().unwrap_or("pass")))?;
    }
    if verdicts.is_empty() {
        let mut rules: Vec<_> = trial.rules.iter().collect();
        rules.sort_by_key(|(_, caught)| std::cmp::Reverse(caught.count));
        for ((list, line, rule), caught) in rules {
            say::result(&format!("{:6} {} `{rule}` ({list}, line {line})\n", caught.count, caught.action))?;
            for example in &caught.examples {
                say::result(&format!("         {}\n", example.escape_debug()))?;
            }
        }
        say::result(&format!("{} of {} messages caught\n", trial.caught, trial.judged))?;
    }
    Ok(true)
}

fn of_log(log: &Path, room: &str, since_ms: u64, trial: &mut Trial) -> anyhow::Result<()> {
    let is_there =
        grandstand_store::scan::messages(log, room, since_ms, |message| _ = trial.judge(message.text))?;
    if !is_there {
        bail!("{} has no room {room}", log.display());
    }
    Ok(())
}

async fn of_node(
    args: &Args,
    node: &Url,
    room: &str,
    since_ms: u64,
    trial: &mut Trial,
) -> anyhow::Result<()> {
    let connector = args.trust.decide(std::slice::from_ref(node))?.connector(None)?;
    let mut options = ClientOptions::default();
    options.session.token = target::token(args.token.as_deref())?;
    options.session.seed = seed();
    options.session.keep_state = false;
    let client = Client::connect(&connector, node, options)?;
    client.subscribe(room, SubscribeOptions::default())?;
    let mut next = 0;
    loop {
        let page = client.history(room, next, REQUEST_MESSAGES);
        let page = tokio::select! {
            page = tokio::time::timeout(ANSWER_WAIT, page) => page,
            () = drain(&client) => bail!("the session ended"),
        };
        let Ok(page) = page else { bail!("the node does not answer") };
        let page = page?;
        for message in page.messages.iter().filter(|message| message.time_ms >= since_ms) {
            trial.judge(&message.text);
        }
        if page.next <= next || page.next >= page.head {
            client.close();
            return Ok(());
        }
        next = page.next;
    }
}

/// Takes other events off the connection, so that they do not pile up.
async fn drain(client: &Client) {
    while client.next_event().await.is_some() {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_has_a_unit_and_a_bound() {
        assert_eq!(
            (time_span("30m"), time_span("24h"), time_span("7d")),
            (Ok(1_800_000), Ok(86_400_000), Ok(604_800_000))
        );
        for wrong in ["", "h", "0h", "-1h", "24", "24s", "3651d", "99999999999999999999h"] {
            assert!(time_span(wrong).is_err_and(|says| says.contains("such as 24h")), "{wrong}");
        }
    }
}
