//! Properties of the codecs, over generated values: what is written is read back, positions add up, and
//! nothing that a peer can send makes a reader panic.
//!
//! Not here: chosen samples (`vectors`), mutated ones in great number (`fuzz_smoke`).

mod support;

use grandstand_protocol::batch::*;
use grandstand_protocol::close::Retry;
use grandstand_protocol::compress::{COMPRESSED_BATCH, Compressor, Decompressor};
use grandstand_protocol::frame::*;
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream::{HEADER_BYTES_MAX, header_len, read_header, write_header};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use support::arbitrary::{Sealed, bytes, name, sealed, text, wide};

fn role() -> impl Strategy<Value = Role> {
    (0..5u8).prop_map(Role::from_wire)
}

fn hello() -> impl Strategy<Value = Hello<'static>> {
    let names = prop_oneof![Just(""), name(16)];
    (any::<[u16; 2]>(), any::<u64>(), text(100), names, bytes(limits::TICKET_BYTES_MAX), text(32)).prop_map(
        |([min_version, max_version], capabilities, token, name, ticket, agent)| Hello {
            min_version,
            max_version,
            capabilities,
            token,
            name,
            ticket,
            agent,
        },
    )
}

fn client_frame() -> impl Strategy<Value = ClientFrame<'static>> {
    let publish =
        (any::<u32>(), wide(), text(80), option::of(wide()), text(20), text(20), role(), any::<u32>());
    prop_oneof![
        hello().prop_map(ClientFrame::Hello),
        (any::<u32>(), text(60), option::of((wide(), wide())), any::<u32>()).prop_map(
            |(request, room, resume, replay)| ClientFrame::Subscribe(Subscribe {
                request,
                room,
                resume,
                replay
            })
        ),
        any::<(u32, u32)>().prop_map(|(request, alias)| ClientFrame::Unsubscribe { request, alias }),
        publish.prop_map(|(alias, nonce, text, reply_to, attachment, author, role, age_ms)| {
            ClientFrame::Publish(Publish { alias, nonce, text, reply_to, attachment, author, role, age_ms })
        }),
        (any::<u32>(), text(100)).prop_map(|(request, token)| ClientFrame::Renew(Renew { request, token })),
        (
            any::<[u32; 3]>(),
            select(ActKind::ALL),
            select(Category::ALL),
            wide(),
            option::of(wide()),
            text(60)
        )
            .prop_map(|([request, alias, seconds], act, category, epoch, target, text)| {
                ClientFrame::Act(Act { request, alias, act, epoch, target, seconds, category, text })
            }),
        (any::<u32>(), name(10), 1..=limits::REACTION_COUNT_MAX)
            .prop_map(|(alias, key, count)| ClientFrame::React(React { alias, key, count })),
        (any::<u32>(), any::<u32>(), text(60), option::of(bytes(300))).prop_map(
            |(request, alias, key, value)| ClientFrame::SetState(SetState { request, alias, key, value })
        ),
        wide().prop_map(|client_us| ClientFrame::Ping { client_us }),
        (any::<[u32; 3]>(), wide(), wide()).prop_map(|([request, alias, count_max], epoch, from)| {
            ClientFrame::History(History { request, alias, epoch, from, count_max })
        }),
    ]
}

fn welcome() -> impl Strategy<Value = Welcome<'static>> {
    let numbers = (any::<u16>(), wide(), wide(), any::<[u32; 6]>(), wide());
    (numbers, bytes(97), text(16), (text(16), text(40)), role(), any::<bool>()).prop_map(
        |((version, capabilities, session, n, server_ms), ticket, name, (node, nodes), role, resumed)| {
            Welcome {
                version,
                capabilities,
                session,
                ticket,
                ticket_ttl_ms: n[0],
                heartbeat_ms: n[1],
                name,
                role,
                permissions: n[2],
                server_ms,
                frame_bytes_max: n[3],
                text_bytes_max: n[4],
                rooms_max: n[5],
                node,
                resumed,
                nodes,
            }
        },
    )
}

fn phase() -> impl Strategy<Value = Phase> {
    select(vec![Phase::Open, Phase::Closing, Phase::Closed])
}

