//! Moderation: an operator keeps order in a room, and sees who is held and what is reported.
//!
//! Why here: whoever answers for a node acts without a connection, and can lift what holds a person whose
//! messages are gone.
//! Invariant: an act that is answered with 200 took effect, and is as safe as a message of the room.
//! Not here: what an act does (`grandstand_engine`), who may act with a connection (edge).

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use grandstand_engine::link::{
    ActRequest, Actor, AdminAnswer, AdminRequest, AnswerKind, ConnectionToken, HeldPerson, PersonId, ReplyTo,
    Reported, UserId, WorkerId,
};
use grandstand_protocol::frame::{ActKind, Category};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Shared;
use crate::http::request::{json as body_json, path};
use crate::http::response::Failure;

const HINT: &str = r#"send {"act":"timeout","target":41,"seconds":600,"by":"Ann"}; acts are remove, remove_author, clear, timeout, ban, shadow, lift and warn (with a text)"#;

/// The body of `POST /rooms/{name}/acts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAct {
    act: NewKind,
    /// The offset of a message.
    target: Option<u64>,
    #[serde(default)]
    seconds: u32,
    #[serde(default)]
    text: String,
    /// For the audit log.
    #[serde(default)]
    by: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NewKind {
    Remove,
    RemoveAuthor,
    Clear,
    Timeout,
    Ban,
    Shadow,
    Lift,
    Warn,
}

impl From<NewKind> for ActKind {
    fn from(kind: NewKind) -> ActKind {
        match kind {
            NewKind::Remove => ActKind::Remove,
            NewKind::RemoveAuthor => ActKind::RemoveAuthor,
            NewKind::Clear => ActKind::Clear,
            NewKind::Timeout => ActKind::Timeout,
            NewKind::Ban => ActKind::Ban,
            NewKind::Shadow => ActKind::Shadow,
            NewKind::Lift => ActKind::Lift,
            NewKind::Warn => ActKind::Warn,
        }
    }
}

pub(super) async fn act(
    State(port): Shared,
    name: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Failure> {
    let name = path(name)?;
    let act: NewAct = body_json(body, HINT)?;
    let room = port.shards.find(&name).await?;
    let request = ActRequest {
        // The desk replaces it.
        from: ReplyTo { worker: WorkerId::of_node(0), connection: ConnectionToken(0) },
        request: 0,
        alias: room.alias,
        by: Actor { user: UserId(0), person: PersonId::NODE, name: act.by.into(), may_moderate: true },
        act: act.act.into(),
        epoch: room.epoch,
        target: act.target,
        seconds: act.seconds,
        category: Category::Other,
        text: act.text.into(),
    };
    match port.shards.act(request).await? {
        AnswerKind::Acted { epoch, offset, count, .. } => Ok(Json(json!({
            "room": name,
            "epoch": epoch.to_string(),
            "offset": offset,
            "count": count,
        }))),
        AnswerKind::ActRefused { reason, .. } => Err(Failure::from(reason)),
        other => unreachable!("an act is answered as one, not {other:?}"),
    }
}

pub(super) async fn show(
    State(port): Shared,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let name = path(name)?;
    match port.shards.ask(&name, AdminRequest::Moderation { room: name.clone() }).await? {
        AdminAnswer::Moderation(lists) => Ok(Json(json!({
            "room": name,
            "held": lists.held.iter().map(held).collect::<Vec<_>>(),
            "reported": lists.reported.iter().map(reported).collect::<Vec<_>>(),
        }))),
        other => unreachable!("lists are answered with lists, not {other:?}"),
    }
}

/// Take back what holds a person. The number is the one that [`show`] gave.
pub(super) async fn lift(
    State(port): Shared,
    place: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<Value>, Failure> {
    let (room, person) = path(place)?;
    let hint = "take the person's number from GET /rooms/{name}/moderation";
    let number = u64::from_str_radix(&person, 16).map_err(|_| {
        Failure::bad_request(format!("got {person:?}, expected a number of 16 hexadecimal digits"), hint)
    })?;
    let request = AdminRequest::Lift { room: room.clone(), person: PersonId(number) };
    match port.shards.ask(&room, request).await? {
        AdminAnswer::Room(_) => Ok(Json(json!({ "room": room, "person": person }))),
        other => unreachable!("a change of a room is answered with it, not {other:?}"),
    }
}

fn held(one: &HeldPerson) -> Value {
    json!({
        "person": format!("{:016x}", one.person.0),
        "timeout_until_ms": one.timeout_ms,
        "ban_until_ms": one.ban_ms,
        "shadow_until_ms": one.shadow_ms,
        "warning": one.warning,
    })
}

fn reported(one: &Reported) -> Value {
    let report =
        |(category, text): &(Category, Box<str>)| json!({ "category": name_of(*category), "text": text });
    json!({ "offset": one.offset, "reports": one.reports.iter().map(report).collect::<Vec<_>>() })
}

fn name_of(category: Category) -> &'static str {
    match category {
        Category::Spam => "spam",
        Category::Harassment => "harassment",
        Category::Hate => "hate",
        Category::Violence => "violence",
        Category::Sexual => "sexual",
        Category::SelfHarm => "self_harm",
        Category::Privacy => "privacy",
        Category::Deception => "deception",
        Category::Spoiler => "spoiler",
        Category::Other => "other",
    }
}
