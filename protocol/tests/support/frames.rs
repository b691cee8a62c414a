//! Valid frames of clients, as test vectors, and what all vectors of frames are.
//!
//! Invariant: every kind comes at least once with its defaults and once with every field set.
//! Not here: frames that are refused by decoding (`invalid`), frames of servers
//! (`server_frames`), bodies of batches (`batches`).

use grandstand_protocol::close::CloseCode;
use grandstand_protocol::frame::*;
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;
use serde_json::{Value, json};

use super::{hex, json, raw};

/// What a decoder makes of a frame.
pub(crate) enum Expect {
    /// A frame: its kind and fields. Canonical if our encoder writes the same bytes.
    Frame { kind: Kind, fields: Value, canonical: bool },
    /// Passed over.
    Ignored,
    /// The connection ends with this code.
    Close(CloseCode),
}

/// One test vector.
pub(crate) struct Vector {
    /// Unique within its file.
    pub(crate) name: String,
    /// Clause of docs/PROTOCOL.md.
    pub(crate) clause: &'static str,
    /// The frame.
    pub(crate) bytes: Vec<u8>,
    /// What comes of it.
    pub(crate) expect: Expect,
    /// What a server with default limits refuses it with.
    pub(crate) refused: Option<Refusal>,
    /// Where the alias stands in the bytes, little-endian.
    pub(crate) alias_at: Option<usize>,
}

impl Vector {
    /// A frame that our own encoder writes.
    fn ours(name: &str, clause: &'static str, frame: &Frame<'_>) -> Vector {
        let (kind, fields, bytes) = frame.parts();
        let expect = Expect::Frame { kind, fields, canonical: true };
        Vector { name: name.into(), clause, bytes, expect, refused: None, alias_at: None }
    }

    /// A frame in another form than our encoder's, with the frame that it stands for.
    pub(super) fn other(name: &str, clause: &'static str, bytes: Vec<u8>, means: &Frame<'_>) -> Vector {
        let (kind, fields, _) = means.parts();
        let expect = Expect::Frame { kind, fields, canonical: false };
        Vector { name: name.into(), clause, bytes, expect, refused: None, alias_at: None }
    }

    /// A frame that ends the connection.
    pub(crate) fn close(name: &str, clause: &'static str, bytes: Vec<u8>, code: CloseCode) -> Vector {
        Vector {
            name: name.into(),
            clause,
            bytes,
            expect: Expect::Close(code),
            refused: None,
            alias_at: None,
        }
    }

    /// A frame that is passed over.
    pub(crate) fn ignored(name: &str, bytes: Vec<u8>) -> Vector {
        Vector {
            name: name.into(),
            clause: "F-4",
            bytes,
            expect: Expect::Ignored,
            refused: None,
            alias_at: None,
        }
    }

    fn refused(mut self, reason: Refusal) -> Vector {
        self.refused = Some(reason);
        self
    }

    /// Its fields in the file.
    pub(crate) fn to_json(&self) -> Vec<(&'static str, Value)> {
        let mut out = vec![
            ("name", json!(self.name)),
            ("clause", json!(self.clause)),
            ("hex", json!(hex(&self.bytes))),
        ];
        match &self.expect {
            Expect::Frame { kind, fields, canonical } => {
                out.extend([("kind", json!(format!("{kind:?}"))), ("frame", fields.clone())]);
                if !canonical {
                    out.push(("canonical", json!(false)));
                }
            }
            Expect::Ignored => out.push(("ignored", json!(true))),
            Expect::Close(code) => {
                out.extend([("close", json!(code.wire())), ("close_name", json!(format!("{code:?}")))]);
            }
        }
        out.extend(self.alias_at.map(|at| ("alias_at", json!(at))));
        out.extend(self.refused.map(|r| ("refused", json!(r.wire()))));
        out.extend(self.refused.map(|r| ("refused_name", json!(format!("{r:?}")))));
        out
    }
}

/// A frame of either side.
pub(crate) enum Frame<'a> {
    /// From a client.
    Client(ClientFrame<'a>),
    /// From a server.
    Server(ServerFrame<'a>),
}

impl Frame<'_> {
    fn parts(&self) -> (Kind, Value, Vec<u8>) {
        let mut bytes = Vec::new();
        match self {
            Frame::Client(f) => {
                Encoder::new().client(f, &mut bytes);
                (f.kind(), json::of_client(f), bytes)
            }
            Frame::Server(f) => {
                Encoder::new().server(f, &mut bytes);
                (f.kind(), json::of_server(f), bytes)
            }
        }
    }
}

pub(super) fn client_bytes(frame: ClientFrame<'_>) -> Vec<u8> {
    Frame::Client(frame).parts().2
}