fn subscribed() -> impl Strategy<Value = Subscribed> {
    let outcome = select(vec![Outcome::Live, Outcome::Resumed, Outcome::Gapped, Outcome::Restarted]);
    (any::<[u32; 2]>(), [wide(), wide(), wide(), wide()], outcome, phase()).prop_map(
        |([request, alias], [epoch, offset, head, time_ms], outcome, phase)| Subscribed {
            request,
            alias,
            epoch,
            offset,
            head,
            time_ms,
            outcome,
            phase,
        },
    )
}

fn published() -> impl Strategy<Value = Published> {
    ([wide(), wide(), wide(), wide()], 0..3u8, any::<bool>()).prop_map(
        |([nonce, epoch, offset, time_ms], durability, repeated)| {
            let durability = Durability::from_wire(durability);
            Published { nonce, epoch, offset, time_ms, durability, repeated }
        },
    )
}

fn gap() -> impl Strategy<Value = Gap> {
    let reason = select(vec![GapReason::Slow, GapReason::Paced, GapReason::Expired, GapReason::Restarted]);
    (any::<u32>(), [wide(), wide(), wide(), wide(), wide()], reason).prop_map(
        |(alias, [epoch, from, to, count, time_ms], reason)| Gap {
            alias,
            epoch,
            from,
            to,
            count,
            reason,
            time_ms,
        },
    )
}

fn history_page() -> impl Strategy<Value = HistoryPage<'static>> {
    let numbers = [wide(), wide(), wide(), wide(), wide()];
    (any::<[u32; 2]>(), numbers, vec(bytes(200), 0..8)).prop_map(
        |([request, alias], [epoch, offset, time_ms, next, head], batches)| HistoryPage {
            request,
            alias,
            epoch,
            offset,
            time_ms,
            next,
            head,
            batches,
        },
    )
}

fn personal() -> impl Strategy<Value = Personal<'static>> {
    let texts = (text(20), text(80), text(20));
    (any::<u32>(), [wide(), wide(), wide()], texts, role(), option::of(wide())).prop_map(
        |(alias, [epoch, offset, time_ms], (author, text, attachment), role, reply_to)| Personal {
            alias,
            epoch,
            offset,
            time_ms,
            author,
            role,
            text,
            attachment,
            reply_to,
        },
    )
}

