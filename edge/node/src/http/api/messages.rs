//! Messages: an application publishes in a room, one message or many, and gets the answers that a client
//! would get.
//!
//! Why `Idempotency-Key`: an application that got no answer repeats its request. The key becomes the nonce of
//! the publication, so a repetition is in the log once, whichever node takes it; another message under the
//! same key is refused. Invariants: a message that is answered with 200 is in the log as safely as
//! `durability` says. A line of a bulk has its own answer, and lines for one room are in the log in their
//! order.
//! Not here: the judgement (`grandstand_engine`), waiting for the shard (`shards`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aws_lc_rs::digest;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use grandstand_engine::link::{
    Alias, AnswerKind, ConnectionToken, PersonId, Publication, ReplyTo, UserId, WorkerId,
};
use grandstand_protocol::frame::Role;
use grandstand_protocol::refusal::Refusal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::idempotency::{Key, idempotency_key};
use super::rooms::DurabilityLevel;
use super::values::{Attachment, Author, INTEGER_MAX, MessageText, RoomName, Whole};
use super::{Api, Shared};
use crate::api_keys::ApiKey;
use crate::http::extract::{Body, Json, Path, check_type, parse};
use crate::http::grant::{Grant, needs};
use crate::http::problem::Problem;
use crate::http::shards::{Publishing, ShardError};

/// Lines of a bulk.
const LINES_MAX: usize = 1_000;

/// Bytes of a bulk's body.
const BULK_BYTES_MAX: usize = 1024 * 1024;

/// Publications of a bulk that wait for their answers at a time: a small part of a shard's inbox.
const AT_A_TIME: usize = 64;

/// The media type of a bulk and of its answer.
const NDJSON: &str = "application/x-ndjson";

pub(super) fn operations() -> OpenApiRouter<Arc<Api>> {
    let bulk = OpenApiRouter::new().routes(routes!(publish_bulk));
    let bulk = bulk.layer(axum::extract::DefaultBodyLimit::max(BULK_BYTES_MAX));
    OpenApiRouter::new().routes(routes!(publish)).merge(bulk)
}

/// A message that is to be published. It has a text, an attachment, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    /// Who says it.
    author: Author,
    /// The author's role.
    #[serde(default)]
    role: AuthorRole,
    /// What is said.
    text: Option<MessageText>,
    /// A reference to an attachment.
    attachment: Option<Attachment>,
    /// The offset of the message that it answers.
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 9007199254740991_i64)]
    reply_to: Option<Whole<0, INTEGER_MAX>>,
}

/// A line of a bulk: a message, and its room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The room.
    room: RoomName,
    /// Who says it.
    author: Author,
    /// The author's role.
    #[serde(default)]
    role: AuthorRole,
    /// What is said.
    text: Option<MessageText>,
    /// A reference to an attachment.
    attachment: Option<Attachment>,
    /// The offset of the message that it answers.
    #[schema(value_type = Option<u64>, minimum = 0, maximum = 9007199254740991_i64)]
    reply_to: Option<Whole<0, INTEGER_MAX>>,
}

/// The role of an author.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum AuthorRole {
    #[default]
    Viewer,
    Subscriber,
    Moderator,
    Host,
    Bot,
}

/// A message that is in the log.
#[derive(Debug, Serialize, ToSchema)]
struct Published {
    /// The room.
    room: String,
    /// The epoch of its log.
    epoch: String,
    /// Its offset.
    offset: u64,
    /// Its time, in milliseconds since 1970.
    time_ms: u64,
    /// How safely it is kept.
    durability: DurabilityLevel,
    /// Whether it was in the log before: the request was repeated.
    repeated: bool,
}

/// A message that waits for a moderator.
#[derive(Debug, Serialize, ToSchema)]
struct HeldMessage {
    /// The room.
    room: String,
    /// Always `true`.
    held: bool,
}

/// The answer to one line of a bulk.
#[derive(Debug, Serialize, ToSchema)]
struct LineAnswer {
    /// The number of the line, from 1.
    line: usize,
    /// The status that the message alone would have been answered with.
    status: u16,
    /// The message, if it is in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Published>,
    /// What is wrong, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    problem: Option<serde_json::Value>,
}

/// What became of a publication.
enum Outcome {
    Published(Published),
    Held(String),
}

