//! Tests of forwarding headers: forms of addresses, what a client may write, the RFC's examples, noise.
//!
//! Why a property: what a client can write before the entry of a proxy has no end.

use super::*;
use proptest::prelude::*;

fn is_trusted(address: IpAddr) -> bool {
    ["10.0.0.0/8", "2001:db8:ffff::/48"]
        .iter()
        .any(|network| network.parse::<crate::proxy::Network>().unwrap().contains(address))
}

fn lines<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = &'a [u8]> {
    lines.iter().map(|line| line.as_bytes())
}

fn by_x(text: &[&str]) -> Option<String> {
    client_of_x_forwarded_for(lines(text), is_trusted).map(|address| address.to_string())
}

fn by_rfc(text: &[&str]) -> Result<Option<String>, ForwardedFault> {
    let client = client_of_forwarded(lines(text), is_trusted)?;
    Ok(client.map(|address| address.to_string()))
}

#[test]
fn the_rightmost_that_is_not_trusted_is_the_client() {
    for (header, client) in [
        (&["192.0.2.1"][..], Some("192.0.2.1")),
        // What the client wrote itself stands left of what the proxy appended.
        (&["1.1.1.1, 192.0.2.1"], Some("192.0.2.1")),
        (&["1.1.1.1", "192.0.2.1"], Some("192.0.2.1")),
        (&["10.0.0.9, 192.0.2.1"], Some("192.0.2.1")),
        (&["127.0.0.1, unknown, 192.0.2.1, 10.1.1.1,10.2.2.2"], Some("192.0.2.1")),
        (&["1.1.1.1, 192.0.2.1", "10.0.0.1"], Some("192.0.2.1")),
        // All are trusted: the first of them spoke.
        (&["10.0.0.1, 10.0.0.2"], Some("10.0.0.1")),
        // The nearest proxies tell none.
        (&["192.0.2.1, unknown"], None),
        (&["192.0.2.1, _hidden, 10.0.0.2"], Some("10.0.0.2")),
        (&["192.0.2.1, 1.2.3"], None),
        (&[], None),
        (&["", " , "], None),
        (&["192.0.2.1, ,"], Some("192.0.2.1")),
    ] {
        assert_eq!(by_x(header).as_deref(), client, "{header:?}");
    }
}

#[test]
fn every_form_of_an_address_is_read() {
    for (entry, client) in [
        ("192.0.2.1:4711", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("\"[2001:db8::1]:443\"", "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1"),
    ] {
        assert_eq!(by_x(&[entry]).as_deref(), Some(client), "{entry}");
        let quoted = format!("for=\"{}\"", entry.trim_matches('"'));
        assert_eq!(by_rfc(&[&quoted]), Ok(Some(client.to_owned())), "{quoted}");
    }
    for entry in [
        "192.0.2.1:",
        "192.0.2.1:123456",
        "[2001:db8::1",
        "[2001:db8::1]443",
        "[192.0.2.1]",
        "fe80::1%2",
        "a.b",
    ] {
        assert_eq!(by_x(&[entry]), None, "{entry}");
    }
}

#[test]
fn the_examples_of_rfc_7239() {
    for (header, client) in [
        (&["for=\"_gazonk\""][..], None),
        (&["For=\"[2001:db8:cafe::17]:4711\""], Some("2001:db8:cafe::17")),
        (&["for=192.0.2.60;proto=http;by=203.0.113.43"], Some("192.0.2.60")),
        (&["for=192.0.2.43, for=198.51.100.17"], Some("198.51.100.17")),
        (&["for=192.0.2.43, for=\"[2001:db8:cafe::17]\""], Some("2001:db8:cafe::17")),
        (&["for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown"], None),
        (&["for=_hidden, for=_SEVKISEK"], None),
        (&["for=192.0.2.43", "for=10.0.0.1;by=10.0.0.2"], Some("192.0.2.43")),
        (&["for=192.0.2.43 , proto=https"], None),
        (&["for=\"192.0.2.43:_port\";host=\"a, for=1.1.1.1\""], Some("192.0.2.43")),
        (&[" ;; for=[2001:db8::1]:80 ;host=x ,, "], Some("2001:db8::1")),
        (&["for=\"192.0.2.\\43\""], Some("192.0.2.43")),
        (&[], None),
    ] {
        assert_eq!(by_rfc(header), Ok(client.map(str::to_owned)), "{header:?}");
    }
}

#[test]
fn what_a_client_left_open_does_not_swallow_the_proxys_entry() {
    for header in [
        "for=\"1.1.1.1, for=192.0.2.1",
        "for=\"1.1.1.1\\\", for=192.0.2.1",
        "x, for=192.0.2.1",
        "for =1.1.1.1",
        "for=1;for=2",
        "for=a b",
    ] {
        assert!(by_rfc(&[header]).is_err(), "{header}");
        // In a line of its own it spoils the whole header too.
        assert!(by_rfc(&[header, "for=192.0.2.1"]).is_err(), "{header}");
    }
}

/// An address that is not a trusted proxy's.
fn stranger() -> impl Strategy<Value = IpAddr> {
    (any::<u128>(), any::<bool>())
        .prop_map(
            |(bits, is_v4)| if is_v4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) },
        )
        .prop_map(|address| address.to_canonical())
        .prop_filter("not trusted", |&address| !is_trusted(address))
}

/// As a proxy appends it to `Forwarded`.
fn element(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("for={v4}"),
        IpAddr::V6(v6) => format!("for=\"[{v6}]\""),
    }
}

proptest! {
    /// Whatever a client wrote, the address that the first trusted proxy appended is the client's.
    #[test]
    fn nobody_speaks_for_another_through_a_proxy_that_appends(
        forged in prop::collection::vec("[ -~]{0,40}", 0..3),
        client in stranger(),
        proxies in prop::collection::vec(any::<[u8; 3]>(), 0..3),
        in_one_line: bool,
    ) {
        let proxies = proxies.iter().map(|p| IpAddr::from([10, p[0], p[1], p[2]]));
        let chain: Vec<IpAddr> = std::iter::once(client).chain(proxies).collect();
        let header = |appended: Vec<String>| -> Vec<String> {
            let mut all = forged.clone();
            if in_one_line {
                all.extend(appended);
                vec![all.join(", ")]
            } else {
                all.extend(appended);
                all
            }
        };
        let x = header(chain.iter().map(ToString::to_string).collect());
        let seen = client_of_x_forwarded_for(x.iter().map(String::as_bytes), is_trusted);
        prop_assert_eq!(seen, Some(client));
        let rfc = header(chain.iter().map(|&address| element(address)).collect());
        let seen = client_of_forwarded(rfc.iter().map(String::as_bytes), is_trusted);
        prop_assert!(seen.is_err() || seen == Ok(Some(client)), "{:?} by {:?}", seen, rfc);
    }

    #[test]
    fn noise_is_never_a_panic(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4)) {
        let _ = client_of_x_forwarded_for(lines.iter().map(Vec::as_slice), is_trusted);
        let _ = client_of_forwarded(lines.iter().map(Vec::as_slice), is_trusted);
    }
}
