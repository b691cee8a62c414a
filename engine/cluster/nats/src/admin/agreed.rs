//! Agreed: what the nodes of a cluster agreed on after it was made, in the bucket of the cluster.
//!
//! Why apart from the facts: facts are written once and never change. These are raised by operators, when all
//! nodes are ready for it.
//! Invariants: a value only rises, and a write is made only upon what was read. What is not there is what
//! the first release had: version 1, and any number of nodes.

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::{Session, of_value};
use super::fault::AdminFault;

/// "no message found".
const NO_MESSAGE: u64 = 10_037;
/// "stream not found".
const NO_STREAM: u64 = 10_059;
/// Tries of a write that somebody else's came between.
const TRIES: u32 = 5;

/// See the file's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// The version by which records, and messages to all nodes, are written.
    pub version: u16,
    /// How many nodes the cluster has; 0: nobody said so yet.
    #[serde(default)]
    pub nodes: u8,
}

impl Default for Agreed {
    fn default() -> Self {
        Agreed { version: 1, nodes: 0 }
    }
}

#[derive(Deserialize)]
struct Got {
    #[serde(default)]
    data: String,
    seq: u64,
}

/// What is agreed, and at which place of the bucket's stream that stands.
async fn read(session: &Session) -> Result<(Agreed, u64), AdminFault> {
    let subject = format!("$JS.API.STREAM.MSG.GET.KV_{}", session.subjects.bucket_name());
    let answer = session.ask(subject, json!({ "last_by_subj": session.subjects.agreed() })).await?;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if [NO_MESSAGE, NO_STREAM].contains(&error.err_code) => return Ok((Agreed::default(), 0)),
        Err(error) => return Err(AdminFault::Api(error.description)),
    };
    let got: Got = of_value(answer["message"].clone())?;
    let text = STANDARD.decode(got.data).map_err(|error| AdminFault::Api(error.to_string()))?;
    let agreed = serde_json::from_slice(&text).map_err(|error| AdminFault::Api(error.to_string()))?;
    Ok((agreed, got.seq))
}

/// What the cluster agreed on.
pub(crate) async fn now(session: &Session) -> Result<Agreed, AdminFault> {
    read(session).await.map(|(agreed, _)| agreed)
}

/// Raises what is agreed to at least this, and returns what it is then.
pub(super) async fn raise(session: &Session, to: Agreed) -> Result<Agreed, AdminFault> {
    for _ in 0..TRIES {
        let (found, at) = read(session).await?;
        let next = Agreed { version: found.version.max(to.version), nodes: found.nodes.max(to.nodes) };
        if next == found && at > 0 {
            return Ok(found);
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Last-Subject-Sequence", at.to_string());
        let body = serde_json::to_vec(&next).expect("numbers");
        if session.put(session.subjects.agreed(), headers, body.into()).await?.is_ok() {
            return Ok(next);
        }
    }
    Err(AdminFault::NoLeader)
}
