//! Messages: an operator publishes in a room, and gets the answer that a client would get.
//!
//! Why here: a program without a connection (a moderator's tool, an announcement) publishes by one request.
//! The shard judges it by the rules of every publication. A session's rates do not apply, since there is no
//! session.
//! Invariants: a nonce is remembered per author, so a retry with the same nonce is in the log once. A message
//! that is answered with 200 is in the log as safely as `durability` says.
//! Not here: the judgement (`grandstand_engine`), waiting for the shard (`shards`).

use aws_lc_rs::digest;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use grandstand_engine::link::{
    Alias, AnswerKind, ConnectionToken, PersonId, Publication, ReplyTo, UserId, WorkerId,
};
use grandstand_protocol::frame::Role;
use grandstand_protocol::limits::{ATTACHMENT_BYTES_MAX, NAME_BYTES_MAX};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::rules::is_display_name;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use super::rooms::durability;
use crate::http::request::{json as body_json, path};
use crate::http::response::Failure;

const HINT: &str = r#"send {"author":"Ann","role":"host","text":"Welcome!","nonce":7}; role, attachment, reply_to, nonce and age_ms may be left out"#;

/// The largest number that every reader of JSON keeps exactly.
const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;

/// The body of `POST /rooms/{name}/messages`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    author: String,
    #[serde(default)]
    role: NewRole,
    #[serde(default)]
    text: String,
    #[serde(default)]
    attachment: String,
    reply_to: Option<u64>,
    /// Random when it is left out.
    nonce: Option<u64>,
    /// The time since the first attempt, for a retry.
    #[serde(default)]
    age_ms: u32,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum NewRole {
    #[default]
    Viewer,
    Subscriber,
    Moderator,
    Host,
    Bot,
}

impl From<NewRole> for Role {
    fn from(role: NewRole) -> Role {
        match role {
            NewRole::Viewer => Role::Viewer,
            NewRole::Subscriber => Role::Subscriber,
            NewRole::Moderator => Role::Moderator,
            NewRole::Host => Role::Host,
            NewRole::Bot => Role::Bot,
        }
    }
}

pub(super) async fn publish(
    State(port): Shared,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let name = path(name)?;
    let message: NewMessage = body_json(body, HINT)?;
    if !is_display_name(&message.author) {
        let fault =
            format!("the author is not a name of 1 to {NAME_BYTES_MAX} bytes without control characters");
        return Err(Failure::bad_request(fault, HINT));
    }
    let nonce = match message.nonce {
        Some(nonce) => nonce,
        None => random_nonce()?,
    };
    let room = port.shards.find(&name).await?;
    let publication = publication(message, nonce, room.alias);
    match port.shards.publish(publication).answer().await? {
        AnswerKind::Published { nonce, epoch, offset, time_ms, durability: safety, repeated } => {
            Ok(Json(json!({
                "room": name,
                "epoch": epoch.to_string(),
                "offset": offset,
                "time_ms": time_ms,
                "durability": durability(safety),
                "repeated": repeated,
                "nonce": nonce,
            })))
        }
        AnswerKind::PublishRefused { reason, retry_after_ms, .. } => Err(refused(reason, retry_after_ms)),
        other => unreachable!("a publication is answered as one, not {other:?}"),
    }
}

fn publication(message: NewMessage, nonce: u64, alias: Alias) -> Publication {
    let (role, user) = (Role::from(message.role), user(&message.author));
    Publication {
        // The desk replaces it.
        from: ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(0) },
        alias,
        user,
        person: PersonId::of_user(user),
        nonce,
        age_ms: message.age_ms,
        author: message.author.into(),
        role,
        text: message.text.into(),
        attachment: message.attachment.into(),
        reply_to: message.reply_to,
        exempt: role >= Role::Moderator,
        is_bridged: true,
    }
}

/// The identity for nonces and slow mode: that of an author of this port, never that of a session.
fn user(author: &str) -> UserId {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"operator:");
    hash.update(author.as_bytes());
    let hash = hash.finish();
    UserId(u64::from_be_bytes(*hash.as_ref().first_chunk::<8>().expect("SHA-256 has 32 bytes")))
}

fn random_nonce() -> Result<u64, Failure> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), "send a nonce of your own")
    })?;
    Ok(u64::from_le_bytes(random) & JSON_INTEGER_MAX)
}

fn refused(reason: Refusal, retry_after_ms: Option<u32>) -> Failure {
    let failure = Failure::from(reason);
    let failure = match reason {
        Refusal::TooLarge => failure.with_hint(format!(
            "a text has at most limits.text_bytes_max bytes, an attachment {ATTACHMENT_BYTES_MAX}"
        )),
        Refusal::BadText => failure.with_hint("a text has no control characters but line feed and tab"),
        Refusal::Empty => failure.with_hint("send a text or an attachment"),
        Refusal::StorageUnavailable => {
            failure.with_hint("it may be in the log all the same: repeat it with the same nonce")
        }
        Refusal::Forgotten => Failure::new(
            StatusCode::CONFLICT,
            reason.text(),
            "it may be in the log already: look before you send it under a new nonce",
        ),
        _ => failure,
    };
    failure.with_retry(retry_after_ms)
}
