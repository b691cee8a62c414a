//! `gs guide report`, `grid`, `now` and `search`: the guide as tables, or as JSON.
//!
//! Why from the folder: a node's own folder can be read while the node runs.
//! Invariant: `--json` prints what the node's API answers. Not here: columns (`table`).

use std::path::PathBuf;

use anyhow::Context;
use grandstand_guide::Report;
use grandstand_guide::store::{Airing, GridQuery, Queries, SearchQuery};
use grandstand_guide::time::{self, Zones};

use crate::{now_s, table};

/// Which guide.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    /// Folder of the guide: that of `import --into`, or a node's log.dir.
    #[arg(long, value_name = "DIR", default_value = "guide")]
    from: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Which {
    fn open(&self) -> anyhow::Result<Queries> {
        Queries::open(&self.from).with_context(|| format!("no guide in {}: import one", self.from.display()))
    }
}

/// Arguments of `gs guide report`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReportArgs {
    #[command(flatten)]
    which: Which,
}

/// Arguments of `gs guide grid` and `now`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct GridArgs {
    #[command(flatten)]
    which: Which,
    /// From this time, such as 2026-03-01T20:00Z; now by default.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// To this time; three hours on by default.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Id of a channel; may be given several times.
    #[arg(long, value_name = "ID")]
    channel: Vec<String>,
    /// Zone in which times are shown.
    #[arg(long, value_name = "ZONE", default_value = "utc")]
    zone: String,
}

/// Arguments of `gs guide search`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct SearchArgs {
    /// Words, and phrases in quotes.
    #[arg(required = true)]
    words: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Airings that end after this time; all by default.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Zone in which times are shown.
    #[arg(long, value_name = "ZONE", default_value = "utc")]
    zone: String,
}

type Out<'a> = &'a mut dyn FnMut(&str) -> anyhow::Result<()>;

pub(crate) fn report(args: &ReportArgs, out: Out<'_>) -> anyhow::Result<bool> {
    let reports = args.which.open()?.reports()?;
    if args.which.json {
        out(&format!("{}\n", serde_json::to_string(&reports)?))?;
    } else {
        for report in &reports {
            out(&report_text(report))?;
        }
    }
    Ok(!reports.is_empty())
}

/// A report for people: the outcome, then each rule with some of its lines.
pub(crate) fn report_text(report: &Report) -> String {
    let zone = time::zone("utc").expect("UTC is known");
    let mut text =
        format!("source {}: {}, {}\n", report.source, report.result, time::rfc3339(report.at, &zone));
    if !report.reason.is_empty() {
        text += &format!("  {}\n", report.reason);
    }
    let row = |name: &str, n: u64| vec![String::new(), name.to_owned(), n.to_string()];
    let rows: Vec<Vec<String>> = [
        ("programmes", report.programmes),
        ("  as they came", report.kept),
        ("  mended", report.mended),
        ("  skipped", report.skipped),
        ("channels", report.channels),
        ("airings unchanged", report.unchanged),
        ("  changed", report.changed),
        ("  new", report.added),
        ("  cancelled", report.cancelled),
        ("rooms that disagree", report.disagreeing),
    ]
    .into_iter()
    .map(|(name, n)| row(name, n))
    .collect();
    text += &table::lines(&[0, 22], &rows);
    for (rule, tally) in &report.rules {
        text += &table::lines(
            &[26, 8, 8],
            &[vec![rule.clone(), tally.verdict.clone(), tally.count.to_string(), tally.help.clone()]],
        );
        let examples = tally.examples.iter().take(3);
        let rows: Vec<Vec<String>> =
            examples.map(|e| vec![String::new(), format!("line {}", e.line), e.text.clone()]).collect();
        text += &table::lines(&[0, 12], &rows);
    }
    text
}

fn instant(text: Option<&str>, default: i64) -> anyhow::Result<i64> {
    let Some(text) = text else { return Ok(default) };
    let read = time::read(text, &Zones::default(), None);
    read.map(|read| read.at)
        .with_context(|| format!("got {text:?}, expected a time such as 2026-03-01T20:00Z"))
}

