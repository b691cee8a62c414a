//! Administration: the streams and facts of a cluster are made once, and checked at every start and minute.
//!
//! Why a check with no way around it: a stream with one replica, or servers that sync every two minutes, look
//! healthy and lose acknowledged messages at the first power cut.
//! Invariants: `init` changes nothing that is there. Each wrong set-up has a fault of its own, which names
//! the key and says what to do.
//! Not here: moving leaders (`driver`), the commands for operators (`grandstand cluster`).

mod agreed;
mod api;
mod copies;
mod facts;
mod fault;
mod servers;
mod streams;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use grandstand_cluster::house::{Ban, HouseMessage};
use grandstand_cluster::id::NodeId;
use grandstand_cluster::link::Message as _;
use grandstand_cluster::membership::{Facts, Heartbeat};
use grandstand_engine::link::ShardId;

use crate::config::{Config, Plan};

pub use agreed::Agreed;
pub(crate) use agreed::now as agreed_now;
pub(crate) use api::Session;
pub use copies::{NodeCopies, copies, ends, renew};
pub use fault::AdminFault;

/// How long a command waits for a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A node that runs sends five heartbeats a second.
const HEARD_WITHIN: Duration = Duration::from_millis(1_500);

/// A step of [`init`] that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A stream was made.
    Made(String),
    /// A stream was there already, as it should be.
    Found(String),
    /// The facts were written.
    FactsWritten,
    /// The same facts were there already.
    FactsFound,
}

/// Servers that have just started, or lost one of them, elect a leader first: 4 to 9 s were measured.
const LEADER_TRIES: u32 = 75;
/// Between two tries.
const LEADER_TRY_EVERY: Duration = Duration::from_millis(200);

/// Makes the streams of all shards, the bucket of facts and the facts, as far as they are not there yet.
/// `progress` is told each step.
///
/// # Errors
/// The servers are out of reach or not set up for it, or something else is there under these names.
pub fn init(config: &Config, facts: &Facts, progress: &mut dyn FnMut(Progress)) -> Result<(), AdminFault> {
    with_session(config, async |session| {
        for _ in 0..LEADER_TRIES {
            match make_all(session, &config.plan, facts, progress).await {
                Err(AdminFault::NoLeader) => tokio::time::sleep(LEADER_TRY_EVERY).await,
                done => return done,
            }
        }
        make_all(session, &config.plan, facts, progress).await
    })
}

async fn make_all(
    session: &Session,
    plan: &Plan,
    facts: &Facts,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), AdminFault> {
    for shard in 0..facts.shards {
        let (name, subject) = (session.subjects.stream(ShardId(shard)), session.subjects.log(ShardId(shard)));
        let is_made = streams::make(session, &plan.log(&name, &subject)).await?;
        progress(if is_made { Progress::Made(name) } else { Progress::Found(name) });
    }
    let bucket = plan.bucket(&session.subjects.bucket(), &session.subjects.facts_of_bucket());
    let name = session.subjects.bucket();
    let is_made = streams::make(session, &bucket).await?;
    progress(if is_made { Progress::Made(name) } else { Progress::Found(name) });
    let is_written = facts::write(session, facts).await?;
    progress(if is_written { Progress::FactsWritten } else { Progress::FactsFound });
    Ok(())
}

/// The facts that the cluster was made with; `None` if it was not made yet. A node takes its seed from here.
///
/// # Errors
/// The servers are out of reach.
pub fn facts(config: &Config) -> Result<Option<Facts>, AdminFault> {
    with_session(config, async |session| facts::found(session).await)
}

/// The bans in the cluster's bucket, lifted ones too. A node reads them before it serves.
///
/// # Errors
/// The servers are out of reach, or the bucket has no leader.
pub fn bans(config: &Config) -> Result<Vec<Ban>, AdminFault> {
    with_session(config, async |session| {
        let answers = session.last_of_each(session.subjects.bans()).await?;
        let decode = |bytes: Bytes| HouseMessage::decode(&bytes).ok().map(|message| message.bans);
        Ok(answers.into_iter().filter_map(decode).flatten().collect())
    })
}

/// The same, of servers that must let this program in within a time.
///
/// # Errors
/// The servers are out of reach.
pub fn facts_within(config: &Config, within: Duration) -> Result<Option<Facts>, AdminFault> {
    with_session_within(config, within, async |session| facts::found(session).await)
}

/// What the nodes agreed on since the cluster was made.
///
/// # Errors
/// The servers are out of reach.
pub fn agreed(config: &Config) -> Result<Agreed, AdminFault> {
    with_session(config, async |session| agreed::now(session).await)
}

/// The nodes that run: those that were heard within a time.
///
/// # Errors
/// The servers are out of reach.
pub fn nodes_heard(config: &Config) -> Result<BTreeSet<NodeId>, AdminFault> {
    with_session(config, async |session| {
        let heartbeats = session.listen(session.subjects.heartbeat(), HEARD_WITHIN).await;
        let decoded = heartbeats.iter().filter_map(|bytes| Heartbeat::decode(bytes).ok());
        Ok(decoded.map(|heartbeat| heartbeat.node).collect())
    })
}

/// Raises what the nodes agreed on to at least this. Returns what it is then.
///
/// # Errors
/// The servers are out of reach, or others write at the same time.
pub fn raise(config: &Config, to: Agreed) -> Result<Agreed, AdminFault> {
    with_session(config, async |session| agreed::raise(session, to).await)
}

/// Whether the cluster can keep what it acknowledges: streams, servers and facts are as they must be.
///
/// # Errors
/// Everything that is wrong.
pub fn check(config: &Config, facts: &Facts) -> Result<(), Vec<AdminFault>> {
    let mut faults = Vec::new();
    let asked = with_session(config, async |session| {
        faults = check_all(session, facts, &config.plan).await;
        Ok(())
    });
    faults.extend(asked.err());
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// See [`check`].
pub(crate) async fn check_all(session: &Session, facts: &Facts, plan: &Plan) -> Vec<AdminFault> {
    let mut faults = Vec::new();
    faults.extend(facts::compare(session, facts).await.err());
    for shard in 0..facts.shards {
        let (name, subject) = (session.subjects.stream(ShardId(shard)), session.subjects.log(ShardId(shard)));
        match streams::compare(session, &plan.log(&name, &subject)).await {
            Ok(()) => {}
            // None of the others is there either: one fault says it all.
            Err(fault @ AdminFault::NotMade { .. }) => {
                faults.push(fault);
                break;
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(servers::check(session, plan).await);
    faults
}

fn with_session<T>(
    config: &Config,
    task: impl AsyncFnOnce(&Session) -> Result<T, AdminFault>,
) -> Result<T, AdminFault> {
    with_session_within(config, CONNECT_WITHIN, task)
}

fn with_session_within<T>(
    config: &Config,
    within: Duration,
    task: impl AsyncFnOnce(&Session) -> Result<T, AdminFault>,
) -> Result<T, AdminFault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| AdminFault::Unreachable(error.to_string()))?;
    let result = runtime.block_on(async {
        let session = Session::connect(config, NodeId(0), within).await?;
        task(&session).await
    });
    runtime.shutdown_background();
    result
}
