//! Fetching: a node whose copy is behind its log takes a snapshot of another node.
//!
//! Invariants: one part is under way at a time. What was written is synced and compared with its sum before
//! the copy sees it. An attempt ends, with what was wrong, when every node has said no or the time is over;
//! the next look begins another one.
//! Not here: what is needed (`Copies`).

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::RequestErrorKind;
use bytes::Bytes;
use grandstand_cluster::id::NodeId;
use serde::de::DeserializeOwned;

use super::serve::sum_of;
use super::{IN, Offer, Own, Request, Wanted, file_of};

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How long a node may take to make a snapshot of gigabytes.
const MADE_WITHIN: Duration = Duration::from_secs(900);
/// Between two questions to a node that makes one.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How many times a part is asked for.
const TRIES: u32 = 6;
/// After an attempt without success.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn run(own: Own, wanted: Wanted) {
    let file = file_of(own.copies.folder(), IN, wanted.shard);
    let mut why = "no other node answers: start one whose copy is whole".to_owned();
    for node in own.others.clone() {
        match from(&own, node, wanted, &file).await {
            Ok(()) => {
                own.copies.note(wanted.shard, Ok(()));
                let _ = std::fs::remove_file(&file);
                return;
            }
            Err(Refusal::Silent) => {}
            Err(Refusal::No(said)) => why = format!("node {}: {said}", node.0),
        }
    }
    let _ = std::fs::remove_file(&file);
    own.copies.note(wanted.shard, Err(why));
    tokio::time::sleep(PAUSE).await;
}

enum Refusal {
    Silent,
    No(String),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal::No(why)
    }
}

async fn from(own: &Own, node: NodeId, wanted: Wanted, file: &Path) -> Result<(), Refusal> {
    let renewed = wanted.renewed.map(|renewed| (renewed.position.0, renewed.sum, renewed.first.0));
    let request = Request::Snapshot { shard: wanted.shard, first: wanted.first, renewed };
    let began = Instant::now();
    let (id, bytes, sum) = loop {
        match ask::<Offer>(own, node, &request).await? {
            Offer::Ready { id, bytes, sum } => break (id, bytes, sum),
            Offer::No(why) => return Err(Refusal::No(why)),
            Offer::Making | Offer::Busy if began.elapsed() < MADE_WITHIN => {
                tokio::time::sleep(ASK_EVERY).await;
            }
            Offer::Making | Offer::Busy => return Err("it makes none in time".to_owned().into()),
        }
    };
    own.copies.check_room(bytes)?;
    pull(own, node, (id, bytes), file).await?;
    let copies = own.copies.clone();
    let path = file.to_owned();
    let take = move || {
        let found = sum_of(&path).map_err(|error| error.to_string())?;
        if found != (bytes, sum) {
            return Err("the snapshot was changed on its way".to_owned());
        }
        copies.adopt(&wanted, &path)
    };
    let taken = tokio::task::spawn_blocking(take).await;
    taken.unwrap_or_else(|error| Err(error.to_string())).map_err(Refusal::No)
}

async fn pull(own: &Own, node: NodeId, (id, bytes): (u64, u64), file: &Path) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| Refusal::No(format!("{}: {error}", file.display()));
    let mut out = File::create(file).map_err(failed)?;
    let mut at = 0;
    while at < bytes {
        let request = Request::Part { id, at };
        let mut tries = TRIES;
        let part = loop {
            match send(own, node, &request).await {
                Ok(part) => break part,
                Err(_) if tries > 0 => tries -= 1,
                Err(refusal) => return Err(refusal),
            }
        };
        if part.is_empty() {
            return Err("it has made another snapshot meanwhile".to_owned().into());
        }
        out.write_all(&part).map_err(failed)?;
        at += part.len() as u64;
    }
    out.sync_all().map_err(failed)
}

async fn ask<T: DeserializeOwned>(own: &Own, node: NodeId, request: &Request) -> Result<T, Refusal> {
    let answer = send(own, node, request).await?;
    serde_json::from_slice(&answer).map_err(|error| Refusal::No(format!("not understood: {error}")))
}

async fn send(own: &Own, node: NodeId, request: &Request) -> Result<Bytes, Refusal> {
    let body = serde_json::to_vec(request).expect("plain data");
    let asked = own.client.request(own.subjects.copies(node), body.into());
    match tokio::time::timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(message)) => Ok(message.payload),
        Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => Err(Refusal::Silent),
        Ok(Err(error)) => Err(Refusal::No(error.to_string())),
        Err(_) => Err(Refusal::Silent),
    }
}
