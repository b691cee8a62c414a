//! Replies of JetStream: what its JSON says, for appends and reads.
//!
//! Why one place: which answer proves that a record is kept is easily got wrong. Only an acknowledgement that
//! names a sequence number does. "Wrong last sequence" is also what a leader without a majority answers for a
//! record that it has only proposed.
//! Invariants: anything that is not understood is [`Reply::Failed`], never an acknowledgement.
//! Not here: what follows from an answer (`grandstand_cluster::flight`).

use std::collections::BTreeMap;

use async_nats::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use grandstand_cluster::flight::Reply;
use grandstand_cluster::id::Position;
use grandstand_cluster::record::Renewal;
use serde::Deserialize;

/// "wrong last sequence: 12", and the same without the number.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];
/// "duplicate message id is in process".
const DUPLICATE_IN_PROCESS: u64 = 10_158;
/// "stream not found".
pub(crate) const NO_STREAM: u64 = 10_059;
/// "no message found".
const NO_MESSAGE: u64 = 10_037;

/// An error of JetStream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct ApiError {
    #[serde(default)]
    pub(crate) err_code: u64,
    #[serde(default)]
    pub(crate) description: String,
}

#[derive(Deserialize)]
struct PubAck {
    error: Option<ApiError>,
    seq: Option<u64>,
}

/// The answer to an append, and what it says if it is a failure.
pub(crate) fn of_append(status: Option<StatusCode>, payload: &[u8]) -> (Reply, Option<String>) {
    if status == Some(StatusCode::NO_RESPONDERS) {
        return (Reply::NoResponders, None);
    }
    match serde_json::from_slice(payload) {
        Ok(PubAck { error: Some(error), .. }) => match error.err_code {
            code if WRONG_LAST_SEQUENCE.contains(&code) => (Reply::WrongLast, None),
            DUPLICATE_IN_PROCESS => (Reply::InProcess, None),
            code => (Reply::Failed, Some(format!("{} ({code})", error.description))),
        },
        // Of a repetition (`duplicate: true`) it is the place of the first one.
        Ok(PubAck { error: None, seq: Some(seq) }) if seq > 0 => (Reply::Acknowledged(Position(seq)), None),
        Ok(_) | Err(_) => (Reply::Failed, Some("an answer that is none of JetStream's".to_owned())),
    }
}

/// The end of a stream, by its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StreamEnd {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) leader: Option<String>,
    /// Servers that could lead it: those that have everything.
    pub(crate) others: Vec<String>,
    /// If it was made anew: what it goes on from.
    pub(crate) renewed: Option<Renewal>,
}

#[derive(Deserialize)]
struct StreamInfo {
    config: Option<StreamConfig>,
    error: Option<ApiError>,
    state: Option<StreamState>,
    cluster: Option<ClusterInfo>,
}

#[derive(Deserialize)]
struct StreamConfig {
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct StreamState {
    first_seq: u64,
    last_seq: u64,
}

#[derive(Deserialize)]
struct ClusterInfo {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Replica>,
}

#[derive(Deserialize)]
struct Replica {
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
}

/// The keys of a stream's metadata that say what a log that was made anew goes on from.
pub(crate) const RENEWAL_KEYS: [&str; 3] = ["grandstand.position", "grandstand.sum", "grandstand.first"];

fn renewal(metadata: &BTreeMap<String, String>) -> Option<Renewal> {
    let [position, sum, first] = RENEWAL_KEYS.map(|key| metadata.get(key));
    Some(Renewal {
        position: Position(position?.parse().ok()?),
        sum: u64::from_str_radix(sum?, 16).ok()?,
        first: Position(first?.parse().ok()?),
    })
}

/// Does JetStream say that there is no such stream?
pub(crate) fn is_missing(payload: &[u8]) -> bool {
    let info = serde_json::from_slice::<StreamInfo>(payload).ok();
    info.and_then(|info| info.error).is_some_and(|error| error.err_code == NO_STREAM)
}

/// `None` is no leader, or an error.
pub(crate) fn of_info(payload: &[u8]) -> Option<StreamEnd> {
    let info: StreamInfo = serde_json::from_slice(payload).ok()?;
    let state = info.state?;
    let (leader, replicas) = info.cluster.map(|cluster| (cluster.leader, cluster.replicas)).unzip();
    let leader = leader.flatten().filter(|leader| !leader.is_empty());
    let able = replicas.into_iter().flatten().filter(|replica| replica.current && !replica.offline);
    let others = able.map(|replica| replica.name).collect();
    let renewed = info.config.and_then(|config| renewal(&config.metadata?));
    Some(StreamEnd { first: state.first_seq, last: state.last_seq, leader, others, renewed })
}

#[derive(Deserialize)]
struct Got {
    error: Option<ApiError>,
    message: Option<GotMessage>,
}

#[derive(Deserialize)]
struct GotMessage {
    seq: u64,
    #[serde(default)]
    data: String,
}

/// What the leader has at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Message(u64, Bytes),
    /// The stream has none there.
    Nothing,
    /// No answer to the question.
    Failed,
}

