//! Valid frames of servers, as test vectors.
//!
//! Invariant: every kind comes at least once with its defaults and once with every field set.
//! Not here: frames of clients and what a vector is (`frames`), bodies of batches (`batches`).

use grandstand_protocol::close::{CloseCode, Retry};
use grandstand_protocol::frame::*;
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;

use super::frames::{ALIAS, ConcatAll, Frame, Vector, s};
use super::raw;

/// Valid frames of servers.
pub(crate) fn all() -> Vec<Vector> {
    [welcomes(), answers(), rooms(), notices(), pages_and_personals(), other_forms_of_servers()].concat_all()
}

fn welcomes() -> Vec<Vector> {
    let all = Welcome {
        version: 1,
        capabilities: 1 << 63,
        session: 42,
        ticket: &[1, 2, 3],
        ticket_ttl_ms: 60_000,
        heartbeat_ms: 15_000,
        name: "Viewer 1",
        role: Role::Moderator,
        permissions: permission::PUBLISH | permission::REACT | permission::STATE | permission::BRIDGE,
        server_ms: 1_700_000_000_000,
        frame_bytes_max: limits::CLIENT_FRAME_BYTES_MAX as u32,
        text_bytes_max: limits::TEXT_BYTES_MAX as u32,
        rooms_max: 16,
        node: "node-1",
        resumed: true,
        nodes: "a.example:7443,b.example:7443",
    };
    vec![
        s("welcome", "H-5", ServerFrame::Welcome(Welcome { version: 1, ..Welcome::default() })),
        s("welcome_every_field", "H-5", ServerFrame::Welcome(all)),
    ]
}

fn answers() -> Vec<Vector> {
    let unsubscribed = |request, reason| ServerFrame::Unsubscribed { request, alias: ALIAS, reason };
    let position = Subscribed {
        request: 1,
        alias: ALIAS,
        epoch: 0x0123_4567_89ab_cdef,
        offset: 950,
        head: 1000,
        time_ms: 1_700_000_000_000,
        ..Subscribed::default()
    };
    let with = |outcome, phase| ServerFrame::Subscribed(Subscribed { outcome, phase, ..position });
    let published =
        Published { nonce: 1, epoch: 2, offset: 1000, time_ms: 1_700_000_000_250, ..Published::default() };
    let safe = Published { durability: Durability::Replicated, repeated: true, ..published };
    let mut out = vec![
        s("subscribed_empty_room", "S-3", ServerFrame::Subscribed(Subscribed::default())),
        s("subscribed_live", "S-5", with(Outcome::Live, Phase::Open)),
        s("subscribed_resumed", "S-5", with(Outcome::Resumed, Phase::Closing)),
        s("subscribed_gapped", "S-5", with(Outcome::Gapped, Phase::Open)),
        s("subscribed_restarted", "S-5", with(Outcome::Restarted, Phase::Closed)),
        s("unsubscribed", "S-8", unsubscribed(10, Refusal::Other)),
        s("unsubscribed_by_server", "S-8", unsubscribed(0, Refusal::Other)),
        s("unsubscribed_by_renewal", "H-10", unsubscribed(0, Refusal::Forbidden)),
        s("renewed", "H-9", ServerFrame::Renewed(Renewed { request: 14, ..Renewed::default() })),
        s(
            "renewed_every_field",
            "H-9",
            ServerFrame::Renewed(Renewed {
                request: 15,
                name: "Viewer 1",
                role: Role::Moderator,
                permissions: permission::PUBLISH | permission::REACT,
                expires_in_ms: 3_600_000,
            }),
        ),
        s("acted", "M-2", ServerFrame::Acted(Acted { request: 50, epoch: 2, offset: Some(110), count: 1 })),
        s(
            "acted_outside_the_log",
            "M-2",
            ServerFrame::Acted(Acted { request: 51, epoch: 2, ..Acted::default() }),
        ),
        s(
            "notice_timed_out",
            "M-6",
            ServerFrame::Notice(Notice {
                alias: ALIAS,
                notice: NoticeKind::TimedOut,
                until_ms: 1_700_000_600_000,
                text: "calm down",
                ..Notice::default()
            }),
        ),
        s(
            "notice_rejected",
            "M-6",
            ServerFrame::Notice(Notice { notice: NoticeKind::Rejected, id: 6, ..Notice::default() }),
        ),
        s("expiring", "H-11", ServerFrame::Expiring { in_ms: 60_000 }),
        s("expiring_now", "H-11", ServerFrame::Expiring { in_ms: 0 }),
        s("published", "P-2", ServerFrame::Published(published)),
        s(
            "published_on_disk",
            "P-2",
            ServerFrame::Published(Published { durability: Durability::Disk, ..published }),
        ),
        s("published_again", "P-3", ServerFrame::Published(safe)),
        s("state_set", "P-7", ServerFrame::StateSet { request: 20, version: 17 }),
    ];
    for &reason in Refusal::ALL {
        let retry_after_ms = reason.may_retry().then_some(1500);
        let refused =
            Refused { kind: Kind::Publish as u8, id: 6, reason, retry_after_ms, detail: reason.text() };
        out.push(s(&format!("refused_{}", reason.wire()), "R-1", ServerFrame::Refused(refused)));
    }
    let at_once =
        Refused { kind: 2, id: 1, reason: Refusal::Overloaded, retry_after_ms: Some(0), detail: "" };
    out.push(s("refused_retry_at_once", "R-2", ServerFrame::Refused(at_once)));
    out
}

