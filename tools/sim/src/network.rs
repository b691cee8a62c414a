//! The network: connections as two streams of bytes with a delay, between viewers and nodes.
//!
//! A connection never reorders. It takes only as many bytes as its window has before the other side reads. It
//! breaks at any moment, after a prefix of what was under way.
//! Not here: what travels (`node`, `people`), when a connection breaks (`story`).

use crate::random::Random;

/// State of a viewer's connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// There is none. The next attempt has a time of its own.
    #[default]
    Down,
    /// Its first packet is under way.
    Dialing(usize),
    /// It is established.
    Up(usize),
}

/// The side that something is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// The node.
    Node,
    /// The viewer.
    Viewer,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Whose it is.
    pub viewer: usize,
    /// The node that it leads to.
    pub node: usize,
    /// The process of that node.
    pub life: u64,
    /// The worker of that process.
    pub worker: usize,
    to_node: Direction,
    to_viewer: Direction,
}

#[derive(Clone, Copy, Debug)]
struct Direction {
    /// When the newest bytes arrive.
    last_us: u64,
    /// What would arrive later is lost.
    until_us: u64,
}

/// See the file's head.
#[derive(Debug)]
pub struct Network {
    delay_us_max: u64,
    connections: Vec<Connection>,
    /// By viewer.
    links: Vec<Link>,
}

impl Network {
    /// A network between so many viewers, none of them connected.
    pub fn new(viewers: usize, delay_us_max: u64) -> Network {
        Network { delay_us_max, connections: Vec::new(), links: vec![Link::Down; viewers] }
    }

    /// One viewer more.
    pub fn add_viewer(&mut self) {
        self.links.push(Link::Down);
    }

    /// A viewer's connection.
    pub fn link(&self, viewer: usize) -> Link {
        self.links[viewer]
    }

    /// A viewer's connection has another state.
    pub fn set_link(&mut self, viewer: usize, link: Link) {
        self.links[viewer] = link;
    }

    /// A new connection, which is being dialed.
    pub fn dial(&mut self, viewer: usize, node: usize, life: u64, worker: usize) -> usize {
        let open = Direction { last_us: 0, until_us: u64::MAX };
        self.connections.push(Connection { viewer, node, life, worker, to_node: open, to_viewer: open });
        let connection = self.connections.len() - 1;
        self.links[viewer] = Link::Dialing(connection);
        connection
    }

    /// A connection's ends.
    pub fn get(&self, connection: usize) -> Connection {
        self.connections[connection]
    }

    /// Is the connection established, as far as its viewer knows?
    pub fn is_up(&self, connection: usize) -> bool {
        self.links[self.connections[connection].viewer] == Link::Up(connection)
    }

    /// Established connections to a process.
    pub fn of_process(&self, life: u64) -> Vec<usize> {
        let all = 0..self.connections.len();
        all.filter(|&connection| self.connections[connection].life == life && self.is_up(connection))
            .collect()
    }

    /// A delay that nothing is sent before.
    pub fn draw_delay(&self, random: &mut Random) -> u64 {
        random.below(self.delay_us_max + 1)
    }

    /// How long what is sent now is under way: it never arrives before what was sent before it.
    pub fn delay(&mut self, now_us: u64, random: &mut Random, connection: usize, to: To) -> u64 {
        let arrives_us = now_us + self.draw_delay(random);
        let direction = self.direction(connection, to);
        direction.last_us = direction.last_us.max(arrives_us);
        direction.last_us - now_us
    }

    /// When the newest bytes on a connection arrive.
    pub fn last_us(&mut self, connection: usize, to: To) -> u64 {
        self.direction(connection, to).last_us
    }

    /// Does what arrives now arrive at all?
    pub fn arrives(&mut self, now_us: u64, connection: usize, to: To) -> bool {
        now_us <= self.direction(connection, to).until_us
    }

    /// What would arrive after a time is lost.
    pub fn cut(&mut self, connection: usize, to: To, until_us: u64) {
        let direction = self.direction(connection, to);
        direction.until_us = direction.until_us.min(until_us);
    }

    fn direction(&mut self, connection: usize, to: To) -> &mut Direction {
        let connection = &mut self.connections[connection];
        match to {
            To::Node => &mut connection.to_node,
            To::Viewer => &mut connection.to_viewer,
        }
    }
}
