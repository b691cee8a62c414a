//! Writes frames, reusing one builder.
//!
//! Invariant: what it writes decodes to what was given (property-tested); empty and default fields take no
//! bytes.

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, WIPOffset};

use super::{
    Act, ClientFrame, Hello, HistoryPage, Kind, Personal, Publish, React, Renew, Renewed, ServerFrame,
    SetState, Snapshot, Subscribe, Welcome, fb,
};
use crate::stream;

/// Writes frames of both sides.
pub struct Encoder {
    fbb: FlatBufferBuilder<'static>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder { fbb: FlatBufferBuilder::with_capacity(512) }
    }
}

impl Encoder {
    /// A new encoder; its buffer grows to the largest frame written.
    pub fn new() -> Self {
        Self::default()
    }

    /// Append a client's frame, without any header, to `out`.
    pub fn client(&mut self, frame: &ClientFrame<'_>, out: &mut Vec<u8>) {
        self.build_client(frame);
        out.push(frame.kind() as u8);
        out.extend_from_slice(self.fbb.finished_data());
    }

    /// Append a server's frame, without any header, to `out`.
    pub fn server(&mut self, frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
        out.push(frame.kind() as u8);
        out.extend_from_slice(self.server_payload(frame));
    }

    /// A server's frame with its header, ready for any transport.
    pub fn server_framed(&mut self, frame: &ServerFrame<'_>) -> Bytes {
        framed(frame.kind(), self.server_payload(frame))
    }

    /// Append a server's frame with its header to `out`.
    pub fn server_framed_to(&mut self, frame: &ServerFrame<'_>, out: &mut Vec<u8>) {
        frame_to(frame.kind(), self.server_payload(frame), out);
    }

    /// A batch's frame with its header: one allocation of its exact size, one copy of the body.
    pub fn batch_framed(body: &[u8]) -> Bytes {
        framed(Kind::Batch, body)
    }

    /// A client's frame with its stream header.
    pub fn client_framed(&mut self, frame: &ClientFrame<'_>) -> Bytes {
        self.build_client(frame);
        framed(frame.kind(), self.fbb.finished_data())
    }

    /// The bytes after the kind: a table, or a batch's body unchanged.
    fn server_payload<'a>(&'a mut self, frame: &ServerFrame<'a>) -> &'a [u8] {
        if let ServerFrame::Batch(body) = frame {
            return body;
        }
        self.build_server(frame);
        self.fbb.finished_data()
    }