/// Where two encodings that differ in the alias alone differ: that is where it stands.
fn alias_at(with: impl Fn(u32) -> Vec<u8>) -> Option<usize> {
    let (a, b) = (with(0x0101_0101), with(0x0202_0202));
    a.iter().zip(&b).position(|(x, y)| x != y)
}

pub(super) const ALIAS: u32 = 7;

fn c(name: &str, clause: &'static str, frame: ClientFrame<'_>) -> Vector {
    Vector::ours(name, clause, &Frame::Client(frame))
}

/// A client's frame with an alias, which a test puts in its place.
fn ca(name: &str, clause: &'static str, with: impl Fn(u32) -> ClientFrame<'static>) -> Vector {
    let mut vector = c(name, clause, with(ALIAS));
    vector.alias_at = alias_at(|alias| client_bytes(with(alias)));
    vector
}

pub(super) fn s(name: &str, clause: &'static str, frame: ServerFrame<'_>) -> Vector {
    Vector::ours(name, clause, &Frame::Server(frame))
}

pub(super) fn keep(n: usize) -> &'static str {
    Box::leak("a".repeat(n).into_boxed_str())
}

/// Valid frames of clients.
pub(crate) fn client() -> Vec<Vector> {
    [hellos(), subscriptions(), publications(), reactions_and_state(), history(), other_forms_of_clients()]
        .concat_all()
}

pub(super) trait ConcatAll {
    fn concat_all(self) -> Vec<Vector>;
}

impl<const N: usize> ConcatAll for [Vec<Vector>; N] {
    fn concat_all(self) -> Vec<Vector> {
        self.into_iter().flatten().collect()
    }
}

fn hellos() -> Vec<Vector> {
    let hello = Hello::default();
    let all = Hello {
        min_version: 1,
        max_version: 3,
        capabilities: u64::MAX,
        token: "header.claims.signature",
        name: "Viewer 1",
        ticket: &[0, 1, 2, 0xff],
        agent: "vectors/1",
    };
    let limit = Hello {
        token: keep(limits::TOKEN_BYTES_MAX),
        name: keep(limits::NAME_BYTES_MAX),
        ticket: &[0x55; limits::TICKET_BYTES_MAX],
        agent: keep(limits::AGENT_BYTES_MAX),
        ..hello
    };
    let future = Hello { min_version: 2, max_version: 9, ..hello };
    let empty = Hello { min_version: 1, max_version: 0, ..hello };
    let too_long = "a".repeat(limits::NAME_BYTES_MAX + 1);
    let named = |name| ClientFrame::Hello(Hello { name, ..Hello::default() });
    vec![
        c("hello", "H-1", ClientFrame::Hello(hello)),
        c(
            "hello_named",
            "H-4",
            ClientFrame::Hello(Hello { name: "ヴィクター", agent: "vectors/1", ..hello }),
        ),
        c("hello_name_too_long", "H-4", named(&too_long)),
        c("hello_name_with_nul", "H-4", named("a\0b")),
        c("hello_name_with_newline", "H-4", named("a\nb")),
        c("hello_name_with_space_before", "H-4", named(" a")),
        c("hello_name_with_space_alone", "H-4", named(" ")),
        c("hello_every_field", "H-1", ClientFrame::Hello(all)),
        c("hello_at_every_limit", "L-2", ClientFrame::Hello(limit)),
        c("hello_unknown_ticket", "H-6", ClientFrame::Hello(Hello { ticket: &[9; 40], ..hello })),
        c("hello_versions_1_to_9", "V-1", ClientFrame::Hello(Hello { max_version: 9, ..hello })),
        c("hello_versions_2_to_9", "V-1", ClientFrame::Hello(future)),
        c("hello_versions_empty_range", "V-1", ClientFrame::Hello(empty)),
    ]
}

fn subscriptions() -> Vec<Vector> {
    let sub = |request, room| Subscribe { request, room, ..Subscribe::default() };
    let resume =
        |request, epoch, offset| Subscribe { resume: Some((epoch, offset)), ..sub(request, "vectors/1") };
    vec![
        c("subscribe", "S-1", ClientFrame::Subscribe(sub(1, "vectors/1"))),
        c("subscribe_replay", "S-4", ClientFrame::Subscribe(Subscribe { replay: 50, ..sub(2, "vectors/1") })),
        c("subscribe_resume_at_zero", "S-4", ClientFrame::Subscribe(resume(3, 0, 0))),
        c("subscribe_resume_other_epoch", "S-5", ClientFrame::Subscribe(resume(4, 1, 1_000_000))),
        c("subscribe_resume_widest", "S-4", ClientFrame::Subscribe(resume(u32::MAX, u64::MAX, u64::MAX))),
        c("subscribe_longest_name", "L-1", ClientFrame::Subscribe(sub(5, keep(limits::ROOM_NAME_BYTES_MAX)))),
        c(
            "subscribe_name_too_long",
            "S-9",
            ClientFrame::Subscribe(sub(6, keep(limits::ROOM_NAME_BYTES_MAX + 1))),
        )
        .refused(Refusal::BadName),
        c("subscribe_name_empty", "S-9", ClientFrame::Subscribe(sub(7, ""))).refused(Refusal::BadName),
        c("subscribe_name_with_nul", "S-9", ClientFrame::Subscribe(sub(8, "vec\0tors")))
            .refused(Refusal::BadName),
        c("subscribe_name_with_spaces", "S-9", ClientFrame::Subscribe(sub(9, " vectors ")))
            .refused(Refusal::BadName),
        ca("unsubscribe", "S-8", |alias| ClientFrame::Unsubscribe { request: 10, alias }),
    ]
}