fn query(args: &GridArgs) -> anyhow::Result<GridQuery> {
    let from = instant(args.at.as_deref(), now_s())?;
    Ok(GridQuery {
        from,
        to: instant(args.to.as_deref(), from + 3 * 3_600)?,
        channels: args.channel.clone(),
        limit: 200,
        after: None,
        full: args.which.json,
        zone: time::zone(&args.zone).map_err(anyhow::Error::msg)?,
    })
}

fn clock(time: &str) -> String {
    time.get(11..16).unwrap_or(time).to_owned()
}

fn title(airing: &Airing) -> String {
    let sub = if airing.sub_title.is_empty() { String::new() } else { format!(": {}", airing.sub_title) };
    let facts =
        if airing.facts.is_empty() { String::new() } else { format!(" [{}]", airing.facts.join(" ")) };
    format!("{}{sub}{facts}", airing.title)
}

pub(crate) fn grid(args: &GridArgs, out: Out<'_>) -> anyhow::Result<bool> {
    let queries = args.which.open()?;
    let mut query = query(args)?;
    loop {
        let page = queries.grid(&query)?;
        if args.which.json {
            page.rows.iter().try_for_each(|row| out(&format!("{}\n", serde_json::to_string(row)?)))?;
        } else {
            for row in &page.rows {
                let name = row.names.first().unwrap_or(&row.channel);
                let rows: Vec<Vec<String>> = row
                    .airings
                    .iter()
                    .map(|airing| {
                        vec![
                            name.clone(),
                            format!("{}-{}", clock(&airing.start), clock(&airing.stop)),
                            title(airing),
                        ]
                    })
                    .collect();
                out(&table::lines(&[16, 11], &rows))?;
            }
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(true);
        }
    }
}

pub(crate) fn now(args: &GridArgs, out: Out<'_>) -> anyhow::Result<bool> {
    let queries = args.which.open()?;
    let mut query = query(args)?;
    loop {
        let page = queries.now(query.from, &query)?;
        if args.which.json {
            page.rows.iter().try_for_each(|row| out(&format!("{}\n", serde_json::to_string(row)?)))?;
        } else {
            let cell = |airing: &Option<Airing>| {
                airing
                    .as_ref()
                    .map_or_else(String::new, |airing| format!("{} {}", clock(&airing.start), title(airing)))
            };
            let rows = page.rows.iter().map(|row| {
                vec![row.names.first().unwrap_or(&row.channel).clone(), cell(&row.now), cell(&row.next)]
            });
            out(&table::lines(&[16, 30], &rows.collect::<Vec<_>>()))?;
        }
        query.after = page.next;
        if query.after.is_none() {
            return Ok(true);
        }
    }
}

pub(crate) fn search(args: &SearchArgs, out: Out<'_>) -> anyhow::Result<bool> {
    let queries = args.which.open()?;
    let query = SearchQuery {
        text: args.words.join(" "),
        from: instant(args.at.as_deref(), 0)?,
        to: i64::MAX,
        limit: 20,
        after: None,
        zone: time::zone(&args.zone).map_err(anyhow::Error::msg)?,
    };
    let page = queries.search(&query)?;
    for show in &page.rows {
        if args.which.json {
            out(&format!("{}\n", serde_json::to_string(show)?))?;
            continue;
        }
        let sub = if show.sub_title.is_empty() { String::new() } else { format!(": {}", show.sub_title) };
        out(&table::lines(&[], &[vec![format!("{}{sub}", show.title)]]))?;
        let rows = show.airings.iter().map(|airing| {
            vec![String::new(), airing.start.clone(), airing.channel.clone(), airing.room.clone()]
        });
        out(&table::lines(&[2, 25, 16], &rows.collect::<Vec<_>>()))?;
    }
    Ok(!page.rows.is_empty())
}
