//! Metrics: renders the node's numbers as Prometheus text.
//!
//! Why a table of plain cells and not the client library's counters: the fan-out loop counts, and counting
//! must cost no more than an addition in memory. The library sees the numbers only at the scrape, and writes
//! the text format.
//! Invariant: every metric has help, and a unit in its name. A scrape never stops a worker.
//! Not here: the port of the scrape (`http::admin`), the meaning of engine counters (`grandstand_engine`).

mod engine;
mod process;
mod reload;
mod store;

pub(crate) use reload::ReloadNumbers;
pub(crate) use store::numbers as store_numbers;

use std::sync::Arc;

use crate::health::{ThreadFault, Verdict};
use crate::word_lists::WordLists;
use engine::EngineNumber;
use grandstand_edge::clock::Clock;
use grandstand_edge::stats::{DECLARED, Declared, Kind, Stats};
use grandstand_store::Status;
use prometheus::core::Collector;
use prometheus::{Counter, CounterVec, Gauge, GaugeVec, Opts, Registry, TextEncoder};

/// The content type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A metric of one shard or of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterNumber {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// The shard, if it is one's.
    pub shard: Option<u16>,
    /// A further label and its value.
    pub label: Option<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl ClusterNumber {
    /// Its labels and their values.
    fn labels(&self) -> impl Iterator<Item = (&'static str, String)> {
        let shard = self.shard.map(|shard| ("shard", shard.to_string()));
        shard.into_iter().chain(self.label.clone())
    }
}

/// Numbers of a module: name, help, value.
type Numbers = Box<dyn Fn() -> Vec<(&'static str, &'static str, f64)> + Send + Sync>;

/// Renders scrapes.
pub struct Metrics {
    node: String,
    clock: Clock,
    reload: Option<Arc<ReloadNumbers>>,
    word_lists: Option<Arc<WordLists>>,
    more: Vec<Numbers>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("node", &self.node).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics of a node with this name, which started with this clock.
    pub fn new(node: &str, clock: Clock) -> Metrics {
        Metrics { node: node.to_owned(), clock, reload: None, word_lists: None, more: Vec::new() }
    }

    /// With the numbers of another module.
    #[must_use]
    pub(crate) fn with_numbers(
        mut self,
        numbers: impl Fn() -> Vec<(&'static str, &'static str, f64)> + Send + Sync + 'static,
    ) -> Metrics {
        self.more.push(Box::new(numbers));
        self
    }

    /// With the numbers of reloads and of the certificate.
    #[must_use]
    pub(crate) fn with_reload(self, numbers: Arc<ReloadNumbers>) -> Metrics {
        Metrics { reload: Some(numbers), ..self }
    }

    /// With what word lists decided.
    #[must_use]
    pub(crate) fn with_word_lists(self, lists: Arc<WordLists>) -> Metrics {
        Metrics { word_lists: Some(lists), ..self }
    }

    /// Render one scrape: every worker's numbers in the order of `workers`, the shards' numbers by their
    /// short names (equal ones are added), those of the durable log, if there is one, and those of the
    /// process.
    pub fn render(
        &self,
        workers: &[Arc<Stats>],
        engine: Vec<(&'static str, u64)>,
        log: Option<&Status>,
        verdict: &Verdict,
        cluster: &[ClusterNumber],
    ) -> String {
        let scrape = Scrape { registry: Registry::new() };
        self.about(&scrape);
        scrape.threads(verdict);
        DECLARED.iter().for_each(|declared| scrape.declared(declared, workers));
        scrape.engine(engine);
        log.map(|log| store::numbers(log, self.clock))
            .iter()
            .flatten()
            .for_each(|n| scrape.number(&n.name, n.help, n.value));
        if let Some(log) = log {
            scrape.keep(store::CommitTimes::of(log));
        }
        scrape.cluster(cluster);
        self.word_lists.iter().for_each(|lists| scrape.word_lists(lists));
        for (name, help, value) in self.more.iter().flat_map(|numbers| numbers()) {
            scrape.number(name, help, value);
        }
        process::readings().iter().for_each(|r| scrape.number(r.name, r.help, r.value));
        TextEncoder::new()
            .encode_to_string(&scrape.registry.gather())
            .expect("what is registered can be written")
    }

    fn about(&self, scrape: &Scrape) {
        let opts = Opts::new("grandstand_build_info", "Version and name of this node; always 1.");
        let opts = opts.const_label("version", env!("CARGO_PKG_VERSION")).const_label("node", &*self.node);
        let build = Gauge::with_opts(opts).expect("a valid name");
        build.set(1.0);
        scrape.keep(build);
        let uptime = self.clock.uptime().as_secs_f64();
        scrape.number("grandstand_uptime_seconds", "Time since the node started.", uptime);
        let help = "Log lines that could not be written, such as for want of disk space.";
        scrape.number("grandstand_log_write_errors_total", help, crate::logging::write_errors() as f64);
        let help = "Log lines dropped because they came faster than they could be written.";
        scrape.number("grandstand_log_lines_dropped_total", help, crate::logging::lines_dropped() as f64);
        let help = "Log lines that repeated an earlier one too often, and were counted in place of written.";
        scrape.number("grandstand_log_lines_counted_total", help, crate::logging::lines_counted() as f64);
        self.reload.iter().flat_map(|numbers| reload::readings(numbers)).for_each(|(name, help, value)| {
            scrape.number(name, help, value);
        });
    }
}

/// A scrape that is being rendered.
struct Scrape {
    registry: Registry,
}

impl Scrape {
    fn threads(&self, verdict: &Verdict) {
        let hung = "1 if the thread hangs or has died, so that /healthz fails; 0 otherwise.";
        let still = "Time since the thread last turned.";
        let gauges = |name, help| GaugeVec::new(Opts::new(name, help), &["thread"]).expect("a valid name");
        let (hung, still) =
            (gauges("grandstand_thread_hung", hung), gauges("grandstand_thread_still_seconds", still));
        for thread in &verdict.threads {
            let is_dead = matches!(thread.fault, Some(ThreadFault::Hangs | ThreadFault::Died));
            hung.with_label_values(&[&*thread.name]).set(f64::from(u8::from(is_dead)));
            still.with_label_values(&[&*thread.name]).set(thread.still.as_secs_f64());
        }
        self.keep(hung);
        self.keep(still);
    }

