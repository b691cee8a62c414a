//! Facts: what all nodes of a cluster must agree on, in the bucket of the cluster.
//!
//! Why in the bucket too, and not in heartbeats alone: a node that starts alone must not serve rooms of other
//! shards than the cluster's.
//! Invariants: facts are written once. Numbers are hexadecimal texts, since JSON has no 64 bits.

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grandstand_cluster::membership::Facts;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::{Session, of_value};
use super::fault::AdminFault;

/// "no message found".
const NO_MESSAGE: u64 = 10_037;
/// "stream not found".
const NO_STREAM: u64 = 10_059;
/// The form of this text.
const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u16,
    seed: String,
    shards: u16,
    ticket_key_print: String,
}

#[derive(Deserialize)]
struct Got {
    data: String,
}

impl Stored {
    fn of(facts: &Facts) -> Self {
        Stored {
            version: VERSION,
            seed: format!("{:016x}", facts.seed),
            shards: facts.shards,
            ticket_key_print: format!("{:016x}", facts.ticket_key_print),
        }
    }
}

/// Writes the facts unless there are some; whether they were written.
pub(super) async fn write(session: &Session, facts: &Facts) -> Result<bool, AdminFault> {
    match compare(session, facts).await {
        Ok(()) => return Ok(false),
        Err(AdminFault::NotMade { .. }) => {}
        Err(fault) => return Err(fault),
    }
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", "0");
    let body = serde_json::to_vec(&Stored::of(facts)).expect("numbers and texts");
    match session.put(session.subjects.facts(), headers, body.into()).await? {
        Ok(()) => Ok(true),
        // Somebody else wrote them meanwhile.
        Err(_) => compare(session, facts).await.map(|()| false),
    }
}

/// Whether the cluster was made with the same facts.
pub(super) async fn compare(session: &Session, facts: &Facts) -> Result<(), AdminFault> {
    let Some(stored) = read(session).await? else {
        return Err(AdminFault::NotMade { name: format!("the bucket {}", session.subjects.bucket()) });
    };
    let mine = Stored::of(facts);
    let differs = [
        ("the version of the facts", stored.version.to_string(), mine.version.to_string()),
        ("cluster.shards", stored.shards.to_string(), mine.shards.to_string()),
        ("cluster.seed", stored.seed, mine.seed),
        ("auth.ticket_key_file (its print)", stored.ticket_key_print, mine.ticket_key_print),
    ];
    match differs.into_iter().find(|(_, found, mine)| found != mine) {
        None => Ok(()),
        Some((key, found, mine)) => Err(AdminFault::Fact { key, found, mine }),
    }
}

async fn read(session: &Session) -> Result<Option<Stored>, AdminFault> {
    let subject = format!("$JS.API.STREAM.MSG.GET.KV_{}", session.subjects.bucket_name());
    let answer = session.ask(subject, json!({ "last_by_subj": session.subjects.facts() })).await?;
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) if [NO_MESSAGE, NO_STREAM].contains(&error.err_code) => return Ok(None),
        Err(error) => return Err(AdminFault::Api(error.description)),
    };
    let got: Got = of_value(answer["message"].clone())?;
    let text = STANDARD.decode(got.data).map_err(|error| AdminFault::Api(error.to_string()))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| AdminFault::Api(error.to_string()))
}

/// The facts that the cluster was made with, for a node that has none of its own yet.
pub(super) async fn found(session: &Session) -> Result<Option<Facts>, AdminFault> {
    let Some(stored) = read(session).await? else { return Ok(None) };
    let number =
        |text: &str| u64::from_str_radix(text, 16).map_err(|error| AdminFault::Api(error.to_string()));
    Ok(Some(Facts {
        seed: number(&stored.seed)?,
        shards: stored.shards,
        ticket_key_print: number(&stored.ticket_key_print)?,
    }))
}
