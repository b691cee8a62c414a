//! The keys of sockets, queues, drains, the cluster and the log.
//!
//! Why apart from the other sections: a file holds one subject. Not here: the form of a line (`table`).

use super::super::keys::config_sections;
use super::super::value::{LogFormat, LogLevel};
use std::path::PathBuf;

config_sections! {
    socket: Socket = "Sockets" {
        backlog: u32 = 4_096, [1, 65_535],
            "TCP connections that wait to be accepted. Beyond, the kernel drops new ones and clients try again.",
            "a second of a rush over TLS; the kernel caps it at net.core.somaxconn, which is 4,096 by default";
        send_buffer_bytes: usize = 131_072, [0, 67_108_864],
            "Kernel send buffer of one TCP connection; 0 leaves it to the kernel. When it is full the viewer becomes a lagging cursor.",
            "bridges a second of a bad link at 1 Mbit/s, and bounds kernel memory per stalled viewer";
        receive_buffer_bytes: usize = 0, [0, 67_108_864],
            "Kernel receive buffer of one TCP connection; 0 leaves it to the kernel. When it is full the client must wait.",
            "the kernel grows it only where somebody sends much";
        udp_send_buffer_bytes: usize = 4_194_304, [0, 268_435_456],
            "Kernel send buffer of a QUIC socket; 0 leaves it to the kernel. When it is full, packets wait in their connections.",
            "one socket carries thousands of viewers; capped by net.core.wmem_max";
        udp_receive_buffer_bytes: usize = 4_194_304, [0, 268_435_456],
            "Kernel receive buffer of a QUIC socket; 0 leaves it to the kernel. When it is full the kernel drops packets and QUIC sends them again.",
            "acknowledgements of thousands of viewers come in bursts; capped by net.core.rmem_max";
    }

    queues: Queues = "Queues between threads" {
        shard_inbox: usize = 65_536, [64, 16_777_216],
            "Inputs that wait for one shard. When it is full a publication is refused with a time to retry after.",
            "one second of three bridges at full rate";
        worker_outbox: usize = 1_024, [64, 16_777_216],
            "Sealed batches and answers of one shard that wait for one worker in a ring. When it is full they wait in a list at the shard, which grows as far as it is needed (queues.outbox_overflow_max).",
            "the burst between two wake-ups of a worker; the ring is allocated whole";
        outbox_overflow_max: usize = 16_384, [1, 16_777_216],
            "Batches and answers that wait at a shard for one worker whose outbox is full. Above it the shard takes no more inputs until the worker has caught up: publishers are refused with a time to retry; nothing is dropped.",
            "a worker that is 16,384 batches behind has fallen off its rings anyway";
    }

    drain: Drain = "Drain: on SIGTERM, on POST /drain, and when another process takes over" {
        announce_ms: u64 = 5_000, [0, 3_600_000],
            "First phase of a drain: time for which /readyz answers 503 while the node still accepts and serves everybody, so that load balancers stop sending new connections. 0 leaves it out, and so does Ctrl-C at a terminal.",
            "balancers look every one to three seconds, and a cluster needs a second or two to pass the news on";
        refuse_ms: u64 = 1_000, [0, 3_600_000],
            "Least time after the announcement for which new connections are refused with an answer (503, when to return, where \
             to go) before the process ends, even when no client is left. 0 leaves it out, and so does Ctrl-C at a terminal.",
            "a client that is on its way gets an answer, not a closed port";
        spread_ms: u64 = 30_000, [0, 3_600_000],
            "Time over which a drain spreads its clients. Each client is told in go-away after how many milliseconds to reconnect, \
             spread evenly between 0 and this, after the announcement. 0 sends all at once. A node without clients does not wait.",
            "10,000 viewers leave at some 330/s, which another node takes in without noticing; orchestrators wait 30 s by default: give them all phases together";
        grace_ms: u64 = 5_000, [0, 3_600_000],
            "How long a client may stay after its own time to leave. Then its connection is closed with a code that says to reconnect. When all are gone, or spread and grace are over, the node exits 0.",
            "a handshake over a bad link takes seconds";
        go_to: String = String::new(), [0, 256],
            "Address, host and port, that a drain sends clients to, such as `b.example.org:7443`; empty: the one they connected to.",
            "a load balancer knows better";
        handover_spread_ms: u64 = 0, [0, 3_600_000],
            "Time over which clients are spread when another process on this host has taken over the sockets; 0: as long as 2,000 clients/s take. At most drain.spread_ms.",
            "the successor serves already; 2,000 new connections/s are what one CPU takes in";
        handover_timeout_ms: u64 = 60_000, [100, 3_600_000],
            "How long a starting process waits for the previous one to flush and close its log. Beyond, it does not start, and says so.",
            "a disk that syncs slowly makes a restart late; the log must not have two owners";
        flush_ms: u64 = 2_000, [0, 600_000],
            "How long a stop waits for the disk to sync, and for workers to take, what is left. Beyond, publications that still wait are refused.",
            "a disk that works syncs within a second";
    }

    cluster: Cluster = "Cluster: several nodes as one, over NATS" {
        name: String = String::new(), [0, 32],
            "Name of the cluster, in letters, digits, `-` and `_`. Empty: the node stands alone, and no other key of this section may be set.",
            "one node needs nothing else";
        node: u64 = 0, [0, 4],
            "Number of this node: its place in cluster.nodes, from 0.",
            "each node has its own";
        nodes: Vec<String> = Vec::new(), [],
            "Public address of each node, host and port, such as `a.example.org:7443`: three or five, the same list in the same order on every node. A node that drains sends its clients to the others.",
            "who belongs to the cluster is decided by an operator and not by who answers";
        servers: Vec<String> = Vec::new(), [],
            "URL of the NATS server of each node, such as `nats://10.0.0.1:4222`, in the order of cluster.nodes. A node prefers its own, and keeps the leaders of its shards' streams away from it.",
            "a node and its server stop together, and then the log must have its leader elsewhere";
        user: String = String::new(), [0, 256],
            "User at the NATS servers; empty: none is needed.",
            "servers on a private network may be open";
        password_file: Option<PathBuf> = None, [],
            "File of the password of cluster.user. One line; the line end is not part of it.",
            "a flag or a variable is visible to others";
        credentials_file: Option<PathBuf> = None, [],
            "File of NATS credentials (a JWT and its seed), instead of cluster.user and cluster.password_file.",
            "small clusters use a user and a password";
        ca_file: Option<PathBuf> = None, [],
            "Certificates (PEM) of whoever signed those of the NATS servers. Servers with `tls://` in cluster.servers are verified by them; empty: by the system's roots.",
            "a private cluster has its own authority";
        log_mb: u64 = 1_024, [16, 1_048_576],
            "Megabytes (MiB) of each shard's stream on each server; beyond, its oldest records go, which nodes have in their copies. `grandstand cluster init` sets it.",
            "a node that was away for a day reads what it missed";
        rebalance: bool = true, [],
            "Whether a node hands shards over to one that owns fewer, such as one that came back: one at a time, 1 s apart, when nodes were the same for 15 s.",
            "a node that owns nothing is no use; switch it off while you move shards by hand";
        append_every_ms: u64 = 40, [1, 1_000],
            "Least time between two records of a busy shard in the log. The first message of a quiet shard goes at once.",
            "the log costs by the record and not by the byte: 25 records/s carry any number of messages";
        unkept_bytes_max: usize = 8_388_608, [65_536, 1_073_741_824],
            "Bytes of one shard that viewers may have and the log has not. Beyond, publications are refused with a time to retry after.",
            "ten seconds without a leader of the log, at 3,000 messages/s of 250 bytes";
        answer_within_ms: u64 = 10_000, [1_000, 600_000],
            "How long a publication to a replicated room may wait for its answer. A retry with the same nonce is never doubled.",
            "the log elects a new leader in 4 to 9 s";
    }

    log: Log = "Logs: log lines, and the durable log of rooms" {
        format: LogFormat = LogFormat::Text, [],
            "Form of log lines: `text` for people, `json` (one object per line) for collectors. Chat text is escaped in both.",
            "the first reader is a person";
        level: LogLevel = LogLevel::Info, [],
            "Least important level that is logged.",
            "start, stop, warnings and errors";
        file: Option<PathBuf> = None, [],
            "File that logs are appended to; empty: standard error. When the disk is full, lines are lost and counted, and the node runs on.",
            "containers and systemd collect standard error";
        dir: Option<PathBuf> = None, [],
            "Folder of the durable log, a database of the messages of rooms with durability `disk`. One node at a time uses it; it is made when missing. Empty: nothing is kept on disk, and no room can be `disk`.",
            "a first start must leave nothing behind; on a server, name a folder on a disk of its own";
        recorder_dir: Option<PathBuf> = None, [],
            "Folder of the crash log, which holds batches that viewers have and the disk has not synced yet, so that a killed node \
             continues exactly there. It belongs in memory (tmpfs). Empty: /dev/shm where that is a tmpfs, else log.dir.",
            "memory outlives a process and costs no write to the disk; a container may need a larger /dev/shm";
        queue_mb: u64 = 64, [1, 65_536],
            "Megabytes (MiB) that may wait for the disk, all rooms together, and as much again in the crash log. Beyond, publications to `disk` rooms are refused with a time to retry after, until the disk has caught up.",
            "a minute of 5,000 messages/s of 200 bytes: longer than a disk stalls, little memory beside the histories";
        keep_hours: u64 = 168, [0, 876_000],
            "Hours for which the durable log keeps messages; 0 keeps them for ever. Older ones are removed a little at a time; a client that asks for them is told that they are gone.",
            "a week: the show, and viewers who return to it";
        room_mb: u64 = 1_024, [0, 1_048_576],
            "Megabytes (MiB) that one room may keep in the durable log; 0 sets no bound. Beyond, its oldest messages are removed.",
            "some ten million chat messages: one room should not fill the disk";
        node_mb: u64 = 10_240, [0, 134_217_728],
            "Megabytes (MiB) that all rooms together may keep in the durable log; 0 sets no bound. Beyond, the oldest messages of the node are removed. Leave the disk a tenth more, and room for backups.",
            "fits the smallest servers' disks; raise it where history is what you sell";
        answer_within_ms: u64 = 5_000, [100, 600_000],
            "How long a publication to a `disk` room may wait for its answer. When the disk has not synced it by then, it is \
             refused as StorageUnavailable with a time to retry after: a retry with the same nonce is acknowledged and never doubled.",
            "clients give up waiting after some ten seconds";
        answers_max: usize = 262_144, [1, 16_777_216],
            "Acknowledgements of one shard that wait for the disk. Beyond, publications to `disk` rooms are refused with a time to retry after.",
            "five seconds of 50,000 publications a second";
        lock_wait_ms: u64 = 10_000, [0, 600_000],
            "How long a starting node waits for another process to release log.dir. Then it gives up and says which process has it.",
            "a node that hands over flushes and syncs within a second or two";
        backup_every_hours: u64 = 0, [0, 8_760],
            "Hours between two scheduled backups of the durable log, made while the node serves; 0 schedules none. Backups before a schema change, by `grandstand backup` and by POST /log/backup are made in any case.",
            "a copy on the same disk helps against mistakes, not against the disk: say where and how many";
        backup_keep: u64 = 3, [1, 1_000],
            "Scheduled backups that are kept. The oldest beyond them is removed after a new one has been verified.",
            "yesterday's, and two to compare it with";
        backup_dir: Option<PathBuf> = None, [],
            "Folder of scheduled backups, and of those made before a schema change. Empty: `backups` in log.dir. Better on another disk.",
            "a first backup must work without a second disk";
    }
}
