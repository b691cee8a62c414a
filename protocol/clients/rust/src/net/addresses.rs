//! The addresses of a session: the URLs that the application gave, which of them worked last, and where the
//! node sent the session.
//!
//! Why remembered: where UDP is blocked, every reconnect would first wait for QUIC in vain.
//! Invariants: a URL that worked is tried first, and alone for a moment; after [`REMEMBERED_US`] the order is
//! the application's again, so that a better way is found when the network changes.
//! Not here: racing (`race`), resolving names (`connector`).

use std::net::SocketAddr;

use super::Url;

/// How long the first choice is passed over for one that worked: a network that blocks UDP does so all
/// evening, and one that did so by mistake should not be avoided for longer than a show.
const REMEMBERED_US: u64 = 10 * 60 * 1_000_000;

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

    /// The URLs to race, by number in the order of [`Addresses::url`].
    pub(super) fn order(&self, now_us: u64) -> Vec<Url> {
        if let Some(moved_to) = &self.moved_to {
            return vec![(**moved_to).clone()];
        }
        let mut urls = self.urls.0.to_vec();
        if self.at > 0 && now_us < self.won_us.saturating_add(REMEMBERED_US) {
            urls[..=self.at].rotate_right(1);
        }
        urls
    }

    /// This URL of [`Addresses::order`] won.
    pub(super) fn handle_won(&mut self, now_us: u64, url: &Url) {
        let Some(at) = self.urls.0.iter().position(|known| known == url) else { return };
        // The time counts from when it was preferred, not from each reconnect.
        if at != self.at || now_us >= self.won_us.saturating_add(REMEMBERED_US) {
            (self.at, self.won_us) = (at, now_us);
        }
    }
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

    #[test]
    fn what_worked_is_first_for_a_while() {
        let (quic, wss, ws) = (url("quic://a:1"), url("wss://a:2/v1"), url("wss://b:2/v1"));
        let all = vec![quic.clone(), wss.clone(), ws.clone()];
        let mut addresses = Addresses::new(all.clone().try_into().unwrap());
        assert_eq!(addresses.order(0), all);
        addresses.handle_won(1000, &wss);
        assert_eq!(addresses.given(), &wss);
        assert_eq!(addresses.order(2000), [wss.clone(), quic.clone(), ws]);
        addresses.handle_won(5_000_000, &wss);
        assert_eq!(addresses.order(REMEMBERED_US + 999)[0], wss);
        assert_eq!(addresses.order(REMEMBERED_US + 1000), all, "the first choice has another chance");
        addresses.handle_won(REMEMBERED_US + 2000, &quic);
        assert_eq!(addresses.order(REMEMBERED_US + 3000), all);
        addresses.moved_to = Some(Box::new(url("quic://c:1")));
        assert_eq!(addresses.order(0), [url("quic://c:1")]);
        assert_eq!(Urls::try_from(Vec::new()), Err(NoUrl));
    }
}
