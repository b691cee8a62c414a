//! The guard: every form of an address, behind every redirect, with every answer of a resolver.
//!
//! Why all at once: a guard that holds for `127.0.0.1` says nothing of `0x7f.1` behind a redirect.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::{Memory, PUBLIC, answer};
use crate::address::is_public;
use crate::{FetchError, Request};

/// A host in this form, if the address has it.
type Form = fn(IpAddr) -> Option<String>;

/// The Location that leads to a host.
type Location = fn(&str) -> String;

/// Addresses that a request must never reach: this machine, its networks, metadata of clouds, and IPv6 that
/// carries them inside.
const PRIVATE: [&str; 34] = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.9",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "2001:db8::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2002:7f00:1::1",
    "64:ff9b::7f00:1",
    "fec0::1",
];

/// Forms in which a URL may name an address. IPv6 has fewer of them.
const FORMS: [(&str, Form); 13] = [
    ("plain", |ip| Some(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() })),
    ("one number", |ip| v4(ip).map(|bits| bits.to_string())),
    ("hexadecimal", |ip| v4(ip).map(|bits| format!("{bits:#x}"))),
    ("octal parts", |ip| v4(ip).map(|bits| bits.to_be_bytes().map(|part| format!("0{part:o}")).join("."))),
    ("hexadecimal parts", |ip| {
        v4(ip).map(|bits| bits.to_be_bytes().map(|part| format!("{part:#x}")).join("."))
    }),
    ("two parts", |ip| v4(ip).map(|bits| format!("{}.{}", bits >> 24, bits & 0xff_ffff))),
    ("mapped", |ip| v4(ip).map(|bits| format!("[::ffff:{}]", std::net::Ipv4Addr::from(bits)))),
    ("mapped in hexadecimal", |ip| {
        v4(ip).map(|bits| format!("[0:0:0:0:0:FFFF:{:x}:{:x}]", bits >> 16, bits & 0xffff))
    }),
    ("compatible", |ip| v4(ip).map(|bits| format!("[::{}]", std::net::Ipv4Addr::from(bits)))),
    ("fullwidth digits", |ip| {
        let wide = |c: char| c.to_digit(10).map_or(c, |digit| char::from_u32(0xff10 + digit).unwrap());
        v4(ip).map(|bits| std::net::Ipv4Addr::from(bits).to_string().chars().map(wide).collect())
    }),
    ("ideographic dots", |ip| {
        v4(ip).map(|bits| std::net::Ipv4Addr::from(bits).to_string().replace('.', "\u{3002}"))
    }),
    ("a dot at the end", |ip| v4(ip).map(|bits| format!("{}.", std::net::Ipv4Addr::from(bits)))),
    ("a name", |_| Some("rebound.example.org".to_owned())),
];

/// Ways in which a server may send a request on: status, and the Location for a host.
const REDIRECTS: [(u16, Location); 5] = [
    (301, |host| format!("http://{host}/")),
    (302, |host| format!("//{host}/latest/meta-data")),
    (303, |host| format!("https://{host}/")),
    (307, |host| format!("http://show.example.org@{host}/")),
    (308, |host| format!("\thttp:\\\\{host}/x")),
];

fn v4(ip: IpAddr) -> Option<u32> {
    match ip {
        IpAddr::V4(v4) => Some(v4.to_bits()),
        IpAddr::V6(_) => None,
    }
}

/// A public server that answers with a redirect to what is set.
fn redirecting() -> (Memory, Arc<Mutex<(u16, String)>>) {
    let next = Arc::new(Mutex::new((200, String::new())));
    let set = next.clone();
    let memory = Memory::answering(move |_| {
        let (status, location) = next.lock().unwrap().clone();
        answer(status, &format!("location: {location}\r\n"), b"")
    });
    (memory.name("show.example.org", &[&[PUBLIC]]), set)
}

#[tokio::test(start_paused = true)]
async fn no_form_of_an_address_no_redirect_and_no_rebinding_reaches_a_private_network() {
    let (memory, next) = redirecting();
    let fetcher = memory.fetcher();
    let (mut tried, mut refused) = (0, 0);
    for address in PRIVATE {
        let ip: IpAddr = address.parse().unwrap();
        for (form, write) in FORMS {
            let Some(host) = write(ip) else { continue };
            // A resolver that tells the truth, one that mixes, and one that changes its answer.
            for answers in [&[&[address][..]][..], &[&[PUBLIC, address]], &[&[PUBLIC], &[address]]] {
                let memory = memory.clone().name("rebound.example.org", answers);
                let direct = fetcher.send(&Request::get(&format!("http://{host}/"))).await;
                let to_public = answers[0] == [PUBLIC] && form == "a name";
                assert_eq!(direct.is_ok(), to_public, "{form}: {host}");
                if let Err(error) = direct {
                    assert!(error.is_refused(), "{form}: {host}: {error}");
                    refused += 1;
                }
                for (status, write) in REDIRECTS {
                    let memory = memory.clone().name("rebound.example.org", answers);
                    *next.lock().unwrap() = (status, write(&host));
                    let sent = fetcher.send(&Request::get("http://show.example.org/")).await;
                    assert!(sent.is_err(), "{form}: {status} to {host}");
                    tried += 1;
                    drop(memory);
                }
                *next.lock().unwrap() = (200, String::new());
                if form != "a name" {
                    break;
                }
            }
        }
    }
    let private: Vec<_> = memory.connected().into_iter().filter(|to| !is_public(to.ip())).collect();
    assert_eq!(private, [], "connections to addresses that are not public");
    assert!(tried >= 1_500 && refused >= 300, "{tried} redirects, {refused} refused at once");
}

#[tokio::test]
async fn a_private_address_beside_public_ones_refuses_the_name_and_a_mapped_one_is_judged_as_ipv4() {
    let memory = Memory::answering(|_| answer(200, "", b"page"))
        .name("a.example.org", &[&[PUBLIC, "2606:4700::1", "::ffff:10.0.0.1"]])
        .name("b.example.org", &[&["::ffff:93.184.216.34"]])
        .name("c.example.org", &[&[]]);
    let fetcher = memory.fetcher();
    let send = |url: &'static str| {
        let fetcher = fetcher.clone();
        async move { fetcher.send(&Request::get(url)).await }
    };
    assert!(matches!(send("http://a.example.org/").await, Err(FetchError::NotPublic { .. })));
    assert_eq!(memory.connected(), []);
    assert_eq!(send("http://b.example.org/").await.unwrap().body, "page");
    assert_eq!(memory.connected(), [format!("{PUBLIC}:80").parse().unwrap()]);
    assert!(matches!(send("http://c.example.org/").await, Err(FetchError::Resolve { .. })));
}

#[tokio::test]
async fn a_hop_is_resolved_once_and_as_an_absolute_name() {
    let memory = Memory::answering(|_| answer(200, "", b"page"));
    let memory = memory.name("show.example.org", &[&[PUBLIC], &["127.0.0.1"]]);
    assert!(memory.fetcher().send(&Request::get("http://show.example.org/")).await.is_ok());
    assert_eq!(*memory.resolved.lock().unwrap(), ["show.example.org."]);
    assert!(memory.fetcher().send(&Request::get("http://show.example.org/")).await.unwrap_err().is_refused());
    assert_eq!(memory.connected().len(), 1);
}
