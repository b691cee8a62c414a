//! Making and checking a cluster on real servers: each wrong set-up is refused by a fault of its own.
//!
//! Not here: servers without room and old servers, which `judge` is tested with.

mod support;

use grandstand_cluster::id::{Position, Term};
use grandstand_cluster::membership::{Facts, ShardReport};
use grandstand_cluster::stand::ToWire;
use grandstand_engine::link::ShardId;
use grandstand_harness::nats::{Servers, servers_or_skip};
use grandstand_nats::admin::{AdminFault, Progress, check, facts as facts_of, init};
use grandstand_nats::{Config, Credentials, Plan};
use support::{Node, config, facts};

#[test]
fn a_cluster_is_made_once_and_every_wrong_set_up_is_named() {
    let Some(mut servers) = servers_or_skip(3) else { return };
    let good = config(&servers);
    let mine = facts(2);
    assert_eq!(facts_of(&good), Ok(None));
    let faults = check(&good, &mine).expect_err("nothing is there");
    assert!(faults.iter().all(|fault| matches!(fault, AdminFault::NotMade { .. })), "{faults:?}");

    let steps = |facts: &Facts| {
        let mut steps = Vec::new();
        init(&good, facts, &mut |step| steps.push(step)).map(|()| steps)
    };
    let streams = ["GS_test_0", "GS_test_1", "KV_GS_test"].map(str::to_owned);
    let made: Vec<Progress> =
        streams.clone().map(Progress::Made).into_iter().chain([Progress::FactsWritten]).collect();
    let found: Vec<Progress> =
        streams.map(Progress::Found).into_iter().chain([Progress::FactsFound]).collect();
    assert_eq!(steps(&mine), Ok(made));
    assert_eq!(steps(&mine), Ok(found), "again, and nothing changes");
    assert_eq!(check(&good, &mine), Ok(()));
    assert_eq!(facts_of(&good), Ok(Some(mine)));

    let others = [
        ("cluster.seed", Facts { seed: 1, ..mine }),
        ("cluster.shards", Facts { shards: 1, ..mine }),
        ("auth.ticket_key_file (its print)", Facts { ticket_key_print: 1, ..mine }),
    ];
    for (wanted, other) in others {
        let is_named = |fault: &AdminFault| matches!(fault, AdminFault::Fact { key, .. } if *key == wanted);
        assert!(check(&good, &other).is_err_and(|faults| faults.iter().any(is_named)), "{wanted}");
        assert!(steps(&other).is_err_and(|fault| is_named(&fault)), "{wanted}");
    }

    let one = Config { cluster: "one".to_owned(), plan: Plan { replicas: 1, ..good.plan }, ..good.clone() };
    init(&one, &mine, &mut |_| {}).expect("one replica can be made");
    let faults = check(&Config { plan: good.plan, ..one }, &mine).expect_err("and is refused");
    let is_replicas = |fault: &AdminFault| matches!(fault, AdminFault::Stream { key: "num_replicas", .. });
    assert!(faults.iter().all(is_replicas) && faults.len() == 2, "{faults:?}");

    let password = Credentials::Password { user: "grandstand".to_owned(), password: "wrong".to_owned() };
    let wrong = Config { credentials: password, ..good.clone() };
    let faults = check(&wrong, &mine).expect_err("nobody is let in");
    assert!(matches!(&faults[..], [AdminFault::Unreachable(why)] if why.contains("auth")), "{faults:?}");

    let node = Node::start_as(good.clone(), 0, 1, mine);
    node.until("a check", |node| node.nats.status().checked.is_some());
    assert_eq!(node.nats.status().faults, []);
    servers.kill(2).expect("it runs");
    let faults = check(&good, &mine).expect_err("one is away");
    let names = vec![servers.name(0), servers.name(1)];
    assert!(faults.contains(&AdminFault::Servers { answering: names, expected: 3 }), "{faults:?}");
}

#[test]
fn a_server_that_does_not_sync_each_record_is_refused() {
    if servers_or_skip(1).is_none() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("grandstand-nats-sync-{}", std::process::id()));
    let lazy = |mut file: grandstand_harness::nats::ServerFile| {
        if file.number == 1 {
            file.sync_interval = "2m".to_owned();
        }
        file
    };
    let servers = Servers::start_with(3, folder.clone(), lazy).expect("they start");
    let config = config(&servers);
    init(&config, &facts(1), &mut |_| {}).expect("it can be made");
    let faults = check(&config, &facts(1));
    drop(servers);
    let _ = std::fs::remove_dir_all(folder);
    assert_eq!(faults, Err(vec![AdminFault::Sync { server: "gs-1".to_owned() }]));
}

#[test]
fn the_leader_of_a_log_is_moved_away_from_its_owners_server() {
    let Some(servers) = support::cluster(3, 3) else { return };
    let looking = Node::start(config(&servers), 0, 3);
    // All owned by nobody: who leads shows within ten seconds.
    let leader = looking.leader(1);
    let owner = servers.number_of(&leader).expect("one of them") as u8;
    drop(looking);
    let mut node = Node::start(config(&servers), owner, 3);
    let report = ShardReport {
        shard: ShardId(1),
        term: Term(1),
        owns: true,
        claims: false,
        position: Position(0),
        can_own: true,
    };
    node.send(1, ToWire::Report(report));
    node.until("another leader", |node| {
        let led_by = node.nats.status().streams[1].leader.clone();
        led_by.is_some_and(|name| name != leader)
    });
    let status = node.nats.status();
    assert_eq!(status.server, Some(leader), "the node stays where it is");
    assert!((1..=3).contains(&status.leaders_moved), "{status:?}");
}
