//! Any input, output and message, for property tests.
//!
//! Invariant: every variant is made, so that a variant that does not travel is found.

use std::sync::Arc;

use bytes::Bytes;
use grandstand_engine::counter_name;
use grandstand_engine::link::*;
use grandstand_engine::log::{HandedLive, HandedNonces, HandedRoom, RoomEntry, StoredNonce};
use grandstand_protocol::frame::{Durability, Kind, Phase, Role};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream::write_header;
use grandstand_protocol::text::Likeness;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::any_acts::{act, moderated, notice};
use crate::house::{Ban, HouseMessage};
use crate::id::{Incarnation, NodeId, Position, Term};
use crate::link::{DownFrame, DownItem, UpFrame, UpItem};
use crate::membership::{About, Echo, Facts, Heartbeat, ShardReport, Versions};
use crate::seat::{Answer as Promise, AnswerVerdict, Ask, ShownEntry};
use crate::time::PeerTime;

/// Numbers of every width.
pub(super) fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, any::<u64>(), Just(u64::MAX)]
}

pub(super) fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zäß日]{1,12}"]
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

/// A frame of this kind, with its header.
pub(super) fn framed(kind: Kind, body: &[u8]) -> Bytes {
    let mut wire = Vec::new();
    write_header(1 + body.len(), &mut wire);
    wire.push(kind as u8);
    wire.extend_from_slice(body);
    wire.into()
}

fn image() -> impl Strategy<Value = Arc<StateImage>> {
    (number(), bytes(20))
        .prop_map(|(version, body)| Arc::new(StateImage { version, wire: framed(Kind::Snapshot, &body) }))
}

fn batch() -> BoxedStrategy<Arc<Batch>> {
    let numbers = (number(), any::<u32>(), 0..500_u64, any::<u32>(), number(), (number(), any::<bool>()));
    let wire = (0..128_u8, vec(any::<u8>(), 0..200))
        .prop_map(|(alias, body)| framed(Kind::Batch, &[&[alias][..], &body].concat()));
    (numbers, wire, of(image()))
        .prop_map(|((seq, first, offsets, messages, base_time_ms, (time_ms, has_acts)), wire, snapshot)| {
            Arc::new(Batch {
                seq,
                first_offset: first.into(),
                next_offset: u64::from(first) + offsets,
                messages,
                base_time_ms,
                time_ms,
                wire,
                has_acts,
                compressed: Compressed::default(),
                snapshot,
            })
        })
        .boxed()
}

fn worker() -> impl Strategy<Value = WorkerId> {
    any::<u16>().prop_map(WorkerId)
}

pub(super) fn alias() -> impl Strategy<Value = Alias> {
    any::<u32>().prop_map(Alias)
}

pub(super) fn reply_to() -> impl Strategy<Value = ReplyTo> {
    (worker(), number())
        .prop_map(|(worker, connection)| ReplyTo { worker, connection: ConnectionToken(connection) })
}

fn phase() -> impl Strategy<Value = Phase> {
    select(vec![Phase::Open, Phase::Closing, Phase::Closed, Phase::PreShow])
}

fn durability() -> impl Strategy<Value = Durability> {
    select(vec![Durability::Memory, Durability::Disk, Durability::Replicated])
}

fn refusal() -> impl Strategy<Value = Refusal> {
    select(Refusal::ALL)
}

fn settings() -> impl Strategy<Value = RoomSettings> {
    (of(any::<u32>()), of(any::<u32>()), of(any::<u32>()), of(durability())).prop_map(
        |(tick_min_ms, tick_max_ms, pacing_per_s, durability)| RoomSettings {
            tick_min_ms,
            tick_max_ms,
            pacing_per_s,
            durability,
        },
    )
}

