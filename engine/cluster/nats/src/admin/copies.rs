//! Copies: what each node says of its own, and a shard's log that is made anew behind one of them.
//!
//! Why the log is deleted: the servers lost records that they acknowledged, so the rest does not continue any
//! copy. The new one begins at a position above all that any copy has, and says what it goes on
//! from (`Renewal`).
//! Invariants: nothing is deleted before the caller has decided; a repair that was cut off in the middle may
//! be repeated.

use grandstand_cluster::id::{NodeId, Position};
use grandstand_cluster::record::Renewal;
use grandstand_engine::link::ShardId;
use serde_json::{Value, json};

use super::api::{Session, of_value};
use super::fault::AdminFault;
use super::with_session;
use crate::config::{Config, Plan};
use crate::exchange::{CopyState, Request};
use crate::replies::{NO_STREAM, RENEWAL_KEYS};

/// A node, and what it says of its copies; `None`: it does not answer.
pub type NodeCopies = (NodeId, Option<Vec<CopyState>>);

/// What each node says of its copies.
///
/// # Errors
/// No server lets this program in.
pub fn copies(config: &Config, nodes: &[NodeId]) -> Result<Vec<NodeCopies>, AdminFault> {
    with_session(config, async |session| {
        let mut all = Vec::new();
        for node in nodes {
            let request = serde_json::to_value(Request::States).expect("plain data");
            let answer = session.ask(session.subjects.copies(*node), request).await;
            let states = answer.ok().and_then(Result::ok).and_then(|answer| of_value(answer).ok());
            all.push((*node, states));
        }
        Ok(all)
    })
}

/// The first and last position of a shard's log; `None`: there is no such stream.
///
/// # Errors
/// The servers are out of reach.
pub fn ends(config: &Config, shard: ShardId) -> Result<Option<(Position, Position)>, AdminFault> {
    with_session(config, async |session| {
        let info = match session.ask(session.subjects.info(shard), Value::Null).await? {
            Ok(info) => info,
            Err(error) if error.err_code == NO_STREAM => return Ok(None),
            Err(error) => return Err(AdminFault::Api(error.description)),
        };
        let of = |key: &str| info["state"][key].as_u64().map(Position);
        let ends = of("first_seq").zip(of("last_seq"));
        ends.map(Some).ok_or_else(|| AdminFault::Api("a stream without ends".to_owned()))
    })
}

/// Make a shard's log anew: the old one is deleted, and the new one begins at `renewal.first`.
///
/// # Errors
/// The servers are out of reach, or refuse.
pub fn renew(config: &Config, shard: ShardId, renewal: Renewal) -> Result<(), AdminFault> {
    with_session(config, async |session| renew_in(session, &config.plan, shard, renewal).await)
}

async fn renew_in(
    session: &Session,
    plan: &Plan,
    shard: ShardId,
    renewal: Renewal,
) -> Result<(), AdminFault> {
    let (name, subject) = (session.subjects.stream(shard), session.subjects.log(shard));
    match session.ask(format!("$JS.API.STREAM.DELETE.{name}"), Value::Null).await? {
        Ok(_) => {}
        Err(error) if error.err_code == NO_STREAM => {}
        Err(error) => return Err(AdminFault::Making { name, why: error.description }),
    }
    let mut wanted = plan.log(&name, &subject);
    wanted["first_seq"] = json!(renewal.first.0);
    let [position, sum, first] = RENEWAL_KEYS;
    wanted["metadata"] = json!({
        position: renewal.position.0.to_string(),
        sum: format!("{:016x}", renewal.sum),
        first: renewal.first.0.to_string(),
    });
    let made = session.ask(format!("$JS.API.STREAM.CREATE.{name}"), wanted).await?;
    made.map(|_| ()).map_err(|error| AdminFault::Making { name, why: error.description })
}
