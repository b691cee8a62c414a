//! Servers: whether each of them keeps what it acknowledges, is new enough and has room.
//!
//! Why by the system account's answer: what a server syncs is told to no other one. The account of the nodes
//! imports this one question (`docs/nats-server.conf`), so that nodes need no second user.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::api::{Session, of_value};
use super::fault::AdminFault;
use crate::config::Plan;

/// The first version that everything was measured with.
const VERSION_MIN: (u64, u64, u64) = (2, 15, 1);
/// The same as a text.
pub(super) const VERSION_MIN_TEXT: &str = "2.15.1";
/// All servers that run answer within milliseconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Answer {
    server: Server,
    data: Data,
}

#[derive(Deserialize)]
struct Server {
    name: String,
    ver: String,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    config: Config,
    #[serde(default)]
    storage: u64,
    #[serde(default)]
    reserved_storage: u64,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
    #[serde(default)]
    max_storage: u64,
}

/// What is wrong with the servers.
pub(super) async fn check(session: &Session, plan: &Plan) -> Vec<AdminFault> {
    let subject = "$SYS.REQ.SERVER.PING.JSZ".to_owned();
    let answers = session.gather(subject, plan.replicas, ANSWER_WITHIN).await;
    judge(answers, plan)
}

fn judge(answers: Vec<Value>, plan: &Plan) -> Vec<AdminFault> {
    let mut servers: Vec<Answer> = answers.into_iter().filter_map(|answer| of_value(answer).ok()).collect();
    servers.sort_by(|one, other| one.server.name.cmp(&other.server.name));
    servers.dedup_by(|one, other| one.server.name == other.server.name);
    let mut faults = Vec::new();
    if servers.len() < plan.replicas {
        let answering = servers.iter().map(|answer| answer.server.name.clone()).collect();
        faults.push(AdminFault::Servers { answering, expected: plan.replicas });
    }
    for Answer { server: Server { name, ver }, data } in servers {
        if version(&ver).is_none_or(|version| version < VERSION_MIN) {
            faults.push(AdminFault::Version { server: name.clone(), found: ver });
        }
        if !data.config.sync_always {
            faults.push(AdminFault::Sync { server: name.clone() });
        }
        // What streams may grow to is reserved when they are made; more was promised than there is if
        // somebody lowered the limit since.
        let promised = data.reserved_storage.max(data.storage);
        if promised > data.config.max_storage {
            let free = data.config.max_storage.saturating_sub(data.storage);
            faults.push(AdminFault::Room { server: name, free, needed: promised - data.storage });
        }
    }
    faults
}

/// `2.15.1`, `2.16.0-RC.1`.
fn version(text: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = text.split(['.', '-']).map(|word| word.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(name: &str, ver: &str, sync: bool, storage: u64, reserved: u64) -> Value {
        json!({
            "server": { "name": name, "ver": ver },
            "data": {
                "config": { "sync_always": sync, "max_storage": 1_000 << 20 },
                "storage": storage, "reserved_storage": reserved,
            },
        })
    }

    #[test]
    fn each_wrong_server_has_a_fault_of_its_own() {
        let good = |name| answer(name, "2.15.1", true, 0, 6 << 20);
        let plan = Plan::default();
        assert_eq!(judge(vec![good("a"), good("b"), good("c")], &plan), []);
        let faults = judge(vec![good("a"), good("a"), good("b")], &plan);
        assert_eq!(faults, [AdminFault::Servers { answering: vec!["a".into(), "b".into()], expected: 3 }]);
        for (wrong, fault) in [
            (answer("c", "2.15.1", false, 0, 0), AdminFault::Sync { server: "c".into() }),
            (
                answer("c", "2.14.9", true, 0, 0),
                AdminFault::Version { server: "c".into(), found: "2.14.9".into() },
            ),
            (answer("c", "odd", true, 0, 0), AdminFault::Version { server: "c".into(), found: "odd".into() }),
            (
                answer("c", "2.16.0-RC.1", true, 900 << 20, 1_100 << 20),
                AdminFault::Room { server: "c".into(), free: 100 << 20, needed: 200 << 20 },
            ),
        ] {
            assert_eq!(judge(vec![good("a"), good("b"), wrong], &plan), [fault]);
        }
    }
}
