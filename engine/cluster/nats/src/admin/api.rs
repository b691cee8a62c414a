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
use serde_json::Value;
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