fn rooms() -> Vec<Vector> {
    let entries: Vec<(&str, &[u8])> = vec![("score", b"1:0"), ("poll", b""), ("clock", &[0, 0xff])];
    let gap = Gap {
        alias: ALIAS,
        epoch: 2,
        from: 10,
        to: 110,
        count: 90,
        time_ms: 1_700_000_000_000,
        ..Gap::default()
    };
    let phase = |phase, detail| {
        ServerFrame::RoomEvent(RoomEvent { alias: ALIAS, phase, at_ms: 1_700_000_000_000, detail })
    };
    let body = &super::batches::all()[0].body;
    let mut out = vec![
        s("batch", "F-1", ServerFrame::Batch(body)),
        s("batch_without_body", "B-4", ServerFrame::Batch(&[])),
        s(
            "snapshot_empty",
            "N-1",
            ServerFrame::Snapshot(Snapshot { alias: ALIAS, epoch: 2, version: 0, entries: vec![] }),
        ),
        s(
            "snapshot",
            "N-1",
            ServerFrame::Snapshot(Snapshot { alias: ALIAS, epoch: 2, version: 17, entries }),
        ),
        s("room_open", "N-2", phase(Phase::Open, "")),
        s("room_closing", "N-2", phase(Phase::Closing, "the show ends")),
        s("room_pre_show", "N-2", phase(Phase::PreShow, "")),
        s("room_closed", "N-2", phase(Phase::Closed, "")),
    ];
    for reason in [GapReason::Slow, GapReason::Paced, GapReason::Expired, GapReason::Restarted] {
        let name = format!("gap_{reason:?}").to_lowercase();
        out.push(s(&name, "G-3", ServerFrame::Gap(Gap { reason, ..gap })));
    }
    let goes_on = Gap { to: gap.from, count: 0, reason: GapReason::Restarted, ..gap };
    out.push(s("gap_restarted_where_the_log_goes_on", "G-6", ServerFrame::Gap(goes_on)));
    out
}

fn notices() -> Vec<Vector> {
    let go = GoAway { where_to: "node-2.example:443", after_ms: 500, deadline_ms: 10_000, detail: "upgrade" };
    let mut out = vec![
        s("pong", "N-3", ServerFrame::Pong { client_us: 1_234_567, server_ms: 1_700_000_000_000 }),
        s("go_away", "N-4", ServerFrame::GoAway(go)),
        s("go_away_same_address", "N-4", ServerFrame::GoAway(GoAway { where_to: "", ..go })),
    ];
    for &code in CloseCode::ALL {
        let error =
            ErrorFrame { code: code.wire(), retry: code.retry(), retry_after_ms: 0, detail: code.text() };
        out.push(s(&format!("error_{}", code.wire()), "C-1", ServerFrame::Error(error)));
    }
    let newer = ErrorFrame {
        code: 999,
        retry: Retry::Reauthenticate,
        retry_after_ms: 3000,
        detail: "from a newer peer",
    };
    out.push(s("error_unknown_code", "C-3", ServerFrame::Error(newer)));
    out
}

