//! The addresses of a session: the URLs that the application gave, which of them worked last, where the node
//! sent the session, and the other nodes of its cluster.
//!
//! Why remembered: where UDP is blocked, every reconnect would first wait for QUIC in vain.
//! Why other nodes in an order of its own for each session: the viewers of a dead node must not all go to the
//! same one.
//! Invariants: a URL that worked is tried first, and alone for a moment; after [`REMEMBERED_US`] the order is
//! the application's again, so that a better way is found when the network changes.
//! Not here: racing (`race`), resolving names (`connector`).

use std::net::SocketAddr;

use super::Url;

/// How long the first choice is passed over for one that worked: a network that blocks UDP does so all
/// evening, and one that did so by mistake should not be avoided for longer than a show.
const REMEMBERED_US: u64 = 10 * 60 * 1_000_000;

/// Most nodes of a cluster that are tried.
const NODES_MAX: usize = 8;

/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// The URLs of one node or cluster, the best first: `quic://` before `wss://`. See
/// [`Client::connect`](super::Client::connect).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Urls(Box<[Url]>);

impl Urls {
    /// The URLs.
    pub fn as_slice(&self) -> &[Url] {
        &self.0
    }
}

impl From<Url> for Urls {
    fn from(url: Url) -> Urls {
        Urls(Box::new([url]))
    }
}

impl From<&Url> for Urls {
    fn from(url: &Url) -> Urls {
        url.clone().into()
    }
}

impl TryFrom<Vec<Url>> for Urls {
    type Error = NoUrl;

    fn try_from(urls: Vec<Url>) -> Result<Urls, NoUrl> {
        if urls.is_empty() { Err(NoUrl) } else { Ok(Urls(urls.into())) }
    }
}

/// A list of URLs without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoUrl;

impl std::fmt::Display for NoUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no URL given: a client needs at least one, such as wss://chat.example/v1")
    }
}

impl std::error::Error for NoUrl {}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Addresses {
    urls: Urls,
    /// The URL that worked last, and when.
    at: usize,
    won_us: u64,
    /// Where the node sent the session.
    pub(super) moved_to: Option<Box<Url>>,
}

impl Addresses {
    pub(super) fn new(urls: Urls) -> Addresses {
        Addresses { urls, at: 0, won_us: 0, moved_to: None }
    }

    /// The application's URL that worked last, or the first.
    pub(super) fn given(&self) -> &Url {
        &self.urls.0[self.at]
    }

    /// The URL of the present connection, or of the last one.
    pub(super) fn present(&self) -> &Url {
        self.moved_to.as_deref().unwrap_or(self.given())
    }

    /// The URLs to race: the one that the node named, then those of the application, and of the nodes of its
    /// cluster. `draw` is random.
    pub(super) fn order<'n>(&self, now_us: u64, nodes: impl Iterator<Item = &'n str>, draw: u64) -> Vec<Url> {
        let mut given = self.urls.0.to_vec();
        if self.at > 0 && now_us < self.won_us.saturating_add(REMEMBERED_US) {
            given[..=self.at].rotate_right(1);
        }
        let first = self.moved_to.as_deref().unwrap_or(&given[0]).clone();
        spread(first, given, nodes, draw)
    }

    /// The URLs to race beside the present connection, which goes on: `first`, if there is one, then all
    /// others, and the present one last.
    pub(super) fn elsewhere<'n>(
        &self,
        first: Option<Url>,
        nodes: impl Iterator<Item = &'n str>,
        draw: u64,
    ) -> Vec<Url> {
        let mut urls = spread(self.present().clone(), self.urls.0.to_vec(), nodes, draw);
        urls.rotate_left(1);
        if let Some(first) = first {
            urls.retain(|url| *url != first);
            urls.insert(0, first);
        }
        urls
    }

    /// This URL of [`Addresses::order`] won.
    pub(super) fn handle_won(&mut self, now_us: u64, url: &Url) {
        let is_given = self.urls.0.contains(url);
        self.moved_to = if is_given { None } else { Some(Box::new(url.clone())) };
        let Some(at) = self.urls.0.iter().position(|known| known == url) else { return };
        // The time counts from when it was preferred, not from each reconnect.
        if at != self.at || now_us >= self.won_us.saturating_add(REMEMBERED_US) {
            (self.at, self.won_us) = (at, now_us);
        }
    }
}