fn publication() -> BoxedStrategy<Publication> {
    let roles = vec![Role::Viewer, Role::Subscriber, Role::Moderator, Role::Host, Role::Bot];
    let ids = (reply_to(), alias(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>());
    let rest = (text(), select(roles), text(), text(), of(number()), any::<bool>(), any::<bool>());
    (ids, rest)
        .prop_map(
            |(
                (from, alias, user, person, nonce, age_ms),
                (author, role, text, attachment, reply_to, exempt, is_bridged),
            )| Publication {
                from,
                alias,
                user: UserId(user),
                person: PersonId(person),
                nonce,
                age_ms,
                author: author.into(),
                role,
                text: text.into(),
                attachment: attachment.into(),
                reply_to,
                exempt,
                is_bridged,
            },
        )
        .boxed()
}

fn admin_request() -> BoxedStrategy<AdminRequest> {
    let value = of(vec(any::<u8>(), 0..20));
    prop_oneof![
        (text(), settings()).prop_map(|(room, settings)| AdminRequest::Create { room, settings }),
        text().prop_map(|room| AdminRequest::Open { room }),
        text().prop_map(|room| AdminRequest::Close { room }),
        text().prop_map(|room| AdminRequest::FollowShow { room }),
        text().prop_map(|room| AdminRequest::Remove { room }),
        text().prop_map(|room| AdminRequest::State { room }),
        (text(), text(), value).prop_map(|(room, key, value)| AdminRequest::SetState { room, key, value }),
        (text(), settings()).prop_map(|(room, settings)| AdminRequest::Configure { room, settings }),
        (text(), text(), any::<usize>()).prop_map(|(prefix, after, limit)| AdminRequest::List {
            prefix,
            after,
            limit
        }),
        text().prop_map(|room| AdminRequest::Moderation { room }),
        (text(), any::<u64>()).prop_map(|(room, n)| AdminRequest::Lift { room, person: PersonId(n) }),
        Just(AdminRequest::Counters),
    ]
    .boxed()
}

fn page_of() -> impl Strategy<Value = PageOf> {
    prop_oneof![Just(PageOf::Shown), any::<u32>().prop_map(|messages_max| PageOf::Full { messages_max }),]
}

fn state_change() -> impl Strategy<Value = StateChange> {
    (reply_to(), any::<u32>(), alias(), text(), of(bytes(30))).prop_map(
        |(from, request, alias, key, value)| StateChange { from, request, alias, key: key.into(), value },
    )
}

pub(super) fn input() -> BoxedStrategy<Input> {
    let opener = (any::<u64>(), any::<bool>())
        .prop_map(|(person, is_trusted)| Opener { person: PersonId(person), is_trusted });
    let names = vec(any::<u64>().prop_map(Likeness::from_number), 0..4);
    let tallies = vec((text().prop_map(String::into_boxed_str), number()), 0..4);
    let load = (number(), number(), number()).prop_map(|(elapsed_us, fanout_us, writes)| Load {
        elapsed_us,
        fanout_us,
        writes,
    });
    prop_oneof![
        (worker(), text(), opener.clone(), alias()).prop_map(|(worker, room, opener, alias)| {
            Input::Reattach { worker, room: room.into(), opener, alias }
        }),
        (worker(), text(), opener).prop_map(|(worker, room, opener)| Input::Attach {
            worker,
            room: room.into(),
            opener
        }),
        (worker(), alias()).prop_map(|(worker, alias)| Input::Detach { worker, alias }),
        (worker(), alias(), any::<u32>()).prop_map(|(worker, alias, count)| Input::Viewers {
            worker,
            alias,
            count
        }),
        (worker(), alias(), names).prop_map(|(worker, alias, names)| Input::Staff {
            worker,
            alias,
            names: names.into()
        }),
        publication().prop_map(|publication| Input::Publish(Box::new(publication))),
        (alias(), tallies).prop_map(|(alias, tallies)| Input::React { alias, tallies }),
        state_change().prop_map(|change| Input::SetState(Box::new(change))),
        act().prop_map(|act| Input::Act(Box::new(act))),
        (worker(), number(), alias(), any::<u64>(), number(), page_of()).prop_map(
            |(worker, request, alias, epoch, from, of)| Input::History {
                worker,
                request,
                alias,
                epoch,
                from,
                of
            }
        ),
        (worker(), load).prop_map(|(worker, load)| Input::Load { worker, load }),
        (reply_to(), admin_request())
            .prop_map(|(from, request)| Input::Admin { from, request: Box::new(request) }),
    ]
    .boxed()
}

fn attachment() -> BoxedStrategy<Attachment> {
    let previous = vec((any::<u64>(), number()), 0..=Lineage::EPOCHS_MAX);
    let numbers = (alias(), any::<u64>(), number(), number(), number());
    (numbers, vec(batch(), 0..4), of(image()), phase(), previous)
        .prop_map(|((alias, epoch, next_seq, next_offset, time_ms), batches, snapshot, phase, previous)| {
            Attachment {
                alias,
                epoch,
                next_seq,
                next_offset,
                time_ms,
                batches,
                snapshot,
                phase,
                until_ms: 5,
                previous: previous
                    .into_iter()
                    .map(|(epoch, next_offset)| PreviousEpoch { epoch, next_offset })
                    .collect(),
            }
        })
        .boxed()
}

pub(super) fn answer() -> BoxedStrategy<Answer> {
    let kind = prop_oneof![
        (any::<u64>(), any::<u64>(), number(), number(), durability(), any::<bool>()).prop_map(
            |(nonce, epoch, offset, time_ms, durability, repeated)| AnswerKind::Published {
                nonce,
                epoch,
                offset,
                time_ms,
                durability,
                repeated
            }
        ),
        (any::<u64>(), refusal(), of(any::<u32>())).prop_map(|(nonce, reason, retry_after_ms)| {
            AnswerKind::PublishRefused { nonce, reason, retry_after_ms }
        }),
        (any::<u32>(), number()).prop_map(|(request, version)| AnswerKind::StateSet { request, version }),
        (any::<u32>(), refusal(), of(any::<u32>())).prop_map(|(request, reason, retry_after_ms)| {
            AnswerKind::StateRefused { request, reason, retry_after_ms }
        }),
        (any::<u32>(), any::<u64>(), of(number()), number()).prop_map(|(request, epoch, offset, count)| {
            AnswerKind::Acted { request, epoch, offset, count }
        }),
        (any::<u32>(), refusal(), of(any::<u32>())).prop_map(|(request, reason, retry_after_ms)| {
            AnswerKind::ActRefused { request, reason, retry_after_ms }
        }),
    ];
    (number(), kind)
        .prop_map(|(connection, kind)| Answer { connection: ConnectionToken(connection), kind })
        .boxed()
}

fn room_info() -> BoxedStrategy<RoomInfo> {
    let numbers = (number(), number(), number(), number(), number(), number());
    (text(), alias(), any::<u64>(), phase(), numbers, settings(), durability())
        .prop_map(|(name, alias, epoch, phase, numbers, settings, durability)| RoomInfo {
            name,
            alias,
            epoch,
            phase,
            next_offset: numbers.0,
            oldest_offset: numbers.1,
            viewers: numbers.2,
            history_bytes: numbers.3,
            state_version: numbers.4,
            tick_ms: numbers.5,
            settings,
            durability,
        })
        .boxed()
}

fn admin_reply() -> BoxedStrategy<AdminReply> {
    let names = vec!["rooms", "attaches", "publications_refused_other", "largest_tick_us"];
    let name = select(names).prop_map(|name| counter_name(name).expect("a counter's name"));
    let told = prop_oneof![
        room_info().prop_map(AdminAnswer::Room),
        vec(room_info(), 0..4).prop_map(AdminAnswer::Rooms),
        moderated().prop_map(AdminAnswer::Moderation),
        vec((name, number()), 0..4).prop_map(AdminAnswer::Counters),
        (number(), vec((text(), vec(any::<u8>(), 0..9)), 0..4))
            .prop_map(|(version, entries)| AdminAnswer::State { version, entries }),
    ];
    let answer = prop_oneof![3 => told.prop_map(Ok), 1 => refusal().prop_map(Err)];
    (number(), answer)
        .prop_map(|(connection, answer)| AdminReply { connection: ConnectionToken(connection), answer })
        .boxed()
}

pub(super) fn output() -> BoxedStrategy<Output> {
    let attached = prop_oneof![3 => attachment().prop_map(|a| Ok(Box::new(a))), 1 => refusal().prop_map(Err)];
    let personal = (alias(), number(), bytes(30)).prop_map(|(alias, connection, body)| Personal {
        alias,
        connection: ConnectionToken(connection),
        wire: framed(Kind::Personal, &body),
    });
    let page = (vec(batch(), 0..4), any::<bool>(), of(any::<u32>())).prop_map(
        |(batches, same_epoch, retry_after_ms)| HistoryPage { batches, same_epoch, retry_after_ms },
    );
    prop_oneof![
        (text(), attached).prop_map(|(room, result)| Output::Attached { room: room.into(), result }),
        (alias(), batch()).prop_map(|(alias, batch)| Output::Batch { alias, batch }),
        vec(answer(), 0..5).prop_map(Output::Answers),
        vec(personal, 0..4).prop_map(Output::Personals),
        vec(notice(), 0..4).prop_map(Output::Notices),
        (number(), page).prop_map(|(request, page)| Output::History { request, page: Box::new(page) }),
        (alias(), phase(), number()).prop_map(|(alias, phase, at_ms)| Output::Phase { alias, phase, at_ms }),
        alias().prop_map(|alias| Output::Removed { alias }),
        admin_reply().prop_map(|reply| Output::Admin(Box::new(reply))),
    ]
    .boxed()
}

fn handed_live() -> BoxedStrategy<HandedLive> {
    let previous = vec((any::<u64>(), number()), 0..=Lineage::EPOCHS_MAX);
    let state = vec((text(), bytes(9)), 0..3);
    let nonces = (of(any::<i64>()), vec((any::<u64>(), any::<u64>(), number()), 0..4));
    ((number(), number(), number()), state, previous, nonces, vec((any::<u64>(), number()), 0..4))
        .prop_map(|((time_ms, accepted_ms, state_version), state, previous, nonces, spoke)| HandedLive {
            time_ms,
            accepted_ms,
            state_version,
            state: state.into_iter().map(|(key, value)| (key.into(), value)).collect(),
            previous: previous
                .into_iter()
                .map(|(epoch, next_offset)| PreviousEpoch { epoch, next_offset })
                .collect(),
            nonces: HandedNonces {
                complete_for_us: nonces.0,
                entries: nonces
                    .1
                    .into_iter()
                    .map(|(user, nonce, time_ms)| StoredNonce { user: UserId(user), nonce, time_ms })
                    .collect(),
            },
            spoke: spoke.into_iter().map(|(person, ago)| (PersonId(person), ago)).collect(),
        })
        .boxed()
}

fn handed() -> BoxedStrategy<HandedRoom> {
    let flags = any::<[bool; 3]>();
    let full = of(vec(any::<u8>(), 0..9));
    let batches = vec((batch(), full), 0..4);
    (text(), any::<u64>(), of(any::<u32>()), flags, phase(), settings(), of(handed_live()), batches)
        .prop_map(
            |(room, epoch, slot, [is_operators, is_head, is_on_disk], phase, settings, live, batches)| {
                let mut next_offset = 40;
                let mut follow = |(batch, full): (Arc<Batch>, Option<Vec<u8>>)| {
                    let offsets = batch.next_offset - batch.first_offset;
                    let first_offset = next_offset;
                    next_offset += offsets;
                    let full = full.map(|body| framed(Kind::Batch, &[&[0][..], &body].concat()));
                    (Arc::new(Batch { first_offset, next_offset, ..(*batch).clone() }), full)
                };
                let batches: Vec<_> = batches.into_iter().map(&mut follow).collect();
                let room = room.into();
                let room =
                    RoomEntry { room, epoch, next_offset, slot, is_operators, is_head, phase, settings };
                HandedRoom { room, is_on_disk, live, batches }
            },
        )
        .boxed()
}

pub(super) fn up_item() -> BoxedStrategy<UpItem> {
    prop_oneof![
        9 => input().prop_map(UpItem::Input),
        1 => (number(), number())
            .prop_map(|(term, have_index)| UpItem::Restate { have_term: Term(term), have_index }),
    ]
    .boxed()
}

fn entry() -> impl Strategy<Value = ShownEntry> {
    (number(), number(), bytes(100)).prop_map(|(term, index, bytes)| ShownEntry {
        term: Term(term),
        index,
        bytes,
    })
}

pub(super) fn down_item() -> BoxedStrategy<DownItem> {
    let workers = vec(worker(), 1..4).prop_map(Vec::into_boxed_slice);
    prop_oneof![
        2 => entry().prop_map(DownItem::Entry),
        1 => (number(), number())
            .prop_map(|(term, first)| DownItem::Restated { term: Term(term), first }),
        1 => (number(), number(), number()).prop_map(|(term, through, position)| DownItem::Kept {
            term: Term(term),
            through,
            position: Position(position),
        }),
        8 => (workers, output()).prop_map(|(workers, output)| DownItem::Output { workers, output }),
        1 => Just(DownItem::Restate),
        2 => handed().prop_map(|room| DownItem::Handed(Box::new(room))),
    ]
    .boxed()
}

pub(super) fn up_frame() -> BoxedStrategy<UpFrame> {
    (any::<u8>(), number(), number(), 1..=u64::MAX, any::<bool>(), vec(up_item(), 0..6))
        .prop_map(|(node, incarnation, term, seq, begins, items)| UpFrame {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            term: Term(term),
            seq,
            begins,
            items,
            passed_over: 0,
        })
        .boxed()
}

pub(super) fn down_frame() -> BoxedStrategy<DownFrame> {
    (any::<u8>(), number(), number(), 1..=u64::MAX, any::<bool>(), vec(down_item(), 0..6))
        .prop_map(|(node, incarnation, term, seq, begins, items)| DownFrame {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            term: Term(term),
            seq,
            begins,
            items,
            passed_over: 0,
        })
        .boxed()
}

pub(super) fn heartbeat() -> BoxedStrategy<Heartbeat> {
    let echo = (any::<u8>(), number(), number()).prop_map(|(node, incarnation, sent)| Echo {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        sent: PeerTime(sent),
    });
    let report = (any::<u16>(), number(), any::<[bool; 3]>(), number()).prop_map(
        |(shard, term, [owns, claims, can_own], position)| ShardReport {
            shard: ShardId(shard),
            term: Term(term),
            owns,
            claims,
            position: Position(position),
            can_own,
        },
    );
    let facts = (number(), any::<u16>(), number()).prop_map(|(seed, shards, ticket_key_print)| Facts {
        seed,
        shards,
        ticket_key_print,
    });
    let versions = (any::<u16>(), any::<u16>()).prop_map(|(min, max)| Versions { min, max });
    let about = (any::<bool>(), number(), any::<u8>(), number(), any::<u16>()).prop_map(
        |(is_draining, unix_ms, nodes, leaders, written)| About {
            is_draining,
            unix_ms,
            nodes,
            leaders,
            written,
        },
    );
    let ids = (any::<u8>(), number(), number(), (any::<u32>(), number()));
    (ids, vec(echo, 0..4), facts, versions, vec(report, 0..9), about)
        .prop_map(|((node, incarnation, sent, (load, house)), echoes, facts, versions, reports, about)| {
            Heartbeat {
                node: NodeId(node),
                incarnation: Incarnation(incarnation),
                sent: PeerTime(sent),
                echoes,
                facts,
                versions,
                reports,
                load,
                house,
                about,
            }
        })
        .boxed()
}

pub(super) fn house() -> BoxedStrategy<HouseMessage> {
    let ban = (any::<u8>(), any::<[u64; 3]>(), any::<bool>(), text(), text()).prop_map(
        |(kind, [id, stamp_us, until_ms], is_lifted, name, reason)| Ban {
            kind,
            id,
            stamp_us,
            until_ms,
            is_lifted,
            name: name.into(),
            reason: reason.into(),
        },
    );
    let numbers = (any::<u8>(), number(), number(), number());
    (numbers, vec(ban, 0..5), vec(any::<(u64, u8, u32)>(), 0..9), vec(any::<u64>(), 0..9))
        .prop_map(|((node, incarnation, asks, answers), bans, taken, moved)| HouseMessage {
            node: NodeId(node),
            incarnation: Incarnation(incarnation),
            asks,
            answers,
            bans,
            taken,
            moved,
        })
        .boxed()
}

pub(super) fn ask() -> impl Strategy<Value = Ask> {
    (any::<u8>(), number(), number(), number()).prop_map(|(candidate, incarnation, term, sent)| Ask {
        candidate: NodeId(candidate),
        incarnation: Incarnation(incarnation),
        term: Term(term),
        sent: PeerTime(sent),
    })
}

pub(super) fn promise() -> BoxedStrategy<Promise> {
    let verdict = prop_oneof![
        3 => vec(entry(), 0..6).prop_map(AnswerVerdict::Promised),
        1 => any::<u8>().prop_map(|node| AnswerVerdict::Hears(NodeId(node))),
        1 => Just(AnswerVerdict::NotReady),
        1 => number().prop_map(|term| AnswerVerdict::OldTerm(Term(term))),
    ];
    (any::<u8>(), number(), number(), verdict)
        .prop_map(|(from, term, asked, verdict)| Promise {
            from: NodeId(from),
            term: Term(term),
            asked: PeerTime(asked),
            verdict,
        })
        .boxed()
}
