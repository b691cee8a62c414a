//! Tests of the PROXY header: the examples of its document, round trips, cuts and noise.
//!
//! Why every cut: a socket may deliver a header in any pieces.

use super::*;
use proptest::prelude::*;

fn client(text: &str) -> Source {
    Source::Client(text.parse().unwrap())
}

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = (block.len() as u16).to_be_bytes();
    [V2_SIGNATURE, &[command, family], &len, block].concat()
}

/// Whole, cut anywhere, and with the client's bytes behind it.
fn holds(bytes: &[u8], source: Source) {
    let whole = Header { source, len: bytes.len() };
    assert_eq!(parse_header(bytes), Ok(Some(whole)), "{bytes:x?}");
    assert_eq!(parse_header(&[bytes, b"GET / HTTP/1.1\r\n\r\n"].concat()), Ok(Some(whole)));
    for cut in 0..bytes.len() {
        assert_eq!(parse_header(&bytes[..cut]), Ok(None), "cut at {cut} of {bytes:x?}");
    }
}

#[test]
fn the_documents_examples_of_version_1() {
    holds(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client("192.168.0.1:56324"));
    holds(b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n", client("[2001:db8::1]:56324"));
    holds(b"PROXY UNKNOWN\r\n", Source::Proxy);
    // The longest line that the document names.
    let longest = "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace("f...f", "ffff");
    holds(longest.as_bytes(), Source::Proxy);
}

#[test]
fn families_and_commands_of_version_2() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb];
    holds(&v2(0x21, 0x11, &v4), client("192.0.2.1:56324"));
    let mut v6 = vec![0x20, 1, 0xd, 0xb8];
    v6.extend([0; 11]);
    v6.push(1);
    v6.extend([0; 16]);
    v6.extend([0xdc, 4, 1, 0xbb]);
    holds(&v2(0x21, 0x21, &v6), client("[2001:db8::1]:56324"));
    // An ALPN TLV, a CRC and a NOOP behind the addresses are passed over.
    let tlvs = [&[1, 0, 2, b'h', b'2'][..], &[3, 0, 4, 0, 0, 0, 0], &[4, 0, 1, 9]].concat();
    holds(&v2(0x21, 0x11, &[&v4[..], &tlvs].concat()), client("192.0.2.1:56324"));
    // A health check, whatever addresses it names.
    holds(&v2(0x20, 0x00, b""), Source::Proxy);
    holds(&v2(0x20, 0x11, &v4), Source::Proxy);
    holds(&v2(0x20, 0xff, b"any"), Source::Proxy);
    // Clients without an IP address, or not of TCP.
    holds(&v2(0x21, 0x00, b"skip"), Source::Proxy);
    holds(&v2(0x21, 0x31, &[b'/'; 216]), Source::Proxy);
    holds(&v2(0x21, 0x12, &v4), Source::Proxy);
}

#[test]
fn what_is_no_header_is_a_fault_as_soon_as_it_shows() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PROXZ", b"\r\n\r\n\0\r\nQUIZ", b"\r\nGET", b"p"]
    {
        assert_eq!(parse_header(bytes), Err(HeaderFault::Missing), "{bytes:x?}");
        assert!(!begins_header(bytes));
    }
    for line in [
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 host 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
    ] {
        assert!(matches!(parse_header(line.as_bytes()), Err(HeaderFault::Malformed(_))), "{line:?}");
    }
    assert!(matches!(
        parse_header(&[b"PROXY TCP4 ", &[b'1'; 96][..]].concat()),
        Err(HeaderFault::Malformed(_))
    ));
    assert!(matches!(parse_header(b"PROXY TCP4 \xff\r\n"), Err(HeaderFault::Malformed(_))));
    for (command, family, block) in
        [(0x11, 0x11, &[0; 12][..]), (0x22, 0x11, &[0; 12]), (0x21, 0x41, &[0; 12]), (0x21, 0x11, &[0; 11])]
    {
        assert!(matches!(parse_header(&v2(command, family, block)), Err(HeaderFault::Malformed(_))));
    }
    // Its length alone is refused: nobody waits for 64 KB.
    assert_eq!(parse_header(&v2(0x21, 0x11, &vec![0; HEADER_BYTES_MAX])[..16]), Err(HeaderFault::TooLong));
    holds(&v2(0x20, 0, &vec![7; HEADER_BYTES_MAX - V2_FIXED_BYTES]), Source::Proxy);
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<u128>(), any::<bool>(), any::<u16>()).prop_map(|(bits, is_v4, port)| {
        let ip = if is_v4 { IpAddr::V4((bits as u32).into()) } else { IpAddr::V6(bits.into()) };
        SocketAddr::new(ip, port)
    })
}

proptest! {
    #[test]
    fn a_header_is_read_as_it_is_written(
        from in address(),
        to in address(),
        tlvs in prop::collection::vec(any::<u8>(), 0..300),
        is_local: bool,
    ) {
        let addresses = (!is_local).then_some((from, to));
        let source = addresses.map_or(Source::Proxy, |(from, _)| Source::Client(from));
        let mut bytes = Vec::new();
        write_v1(addresses, &mut bytes);
        holds(&bytes, source);
        bytes.clear();
        write_v2(addresses, &tlvs, &mut bytes);
        holds(&bytes, source);
    }

    #[test]
    fn noise_is_never_a_panic_and_asks_for_no_more_than_the_bound(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        version in 0..3,
    ) {
        let bytes = match version {
            1 => [V1_SIGNATURE, &bytes].concat(),
            2 => [V2_SIGNATURE, &bytes].concat(),
            _ => bytes,
        };
        if let Ok(Some(header)) = parse_header(&bytes) {
            prop_assert!(header.len <= HEADER_BYTES_MAX && header.len <= bytes.len());
        }
        let long = [&bytes[..], &vec![0; HEADER_BYTES_MAX]].concat();
        prop_assert!(parse_header(&long) != Ok(None), "a header within the bound is decided");
    }
}