fn pages_and_personals() -> Vec<Vector> {
    let batches = super::batches::all();
    let page = HistoryPage {
        request: 30,
        alias: ALIAS,
        epoch: 2,
        offset: 90,
        time_ms: 1_700_000_000_000,
        next: 150,
        head: 1000,
        batches: vec![&batches[0].body, &[]],
    };
    let personal = Personal {
        alias: ALIAS,
        epoch: 2,
        offset: 110,
        time_ms: 1_700_000_000_250,
        author: "Viewer 2",
        text: "@viewer_1 yes",
        ..Personal::default()
    };
    let reply = Personal { role: Role::Subscriber, attachment: "image:1", reply_to: Some(109), ..personal };
    vec![
        s("history_page", "O-6", ServerFrame::HistoryPage(page)),
        s(
            "history_page_at_the_head",
            "O-6",
            ServerFrame::HistoryPage(HistoryPage { request: 31, next: 9, head: 9, ..HistoryPage::default() }),
        ),
        s("personal", "O-3", ServerFrame::Personal(personal)),
        s("personal_reply_every_field", "O-3", ServerFrame::Personal(reply)),
    ]
}

fn other_forms_of_servers() -> Vec<Vector> {
    use raw::Field::*;
    let o = |name: &str, bytes, means| Vector::other(name, "F-7", bytes, &Frame::Server(means));
    let refused = Refused { kind: 4, id: 1, reason: Refusal::Other, retry_after_ms: None, detail: "" };
    let error = ErrorFrame { code: 999, retry: Retry::Backoff, retry_after_ms: 0, detail: "" };
    let event = RoomEvent { alias: ALIAS, ..RoomEvent::default() };
    let snapshot = Snapshot { alias: ALIAS, epoch: 2, version: 3, entries: vec![("", &[]), ("", &[])] };
    vec![
        o(
            "refused_unknown_reason",
            raw::frame(0x46, &[(0, Byte(4)), (1, Long(1)), (2, Short(60_000))]),
            ServerFrame::Refused(refused),
        ),
        o(
            "error_unknown_retry",
            raw::frame(0x4d, &[(0, Short(999)), (1, Byte(77))]),
            ServerFrame::Error(error),
        ),
        o(
            "room_event_unknown_phase",
            raw::frame(0x4a, &[(0, Int(ALIAS)), (1, Byte(9))]),
            ServerFrame::RoomEvent(event),
        ),
        o(
            "gap_unknown_reason",
            raw::frame(0x49, &[(0, Int(ALIAS)), (5, Byte(9))]),
            ServerFrame::Gap(Gap { alias: ALIAS, ..Gap::default() }),
        ),
        o(
            "subscribed_unknown_outcome",
            raw::frame(0x42, &[(0, Int(1)), (6, Byte(9))]),
            ServerFrame::Subscribed(Subscribed { request: 1, ..Subscribed::default() }),
        ),
        o(
            "published_unknown_durability",
            raw::frame(0x44, &[(0, Long(1)), (4, Byte(9))]),
            ServerFrame::Published(Published { nonce: 1, ..Published::default() }),
        ),
        o(
            "snapshot_entries_without_fields",
            raw::frame(0x48, &[(0, Int(ALIAS)), (1, Long(2)), (2, Long(3)), (3, Tables(2))]),
            ServerFrame::Snapshot(snapshot),
        ),
        o(
            "pong_unknown_fields",
            raw::frame(0x4b, &[(0, Long(5)), (1, Long(6)), (2, Bytes(b"later")), (3, Byte(1))]),
            ServerFrame::Pong { client_us: 5, server_ms: 6 },
        ),
    ]
}
