//! The switch of the back network: it passes packets between machines, and has a rule per direction and pair.
//!
//! Invariants: packets of one direction keep their order, unless its rule reorders. Packets to and from the
//! hub always pass. At most [`HELD_MAX`] packets wait; beyond, they are dropped, as routers do.
//! Not here: which faults there are (`faults`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use grandstand_harness::random::{Random, seed};
use tappers::{Interface, Tun};

use super::{MACHINES, back};

/// Packets that wait for their time: a second of a full gigabit link.
const HELD_MAX: usize = 100_000;

/// A packet of IP has at most so many bytes.
const PACKET_BYTES_MAX: usize = 65_536;

/// How much later a packet comes that another one passes.
const REORDERED: Duration = Duration::from_millis(10);

/// What happens to the packets of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rule {
    /// Share of packets that are lost; 1: the direction is cut.
    pub(crate) loss: f64,
    pub(crate) delay: Duration,
    /// Share of packets that come later than the ones behind them.
    pub(crate) reordered: f64,
}

impl Rule {
    /// Nothing passes.
    pub(crate) const CUT: Rule = Rule { loss: 1.0, delay: Duration::ZERO, reordered: 0.0 };
}

#[derive(Debug, Default)]
struct Link {
    /// Shares in parts of a million, so that they are atomic.
    loss: AtomicU32,
    delay_us: AtomicU32,
    reordered: AtomicU32,
    passed: AtomicU64,
    dropped: AtomicU64,
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Switch {
    links: Arc<[[Link; MACHINES]; MACHINES]>,
}

/// Packets on their way: when due, in which order they came, to whom, and the bytes.
type Held = BinaryHeap<Reverse<(Instant, u64, usize, Vec<u8>)>>;

#[derive(Default)]
struct Waiting {
    held: Mutex<Held>,
    changed: Condvar,
}

/// A device in this thread's namespace.
pub(super) fn device(name: &str) -> Result<Tun> {
    Tun::new_named(Interface::new(name)?).context("no device of a network can be made here")
}

impl Switch {
    /// Passes packets between these devices, one per machine and one for the hub, until they are gone.
    pub(super) fn start(devices: Vec<Tun>) -> Switch {
        let switch = Switch { links: Arc::default() };
        let devices: Arc<[Tun]> = devices.into();
        let waiting = Arc::new(Waiting::default());
        for from in 0..devices.len() {
            let (links, devices, waiting) = (switch.links.clone(), devices.clone(), waiting.clone());
            thread::spawn(move || pass(from, &links, &devices, &waiting));
        }
        thread::spawn(move || deliver(&devices, &waiting));
        switch
    }

    /// Sets the rule of a direction.
    pub(crate) fn set(&self, from: usize, to: usize, rule: Rule) {
        let link = &self.links[from][to];
        let parts = |share: f64| (share * 1e6) as u32;
        link.loss.store(parts(rule.loss), Relaxed);
        link.delay_us.store(rule.delay.as_micros() as u32, Relaxed);
        link.reordered.store(parts(rule.reordered), Relaxed);
    }

    /// Sets the rule of all directions.
    pub(crate) fn set_all(&self, rule: Rule) {
        for from in 0..MACHINES {
            (0..MACHINES).for_each(|to| self.set(from, to, rule));
        }
    }

    /// Packets that were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.links.iter().flatten().map(|link| link.dropped.load(Relaxed)).sum()
    }
}

/// Reads what a machine sends, for ever.
fn pass(from: usize, links: &[[Link; MACHINES]; MACHINES], devices: &[Tun], waiting: &Waiting) {
    let (mut packet, mut random) = (vec![0; PACKET_BYTES_MAX], Random::new(seed() ^ from as u64));
    let mut number = from as u64;
    // A device ends with its namespace.
    while let Ok(length) = devices[from].recv(&mut packet) {
        let packet = &packet[..length];
        let Some(to) = destination(packet).filter(|&to| to != from && to < devices.len()) else { continue };
        let Some(link) = links.get(from).and_then(|links| links.get(to)) else {
            // From or to the hub. One that cannot be sent is lost, as on any network.
            let _ = devices[to].send(packet);
            continue;
        };
        let mut happens = |parts: &AtomicU32| match parts.load(Relaxed) {
            0 => false,
            parts => random.below(1_000_000) < parts as usize,
        };
        if happens(&link.loss) {
            link.dropped.fetch_add(1, Relaxed);
            continue;
        }
        let mut delay = Duration::from_micros(link.delay_us.load(Relaxed).into());
        if happens(&link.reordered) {
            delay += REORDERED;
        }
        link.passed.fetch_add(1, Relaxed);
        if delay.is_zero() {
            let _ = devices[to].send(packet);
            continue;
        }
        number += devices.len() as u64;
        let mut held = waiting.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() < HELD_MAX {
            held.push(Reverse((Instant::now() + delay, number, to, packet.to_vec())));
            waiting.changed.notify_one();
        }
    }
}

/// Sends what waited for its time, for ever.
fn deliver(devices: &[Tun], waiting: &Waiting) {
    let mut held = waiting.held.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let now = Instant::now();
        while held.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
            let Some(Reverse((_, _, to, packet))) = held.pop() else { break };
            let _ = devices[to].send(&packet);
        }
        let left = held.peek().map_or(Duration::from_secs(1), |Reverse((due, ..))| *due - now);
        held = waiting.changed.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// The machine that a packet of IPv4 is for.
fn destination(packet: &[u8]) -> Option<usize> {
    let to = packet.get(16..20).filter(|_| packet[0] >> 4 == 4)?;
    (0..=MACHINES).find(|&machine| back(machine).octets() == *to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_goes_where_its_header_says() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&back(2).octets());
        assert_eq!(destination(&packet), Some(2));
        packet[16..].copy_from_slice(&back(MACHINES).octets());
        assert_eq!(destination(&packet), Some(MACHINES));
        packet[16..].copy_from_slice(&[10, 78, 0, 77]);
        assert_eq!(destination(&packet), None, "nobody's address");
        packet[0] = 0x60;
        assert_eq!(destination(&packet), None, "no IPv4");
        assert_eq!(destination(&packet[..19]), None, "no whole header");
        assert_eq!(destination(&[]), None);
    }
}
