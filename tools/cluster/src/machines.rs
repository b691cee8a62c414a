//! The machines: three nodes and three NATS servers, each pair in a namespace and a folder of its own.
//!
//! Invariants: processes end with this value, and the folder with them. A paused process is not asked
//! anything, since it would not answer.
//! Not here: clients (`crowd`), which fault comes next (`faults`).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use grandstand_edge::config::Config;
use grandstand_engine::link::Directory;
use grandstand_harness::http;
use grandstand_harness::nats::{PASSWORD, ServerFile, Servers, USER};
use grandstand_harness::node::{Node, NodePlan};
use grandstand_harness::process::{self, Sample};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::disk::Disk;
use crate::network::{MACHINES, Network, back, front};
use crate::system;

/// Shards of the cluster.
pub(crate) const SHARDS: usize = 6;

/// The admin port of each node, on the loopback of its machine.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7480);

/// Where nodes listen for WebSocket.
pub(crate) const PORT: u16 = 7400;

/// A shard, as a node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardView {
    pub(crate) owner: Option<usize>,
    pub(crate) term: u64,
    pub(crate) is_owning: bool,
    /// The machine whose server leads the shard's log.
    pub(crate) leader: Option<usize>,
    pub(crate) position: u64,
}

#[derive(Debug)]
struct Machine {
    node: Option<Node>,
    is_paused: bool,
    binary: PathBuf,
    data: PathBuf,
    /// Of faults of disks and power: its data are on it.
    disk: Option<Disk>,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Machines {
    // Ends first: a node that loses its server complains in its log.
    machines: Vec<Machine>,
    pub(crate) servers: Servers,
    pub(crate) network: Network,
    pub(crate) directory: Directory,
    folder: PathBuf,
    starts: u32,
}

impl Machines {
    /// Starts servers, makes a cluster and starts its nodes. This thread moves to the clients' namespace.
    pub(crate) fn start(binary: &Path, has_disks: bool) -> Result<Machines> {
        let folder = system::folder();
        fs::create_dir_all(&folder)?;
        let data = |machine: usize| folder.join(format!("machine-{machine}"));
        let disks = (0..MACHINES).map(|machine| has_disks.then(|| Disk::new(&data(machine))).transpose());
        let mut disks = disks.collect::<Result<Vec<_>>>()?;
        let network = Network::new()?;
        network.space(MACHINES).enter()?;
        let file = |file: ServerFile| {
            let of = |machine: usize, port| SocketAddr::from((back(machine), port));
            let number = file.number;
            ServerFile {
                listen: of(number, 4222),
                http: of(number, 8222),
                route: Some(of(number, 6222)),
                routes: (0..MACHINES).map(|machine| of(machine, 6222)).collect(),
                store: data(number).join("nats"),
                under: network.space(number).under().map(str::to_owned).into(),
                ..file
            }
        };
        let servers = Servers::start_with(MACHINES, folder.join("nats"), file)?;
        fs::write(folder.join("nats.password"), PASSWORD)?;
        let key: String = (0..4).map(|_| format!("{:016x}", grandstand_client::net::seed())).collect();
        fs::write(folder.join("tickets.key"), key)?;
        let mut config = Config::default();
        config.auth.ticket_key_file = Some(folder.join("tickets.key"));
        config.cluster.name = "faults".to_owned();
        config.cluster.nodes = (0..MACHINES).map(address).collect();
        config.cluster.servers = servers.addresses();
        config.cluster.user = USER.to_owned();
        config.cluster.password_file = Some(folder.join("nats.password"));
        config.cluster.log_mb = 64;
        let facts =
            grandstand::cluster_command::make(&config, SHARDS as u16).map_err(|fault| anyhow!(fault))?;
        let machine = |number: usize| Machine {
            node: None,
            is_paused: false,
            binary: binary.to_path_buf(),
            data: data(number),
            disk: disks[number].take(),
        };
        let machines = (0..MACHINES).map(machine).collect();
        let directory = Directory::new(facts.shards, facts.seed);
        let mut machines = Machines { machines, servers, network, directory, folder, starts: 0 };
        (0..MACHINES).try_for_each(|number| machines.spawn_node(number))?;
        (0..MACHINES).try_for_each(|number| machines.wait_node(number))?;
        Ok(machines)
    }