    fn declared(&self, declared: &Declared, workers: &[Arc<Stats>]) {
        let none = Stats::default();
        let labels: Vec<_> = ["worker"].into_iter().chain((declared.series)(&none).label()).collect();
        let opts = Opts::new(declared.name, declared.help);
        match declared.kind {
            Kind::Gauge | Kind::GaugePermille | Kind::GaugeNs => {
                let gauges = GaugeVec::new(opts, &labels).expect("a valid name");
                each(declared, workers, |values, n| gauges.with_label_values(values).set(n));
                self.keep(gauges);
            }
            Kind::Counter | Kind::CounterUs => {
                let counters = CounterVec::new(opts, &labels).expect("a valid name");
                each(declared, workers, |values, n| counters.with_label_values(values).inc_by(n));
                self.keep(counters);
            }
        }
    }

    fn engine(&self, counters: Vec<(&'static str, u64)>) {
        let (refused, plain): (Vec<_>, Vec<_>) =
            engine::numbers(counters).into_iter().partition(|number| number.reason.is_some());
        plain.iter().for_each(|number| self.number(&number.name, number.help, number.value));
        let Some(EngineNumber { name, help, .. }) = refused.first() else { return };
        let by_reason = CounterVec::new(Opts::new(name, *help), &["reason"]).expect("a valid name");
        for number in &refused {
            let reason = number.reason.as_deref().unwrap_or_default();
            by_reason.with_label_values(&[reason]).inc_by(number.value);
        }
        self.keep(by_reason);
    }

    /// Numbers of shards by shard, those of other nodes by node, and those of the network.
    fn cluster(&self, numbers: &[ClusterNumber]) {
        let mut numbers: Vec<_> = numbers.iter().collect();
        numbers.sort_by_key(|number| number.name);
        for of_name in numbers.chunk_by(|a, b| a.name == b.name) {
            let opts = Opts::new(of_name[0].name, of_name[0].help);
            let labels: Vec<&str> = of_name[0].labels().map(|(label, _)| label).collect();
            let values =
                of_name.iter().map(|n| (n.labels().map(|(_, value)| value).collect::<Vec<_>>(), n.value));
            if of_name[0].name.ends_with("_total") {
                let counters = CounterVec::new(opts, &labels).expect("a valid name");
                values.for_each(|(labels, value)| counters.with_label_values(&labels).inc_by(value));
                self.keep(counters);
            } else {
                let gauges = GaugeVec::new(opts, &labels).expect("a valid name");
                values.for_each(|(labels, value)| gauges.with_label_values(&labels).set(value));
                self.keep(gauges);
            }
        }
    }

    fn word_lists(&self, lists: &WordLists) {
        let help = "Texts and names that a word list caught, by the list that decided and what it says.";
        let opts = Opts::new("grandstand_filter_verdicts_total", help);
        let verdicts = CounterVec::new(opts, &["list", "action"]).expect("a valid name");
        for (list, action, count) in lists.numbers() {
            verdicts.with_label_values(&[&list, action]).inc_by(count as f64);
        }
        self.keep(verdicts);
    }

    /// A metric without labels. It is a counter when its name ends like one.
    fn number(&self, name: &str, help: &str, value: f64) {
        let opts = Opts::new(name, help);
        if name.ends_with("_total") {
            let counter = Counter::with_opts(opts).expect("a valid name");
            counter.inc_by(value);
            self.keep(counter);
        } else {
            let gauge = Gauge::with_opts(opts).expect("a valid name");
            gauge.set(value);
            self.keep(gauge);
        }
    }

    fn keep(&self, metric: impl Collector + 'static) {
        self.registry.register(Box::new(metric)).expect("names differ");
    }
}

/// Every worker's numbers of one line, with their label values, in the unit of the metric.
fn each(declared: &Declared, workers: &[Arc<Stats>], mut show: impl FnMut(&[&str], f64)) {
    for (worker, stats) in workers.iter().enumerate() {
        let series = (declared.series)(stats);
        let worker = worker.to_string();
        for (word, n) in series.numbers() {
            let values = [worker.as_str(), &word];
            let values = if series.label().is_some() { &values[..] } else { &values[..1] };
            show(values, shown(declared.kind, n));
        }
    }
}

fn shown(kind: Kind, n: u64) -> f64 {
    match kind {
        Kind::Counter | Kind::Gauge => n as f64,
        Kind::CounterUs => n as f64 / 1e6,
        Kind::GaugePermille => n as f64 / 1e3,
        Kind::GaugeNs => n as f64 / 1e9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use grandstand_edge::stats::Transport;
    use grandstand_protocol::close::CloseCode;
    use grandstand_store::COMMIT_BUCKETS_US;
    use std::collections::HashMap;
    use std::sync::atomic::Ordering;

    fn scrape(engine: Vec<(&'static str, u64)>) -> String {
        let workers = [Arc::new(Stats::default()), Arc::new(Stats::default())];
        workers[0].connections.of(Transport::Quic).add(3);
        workers[1].closes.of(CloseCode::GoingAway).add(2);
        workers[1].busy_us.add(1_500_000);
        Metrics::new("test", Clock::start()).render(
            &workers,
            engine,
            Some(&Status::default()),
            &Verdict::default(),
            &[],
        )
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|l| l == line), "no line `{line}` in\n{text}");
    }

    #[test]
    fn workers_and_labels_are_told_apart_and_seconds_are_seconds() {
        let text = scrape(vec![]);
        has(&text, r#"grandstand_connections{transport="quic",worker="0"} 3"#);
        has(&text, r#"grandstand_connections{transport="websocket_tls",worker="1"} 0"#);
        has(&text, r#"grandstand_closes_total{code="going_away",worker="1"} 2"#);
        has(&text, r#"grandstand_worker_busy_seconds_total{worker="1"} 1.5"#);
    }

    #[test]
    fn commits_are_a_histogram() {
        let log = Status::default();
        for (bucket, count) in [(0, 2), (1, 3), (COMMIT_BUCKETS_US.len(), 1)] {
            log.commit_buckets[bucket].store(count, Ordering::Relaxed);
        }
        log.commit_us_total.store(12_000_000, Ordering::Relaxed);
        let text =
            Metrics::new("test", Clock::start()).render(&[], vec![], Some(&log), &Verdict::default(), &[]);
        has(&text, "# TYPE grandstand_store_commit_seconds histogram");
        has(&text, r#"grandstand_store_commit_seconds_bucket{le="0.0005"} 2"#);
        has(&text, r#"grandstand_store_commit_seconds_bucket{le="0.001"} 5"#);
        has(&text, r#"grandstand_store_commit_seconds_bucket{le="+Inf"} 6"#);
        has(&text, "grandstand_store_commit_seconds_sum 12");
    }

    #[test]
    fn engine_numbers_have_their_kinds_and_reasons() {
        let refused = [("publications_refused_empty", 2), ("publications_refused_slow_mode", 0)];
        let text =
            scrape(vec![("batches_sealed", 2), ("batches_sealed", 3), ("rooms", 4), refused[0], refused[1]]);
        has(&text, "grandstand_engine_batches_sealed_total 5");
        has(&text, "# TYPE grandstand_engine_batches_sealed_total counter");
        has(&text, "# TYPE grandstand_engine_rooms gauge");
        has(&text, r#"grandstand_engine_publications_refused_total{reason="empty"} 2"#);
        has(&text, r#"grandstand_engine_publications_refused_total{reason="slow_mode"} 0"#);
    }

    /// Checks the whole text, so that no metric bypasses the table.
    #[test]
    fn every_metric_has_help_a_known_prefix_and_the_suffix_of_its_kind() {
        let text = scrape(vec![("rooms_created", 1), ("surprises_total", 1)]);
        let about = |what: &str| -> HashMap<String, String> {
            let lines = text.lines().filter_map(|line| line.strip_prefix(what)?.split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
        };
        let (helps, types) = (about("# HELP "), about("# TYPE "));
        assert!(types.len() > 60);
        for (name, kind) in &types {
            assert!(name.starts_with("grandstand_") || name.starts_with("process_"), "{name}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
            assert!(helps.get(name).is_some_and(|help| help.ends_with('.')), "{name}");
        }
    }
}
