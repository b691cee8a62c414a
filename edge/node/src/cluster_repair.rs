//! The command `cluster repair`: shows what each copy of a shard holds, and makes the shard's log anew behind
//! the one that has most.
//!
//! Why an operator decides: the servers lost records that they acknowledged, and nobody else knows whether a
//! server will bring them back.
//! Invariants: nothing is changed without `--yes`. A node that does not answer may have more than all others,
//! so it must be named to be left out. Nothing that a copy has is lost: the others keep theirs aside before
//! they take a snapshot of the chosen one.
//! Not here: what a node does after that (`grandstand_cluster::seat`, `cluster::copies`).

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use grandstand_cluster::id::{NodeId, Position};
use grandstand_cluster::record::Renewal;
use grandstand_engine::link::ShardId;
use grandstand_nats::admin;
use grandstand_nats::exchange::CopyState;
use serde_json::{Value, json};

/// The subcommand.
pub(crate) fn command() -> Command {
    let node = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("NODE").value_parser(value_parser!(u16)).help(help)
    };
    Command::new("repair")
        .about("Make a shard's log anew behind the copy that has most, after the servers lost records")
        .arg(Arg::new("shard").required(true).value_parser(value_parser!(u16)).help("The shard"))
        .arg(node("copy", "Node whose copy is taken, where copies differ"))
        .arg(
            node("without", "Node that does not answer and is left out; it may be given again")
                .action(ArgAction::Append),
        )
        .arg(Arg::new("yes").long("yes").action(ArgAction::SetTrue).help("Do it; without, only show"))
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print one JSON object instead"))
}

/// What a repair would do.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    node: NodeId,
    renewal: Renewal,
}

/// One copy of the shard.
type Held = (NodeId, Option<CopyState>);

/// Whose copy is taken, and where the new log begins.
fn plan(
    held: &[Held],
    ends: Option<(Position, Position)>,
    without: &[u16],
    wanted: Option<u16>,
) -> Result<Plan, (String, String)> {
    let fault = |what: String, hint: &str| Err((what, hint.to_owned()));
    let silent = held.iter().find(|(node, state)| state.is_none() && !without.contains(&node.0.into()));
    if let Some((node, _)) = silent {
        let what = format!("node {} does not answer, and its copy may have more than the others", node.0);
        return fault(what, &format!("start it; or leave it out with --without {}", node.0));
    }
    let copies: Vec<(NodeId, &CopyState)> =
        held.iter().filter_map(|(node, state)| Some((*node, state.as_ref()?))).collect();
    let end = ends.map_or(0, |(_, end)| end.0);
    let needs = |state: &CopyState| state.trouble.is_some() || state.position > end;
    if !copies.iter().any(|(_, state)| needs(state)) {
        let what = "the shard's log and copies fit: there is nothing to repair".to_owned();
        return fault(what, "see `grandstand cluster status`");
    }
    if let Some((node, _)) =
        copies.iter().find(|(_, state)| state.owns && state.trouble.is_none() && state.position <= end)
    {
        let what = format!("node {} owns the shard and follows its log", node.0);
        return fault(what, "wait for the others; or stop that node, if its log is not the one to keep");
    }
    let sound = copies.iter().filter(|(_, state)| state.is_sound);
    let chosen = match wanted {
        Some(wanted) => sound.clone().find(|(node, _)| u16::from(node.0) == wanted),
        None => sound.clone().max_by_key(|(_, state)| (state.position, state.term)),
    };
    let Some((node, state)) = chosen else {
        return fault(
            "no such node has a sound copy to repair from".to_owned(),
            "choose another with --copy",
        );
    };
    let is_fork = |other: &CopyState| {
        let differs = other.trouble.as_deref().is_some_and(|why| why.contains("copies differ"));
        other.position == state.position && other.sum != state.sum || other.term > state.term || differs
    };
    if wanted.is_none() && copies.iter().any(|(_, other)| is_fork(other)) {
        let what = "the copies differ: each may have records that the others have not".to_owned();
        return fault(
            what,
            "choose one with --copy NODE; the others keep theirs aside, in replaced-shard-*.db",
        );
    }
    if state.trouble.is_none() && state.next <= end {
        let what = format!("node {} has not read the log to its end yet", node.0);
        return fault(what, "try again in a moment");
    }
    let known = copies.iter().map(|(_, state)| state.position.max(state.next.saturating_sub(1)));
    let last = known.max().unwrap_or(0).max(end);
    let sum = u64::from_str_radix(&state.sum, 16).unwrap_or_default();
    let renewal = Renewal { position: Position(state.position), sum, first: Position(last + 1) };
    Ok(Plan { node: *node, renewal })
}