    fn plan(&mut self, number: usize) -> NodePlan {
        let machine = &self.machines[number];
        let list = |of: &dyn Fn(usize) -> String| (0..MACHINES).map(of).collect::<Vec<_>>().join(",");
        let servers = self.servers.addresses().join(",");
        self.starts += 1;
        NodePlan::new(&machine.binary)
            .under(&self.network.space(number).under())
            .log(self.folder.join(format!("node-{number}-{}.log", self.starts)))
            .key("node.name", &*format!("n{number}"))
            .key("node.workers", 1)
            .key("ws.listen", &*address(number))
            .key("wss.listen", "off")
            .key("quic.listen", "off")
            .key("admin.listen", &*ADMIN.to_string())
            .key("log.dir", &*machine.data.join("log").to_string_lossy())
            .key("auth.ticket_key_file", &*self.folder.join("tickets.key").to_string_lossy())
            .key("cluster.name", "faults")
            // A drain by the defaults takes 42 s, and a trial waits for its end.
            .key("drain.announce_ms", 1_000)
            .key("drain.spread_ms", 4_000)
            .key("cluster.node", number)
            .key("cluster.nodes", &*list(&address))
            .key("cluster.servers", &*servers)
            .key("cluster.user", USER)
            .key("cluster.password_file", &*self.folder.join("nats.password").to_string_lossy())
            .key("cluster.log_mb", 64)
    }

    /// Starts a node; it may not be ready yet.
    pub(crate) fn spawn_node(&mut self, number: usize) -> Result<()> {
        let plan = self.plan(number);
        self.machines[number].node = Some(Node::spawn(&plan)?);
        self.machines[number].is_paused = false;
        Ok(())
    }

    /// Waits until a node is ready.
    pub(crate) fn wait_node(&mut self, number: usize) -> Result<()> {
        let node = self.machines[number].node.as_mut().context("the node does not run")?;
        node.wait_until_ready().with_context(|| format!("node {number}"))
    }

    /// Kills a node's process, as a crash does.
    pub(crate) fn kill_node(&mut self, number: usize) -> Result<()> {
        // Its value kills it, and waits for its end.
        drop(self.machines[number].node.take().context("the node does not run")?);
        self.machines[number].is_paused = false;
        Ok(())
    }

    /// Tells a node to stop (SIGTERM), without waiting for it.
    pub(crate) fn tell_node_to_stop(&self, number: usize) -> Result<()> {
        Ok(kill_process(self.pid(number)?, Signal::TERM)?)
    }

    /// Whether a node ended by itself after it was told to; then it is as if it had not been started.
    pub(crate) fn has_node_ended(&mut self, number: usize) -> Result<bool> {
        let machine = &mut self.machines[number];
        let has_ended = match &mut machine.node {
            Some(node) => node.has_ended()?.is_some(),
            None => true,
        };
        if has_ended {
            machine.node = None;
        }
        Ok(has_ended)
    }

    /// Stops a node's process, as a machine that hangs; or lets it go on.
    pub(crate) fn pause_node(&mut self, number: usize, is_paused: bool) -> Result<()> {
        kill_process(self.pid(number)?, if is_paused { Signal::STOP } else { Signal::CONT })?;
        self.machines[number].is_paused = is_paused;
        Ok(())
    }

    /// Lets a node be started from another program from now on.
    pub(crate) fn set_binary(&mut self, number: usize, binary: &Path) {
        self.machines[number].binary = binary.to_path_buf();
    }

    /// Where a node and its server write.
    pub(crate) fn data(&self, number: usize) -> &Path {
        &self.machines[number].data
    }

    /// The disk of a machine.
    pub(crate) fn disk(&mut self, number: usize) -> Result<&mut Disk> {
        self.machines[number].disk.as_mut().context("this cluster has no disks of its own")
    }

    /// The processes of a machine.
    pub(crate) fn pids(&self, number: usize) -> Vec<u32> {
        let node = self.machines[number].node.as_ref().map(Node::pid);
        node.into_iter().chain(self.servers.pid(number)).collect()
    }

    fn pid(&self, number: usize) -> Result<Pid> {
        let node = self.machines[number].node.as_ref().context("the node does not run")?;
        Pid::from_raw(node.pid() as i32).context("a process has a number")
    }

    /// Does it run, and not hang?
    pub(crate) fn is_up(&self, number: usize) -> bool {
        self.machines[number].node.is_some() && !self.machines[number].is_paused
    }

    /// Memory and processor time of a node.
    pub(crate) fn sample(&self, number: usize) -> Result<Sample> {
        let node = self.machines[number].node.as_ref().context("the node does not run")?;
        process::sample(node.pid())
    }