pub(crate) fn of_message(payload: &[u8]) -> Found {
    match serde_json::from_slice(payload) {
        Ok(Got { error: Some(error), .. }) if error.err_code == NO_MESSAGE => Found::Nothing,
        Ok(Got { error: None, message: Some(message) }) => match STANDARD.decode(message.data) {
            Ok(data) => Found::Message(message.seq, data.into()),
            Err(_) => Found::Failed,
        },
        Ok(_) | Err(_) => Found::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sequence_number_is_an_acknowledgement() {
        let of = |payload: &str| of_append(None, payload.as_bytes()).0;
        assert_eq!(of(r#"{"stream":"GS_a_0","seq":7}"#), Reply::Acknowledged(Position(7)));
        let duplicate = r#"{"stream":"GS_a_0","seq":7,"duplicate":true}"#;
        assert_eq!(of(duplicate), Reply::Acknowledged(Position(7)), "of a repetition the first one's place");
        let error = |code: u64, text: &str| {
            format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"S","seq":0}}"#
            )
        };
        assert_eq!(of(&error(10_071, "wrong last sequence: 7")), Reply::WrongLast);
        assert_eq!(of(&error(10_164, "wrong last sequence")), Reply::WrongLast);
        assert_eq!(of(&error(10_158, "duplicate message id is in process")), Reply::InProcess);
        for other in [
            error(10_047, "insufficient storage resources available"),
            error(10_077, "maximum bytes exceeded"),
            r#"{"error":{},"seq":7}"#.to_owned(),
            r#"{"stream":"S","seq":0}"#.to_owned(),
            r#"{"seq":-1}"#.to_owned(),
            "{}".to_owned(),
            "7".to_owned(),
            String::new(),
        ] {
            assert_eq!(of(&other), Reply::Failed, "{other}");
        }
        let nobody = of_append(Some(StatusCode::NO_RESPONDERS), br#"{"seq":7}"#);
        assert_eq!(nobody.0, Reply::NoResponders);
    }

    #[test]
    fn the_end_of_a_stream_and_a_message_are_read_or_not_believed() {
        let info = br#"{"state":{"first_seq":5,"last_seq":7},"cluster":{"leader":"gs-1",
            "replicas":[{"name":"gs-0","current":false},{"name":"gs-2","current":true}]}}"#;
        let others = vec!["gs-2".to_owned()];
        let leader = Some("gs-1".to_owned());
        let end = StreamEnd { first: 5, last: 7, leader, others, renewed: None };
        assert_eq!(of_info(info), Some(end));
        assert_eq!(of_info(br#"{"error":{"code":503,"err_code":10008}}"#), None);
        assert!(!is_missing(br#"{"error":{"code":503,"err_code":10008}}"#) && !is_missing(info));
        assert!(is_missing(br#"{"error":{"code":404,"err_code":10059}}"#));
        let anew =
            br#"{"config":{"metadata":{"_nats.level":"2","grandstand.position":"104","grandstand.sum":"00ff",
            "grandstand.first":"108"}},"state":{"first_seq":108,"last_seq":107}}"#;
        let renewed = Renewal { position: Position(104), sum: 255, first: Position(108) };
        assert_eq!(of_info(anew).and_then(|end| end.renewed), Some(renewed));
        let message = br#"{"message":{"subject":"x","seq":9,"data":"YWJj","time":"now"}}"#;
        assert_eq!(of_message(message), Found::Message(9, Bytes::from_static(b"abc")));
        assert_eq!(of_message(br#"{"error":{"code":404,"err_code":10037}}"#), Found::Nothing);
        for failed in [&br#"{"error":{"err_code":10008}}"#[..], br#"{"message":{"seq":9,"data":"!"}}"#, b""] {
            assert_eq!(of_message(failed), Found::Failed);
        }
    }
}
