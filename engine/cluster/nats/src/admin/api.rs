//! Requests to JetStream's API, and who answers none.
//!
//! Why not the client's own API for streams: it brings a time library and a retry library for six requests.
//! Invariants: a request ends within [`ANSWER_WITHIN`].

use std::time::Duration;

use async_nats::{Client, Event, HeaderMap, RequestErrorKind};
use bytes::Bytes;
use futures_util::StreamExt;
use grandstand_cluster::id::NodeId;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::fault::AdminFault;
use crate::config::Config;
use crate::replies::ApiError;
use crate::subjects::Subjects;

/// A server answers within milliseconds; making a stream waits for the leader of JetStream's own data.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// What the client says when a server does not let it in.
const REFUSALS: [&str; 2] = ["authorization violation", "failed signing nonce"];
/// "JetStream system temporarily unavailable": a leader is being elected.
const TEMPORARILY_UNAVAILABLE: u64 = 10_008;
/// Messages of the bucket that are asked for at once.
const BATCH: usize = 1_000;
/// How many times a request is repeated while leaders are elected, and how long between two.
const REPEATS: u32 = 40;
const REPEAT_AFTER: Duration = Duration::from_millis(250);

/// A connection for administration.
#[derive(Clone)]
pub(crate) struct Session {
    client: Client,
    pub(crate) subjects: Subjects,
}