/// Publish a message
///
/// It is judged by the rules of every publication, and answered when it is in the log.
#[utoipa::path(post, path = "/v1/rooms/{room}/messages", tag = "messages", operation_id = "messages_publish",
    params(("room" = RoomName, Path, description = "The room, percent-encoded."),
        ("Idempotency-Key" = Option<super::idempotency::Text>, Header, description = "A text that only repetitions of this request have.")),
    request_body = NewMessage,
    responses((status = 200, description = "It is in the log.", body = Published),
        (status = 202, description = "It waits for a moderator.", body = HeldMessage)))]
async fn publish(
    grant: Grant<{ needs::PUBLISH }>,
    State(api): Shared,
    Path(room): Path<RoomName>,
    headers: HeaderMap,
    Json(message): Json<NewMessage>,
) -> Result<Response, Problem> {
    grant.for_room(&room.0)?;
    let key = idempotency_key(&headers, &grant.key().name)?;
    let _under_way = key.map(|key| api.idempotency.begin(key)).transpose()?;
    let NewMessage { author, role, text, attachment, reply_to } = message;
    let line = Line { room, author, role, text, attachment, reply_to };
    let info = api.shards.find(&line.room.0).await?;
    let publishing = api.begin(grant.key(), &line, info.alias, key)?;
    match finish(publishing, line.room.0, key.is_some()).await? {
        Outcome::Published(message) => Ok(axum::Json(message).into_response()),
        Outcome::Held(room) => {
            Ok((StatusCode::ACCEPTED, axum::Json(HeldMessage { room, held: true })).into_response())
        }
    }
}

/// Publish many messages
///
/// The body has a message a line, each with its room: at most 1000 lines and 1 MiB. The answer has a line for
/// each, in the same order.
#[utoipa::path(post, path = "/v1/messages", tag = "messages", operation_id = "messages_publish_bulk",
    params(("Idempotency-Key" = Option<super::idempotency::Text>, Header, description = "A text that only repetitions of this request have.")),
    request_body(content = Line, content_type = "application/x-ndjson"),
    responses((status = 200, description = "An answer for each line.", body = LineAnswer, content_type = "application/x-ndjson")))]
async fn publish_bulk(
    grant: Grant<{ needs::PUBLISH }>,
    State(api): Shared,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    check_type(&headers, |essence| essence == NDJSON, NDJSON)?;
    let key = idempotency_key(&headers, &grant.key().name)?;
    let _under_way = key.map(|key| api.idempotency.begin(key)).transpose()?;
    let lines: Vec<&[u8]> =
        body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).collect();
    if lines.is_empty() || lines.len() > LINES_MAX {
        let detail = format!("got {} lines, expected 1 to {LINES_MAX} messages, one a line", lines.len());
        return Err(Problem::in_body("", detail));
    }
    let answers = api.publish_lines(grant.key(), &lines, key).await;
    let mut text = Vec::with_capacity(answers.len() * 128);
    for answer in answers {
        serde_json::to_writer(&mut text, &answer).expect("an answer is JSON");
        text.push(b'\n');
    }
    Ok(([("content-type", NDJSON)], text).into_response())
}

impl Api {
    /// Publish some lines at a time. A room's lines are given to its shard in their order.
    async fn publish_lines(&self, by: &ApiKey, lines: &[&[u8]], key: Option<Key>) -> Vec<LineAnswer> {
        let mut rooms: HashMap<String, Result<Alias, ShardError>> = HashMap::new();
        let mut answers = BTreeMap::new();
        let numbered: Vec<(usize, &[u8])> = (1..).zip(lines.iter().copied()).collect();
        for some in numbered.chunks(AT_A_TIME) {
            let mut waiting = Vec::with_capacity(some.len());
            for &(number, line) in some {
                let key = key.map(|key| key.of_line(number));
                match self.begin_line(by, line, key, &mut rooms).await {
                    Ok((publishing, room)) => waiting.push((number, publishing, room)),
                    Err(problem) => drop(answers.insert(number, LineAnswer::failed(number, &problem))),
                }
            }
            for (number, publishing, room) in waiting {
                let answer = match finish(publishing, room, key.is_some()).await {
                    Ok(outcome) => LineAnswer::of(number, outcome),
                    Err(problem) => LineAnswer::failed(number, &problem),
                };
                answers.insert(number, answer);
            }
        }
        answers.into_values().collect()
    }