fn publications() -> Vec<Vector> {
    let say = |nonce, text| Publish { alias: ALIAS, nonce, text, ..Publish::default() };
    let p = |name, publish: Publish<'static>| {
        ca(name, "P-1", move |alias| ClientFrame::Publish(Publish { alias, ..publish }))
    };
    let every = Publish {
        reply_to: Some(0),
        attachment: "image:1",
        author: "Viewer 2",
        role: Role::Host,
        age_ms: u32::MAX,
        ..say(u64::MAX, "line one\n\tline two")
    };
    vec![
        p("publish", say(1, "hello")),
        p("publish_every_script", say(2, "añb 試合 ⚽ مرحبا 👩‍👩‍👧")),
        p("publish_reply", Publish { reply_to: Some(u64::MAX), ..say(3, "yes") }),
        p("publish_again", Publish { age_ms: 1_500, ..say(15, "hello again") }),
        p("publish_attachment_alone", Publish { attachment: "image:1", ..say(4, "") }),
        p("publish_every_field", every),
        p(
            "publish_longest",
            Publish {
                attachment: keep(limits::ATTACHMENT_BYTES_MAX),
                ..say(5, keep(limits::TEXT_BYTES_MAX))
            },
        ),
        p("publish_text_too_long", say(6, keep(limits::TEXT_BYTES_MAX + 1))).refused(Refusal::TooLarge),
        p(
            "publish_attachment_too_long",
            Publish { attachment: keep(limits::ATTACHMENT_BYTES_MAX + 1), ..say(7, "a") },
        )
        .refused(Refusal::TooLarge),
        p("publish_empty", say(8, "")).refused(Refusal::Empty),
        p("publish_spaces", say(14, " \n\t ")).refused(Refusal::Empty),
        p("publish_nul", say(9, "a\0b")).refused(Refusal::BadText),
        p("publish_escape", say(10, "\x1b[2J")).refused(Refusal::BadText),
        p("publish_attachment_with_newline", Publish { attachment: "a\nb", ..say(11, "a") })
            .refused(Refusal::BadText),
        p("publish_as_another", Publish { author: "Viewer 3", ..say(12, "hello") }),
        c(
            "publish_unknown_alias",
            "R-1",
            ClientFrame::Publish(Publish { alias: u32::MAX, ..say(13, "hello") }),
        )
        .refused(Refusal::NotSubscribed),
    ]
}

fn reactions_and_state() -> Vec<Vector> {
    let set =
        |request, key, value| move |alias| ClientFrame::SetState(SetState { request, alias, key, value });
    let huge: &'static [u8] = &[0x61; limits::STATE_VALUE_BYTES_MAX + 1];
    vec![
        ca("react", "P-6", |alias| ClientFrame::React(React { alias, key: "❤", count: 1 })),
        ca("react_hundred", "P-6", |alias| ClientFrame::React(React { alias, key: ":goal:", count: 100 })),
        ca("react_longest_key", "L-1", |alias| {
            ClientFrame::React(React { alias, key: keep(limits::REACTION_KEY_BYTES_MAX), count: 2 })
        }),
        ca("set_state", "P-7", set(20, "score", Some(b"1:0"))),
        ca("set_state_to_nothing", "P-7", set(21, "score", Some(b""))),
        ca("set_state_remove", "P-7", set(22, "score", None)),
        ca("set_state_value_too_long", "P-8", set(23, "score", Some(huge))).refused(Refusal::TooLarge),
        ca("set_state_key_too_long", "P-8", set(24, keep(limits::STATE_KEY_BYTES_MAX + 1), Some(b"1")))
            .refused(Refusal::TooLarge),
        ca("set_state_key_with_nul", "P-8", set(25, "a\0b", Some(b"1"))).refused(Refusal::BadText),
        c("ping", "N-3", ClientFrame::Ping { client_us: 1_234_567 }),
        c("ping_zero", "N-3", ClientFrame::Ping { client_us: 0 }),
    ]
}