/// All URLs, each once: `first`; then the nodes over its transport, from a random one on; then the rest in
/// the given order. Without nodes the order is the given one.
fn spread<'n>(first: Url, mut given: Vec<Url>, nodes: impl Iterator<Item = &'n str>, draw: u64) -> Vec<Url> {
    let mut nodes: Vec<Url> = nodes.take(NODES_MAX).filter_map(|node| first.moved(node)).collect();
    nodes.retain(|node| *node != first);
    if !nodes.is_empty() {
        let from = draw % nodes.len() as u64;
        nodes.rotate_left(from as usize);
        // Those of the application that are nodes of this transport, and named otherwise, are nodes too.
        given.sort_by_key(|url| url.scheme() != first.scheme());
    }
    let mut urls = vec![first];
    for url in nodes.into_iter().chain(given) {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// The order in which to try the addresses of a name: both families by turns, from the one that the system
/// prefers on (RFC 8305, 4).
pub(super) fn interleave(addresses: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut all: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        if !all.contains(&address) {
            all.push(address);
        }
    }
    let is_first_v6 = all.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = all.into_iter().partition(|a| a.is_ipv6() == is_first_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None, None] || ordered.len() >= ADDRESSES_MAX {
            ordered.truncate(ADDRESSES_MAX);
            return ordered;
        }
        ordered.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn both_families_take_turns_and_no_address_comes_twice() {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = parse(&["[::1]:1", "[::2]:1", "[::1]:1", "1.1.1.1:1", "[::3]:1", "1.1.1.2:1"]);
        let wanted = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(interleave(given), wanted);
        assert_eq!(interleave(parse(&["1.1.1.1:1", "[::1]:1"])), parse(&["1.1.1.1:1", "[::1]:1"]));
        let many = (1..=40).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        assert_eq!(interleave(many).len(), ADDRESSES_MAX);
    }

    fn none() -> std::iter::Empty<&'static str> {
        std::iter::empty()
    }

    #[test]
    fn what_worked_is_first_for_a_while() {
        let (quic, wss, ws) = (url("quic://a:1"), url("wss://a:2/v1"), url("wss://b:2/v1"));
        let all = vec![quic.clone(), wss.clone(), ws.clone()];
        let mut addresses = Addresses::new(all.clone().try_into().unwrap());
        let order = |addresses: &Addresses, now_us| addresses.order(now_us, none(), 1);
        assert_eq!(order(&addresses, 0), all);
        addresses.handle_won(1000, &wss);
        assert_eq!(addresses.given(), &wss);
        assert_eq!(order(&addresses, 2000), [wss.clone(), quic.clone(), ws.clone()]);
        addresses.handle_won(5_000_000, &wss);
        assert_eq!(order(&addresses, REMEMBERED_US + 999)[0], wss);
        assert_eq!(order(&addresses, REMEMBERED_US + 1000), all, "the first choice has another chance");
        addresses.handle_won(REMEMBERED_US + 2000, &quic);
        assert_eq!(order(&addresses, REMEMBERED_US + 3000), all);
        addresses.moved_to = Some(Box::new(url("quic://c:1")));
        let with_first = [url("quic://c:1"), quic.clone(), wss, ws];
        assert_eq!(
            order(&addresses, REMEMBERED_US + 3000),
            with_first,
            "and where nobody answers, the others"
        );
        addresses.handle_won(REMEMBERED_US + 4000, &quic);
        assert_eq!(order(&addresses, REMEMBERED_US + 5000), all);
        assert_eq!(Urls::try_from(Vec::new()), Err(NoUrl));
    }

    #[test]
    fn nodes_of_a_cluster_are_tried_in_an_order_of_its_own_for_each_session() {
        let (quic, wss) = (url("quic://a:1"), url("wss://a:2/v1"));
        let addresses = Addresses::new(vec![quic.clone(), wss.clone()].try_into().unwrap());
        let nodes = ["a:1", "b:1", "c:1", "d:1"];
        let mut seconds = [0; 3];
        for draw in 0..300 {
            let order = addresses.order(0, nodes.into_iter(), draw);
            assert_eq!((order.len(), &order[0], &order[4]), (5, &quic, &wss), "each once");
            let node = nodes[1..].iter().position(|node| quic.moved(node).as_ref() == Some(&order[1]));
            seconds[node.unwrap()] += 1;
            let away = addresses.elsewhere(None, nodes.into_iter(), draw);
            assert_eq!((away.len(), &away[0], &away[4]), (5, &order[1], &quic), "the silent one is last");
            let told = addresses.elsewhere(Some(url("quic://d:1")), nodes.into_iter(), draw);
            assert_eq!((told.len(), &told[0]), (5, &url("quic://d:1")));
        }
        assert_eq!(seconds, [100; 3]);
        let hostile = ["", "b:99999", "wss://", "x y:1", "b:1"];
        assert_eq!(
            addresses.order(0, hostile.into_iter(), 7).iter().filter(|u| u.scheme() == quic.scheme()).count(),
            2
        );
    }
}