    async fn begin_line(
        &self,
        by: &ApiKey,
        line: &[u8],
        key: Option<Key>,
        rooms: &mut HashMap<String, Result<Alias, ShardError>>,
    ) -> Result<(Publishing, String), Problem> {
        let line: Line = parse(line)?;
        if !by.covers(&line.room.0) {
            let detail = format!("this key is for rooms whose names begin with {:?}", by.room_prefix);
            return Err(Problem::refused(Refusal::Forbidden, detail));
        }
        let alias = match rooms.get(&line.room.0) {
            Some(found) => *found,
            None => {
                let found = self.shards.find(&line.room.0).await.map(|info| info.alias);
                rooms.insert(line.room.0.clone(), found);
                found
            }
        };
        let publishing = self.begin(by, &line, alias?, key)?;
        Ok((publishing, line.room.0))
    }

    /// Give a message to its shard.
    fn begin(&self, by: &ApiKey, line: &Line, alias: Alias, key: Option<Key>) -> Result<Publishing, Problem> {
        let text = line.text.as_ref().map_or("", |text| &text.0);
        let attachment = line.attachment.as_ref().map_or("", |attachment| &attachment.0);
        if text.is_empty() && attachment.is_empty() {
            return Err(Problem::from(Refusal::Empty));
        }
        let nonce = match key {
            Some(key) => key.nonce(),
            None => super::random()
                .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Failed", error))?,
        };
        let (user, role) = (user(by, &line.author.0), Role::from(line.role));
        Ok(self.shards.publish(Publication {
            // The desk replaces it.
            from: ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(0) },
            alias,
            user,
            person: PersonId::of_user(user),
            nonce,
            age_ms: 0,
            author: line.author.0.as_str().into(),
            role,
            text: text.into(),
            attachment: attachment.into(),
            reply_to: line.reply_to.map(|offset| offset.0),
            exempt: role >= Role::Moderator,
            is_bridged: true,
        }))
    }
}

/// Wait for the outcome of a publication.
async fn finish(publishing: Publishing, room: String, has_key: bool) -> Result<Outcome, Problem> {
    match publishing.answer().await? {
        AnswerKind::Published { epoch, offset, time_ms, durability, repeated, .. } => {
            let epoch = epoch.to_string();
            let durability = durability.into();
            Ok(Outcome::Published(Published { room, epoch, offset, time_ms, durability, repeated }))
        }
        AnswerKind::PublishRefused { reason: Refusal::Held, .. } => Ok(Outcome::Held(room)),
        AnswerKind::PublishRefused { reason: Refusal::NonceReused, .. } if has_key => {
            let detail = "this Idempotency-Key stands for another message: use a new one for a new message";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "IdempotencyKeyReused", detail))
        }
        AnswerKind::PublishRefused { reason, retry_after_ms, .. } => {
            Err(Problem::from(reason).with_retry(retry_after_ms))
        }
        other => unreachable!("a publication is answered as one, not {other:?}"),
    }
}

impl LineAnswer {
    fn of(line: usize, outcome: Outcome) -> LineAnswer {
        let (status, message) = match outcome {
            Outcome::Published(message) => (200, Some(message)),
            Outcome::Held(_) => (202, None),
        };
        LineAnswer { line, status, message, problem: None }
    }

    fn failed(line: usize, problem: &Problem) -> LineAnswer {
        let (status, problem) = (problem.status().as_u16(), Some(problem.to_json()));
        LineAnswer { line, status, message: None, problem }
    }
}

impl From<AuthorRole> for Role {
    fn from(role: AuthorRole) -> Role {
        match role {
            AuthorRole::Viewer => Role::Viewer,
            AuthorRole::Subscriber => Role::Subscriber,
            AuthorRole::Moderator => Role::Moderator,
            AuthorRole::Host => Role::Host,
            AuthorRole::Bot => Role::Bot,
        }
    }
}

/// The identity for nonces and slow mode: that of an author of a key's holder, never that of a session. The
/// next key of the same holder has the same.
fn user(by: &ApiKey, author: &str) -> UserId {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"api:");
    hash.update(by.name.as_bytes());
    hash.update(b"\0");
    hash.update(author.as_bytes());
    let hash = hash.finish();
    UserId(u64::from_be_bytes(*hash.as_ref().first_chunk::<8>().expect("SHA-256 has 32 bytes")))
}