fn server_frame() -> impl Strategy<Value = ServerFrame<'static>> {
    let refused = (any::<u8>(), wide(), select(Refusal::ALL.to_vec()), option::of(any::<u32>()), text(40));
    let retry = select(vec![Retry::Never, Retry::Backoff, Retry::Reauthenticate]);
    prop_oneof![
        welcome().prop_map(ServerFrame::Welcome),
        subscribed().prop_map(ServerFrame::Subscribed),
        (any::<(u32, u32)>(), select(Refusal::ALL.to_vec()))
            .prop_map(|((request, alias), reason)| { ServerFrame::Unsubscribed { request, alias, reason } }),
        (any::<u32>(), name(16), any::<u32>(), wide()).prop_map(
            |(request, name, permissions, expires_in_ms)| ServerFrame::Renewed(Renewed {
                request,
                name,
                role: Role::Host,
                permissions,
                expires_in_ms
            })
        ),
        wide().prop_map(|in_ms| ServerFrame::Expiring { in_ms }),
        (any::<u32>(), wide(), option::of(wide()), wide()).prop_map(|(request, epoch, offset, count)| {
            ServerFrame::Acted(Acted { request, epoch, offset, count })
        }),
        (any::<u32>(), select(NoticeKind::ALL), wide(), wide(), text(40)).prop_map(
            |(alias, notice, id, until_ms, text)| {
                ServerFrame::Notice(Notice { alias, notice, id, until_ms, text })
            }
        ),
        published().prop_map(ServerFrame::Published),
        (any::<u32>(), wide()).prop_map(|(request, version)| ServerFrame::StateSet { request, version }),
        refused.prop_map(|(kind, id, reason, retry_after_ms, detail)| {
            ServerFrame::Refused(Refused { kind, id, reason, retry_after_ms, detail })
        }),
        bytes(2000).prop_map(ServerFrame::Batch),
        (any::<u32>(), wide(), wide(), vec((text(20), bytes(60)), 0..12)).prop_map(
            |(alias, epoch, version, entries)| ServerFrame::Snapshot(Snapshot {
                alias,
                epoch,
                version,
                entries
            })
        ),
        gap().prop_map(ServerFrame::Gap),
        (any::<u32>(), phase(), wide(), text(40)).prop_map(|(alias, phase, at_ms, detail)| {
            ServerFrame::RoomEvent(RoomEvent { alias, phase, at_ms, detail })
        }),
        (wide(), wide()).prop_map(|(client_us, server_ms)| ServerFrame::Pong { client_us, server_ms }),
        (text(40), any::<[u32; 2]>(), text(40)).prop_map(|(where_to, [after_ms, deadline_ms], detail)| {
            ServerFrame::GoAway(GoAway { where_to, after_ms, deadline_ms, detail })
        }),
        (any::<u16>(), retry, any::<u32>(), text(40)).prop_map(|(code, retry, retry_after_ms, detail)| {
            ServerFrame::Error(ErrorFrame { code, retry, retry_after_ms, detail })
        }),
        history_page().prop_map(ServerFrame::HistoryPage),
        personal().prop_map(ServerFrame::Personal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// F-1, F-6.
    #[test]
    fn client_frames_survive(frame in client_frame()) {
        let mut encoded = Vec::new();
        Encoder::new().client(&frame, &mut encoded);
        prop_assert_eq!(encoded[0], frame.kind() as u8);
        prop_assert_eq!(ClientFrame::decode(&encoded), Ok(frame));
        prop_assert_eq!(ServerFrame::decode(&encoded), Err(FrameFault::WrongSide(frame.kind())));
    }

    /// F-1, F-6.
    #[test]
    fn server_frames_survive(frame in server_frame()) {
        let mut encoded = Vec::new();
        Encoder::new().server(&frame, &mut encoded);
        prop_assert_eq!(encoded[0], frame.kind() as u8);
        prop_assert_eq!(ClientFrame::decode(&encoded), Err(FrameFault::WrongSide(frame.kind())));
        prop_assert_eq!(ServerFrame::decode(&encoded), Ok(frame));
    }

    /// A reused encoder carries nothing over from frame to frame, and framing adds the header alone.
    #[test]
    fn an_encoder_keeps_nothing(frames in vec((client_frame(), server_frame()), 1..6)) {
        let mut encoder = Encoder::new();
        for (client, server) in &frames {
            let mut fresh = Vec::new();
            Encoder::new().client(client, &mut fresh);
            let framed = encoder.client_framed(client);
            let (header, len) = read_header(&framed, usize::MAX).unwrap().unwrap();
            prop_assert_eq!((&framed[header..], len), (&fresh[..], fresh.len()));
            fresh.clear();
            Encoder::new().server(server, &mut fresh);
            let framed = encoder.server_framed(server);
            let (header, len) = read_header(&framed, usize::MAX).unwrap().unwrap();
            prop_assert_eq!((&framed[header..], len), (&fresh[..], fresh.len()));
        }
    }

    /// F-1: a batch's body stands behind its kind as it is, and is framed with or without an encoder alike.
    #[test]
    fn a_batch_is_its_kind_and_its_body(len in prop_oneof![0..300usize, 65_500..65_600usize], byte in any::<u8>()) {
        let body = vec![byte; len];
        let framed = Encoder::batch_framed(&body);
        let (header, frame_bytes) = read_header(&framed, usize::MAX).unwrap().unwrap();
        prop_assert_eq!((frame_bytes, framed.len()), (1 + len, header + 1 + len));
        prop_assert_eq!((framed[header], &framed[header + 1..]), (Kind::Batch as u8, &body[..]));
        prop_assert_eq!(Encoder::new().server_framed(&ServerFrame::Batch(&body)), framed);
    }

    /// F-1: a frame may lie at any address.
    #[test]
    fn frames_decode_at_any_alignment(frame in server_frame(), shift in 0..8usize) {
        let mut encoded = vec![0; shift];
        Encoder::new().server(&frame, &mut encoded);
        prop_assert_eq!(ServerFrame::decode(&encoded[shift..]), Ok(frame));
    }

    /// F-2: what was cut short is a fault or, if only padding went, the same frame.
    #[test]
    fn cut_frames_are_faults(frame in client_frame(), cut in any::<prop::sample::Index>()) {
        let mut encoded = Vec::new();
        Encoder::new().client(&frame, &mut encoded);
        match ClientFrame::decode(&encoded[..cut.index(encoded.len())]) {
            Ok(read) => prop_assert_eq!(read, frame),
            Err(fault) => prop_assert_eq!(fault.close_code(), grandstand_protocol::close::CloseCode::Malformed),
        }
    }

    /// F-2.
    #[test]
    fn noise_is_never_a_panic(noise in vec(any::<u8>(), 0..200), kind in select(Kind::ALL.to_vec())) {
        let _ = (ClientFrame::decode(&noise), ServerFrame::decode(&noise));
        let named = [&[kind as u8], &noise[..]].concat();
        let _ = (ClientFrame::decode(&named), ServerFrame::decode(&named));
        let _ = support::batches::read(&noise);
    }

    /// F-4, F-5: every byte is a known kind, ignorable, or ends the connection.
    #[test]
    fn kinds_are_told_apart(kind in any::<u8>(), rest in vec(any::<u8>(), 0..30)) {
        let frame = [&[kind], &rest[..]].concat();
        let (client, server) = (ClientFrame::decode(&frame), ServerFrame::decode(&frame));
        if Kind::from_wire(kind).is_none() {
            let fault = FrameFault::UnknownKind(kind);
            prop_assert_eq!(fault.is_ignorable(), kind & 0x20 != 0 && kind < 0x80);
            prop_assert_eq!((client.unwrap_err(), server.unwrap_err()), (fault.clone(), fault));
        } else {
            // Of ours, those that an old client may pass over (O-4, H-11, M-6).
            let passed_over = [Kind::Personal as u8, Kind::Expiring as u8, Kind::Notice as u8];
            prop_assert_eq!(grandstand_protocol::frame::is_ignorable(kind), passed_over.contains(&kind));
            prop_assert!(client.is_err() || server.is_err(), "a frame is of one side");
        }
    }

    /// B, A-1 to A-3.
    #[test]
    fn batches_survive_and_positions_add_up(sealed in sealed()) {
        let body = sealed.write();
        let mut reader = BatchReader::new(&body).unwrap();
        prop_assert_eq!((reader.alias(), reader.count()), (sealed.alias, sealed.messages.len() as u64));
        prop_assert_eq!(reader.has_chat(), sealed.has_chat());
        let mut at = Position { epoch: 9, offset: sealed.first_offset, time_ms: 1000 };
        at.begin(&reader).unwrap();
        prop_assert_eq!(at.time_ms, if sealed.has_chat() { 1000 + sealed.time_ms } else { 1000 });
        let (mut items, mut offsets) = (Vec::new(), Vec::new());
        while let Some(item) = reader.next_item().unwrap() {
            match item {
                Item::Message(m) => offsets.push(at.message(&m)),
                Item::Omitted(count) => at.omitted(count),
                _ => {}
            }
            items.push(item);
        }
        offsets.push(at.offset);
        prop_assert_eq!((items, offsets), sealed.items());
        prop_assert_eq!(support::batches::rewrite(&body), body);
    }

    /// a reader that stands elsewhere is told so, unless it is off by a multiple of 256.
    #[test]
    fn another_alias_changes_nothing_else(sealed in sealed(), alias in any::<u32>(), noise in vec(any::<u8>(), 0..40)) {
        let framed = Encoder::batch_framed(&sealed.write());
        let given = with_alias(&framed, alias).unwrap();
        let again = Sealed { alias, ..sealed };
        prop_assert_eq!(&given, &Encoder::batch_framed(&again.write()));
        // Neither a part of it, nor what stands behind it, nor any other bytes are taken for one.
        prop_assert!(with_alias(&given[..given.len() - 1], 1).is_err());
        prop_assert!(with_alias(&[&given[..], &[0]].concat(), 1).is_err());
        let _ = with_alias(&noise, alias);
    }

    #[test]
    fn a_reader_elsewhere_notices(sealed in sealed(), off_by in 1..10_000u64) {
        let body = sealed.write();
        let mut at = Position { epoch: 9, offset: sealed.first_offset + off_by, time_ms: 0 };
        let before = at;
        let noticed = at.begin(&BatchReader::new(&body).unwrap()).is_err();
        prop_assert_eq!(noticed, sealed.has_chat() && off_by % 256 != 0);
        prop_assert!(!noticed || at == before);
    }

    /// batch after batch, with gaps between, the reader's offset is the room's.
    #[test]
    fn positions_follow_a_room(batches in vec(sealed(), 1..12), missed in vec(0..3usize, 12)) {
        let (mut room, mut reader) = (0u64, 0u64);
        for (mut sealed, missed) in batches.into_iter().zip(missed) {
            sealed.first_offset = room;
            let next = *sealed.items().1.last().unwrap();
            room = next;
            if missed == 0 {
                reader = next; // a Gap up to here
                continue;
            }
            let body = sealed.write();
            let mut batch = BatchReader::new(&body).unwrap();
            let mut at = Position { epoch: 1, offset: reader, time_ms: 0 };
            prop_assert_eq!(at.begin(&batch), Ok(()));
            while let Some(item) = batch.next_item().unwrap() {
                match item {
                    Item::Message(m) => drop(at.message(&m)),
                    Item::Omitted(count) => at.omitted(count),
                    _ => {}
                }
            }
            reader = at.offset;
            prop_assert_eq!(reader, room);
        }
    }

    /// B-4: a batch with a byte changed is read to an end or a fault, within its bytes.
    #[test]
    fn changed_batches_end(sealed in sealed(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut body = sealed.write();
        let at = at.index(body.len());
        body[at] = byte;
        if let Ok((_, items, _)) = support::batches::read(&body) {
            prop_assert!(items.len() <= body.len());
        }
    }

    /// F-5, F-9: any batch comes back, whatever was opened before, and never takes more bytes than plain.
    #[test]
    fn compressed_batches_survive(all in vec(sealed(), 1..4), noise in vec(any::<u8>(), 0..50)) {
        let (mut compressor, mut decompressor) = (Compressor::default(), Decompressor::default());
        for sealed in all {
            let body = sealed.write();
            let plain = Encoder::batch_framed(&body);
            if let Some(wire) = compressor.batch_framed(&body) {
                let (header, len) = read_header(&wire, plain.len()).unwrap().unwrap();
                prop_assert!(wire.len() < plain.len() && header + len == wire.len());
                prop_assert_eq!(wire[header], COMPRESSED_BATCH);
                let _ = decompressor.open(&noise);
                prop_assert_eq!(decompressor.open(&wire[header + 1..]), Ok(&body[..]));
                // F-9: cut anywhere, it is a fault.
                let cut = wire.len() - 1 - noise.len() % len.min(8);
                prop_assert!(decompressor.open(&wire[(header + 1).min(cut)..cut]).is_err());
            }
        }
    }

    /// F-9.
    #[test]
    fn noise_opens_to_no_more_than_a_frame(noise in vec(any::<u8>(), 0..2000)) {
        if let Ok(body) = Decompressor::default().open(&noise) {
            prop_assert!(body.len() < limits::SERVER_FRAME_BYTES_MAX);
        }
    }

    ///
    #[test]
    fn stream_headers_survive(len in 0..1usize << 21, behind in vec(any::<u8>(), 0..8)) {
        let mut out = Vec::new();
        write_header(len, &mut out);
        let header = out.len();
        prop_assert!(header == header_len(len) && header <= HEADER_BYTES_MAX);
        for cut in 0..header {
            prop_assert_eq!(read_header(&out[..cut], 1 << 21), Ok(None));
        }
        out.extend(behind);
        prop_assert_eq!(read_header(&out, 1 << 21), Ok(Some((header, len))));
        prop_assert!(len == 0 || read_header(&out, len - 1).is_err());
    }
}
