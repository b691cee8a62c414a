//! The command `cluster import`: the rooms of a single node's log, or of a backup, become rooms of the
//! cluster.
//!
//! Why while the nodes are stopped: the rooms are written into this node's copy, and the shards' logs
//! begin anew behind it. The other nodes then take snapshots of it. So a log of any size comes over with its
//! epochs, and viewers resume.
//! Invariants: nothing is written while a node of the cluster answers, or when a room is there already. The
//! folder that is read is not changed. Cut off, it may be run again, and goes on.
//! Not here: how rooms are written (`grandstand_store::snapshot`), what nodes do with it (`cluster::copies`).

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use grandstand_cluster::id::{NodeId, Position};
use grandstand_cluster::record::{ChainHead, Renewal};
use grandstand_edge::clock::Clock;
use grandstand_edge::config::Config;
use grandstand_engine::link::{Directory, ShardId};
use grandstand_nats::admin;
use grandstand_protocol::frame::Durability;
use grandstand_store::CopyHead;
use grandstand_store::snapshot::Importer;
use serde_json::{Value, json};

use crate::settings::store_config;

/// Between two lines of progress on a terminal.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// The subcommand.
pub(crate) fn command() -> Command {
    Command::new("import")
        .about("Bring the rooms of a single node's log, or of a backup, into the cluster; its nodes must be stopped")
        .arg(
            Arg::new("from")
                .long("from")
                .value_name("PATH")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("Folder of a node's log, or a backup; it is not changed"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object instead"))
}

type Failed = (String, String);

/// Import, and make the logs of the shards anew behind it.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) fn run(
    config: &Config,
    network: &grandstand_nats::Config,
    matches: &ArgMatches,
) -> Result<(Value, String), Failed> {
    let from = matches.get_one::<PathBuf>("from").expect("clap asks for it");
    let of = |fault: admin::AdminFault| (fault.to_string(), "see cluster.servers".to_owned());
    let failed = |what: String, hint: &str| (what, hint.to_owned());
    let Some(facts) = admin::facts(network).map_err(of)? else {
        return Err(failed("the cluster was not made yet".to_owned(), "run `grandstand cluster init` once"));
    };
    let nodes: Vec<NodeId> = (0..config.cluster.nodes.len() as u8).map(NodeId).collect();
    let running =
        admin::copies(network, &nodes).map_err(of)?.into_iter().find(|(_, states)| states.is_some());
    if let Some((node, _)) = running {
        return Err(failed(format!("node {} of the cluster runs", node.0), "stop all nodes, then import"));
    }
    let store = |error: grandstand_store::StoreError| {
        failed(error.to_string(), "nothing that was there is changed; run it again when that is mended")
    };
    let copies = store_config(config).ok_or_else(|| failed("log.dir is off".to_owned(), "set log.dir"))?;
    let mut importer = Importer::open(copies, facts.shards, from).map_err(store)?;
    let heads: Vec<ChainHead> = importer.heads().map(chain_head).collect::<Result<_, _>>()?;
    let mut ends = Vec::new();
    for (shard, head) in (0..).map(ShardId).zip(&heads) {
        let end = admin::ends(network, shard).map_err(of)?.map_or(Position(0), |(_, end)| end);
        if end > head.position {
            let what = format!("this node's copy of shard {} has not read its log to the end", shard.0);
            return Err(failed(
                what,
                "start the nodes until `cluster status` shows equal positions, and stop them",
            ));
        }
        ends.push(end);
    }
    let was_cut_off = importer.is_unfinished();
    let directory = Directory::new(facts.shards, facts.seed);
    let (count, clock, mut said) = (importer.count(), Clock::start(), Duration::ZERO);
    let shows = io::stderr().is_terminal();
    let shard_of = |name: &str| directory.shard_of(name).0;
    let imported = importer.run(
        &shard_of,
        &|room| {
            // Places are given anew in each shard; a cluster keeps no room on one disk alone.
            room.slot = None;
            room.settings.durability = room.settings.durability.filter(|level| *level != Durability::Disk);
        },
        &mut |done| {
            if shows && clock.uptime() >= said + PROGRESS_EVERY {
                said = clock.uptime();
                // If standard error is closed, nobody watches the progress.
                let _ = writeln!(io::stderr().lock(), "{done} of {count} rooms");
            }
        },
    );
    let imported = imported.map_err(store)?;
    let mut new_heads = Vec::new();
    let mut renewals = Vec::new();
    for ((shard, head), end) in (0..).map(ShardId).zip(heads).zip(ends) {
        // All shards, since an earlier attempt may have written into any of them.
        let head = if imported.rooms > 0 || was_cut_off { next_head(head) } else { head };
        if head.position > end {
            let first = head.position.next();
            renewals.push((shard, Renewal { position: head.position, sum: head.sum, first }));
        }
        if head.position > Position(0) {
            new_heads.push((shard.0, CopyHead::new(head.position.0, head.encode())));
        }
    }
    importer.finish(new_heads).map_err(store)?;
    for (shard, renewal) in renewals {
        admin::renew(network, shard, renewal).map_err(of)?;
    }
    let text = format!(
        "{} rooms imported, {} were there from an earlier attempt: start this node, and then the others, which \
         take its copies",
        imported.rooms, imported.known
    );
    Ok((json!({ "rooms": imported.rooms, "known": imported.known }), text))
}

fn chain_head(head: Option<&CopyHead>) -> Result<ChainHead, Failed> {
    let Some(head) = head else { return Ok(ChainHead::default()) };
    ChainHead::decode(head.bytes()).map_err(|fault| (fault.to_string(), "see log.dir".to_owned()))
}

/// The head of a copy that has more than the log said: no other copy has it.
fn next_head(head: ChainHead) -> ChainHead {
    let mut sum = [0; 8];
    getrandom::fill(&mut sum).expect("the kernel gives random bytes");
    ChainHead { position: head.position.next(), sum: u64::from_le_bytes(sum), ..head }
}