    fn string(&mut self, s: &str) -> Option<WIPOffset<&'static str>> {
        (!s.is_empty()).then(|| WIPOffset::new(self.fbb.create_string(s).value()))
    }

    fn bytes(&mut self, v: &[u8]) -> Option<WIPOffset<flatbuffers::Vector<'static, u8>>> {
        (!v.is_empty()).then(|| WIPOffset::new(self.fbb.create_vector(v).value()))
    }

    fn build_client(&mut self, frame: &ClientFrame<'_>) {
        self.fbb.reset();
        match frame {
            ClientFrame::Hello(f) => self.hello(f),
            ClientFrame::Subscribe(f) => self.subscribe(f),
            ClientFrame::Unsubscribe { request, alias } => {
                let args = fb::UnsubscribeArgs { request: *request, alias: *alias };
                let root = fb::Unsubscribe::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ClientFrame::Publish(f) => self.publish(f),
            ClientFrame::React(f) => self.react(f),
            ClientFrame::SetState(f) => self.set_state(f),
            ClientFrame::Ping { client_us } => {
                let root = fb::Ping::create(&mut self.fbb, &fb::PingArgs { client_us: *client_us });
                self.fbb.finish_minimal(root);
            }
            ClientFrame::History(f) => {
                let (request, alias, epoch) = (f.request, f.alias, f.epoch);
                let args = fb::HistoryArgs { request, alias, epoch, from: f.from, count_max: f.count_max };
                let root = fb::History::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ClientFrame::Renew(f) => self.renew(f),
            ClientFrame::Act(f) => self.act(f),
        }
    }

    fn build_server(&mut self, frame: &ServerFrame<'_>) {
        self.fbb.reset();
        match frame {
            ServerFrame::Welcome(f) => self.welcome(f),
            ServerFrame::Subscribed(f) => {
                let args = fb::SubscribedArgs {
                    request: f.request,
                    alias: f.alias,
                    epoch: f.epoch,
                    offset: f.offset,
                    head: f.head,
                    time_ms: f.time_ms,
                    outcome: fb::Outcome(f.outcome as u8),
                    phase: fb::Phase(f.phase as u8),
                };
                let root = fb::Subscribed::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Unsubscribed { request, alias, reason } => {
                let args = fb::UnsubscribedArgs { request: *request, alias: *alias, reason: reason.wire() };
                let root = fb::Unsubscribed::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Published(f) => {
                let args = fb::PublishedArgs {
                    nonce: f.nonce,
                    epoch: f.epoch,
                    offset: f.offset,
                    time_ms: f.time_ms,
                    durability: fb::Durability(f.durability as u8),
                    repeated: f.repeated,
                };
                let root = fb::Published::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::StateSet { request, version } => {
                let args = fb::StateSetArgs { request: *request, version: *version };
                let root = fb::StateSet::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Refused(f) => {
                let detail = self.string(f.detail);
                let args = fb::RefusedArgs {
                    kind: f.kind,
                    id: f.id,
                    reason: f.reason.wire(),
                    retry_after_ms: f.retry_after_ms,
                    detail,
                };
                let root = fb::Refused::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Batch(_) => unreachable!("a batch has no table"),
            ServerFrame::Snapshot(f) => self.snapshot(f),
            ServerFrame::Gap(f) => {
                let args = fb::GapArgs {
                    alias: f.alias,
                    epoch: f.epoch,
                    from: f.from,
                    to: f.to,
                    count: f.count,
                    reason: fb::GapReason(f.reason as u8),
                    time_ms: f.time_ms,
                };
                let root = fb::Gap::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::RoomEvent(f) => {
                let detail = self.string(f.detail);
                let args = fb::RoomEventArgs {
                    alias: f.alias,
                    phase: fb::Phase(f.phase as u8),
                    at_ms: f.at_ms,
                    detail,
                };
                let root = fb::RoomEvent::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Pong { client_us, server_ms } => {
                let args = fb::PongArgs { client_us: *client_us, server_ms: *server_ms };
                let root = fb::Pong::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::GoAway(f) => {
                let (where_, detail) = (self.string(f.where_to), self.string(f.detail));
                let args =
                    fb::GoAwayArgs { where_, after_ms: f.after_ms, deadline_ms: f.deadline_ms, detail };
                let root = fb::GoAway::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Error(f) => {
                let detail = self.string(f.detail);
                let args = fb::ErrorArgs {
                    code: f.code,
                    retry: f.retry as u8,
                    retry_after_ms: f.retry_after_ms,
                    detail,
                };
                let root = fb::Error::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::HistoryPage(f) => self.history_page(f),
            ServerFrame::Personal(f) => self.personal(f),
            ServerFrame::Renewed(f) => self.renewed(f),
            ServerFrame::Expiring { in_ms } => {
                let root = fb::Expiring::create(&mut self.fbb, &fb::ExpiringArgs { in_ms: *in_ms });
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Acted(f) => {
                let (request, epoch, offset, count) = (f.request, f.epoch, f.offset, f.count);
                let args = fb::ActedArgs { request, epoch, offset, count };
                let root = fb::Acted::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
            ServerFrame::Notice(f) => {
                let text = self.string(f.text);
                let (notice, until_ms) = (f.notice as u8, f.until_ms);
                let args = fb::NoticeArgs { alias: f.alias, notice, id: f.id, until_ms, text };
                let root = fb::Notice::create(&mut self.fbb, &args);
                self.fbb.finish_minimal(root);
            }
        }
    }

    fn act(&mut self, f: &Act<'_>) {
        let text = self.string(f.text);
        let args = fb::ActArgs {
            request: f.request,
            alias: f.alias,
            act: f.act as u8,
            epoch: f.epoch,
            target: f.target,
            seconds: f.seconds,
            category: f.category as u8,
            text,
        };
        let root = fb::Act::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn renew(&mut self, f: &Renew<'_>) {
        let token = self.string(f.token);
        let root = fb::Renew::create(&mut self.fbb, &fb::RenewArgs { request: f.request, token });
        self.fbb.finish_minimal(root);
    }

    fn renewed(&mut self, f: &Renewed<'_>) {
        let name = self.string(f.name);
        let args = fb::RenewedArgs {
            request: f.request,
            name,
            role: fb::Role(f.role as u8),
            permissions: f.permissions,
            expires_in_ms: f.expires_in_ms,
        };
        let root = fb::Renewed::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn hello(&mut self, f: &Hello<'_>) {
        let (token, name, agent) = (self.string(f.token), self.string(f.name), self.string(f.agent));
        let ticket = self.bytes(f.ticket);
        let args = fb::HelloArgs {
            min_version: f.min_version,
            max_version: f.max_version,
            capabilities: f.capabilities,
            token,
            name,
            ticket,
            agent,
        };
        let root = fb::Hello::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn subscribe(&mut self, f: &Subscribe<'_>) {
        let room = self.string(f.room);
        let args = fb::SubscribeArgs {
            request: f.request,
            room,
            resume_epoch: f.resume.map_or(0, |(epoch, _)| epoch),
            resume_offset: f.resume.map(|(_, offset)| offset),
            replay: f.replay,
        };
        let root = fb::Subscribe::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn publish(&mut self, f: &Publish<'_>) {
        let (text, attachment, author) =
            (self.string(f.text), self.string(f.attachment), self.string(f.author));
        let args = fb::PublishArgs {
            alias: f.alias,
            nonce: f.nonce,
            text,
            reply_to: f.reply_to,
            attachment,
            author,
            role: fb::Role(f.role as u8),
            age_ms: f.age_ms,
        };
        let root = fb::Publish::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn react(&mut self, f: &React<'_>) {
        let key = self.string(f.key);
        let root = fb::React::create(&mut self.fbb, &fb::ReactArgs { alias: f.alias, key, count: f.count });
        self.fbb.finish_minimal(root);
    }

    fn set_state(&mut self, f: &SetState<'_>) {
        let key = self.string(f.key);
        let value = self.bytes(f.value.unwrap_or(&[]));
        let args =
            fb::SetStateArgs { request: f.request, alias: f.alias, key, value, remove: f.value.is_none() };
        let root = fb::SetState::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn welcome(&mut self, f: &Welcome<'_>) {
        let (name, node, ticket) = (self.string(f.name), self.string(f.node), self.bytes(f.ticket));
        let nodes = self.string(f.nodes);
        let args = fb::WelcomeArgs {
            version: f.version,
            capabilities: f.capabilities,
            session: f.session,
            ticket,
            ticket_ttl_ms: f.ticket_ttl_ms,
            heartbeat_ms: f.heartbeat_ms,
            name,
            role: fb::Role(f.role as u8),
            permissions: f.permissions,
            server_ms: f.server_ms,
            frame_bytes_max: f.frame_bytes_max,
            text_bytes_max: f.text_bytes_max,
            rooms_max: f.rooms_max,
            node,
            resumed: f.resumed,
            nodes,
        };
        let root = fb::Welcome::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn snapshot(&mut self, f: &Snapshot<'_>) {
        let mut entries = Vec::with_capacity(f.entries.len());
        for (key, value) in &f.entries {
            let (key, value) = (self.string(key), self.bytes(value));
            let entry = fb::StateEntry::create(&mut self.fbb, &fb::StateEntryArgs { key, value });
            entries.push(WIPOffset::<fb::StateEntry<'static>>::new(entry.value()));
        }
        let entries = Some(WIPOffset::new(self.fbb.create_vector(&entries).value()));
        let args = fb::SnapshotArgs { alias: f.alias, epoch: f.epoch, version: f.version, entries };
        let root = fb::Snapshot::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn history_page(&mut self, f: &HistoryPage<'_>) {
        let mut batches = Vec::with_capacity(f.batches.len());
        for body in &f.batches {
            let body = self.bytes(body);
            let batch = fb::PageBatch::create(&mut self.fbb, &fb::PageBatchArgs { body });
            batches.push(WIPOffset::<fb::PageBatch<'static>>::new(batch.value()));
        }
        let batches = Some(WIPOffset::new(self.fbb.create_vector(&batches).value()));
        let args = fb::HistoryPageArgs {
            request: f.request,
            alias: f.alias,
            epoch: f.epoch,
            offset: f.offset,
            time_ms: f.time_ms,
            next: f.next,
            head: f.head,
            batches,
        };
        let root = fb::HistoryPage::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }

    fn personal(&mut self, f: &Personal<'_>) {
        let (author, text, attachment) =
            (self.string(f.author), self.string(f.text), self.string(f.attachment));
        let args = fb::PersonalArgs {
            alias: f.alias,
            epoch: f.epoch,
            offset: f.offset,
            time_ms: f.time_ms,
            author,
            role: fb::Role(f.role as u8),
            text,
            attachment,
            reply_to: f.reply_to,
        };
        let root = fb::Personal::create(&mut self.fbb, &args);
        self.fbb.finish_minimal(root);
    }
}

/// Makes one allocation of its exact size.
fn framed(kind: Kind, payload: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(framed_len(payload));
    frame_to(kind, payload, &mut out);
    Bytes::from(out)
}

fn frame_to(kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(framed_len(payload));
    stream::write_header(payload.len() + 1, out);
    out.push(kind as u8);
    out.extend_from_slice(payload);
}

fn framed_len(payload: &[u8]) -> usize {
    stream::header_len(payload.len() + 1) + 1 + payload.len()
}