    /// What a node answers at its admin port.
    pub(crate) fn ask(&self, number: usize, method: &str, path: &str, body: &str) -> Result<String> {
        ensure!(self.is_up(number), "node {number} does not run");
        self.network.space(number).within(|| http::request_with(ADMIN, method, path, body))
    }

    /// How a node sees the shards.
    pub(crate) fn view(&self, number: usize) -> Result<Vec<ShardView>> {
        let view: Value = serde_json::from_str(&self.ask(number, "GET", "/cluster", "")?)?;
        let shards = view["shards"].as_array().context("a view has shards")?;
        let machine = |node: &Value| node.as_u64().map(|node| node as usize);
        let leader = |name: &Value| self.servers.number_of(name.as_str()?);
        Ok(shards
            .iter()
            .map(|shard| ShardView {
                owner: machine(&shard["owner"]),
                term: shard["term"].as_u64().unwrap_or(0),
                is_owning: shard["phase"] == "owning",
                leader: leader(&shard["log_leader"]),
                position: shard["position"].as_u64().unwrap_or(0),
            })
            .collect())
    }

    /// How a node sees the shards, in words.
    pub(crate) fn state(&self, number: usize) -> String {
        let word = |shard: &Value, name: &str| shard[name].to_string().replace('"', "");
        let view = self.ask(number, "GET", "/cluster", "");
        let view: Value = match view.map(|view| serde_json::from_str(&view)) {
            Ok(Ok(view)) => view,
            Ok(Err(error)) => return error.to_string(),
            Err(error) => return format!("{error:#}"),
        };
        let names = ["phase", "owner", "term", "position", "owner_heard_ms", "unkept_bytes", "log_leader"];
        let shards = view["shards"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|shard| names.map(|name| format!("{name} {}", word(shard, name))).join(" "));
        let shards: Vec<String> = shards.enumerate().map(|(n, shard)| format!("{n}: {shard}")).collect();
        let (server, problem) = (word(&view, "server"), word(&view, "problem"));
        format!("at {server}, {problem}\n{:<11}{}", "", shards.join(&format!("\n{:<11}", "")))
    }

    /// How all nodes see the shards, if they run and agree.
    pub(crate) fn steady(&self) -> Result<Vec<ShardView>> {
        let mut agreed: Option<Vec<ShardView>> = None;
        let (mut owning, mut leaders) = ([false; SHARDS], [None; SHARDS]);
        for number in 0..MACHINES {
            let view = self.view(number)?;
            ensure!(view.len() == SHARDS, "node {number} sees {} shards", view.len());
            for (shard, of) in view.iter().enumerate() {
                ensure!(of.owner.is_some(), "node {number} knows no owner of shard {shard}");
                let is_owner = of.is_owning && of.owner == Some(number);
                owning[shard] |= is_owner;
                if is_owner {
                    // Owners alone ask for the leaders of their logs.
                    leaders[shard] = of.leader;
                }
                let first = agreed.as_ref().map_or(of, |agreed| &agreed[shard]);
                ensure!(
                    (first.owner, first.term) == (of.owner, of.term),
                    "shard {shard}: node {number} sees {:?} in term {}, another {:?} in term {}",
                    of.owner,
                    of.term,
                    first.owner,
                    first.term
                );
            }
            agreed.get_or_insert(view);
        }
        if let Some(shard) = owning.iter().position(|owns| !owns) {
            anyhow::bail!("the owner of shard {shard} does not act");
        }
        let mut agreed = agreed.context("there are machines")?;
        agreed.iter_mut().zip(leaders).for_each(|(shard, leader)| shard.leader = leader);
        Ok(agreed)
    }

    /// What the nodes and servers logged last, for a report of what went wrong.
    pub(crate) fn log_tails(&self) -> String {
        let mut said = String::new();
        for (number, machine) in self.machines.iter().enumerate() {
            let log = machine.node.as_ref().and_then(|node| node.log().ok()).unwrap_or_default();
            for (what, log) in [("node", log), ("server", self.servers.log(number))] {
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(8)..].join("\n    ");
                said += &format!("  {what} {number}:\n    {tail}\n");
            }
        }
        said
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in &mut self.machines {
            machine.node = None;
        }
        for number in 0..MACHINES {
            // It may not run.
            let _ = self.servers.kill(number);
            self.machines[number].disk = None;
        }
        if std::env::var_os("GSF_KEEP").is_none() {
            system::remove_folder(&self.folder);
        }
    }
}

/// Where a node listens, and is known.
pub(crate) fn address(number: usize) -> String {
    format!("{}:{PORT}", front(number))
}

/// What a node's program says of its version.
pub(crate) fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