/// Show, and with `--yes` do it.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) fn run(
    network: &grandstand_nats::Config,
    nodes: usize,
    matches: &ArgMatches,
) -> Result<(Value, String), (String, String)> {
    let shard = *matches.get_one::<u16>("shard").expect("clap asks for it");
    let without: Vec<u16> = matches.get_many::<u16>("without").into_iter().flatten().copied().collect();
    let wanted = matches.get_one::<u16>("copy").copied();
    let nodes: Vec<NodeId> = (0..nodes as u8).map(NodeId).collect();
    let of = |fault: admin::AdminFault| (fault.to_string(), "see cluster.servers".to_owned());
    let shards = admin::facts(network).map_err(of)?.map_or(0, |facts| facts.shards);
    if shard >= shards {
        let what = format!("got shard {shard}, expected one of the cluster's {shards}, from 0");
        return Err((what, "see `grandstand cluster status`".to_owned()));
    }
    let ends = admin::ends(network, ShardId(shard)).map_err(of)?;
    let mine = |states: Vec<CopyState>| states.into_iter().find(|state| state.shard == shard);
    let held = admin::copies(network, &nodes).map_err(of)?.into_iter();
    let held: Vec<Held> = held.map(|(node, states)| (node, states.and_then(mine))).collect();
    let mut lines = vec![match ends {
        Some((first, end)) => format!("shard {shard}: its log has the positions {} to {}", first.0, end.0),
        None => format!("shard {shard}: its log is gone"),
    }];
    lines.extend(held.iter().map(said));
    let copies: Vec<Value> =
        held.iter().map(|(node, state)| json!({ "node": node.0, "copy": state })).collect();
    let Plan { node, renewal } = plan(&held, ends, &without, wanted)
        .map_err(|(what, hint)| (format!("{}\n{what}", lines.join("\n")), hint))?;
    lines.push(format!(
        "repair: delete the log, and make it anew from position {} on, behind the copy of node {}; other copies \
         are kept aside, and replaced by a snapshot of that one",
        renewal.first.0, node.0
    ));
    let is_done = matches.get_flag("yes");
    if is_done {
        admin::renew(network, ShardId(shard), renewal).map_err(of)?;
        lines.push("done: nodes follow it within seconds; see `grandstand cluster status`".to_owned());
    } else {
        lines.push("nothing was changed: say --yes to do it".to_owned());
    }
    let value = json!({
        "shard": shard, "copies": copies, "from": node.0, "position": renewal.position.0,
        "first": renewal.first.0, "done": is_done,
    });
    Ok((value, lines.join("\n")))
}

/// What a copy holds, as a line.
fn said((node, state): &Held) -> String {
    let Some(state) = state else { return format!("node {}: does not answer", node.0) };
    format!(
        "node {}: up to position {} of term {}, sum {}{}{}",
        node.0,
        state.position,
        state.term,
        state.sum,
        if state.is_sound { "" } else { ", damaged" },
        state.trouble.as_ref().map_or_else(String::new, |why| format!("; {why}")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(position: u64, sum: &str, term: u64, trouble: Option<&str>) -> CopyState {
        CopyState {
            shard: 0,
            position,
            next: position + 1,
            sum: sum.to_owned(),
            term,
            is_sound: true,
            owns: false,
            trouble: trouble.map(str::to_owned),
        }
    }

    fn held(copies: [Option<CopyState>; 3]) -> Vec<Held> {
        (0..).map(NodeId).zip(copies).collect()
    }

    #[test]
    fn a_repair_takes_the_copy_that_has_most_and_never_chooses_where_copies_differ() {
        let why = Some("the log ends early");
        let (short, long) = (copy(90, "a", 2, why), copy(105, "b", 2, why));
        let ends = Some((Position(1), Position(94)));
        let all = held([Some(short.clone()), Some(long.clone()), Some(long.clone())]);
        let renewal = Renewal { position: Position(105), sum: 0xb, first: Position(106) };
        assert_eq!(plan(&all, ends, &[], None), Ok(Plan { node: NodeId(2), renewal }));
        // The log is gone.
        assert_eq!(plan(&all, None, &[], None), Ok(Plan { node: NodeId(2), renewal }));
        // A node that is silent must be left out by its number.
        let two = held([Some(short.clone()), None, Some(long.clone())]);
        let (what, hint) = plan(&two, ends, &[], None).unwrap_err();
        assert!(what.contains("node 1") && hint.contains("--without 1"), "{what}: {hint}");
        assert_eq!(plan(&two, ends, &[1], None), Ok(Plan { node: NodeId(2), renewal }));
        // Copies of one length that differ, and a shorter one of a higher term: somebody must choose.
        let fork = held([Some(long.clone()), Some(copy(105, "c", 2, why)), Some(short.clone())]);
        assert!(plan(&fork, ends, &[], None).unwrap_err().1.contains("--copy"));
        let fork = held([Some(copy(97, "d", 3, why)), Some(long.clone()), Some(long.clone())]);
        assert!(plan(&fork, ends, &[], None).is_err());
        let chosen = plan(&fork, ends, &[], Some(0)).unwrap();
        // Behind everything that any copy has, so that no position is given twice.
        assert_eq!((chosen.renewal.position, chosen.renewal.first), (Position(97), Position(106)));
        // A damaged copy is none.
        let damaged = CopyState { is_sound: false, ..long };
        let rotten = held([Some(damaged), Some(short.clone()), Some(short)]);
        let chosen = plan(&rotten, ends, &[], None).unwrap();
        assert_eq!((chosen.renewal.position, chosen.renewal.first), (Position(90), Position(106)));
    }

    #[test]
    fn nothing_is_repaired_that_is_well_or_in_use() {
        let well = copy(94, "a", 2, None);
        let ends = Some((Position(1), Position(94)));
        let all = held([Some(well.clone()), Some(well.clone()), Some(well.clone())]);
        assert!(plan(&all, ends, &[], None).unwrap_err().0.contains("nothing to repair"));
        let owner = CopyState { owns: true, ..well.clone() };
        let behind = copy(20, "b", 1, Some("behind"));
        let (what, _) = plan(&held([Some(owner), Some(behind), Some(well)]), ends, &[], None).unwrap_err();
        assert!(what.contains("node 0 owns"), "{what}");
    }
}
