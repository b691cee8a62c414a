//! Streams: what they must be, how they are made, and whether they still are that.
//!
//! Why every limit is compared: a stream that an operator edited may drop messages early, take back what it
//! acknowledged, or forget repetitions too soon.
//! Invariants: a stream that is there is never changed.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Session, of_value};
use super::fault::AdminFault;
use crate::config::Plan;

/// "stream not found".
const NOT_FOUND: u64 = 10_059;
/// How long the log remembers identities: longer than a record can be on its way.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// How far back a node can catch up.
const MAX_AGE: Duration = Duration::from_secs(48 * 3_600);
/// What a message may have: a record of 512 KB with its headers.
const MESSAGE_BYTES_MAX: i64 = 1 << 20;

impl Plan {
    /// The stream of a shard.
    pub(super) fn log(&self, name: &str, subject: &str) -> Value {
        json!({
            "name": name,
            "subjects": [subject],
            "retention": "limits",
            "storage": "file",
            "num_replicas": self.replicas,
            "discard": "old",
            "max_bytes": self.log_bytes,
            "max_age": MAX_AGE.as_nanos() as u64,
            "max_msgs": -1,
            "max_msgs_per_subject": -1,
            "max_msg_size": MESSAGE_BYTES_MAX,
            "max_consumers": -1,
            "duplicate_window": DUPLICATE_WINDOW.as_nanos() as u64,
            "allow_direct": true,
            "deny_delete": true,
            "deny_purge": true,
        })
    }

    /// The bucket of facts.
    pub(super) fn bucket(&self, name: &str, subjects: &str) -> Value {
        json!({
            "name": name,
            "subjects": [subjects],
            "retention": "limits",
            "storage": "file",
            "num_replicas": self.replicas,
            "discard": "new",
            "max_bytes": 16 << 20,
            "max_age": 0,
            "max_msgs": -1,
            "max_msgs_per_subject": 1,
            "max_msg_size": MESSAGE_BYTES_MAX,
            "max_consumers": -1,
            "duplicate_window": DUPLICATE_WINDOW.as_nanos() as u64,
            "allow_direct": true,
            "allow_rollup_hdrs": true,
            "deny_delete": true,
            "deny_purge": false,
        })
    }
}

/// Makes a stream unless it is there; whether it was made.
pub(super) async fn make(session: &Session, wanted: &Value) -> Result<bool, AdminFault> {
    match compare(session, wanted).await {
        Ok(()) => return Ok(false),
        // A stream that was made a moment ago may have replicas that are behind.
        Err(AdminFault::Replicas { .. }) => return Ok(false),
        Err(AdminFault::NotMade { .. }) => {}
        Err(fault) => return Err(fault),
    }
    let name = name_of(wanted);
    let made = session.ask(format!("$JS.API.STREAM.CREATE.{name}"), wanted.clone()).await?;
    made.map_err(|error| AdminFault::Making { name, why: error.description })?;
    Ok(true)
}

#[derive(Deserialize)]
struct Info {
    config: Value,
    cluster: Option<Cluster>,
}

#[derive(Deserialize)]
struct Cluster {
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
}

/// Whether a stream is there and as it must be.
pub(super) async fn compare(session: &Session, wanted: &Value) -> Result<(), AdminFault> {
    let name = name_of(wanted);
    let info = match session.ask(format!("$JS.API.STREAM.INFO.{name}"), Value::Null).await? {
        Ok(info) => of_value::<Info>(info)?,
        Err(error) if error.err_code == NOT_FOUND => {
            return Err(AdminFault::NotMade { name: format!("stream {name}") });
        }
        Err(error) => return Err(AdminFault::Api(error.description)),
    };
    if let Some((key, found, expected)) = difference(&info.config, wanted) {
        return Err(AdminFault::Stream { name, key, found, expected });
    }
    let expected = wanted["num_replicas"].as_u64().unwrap_or_default() as usize;
    let others = info.cluster.map(|cluster| cluster.replicas).unwrap_or_default();
    let current = 1 + others.iter().filter(|replica| replica.current && !replica.offline).count();
    if current < expected {
        return Err(AdminFault::Replicas { name, current, expected });
    }
    Ok(())
}

/// What is compared, by the names of `nats stream edit`.
const KEYS: &[&str] = &[
    "num_replicas",
    "storage",
    "retention",
    "discard",
    "subjects",
    "max_age",
    "max_msgs",
    "max_msgs_per_subject",
    "max_msg_size",
    "duplicate_window",
    "allow_direct",
    "deny_delete",
    "deny_purge",
];

/// The first key in which a stream differs. How many bytes it may hold is up to the operator.
fn difference(found: &Value, wanted: &Value) -> Option<(&'static str, String, String)> {
    let of = |value: &Value, key: &str| match &value[key] {
        // What is false or nothing is left out.
        Value::Null | Value::Bool(false) => "false".to_owned(),
        value => value.to_string(),
    };
    let differs = |key: &&&'static str| of(found, key) != of(wanted, key);
    let key = KEYS.iter().find(differs)?;
    Some((key, of(found, key), of(wanted, key)))
}

fn name_of(wanted: &Value) -> String {
    wanted["name"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_compared_is_noticed_alone() {
        let wanted = Plan::default().log("GS_a_0", "gs.a.log.0");
        assert_eq!(difference(&wanted, &wanted), None);
        for key in KEYS {
            let mut found = wanted.clone();
            found[*key] = json!("other");
            assert_eq!(difference(&found, &wanted).map(|(key, ..)| key), Some(*key));
        }
        let mut found = wanted.clone();
        found["max_bytes"] = json!(1);
        found.as_object_mut().unwrap().insert("compression".to_owned(), json!("none"));
        assert_eq!(difference(&found, &wanted), None);
    }
}
