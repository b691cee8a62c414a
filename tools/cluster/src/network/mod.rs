//! The network: a namespace per machine, and two networks between them.
//!
//! - The *front* is for clients: veth pairs on a bridge, all in the kernel. No fault touches it.
//! - The *back* is between machines: a device per machine, and a switch in this process that can cut, lose,
//!   delay and reorder what passes (`switch`).
//!
//! Why a switch of our own: kernels without netem neither delay nor reorder, and rules per direction and
//! peer are then a table in memory, whose effect is counted.
//! Invariant: the namespaces end with this value.
//! Not here: what runs on a machine (`machines`).

pub(crate) mod switch;

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::system::{Namespace, ip};
use switch::Switch;

/// How many machines.
pub(crate) const MACHINES: usize = 3;

/// Address of a machine for clients; `MACHINES` is the hub's, where clients are.
pub(crate) fn front(machine: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, 1 + machine as u8)
}

/// Address of a machine for other machines.
pub(crate) fn back(machine: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, 1 + machine as u8)
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) switch: Switch,
    /// One per machine, and the hub's at the end.
    spaces: Vec<Namespace>,
}

impl Network {
    /// A network without faults.
    pub(crate) fn new() -> Result<Network> {
        let mut spaces = Vec::new();
        for machine in 0..MACHINES {
            spaces.push(Namespace::new(&machine.to_string())?);
        }
        spaces.push(Namespace::new("hub")?);
        let hub = spaces[MACHINES].name().to_owned();
        ip(&format!("-n {hub} link add front type bridge"))?;
        ip(&format!("-n {hub} addr add {}/24 dev front", front(MACHINES)))?;
        ip(&format!("-n {hub} link set front up"))?;
        for (machine, space) in spaces[..MACHINES].iter().enumerate() {
            let name = space.name();
            ip(&format!("-n {hub} link add port{machine} type veth peer name front netns {name}"))?;
            ip(&format!("-n {hub} link set port{machine} master front up"))?;
            ip(&format!("-n {name} addr add {}/24 dev front", front(machine)))?;
            ip(&format!("-n {name} link set front up"))?;
        }
        let mut devices = Vec::new();
        for (machine, space) in spaces.iter().enumerate() {
            devices.push(space.within(|| switch::device("back"))?);
            ip(&format!("-n {} addr add {}/24 dev back", space.name(), back(machine)))?;
            ip(&format!("-n {} link set back up", space.name()))?;
        }
        Ok(Network { switch: Switch::start(devices), spaces })
    }

    /// The namespace of a machine; `MACHINES`: of the clients.
    pub(crate) fn space(&self, machine: usize) -> &Namespace {
        &self.spaces[machine]
    }
}
