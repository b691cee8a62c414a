//! The keys of rooms and their fan-out.
//!
//! Why apart from the other sections: a file holds one subject. Not here: the form of a line (`table`).

use super::super::keys::config_sections;
use super::super::value::RoomDurability;
use super::defaults::words;
use grandstand_protocol::limits;

config_sections! {
    moderation: Moderation = "Moderation" {
        lists: Vec<String> = Vec::new(), [],
            "Files of word lists, and the rooms that each concerns: `/etc/grandstand/words.txt` concerns every room, `kids/*=/etc/grandstand/kids.txt` those whose names begin so, `lobby=/etc/grandstand/lobby.txt` one room. At most 64; the              order decides where two rules are equal. A path that contains `=` is written behind `*=`. A changed file is read again (node.watch_files_ms), and a list with a fault changes nothing.",
            "which words a house takes is for its people to say";
    }

    rooms: Rooms = "Rooms" {
        durability: RoomDurability = RoomDurability::Auto, [],
            "Where rooms without a setting of their own are kept. `memory` acknowledges a message when the room accepts it, and loses it with the process; `disk` acknowledges it when it is synced to log.dir; `replicated` when a majority of the cluster's \
             servers has synced it; `auto` is replicated in a cluster, disk where log.dir is set, else memory. A room can have its own by the admin port.",
            "an operator who names a folder for the log wants messages to be kept";
        on_first_use: Vec<String> = words(&["*"]), [],
            "Names of rooms that the first subscription makes; `show-*` matches by prefix, `*` everything. Subscriptions to other \
             rooms that do not exist are refused with a reason. Empty: rooms are made only through the admin port.",
            "a first room should just work; list your own names before strangers can connect";
        max: usize = 100_000, [1, 10_000_000],
            "Rooms of this node. Beyond, a room that holds nothing (nobody in it, nothing ever said) is removed for the new one; without such a room the new one is refused with a reason, on first use and through the admin port.",
            "a room that nobody is in and nothing was said in costs at most 200 bytes, so 20 MB; 1 KB while somebody is or was there";
        reserved_percent: u32 = 10, [0, 90],
            "Percent of rooms.max that subscriptions do not fill: they are for the admin port and for sessions that may `bridge`.",
            "whatever strangers open, the operator can open a room";
        opened_per_person_max: usize = 1_000, [1, 10_000_000],
            "Rooms that one person may have opened by subscriptions, at most a tenth of the strangers' part and at least 32; without \
             a token, everybody at one address together. Beyond, a new one is refused with a reason until some of them are removed.",
            "no app opens so many for one person, and a hundred addresses are needed to fill the node";
        name_bytes_max: usize = limits::ROOM_NAME_BYTES_MAX, [1, limits::ROOM_NAME_BYTES_MAX as u64],
            "Bytes of UTF-8 in a room's name. Beyond, it is refused with a reason.",
            "the protocol's own bound; it can only be narrowed";
        tick_ms: u64 = 0, [0, 10_000],
            "Interval at which a busy room seals its batch; 0 adapts it to the cost of fan-out, between rooms.tick_min_ms and rooms.tick_max_ms. A room can have bounds of its own through the admin port.",
            "a small room need not wait for what a large one costs";
        tick_min_ms: u64 = 10, [1, 10_000],
            "Shortest tick of rooms whose tick adapts.",
            "nobody sees a hundredth of a second, and at most 100 batches/s leave a room";
        tick_max_ms: u64 = 1_000, [1, 10_000],
            "Longest tick of rooms whose tick adapts. A room that would need a longer one to keep to fanout.share_percent takes more than its share.",
            "a second is late for an answer in a chat of thousands, and not too late";
        leading_edge: bool = true, [],
            "Seal at once when a room has been quiet for a tick, rather than wait for the next one.",
            "small rooms feel instant and pay nothing for it";
        pending_messages_max: usize = 16_384, [1, 1_000_000],
            "Publications that a room takes in one tick. Beyond, they are refused with a time to retry after.",
            "16,000 messages/s at the longest tick: far beyond reading, still bounded";
        ring_batches_max: usize = 4_096, [8, 1_048_576],
            "Batches per room and worker from which viewers are served. A viewer that lags further skips to the newest and is told exactly what it missed, or reads on from the history.",
            "40 s of the busiest room at the shortest tick, minutes of others: a tunnel, a lift, a handover";
        ring_bytes_max: usize = 1_048_576, [65_536, 1_073_741_824],
            "Bytes of the batches in one ring, with space for their compressed forms. Beyond, the oldest leave it, with the same effect as ring_batches_max.",
            "bounds what stalled viewers can cost: nothing per viewer, this much per room and worker";
        history_batches_max: usize = 65_536, [0, 16_777_216],
            "Batches of a room's in-memory history, for resuming and replay. Beyond, the oldest are forgotten; a client that resumes before them is told what it missed.",
            "ten minutes of the busiest room at the shortest tick";
        history_bytes_max: usize = 8_388_608, [0, 68_719_476_736],
            "Bytes of one room's history, with space for compressed forms. Beyond, its oldest batches are forgotten, as with history_batches_max.",
            "some 100,000 chat messages";
        history_bytes_total_max: usize = 268_435_456, [0, 1_099_511_627_776],
            "Bytes of all rooms' histories together. Beyond, the room that keeps the most forgets its oldest batches.",
            "a quarter of a gigabyte on the smallest server of 1 GB";
        replay_max: usize = 200, [0, 100_000],
            "Messages from before its subscription that a client may ask for. A larger number is reduced to this.",
            "a few screens; older messages scroll away unread";
        nonces_max: usize = 16_384, [0, 1_048_576],
            "Publications per room whose nonce is remembered, so that a retry is acknowledged and not repeated. Beyond, the oldest are forgotten: a retry of one that may have been among them is refused.",
            "over a minute of the busiest room, in a megabyte";
        nonce_window_ms: u64 = 300_000, [1_000, 86_400_000],
            "How long a nonce is remembered. A later retry is refused, since the message could be in the log already.",
            "a client that was away for five minutes asks its user before it sends again";
        tally_keys_max: usize = 64, [1, 4_096],
            "Different reactions counted in a room per tick. Beyond, the least counted join the others, which are counted under the empty key.",
            "a show offers a handful; more are keys that somebody invents";
        tally_top: usize = 16, [1, 4_096],
            "Reactions that a batch carries, most frequent first. The rest is counted under the empty key.",
            "more do not fit a screen";
        state_keys_max: usize = 64, [1, 65_535],
            "State keys of a room. Beyond, a new key is refused with a reason; present ones still change.",
            "pinned message, score, slow mode and what an application adds";
        state_value_bytes_max: usize = limits::STATE_VALUE_BYTES_MAX, [1, limits::STATE_VALUE_BYTES_MAX as u64],
            "Bytes of one state value. Beyond, it is refused with a reason.",
            "the longest that a frame takes with room for everything else";
        state_bytes_max: usize = 131_072, [1_024, 524_288],
            "Bytes of the keys and values of one room's state together. Beyond, a change that adds to them is refused with a reason.",
            "every new subscriber receives all of them, and a connection that does not read pins as much";
        state_bytes_total_max: usize = 67_108_864, [65_536, 1_099_511_627_776],
            "Bytes of the states of all rooms together. Beyond nine tenths, changes by clients that add to them are refused with a reason; the rest is for the admin port.",
            "500 rooms with the largest state, or 60,000 with a pinned message; beside the histories it is little";
        pacing_per_s: u32 = 20, [0, 1_000_000],
            "Chat messages per second that a room's batches show people, in rooms above pacing_above_viewers; 0 shows all. Beyond, \
             equal texts are folded, people take turns, and the rest is counted as omitted; hosts and moderators are always shown. A room's own setting (admin port) takes precedence, and holds for any audience.",
            "nobody reads more than 20 short messages in a second; more cost every viewer bytes and the node CPU";
        pacing_above_viewers: u64 = 1_000, [0, 10_000_000],
            "Viewers of a room above which pacing_per_s applies. Up to it, everything is shown.",
            "smaller audiences rarely write faster than people read, and want to see everything";
        tally_flush_ms: u64 = 50, [1, 1_000],
            "Interval at which a worker hands the reactions that it has added up to the shard.",
            "nobody sees that reactions wait 50 ms longer for their batch, and a shard hears of them 20 times a second";
        slow_mode_ms: u64 = 0, [0, 86_400_000],
            "How long one person must wait between two messages in a room; 0 sets no wait. A message that comes sooner is refused \
             with a time to retry after. Another connection or session does not end the wait (limits.people_per_address). Bridges and moderators are exempt.",
            "a room begins free; the host tightens it";
        viewers_every_ms: u64 = 2_000, [100, 600_000],
            "Shortest interval between two published viewer counts of a room. Changes in between wait.",
            "a number that changes more often cannot be read";
        recount_ms: u64 = 500, [10, 60_000],
            "Interval at which a worker hands its viewer counts to the shard.",
            "a quarter of viewers_every_ms keeps the published counts fresh";
        idle_ms: u64 = 600_000, [0, 604_800_000],
            "Time without viewers and publications after which a room that came into being on first use is removed; a room on disk leaves memory then and keeps its history. 0: never.",
            "people who lose their connection together find the room as they left it";
        batch_bytes_max: usize = 131_072, [1_024, 524_288],
            "Bytes of chat in one batch. What is over goes into a further batch of the same tick.",
            "a connection pins the batch that it has partly written: 128 KiB is half a usual socket buffer";
    }

    fanout: Fanout = "Fan-out: the work of one turn" {
        share_percent: u32 = 30, [1, 100],
            "Percent of a worker's time that fan-out may take. Above it the ticks of its rooms grow, up to rooms.tick_max_ms; so messages come later and in larger batches, which cost less each.",
            "the rest is for reads, joins and answers, so that a busy node answers quickly";
        writes_per_turn: usize = 512, [1, 1_000_000],
            "Writes to connections before a worker turns to reads, accepts and timers. It continues the round after them.",
            "a few milliseconds of work, so that a new connection does not wait for a round over ten thousand viewers";
        batches_per_write_max: usize = 64, [1, 1_024],
            "Batches joined in one write to a viewer that lags. The rest follows in its next turn.",
            "one system call takes at most 1,024 pieces, and 64 already make the call cheap per batch";
        compression: bool = true, [],
            "Send compressed batches (deflate with a preset dictionary) to clients that can open them. A batch is compressed once for the whole node, and is sent plain where that would not make it smaller.",
            "a fifth to a quarter of the bytes of a busy room, for one compression per batch";
        compress_from_members: usize = 32, [1, 1_000_000],
            "Viewers of a room on one worker that can open compressed batches, from which on the worker compresses them. Below, batches are sent plain, unless another worker has compressed them already.",
            "compressing a batch costs the CPU of some ten writes: a third more for a room of 32, nothing for a large one";
    }
}
