//! `gs guide import`: a document from a file or a URL goes into a guide in a folder, or to a node.
//!
//! Why both: a folder shows what a feed would do before any node has it.
//! Invariant: the report is printed whatever comes of the import. Not here: rules (`grandstand_guide`).

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use grandstand_fetch::{Fetcher, Policy, Request, Settings};
use grandstand_guide::store::Guide;
use grandstand_guide::time::Zones;
use grandstand_guide::{Import, Options, Report, Unused};

use crate::{node, now_s, show};

/// Bytes of a document that is fetched, and how long that may take.
const DOCUMENT_BYTES_MAX: usize = 4 << 30;
const FETCH_WITHIN: Duration = Duration::from_secs(1_800);

/// Arguments of `gs guide import`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// File or URL of the document.
    #[arg(value_name = "FILE|URL")]
    document: String,
    /// Name of the source; a channel belongs to the source that brought it.
    #[arg(long, value_name = "NAME", default_value = "default")]
    source: String,
    /// Folder of the guide; it is made when it is missing.
    #[arg(long, value_name = "DIR", default_value = "guide", conflicts_with = "node")]
    into: PathBuf,
    #[command(flatten)]
    node: node::NodeArgs,
    /// Zone of times without offset, such as Europe/London.
    #[arg(long, value_name = "ZONE", default_value = "utc")]
    offset_missing: String,
    /// Added to all times, for feeds that stamp local times as +0000.
    #[arg(long, value_name = "±HH:MM", default_value = "", allow_hyphen_values = true)]
    correct_by: String,
    /// The language whose titles come first.
    #[arg(long, value_name = "LANG", default_value = "")]
    language: String,
    /// Apply nothing: only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// Apply what would be refused because it takes too much away.
    #[arg(long)]
    force: bool,
    /// Write what became of each line to this file, a JSON object a line.
    #[arg(long, value_name = "FILE", conflicts_with = "node")]
    lines: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, out: &mut dyn FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<bool> {
    let (file, _kept) = open(&args.document)?;
    if let Some(node) = args.node.node() {
        let flag = |name: &str, is_set: bool| if is_set { format!("&{name}=true") } else { String::new() };
        let mut path = format!("/v1/guide/documents?source={}", node::encode(&args.source));
        for (name, value) in [
            ("offset_missing", &args.offset_missing),
            ("correct_by", &args.correct_by),
            ("language", &args.language),
        ] {
            if !value.is_empty() {
                path += &format!("&{name}={}", node::encode(value));
            }
        }
        path += &(flag("dry_run", args.dry_run) + &flag("force", args.force));
        let (status, answer) = node.send("POST", &path, Some(file))?;
        out(&format!("{answer}\n"))?;
        return Ok(matches!(status, 200 | 202));
    }
    let options = Options {
        source: args.source.clone(),
        zones: Zones::parse(&args.offset_missing, &args.correct_by).map_err(anyhow::Error::msg)?,
        language: args.language.clone(),
        force: args.force,
        dry_run: args.dry_run,
        ..Options::default()
    };
    let mut guide = Guide::open(&args.into)?;
    let mut report = Report::new(&args.source, now_s());
    if let Some(path) = &args.lines {
        let lines = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        report.listen(Box::new(BufWriter::new(lines)));
    }
    let whole = file.metadata().map_or(0, |about| about.len());
    let shown = std::cell::Cell::new(Instant::now());
    let is_watched = std::io::stderr().is_terminal();
    let progress = |bytes: u64| {
        if is_watched && shown.get().elapsed() > Duration::from_millis(500) {
            shown.set(Instant::now());
            let percent = (bytes * 100).checked_div(whole).unwrap_or(0).min(100);
            let told = if percent < 100 {
                format!("read {percent} %")
            } else {
                "comparing with the guide".to_owned()
            };
            let _ = write!(std::io::stderr(), "\r\x1b[K{told}");
        }
        true
    };
    let began = Instant::now();
    let import = Import { guide: &mut guide, rooms: &Unused, now: now_s(), progress: Some(&progress) };
    let result = import.run(file, &options, &mut report);
    if is_watched {
        let _ = write!(std::io::stderr(), "\r\x1b[K");
    }
    if args.json {
        out(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        out(&show::report_text(&report))?;
        out(&format!("{:.1} s, guide in {}\n", began.elapsed().as_secs_f64(), args.into.display()))?;
    }
    Ok(result.is_ok())
}

/// The document as a file; of a URL, in a file that goes away with the second value.
fn open(document: &str) -> anyhow::Result<(File, Option<Temporary>)> {
    if !document.contains("://") {
        let file = File::open(document).with_context(|| format!("cannot read {document}"))?;
        return Ok((file, None));
    }
    let path = std::env::temp_dir().join(format!("gs-guide-{}", std::process::id()));
    let kept = Temporary(path.clone());
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fetch(document, &mut file))?;
    Ok((File::open(&path)?, Some(kept)))
}

async fn fetch(url: &str, into: &mut File) -> anyhow::Result<()> {
    let host = url.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    let host = host.filter(|host| !host.is_empty()).with_context(|| format!("{url} names no host"))?;
    // Whoever calls this named the host.
    let policy = Policy::allowing(&[host]).map_err(anyhow::Error::msg)?;
    let fetcher = Fetcher::new(Settings::new(policy))?;
    let request = Request::get(url).bytes_max(DOCUMENT_BYTES_MAX).within(FETCH_WITHIN);
    let mut answer = fetcher.open(&request).await?;
    anyhow::ensure!(answer.status == 200, "{url} answered {}", answer.status);
    while let Some(bytes) = answer.chunk().await? {
        into.write_all(&bytes)?;
    }
    Ok(())
}

/// A file that is removed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(Path::new(&self.0));
    }
}