fn history() -> Vec<Vector> {
    let ask = |request, epoch, from, count_max| {
        move |alias| ClientFrame::History(History { request, alias, epoch, from, count_max })
    };
    vec![
        ca("history", "O-5", ask(30, 2, 100, 50)),
        ca("history_from_the_start", "O-5", ask(31, 2, 0, 0)),
        c("renew", "H-9", ClientFrame::Renew(Renew { request: 40, token: "header.claims.signature" })),
        c("renew_without_token", "H-9", ClientFrame::Renew(Renew { request: 41, token: "" })),
        c(
            "renew_longest_token",
            "L-1",
            ClientFrame::Renew(Renew { request: 42, token: keep(limits::TOKEN_BYTES_MAX) }),
        ),
        ca("act_remove", "M-1", |alias| {
            ClientFrame::Act(Act {
                request: 50,
                alias,
                act: ActKind::Remove,
                epoch: 2,
                target: Some(100),
                ..Act::default()
            })
        }),
        ca("act_timeout", "M-1", |alias| {
            let (target, seconds, text) = (Some(7), 600, "calm down");
            ClientFrame::Act(Act {
                request: 51,
                alias,
                act: ActKind::Timeout,
                epoch: 2,
                target,
                seconds,
                text,
                ..Act::default()
            })
        }),
        ca("act_report", "M-7", |alias| {
            let (act, category, target) = (ActKind::Report, Category::Spoiler, Some(u64::MAX));
            ClientFrame::Act(Act { request: 52, alias, act, epoch: 2, target, category, ..Act::default() })
        }),
        ca("history_widest", "O-5", ask(u32::MAX, u64::MAX, u64::MAX, u32::MAX)),
    ]
}

/// Frames of another encoder, or of a newer peer.
fn other_forms_of_clients() -> Vec<Vector> {
    use raw::Field::*;
    let o = |name: &str, clause, bytes, means| Vector::other(name, clause, bytes, &Frame::Client(means));
    let react = |count| ClientFrame::React(React { alias: ALIAS, key: "a", count });
    let odd_role = Publish { alias: ALIAS, nonce: 1, text: "a", ..Publish::default() };
    let subscribe = Subscribe { request: 1, room: "vectors/1", resume: None, replay: 0 };
    let remove = SetState { request: 1, alias: ALIAS, key: "a", value: None };
    vec![
        o("ping_defaults_written", "F-6", raw::frame(7, &[(0, Long(0))]), ClientFrame::Ping { client_us: 0 }),
        o(
            "ping_unknown_field",
            "F-7",
            raw::frame(7, &[(0, Long(5)), (1, Int(99)), (9, Text(b"from a newer peer"))]),
            ClientFrame::Ping { client_us: 5 },
        ),
        o(
            "hello_unknown_fields",
            "F-7",
            raw::frame(1, &[(4, Text(b"Viewer 1")), (7, Tables(3)), (8, Bytes(b"later"))]),
            ClientFrame::Hello(Hello { name: "Viewer 1", ..Hello::default() }),
        ),
        o(
            "publish_unknown_role",
            "F-7",
            raw::frame(4, &[(0, Int(ALIAS)), (1, Long(1)), (2, Text(b"a")), (6, Byte(200))]),
            ClientFrame::Publish(odd_role),
        ),
        o(
            "subscribe_epoch_without_offset",
            "S-4",
            raw::frame(2, &[(0, Int(1)), (1, Text(b"vectors/1")), (2, Long(9))]),
            ClientFrame::Subscribe(subscribe),
        ),
        o(
            "set_state_remove_with_value",
            "P-7",
            raw::frame(6, &[(0, Int(1)), (1, Int(ALIAS)), (2, Text(b"a")), (3, Bytes(b"b")), (4, Byte(1))]),
            ClientFrame::SetState(remove),
        ),
        o(
            "react_count_zero",
            "P-6",
            raw::frame(5, &[(0, Int(ALIAS)), (1, Text(b"a")), (2, Int(0))]),
            react(1),
        ),
        o(
            "react_count_101",
            "P-6",
            raw::frame(5, &[(0, Int(ALIAS)), (1, Text(b"a")), (2, Int(101))]),
            react(100),
        ),
        o("react_count_missing", "F-6", raw::frame(5, &[(0, Int(ALIAS)), (1, Text(b"a"))]), react(1)),
        o(
            "hello_bytes_behind_the_table",
            "F-1",
            [client_bytes(ClientFrame::Hello(Hello::default())), vec![0; 5]].concat(),
            ClientFrame::Hello(Hello::default()),
        ),
    ]
}