impl Session {
    /// Connects, or says why not.
    pub(crate) async fn connect(
        config: &Config,
        me: NodeId,
        within: Duration,
    ) -> Result<Session, AdminFault> {
        config.check_name().map_err(AdminFault::Config)?;
        let servers = config.addresses(me, &[me]).map_err(AdminFault::Config)?;
        let options = config.options(me).await.map_err(AdminFault::Config)?;
        let (told, mut events) = mpsc::unbounded_channel();
        let options = options.event_callback(move |event| {
            // Nobody listens once the connection is made.
            let _ = told.send(event);
            std::future::ready(())
        });
        let unreachable = |why: String| AdminFault::Unreachable(why);
        let client = options.connect(servers).await.map_err(|error| unreachable(error.to_string()))?;
        let mut why = "no answer".to_owned();
        let connected = async {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Connected => return true,
                    Event::ClientError(error) => {
                        why = error.to_string();
                        // No other attempt will fare better.
                        if REFUSALS.iter().any(|refusal| why.contains(refusal)) {
                            return false;
                        }
                    }
                    Event::ServerError(error) => why = error.to_string(),
                    _ => {}
                }
            }
            false
        };
        match tokio::time::timeout(within, connected).await {
            Ok(true) => Ok(Session { client, subjects: Subjects::new(&config.cluster) }),
            Ok(false) | Err(_) => Err(unreachable(why)),
        }
    }

    /// Over a connection that is there.
    pub(crate) fn over(client: Client, subjects: Subjects) -> Session {
        Session { client, subjects }
    }

    /// The answer to a request, or the error that it is.
    pub(crate) async fn ask(
        &self,
        subject: String,
        body: Value,
    ) -> Result<Result<Value, ApiError>, AdminFault> {
        for _ in 0..REPEATS {
            let answer = self.ask_once(&subject, &body).await?;
            match answer.get("error") {
                None => return Ok(Ok(answer)),
                Some(error) => {
                    let error: ApiError = of_value(error.clone())?;
                    if error.err_code != TEMPORARILY_UNAVAILABLE {
                        return Ok(Err(error));
                    }
                }
            }
            tokio::time::sleep(REPEAT_AFTER).await;
        }
        Err(AdminFault::NoLeader)
    }

    async fn ask_once(&self, subject: &str, body: &Value) -> Result<Value, AdminFault> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = self.client.request(subject.to_owned(), body);
        let message = match tokio::time::timeout(ANSWER_WITHIN, request).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(AdminFault::NoJetStream);
            }
            Ok(Err(error)) => return Err(AdminFault::Unreachable(error.to_string())),
            Err(_) => return Err(AdminFault::NoLeader),
        };
        serde_json::from_slice(&message.payload).map_err(|error| AdminFault::Api(error.to_string()))
    }

    /// Writes under a condition; the error of JetStream if it does not.
    pub(crate) async fn put(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Result<(), ApiError>, AdminFault> {
        let request = self.client.request_with_headers(subject, headers, body);
        let message = match tokio::time::timeout(ANSWER_WITHIN, request).await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) if error.kind() == RequestErrorKind::NoResponders => {
                return Err(AdminFault::NoLeader);
            }
            Ok(Err(error)) => return Err(AdminFault::Unreachable(error.to_string())),
            Err(_) => return Err(AdminFault::NoLeader),
        };
        let answer: Value =
            serde_json::from_slice(&message.payload).map_err(|error| AdminFault::Api(error.to_string()))?;
        match answer.get("error") {
            None => Ok(Ok(())),
            Some(error) => Ok(Err(of_value(error.clone())?)),
        }
    }

    /// The last message of each subject of the bucket that matches.
    pub(crate) async fn last_of_each(&self, subjects: String) -> Result<Vec<Bytes>, AdminFault> {
        let mut found = Vec::new();
        let mut up_to = 0_u64;
        loop {
            let request = match up_to {
                0 => json!({ "multi_last": [subjects], "batch": BATCH }),
                seq => json!({ "multi_last": [subjects], "batch": BATCH, "seq": seq + 1 }),
            };
            let page = self.direct_get(request).await?;
            let Some(&(last, _)) = page.last() else { return Ok(found) };
            let is_whole = page.len() < BATCH;
            found.extend(page.into_iter().map(|(_, bytes)| bytes));
            if is_whole {
                return Ok(found);
            }
            up_to = last;
        }
    }

    /// One batch of the bucket: numbers and contents.
    async fn direct_get(&self, request: Value) -> Result<Vec<(u64, Bytes)>, AdminFault> {
        let unreachable = |error: String| AdminFault::Unreachable(error);
        let inbox = self.client.new_inbox();
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(|error| unreachable(error.to_string()))?;
        let subject = format!("$JS.API.DIRECT.GET.{}", self.subjects.bucket());
        let asked = self.client.publish_with_reply(subject, inbox, request.to_string().into()).await;
        asked.map_err(|error| unreachable(error.to_string()))?;
        let mut page = Vec::new();
        let gathering = async {
            while let Some(message) = answers.next().await {
                match message.status.map(|status| status.as_u16()) {
                    // The end of a batch, and "nothing matches".
                    Some(204 | 404) => return Ok(()),
                    Some(503) => return Err(AdminFault::NoJetStream),
                    Some(status) => {
                        return Err(AdminFault::Api(format!("a page of the bucket: status {status}")));
                    }
                    None => {
                        let number = message
                            .headers
                            .as_ref()
                            .and_then(|headers| headers.get("Nats-Sequence")?.as_str().parse::<u64>().ok());
                        page.extend(number.map(|number| (number, message.payload)));
                    }
                }
            }
            Ok(())
        };
        match tokio::time::timeout(ANSWER_WITHIN, gathering).await {
            Ok(done) => done.map(|()| page),
            Err(_) => Err(AdminFault::NoLeader),
        }
    }

    /// Messages of a subject, for so long.
    pub(crate) async fn listen(&self, subject: String, within: Duration) -> Vec<Bytes> {
        let Ok(mut messages) = self.client.subscribe(subject).await else { return Vec::new() };
        let mut all = Vec::new();
        let listening = async {
            while let Some(message) = messages.next().await {
                all.push(message.payload);
            }
        };
        let _ = tokio::time::timeout(within, listening).await;
        all
    }

    /// The answers of several servers: all that come until `count` are there or `within` is over.
    pub(crate) async fn gather(&self, subject: String, count: usize, within: Duration) -> Vec<Value> {
        let inbox = self.client.new_inbox();
        let Ok(mut answers) = self.client.subscribe(inbox.clone()).await else { return Vec::new() };
        if self.client.publish_with_reply(subject, inbox, Bytes::new()).await.is_err() {
            return Vec::new();
        }
        let mut values = Vec::new();
        let gathering = async {
            while let Some(message) = answers.next().await {
                // "Nobody answers this" is a status.
                if message.status.is_some() {
                    return;
                }
                values.extend(serde_json::from_slice(&message.payload).ok());
                if values.len() >= count {
                    return;
                }
            }
        };
        // Servers that are down do not answer.
        let _ = tokio::time::timeout(within, gathering).await;
        values
    }
}

/// A part of an answer.
pub(crate) fn of_value<T: DeserializeOwned>(value: Value) -> Result<T, AdminFault> {
    serde_json::from_value(value).map_err(|error| AdminFault::Api(error.to_string()))
}
