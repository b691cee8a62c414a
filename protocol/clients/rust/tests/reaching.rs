//! Ways to a node over real loopback sockets: names with several addresses, several URLs, blocked UDP, and
//! what each failure tells a person.
//!
//! Not here: the race in virtual time (`net::race`).

mod common;

#[path = "common/servers.rs"]
mod servers;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use grandstand_client::core::{
    ConnectError, Ending, Event, Options, OwnedEvent as E, Reason, Session, SubscribeOptions,
};
use grandstand_client::net::{Client, ClientOptions, Connector, Driver, Trust, Url, Urls};
use servers::{Server, certificate, serve_quic, serve_tcp, tls, within};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Another address of the loopback, on which packets to the port of a server are lost.
const HOLE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// A TCP port with a full backlog: the kernel drops every new connection's packets.
struct BlackHole {
    _listener: socket2::Socket,
    _waiting: Vec<socket2::Socket>,
}

fn black_hole(address: SocketAddr) -> BlackHole {
    let tcp = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let listener = tcp();
    listener.set_reuse_address(true).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let fill = || {
        let socket = tcp();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address.into());
        socket
    };
    BlackHole { _listener: listener, _waiting: (0..8).map(|_| fill()).collect() }
}

/// Publishes one message, and says how long it took.
async fn reach(connector: &Connector, urls: impl Into<Urls>) -> (Client, Duration) {
    let began = Instant::now();
    let client = Client::connect(connector, urls, ClientOptions::default()).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    within(client.publish("show", "here")).await.unwrap();
    (client, began.elapsed())
}

fn connector(server: &Server, addresses: &[IpAddr]) -> Connector {
    Connector::builder().trust(server.trust.clone()).resolve("localhost", addresses).build().unwrap()
}

#[tokio::test]
async fn a_name_whose_first_address_drops_everything_is_reached_by_its_second() {
    let (config, trust) = tls(b"http/1.1");
    for server in [serve_tcp("ws", None, Trust::Nobody), serve_tcp("wss", Some(config), trust)] {
        let _hole = black_hole((HOLE, server.url.port()).into());
        let (_, took) = reach(&connector(&server, &[HOLE, HERE]), &server.url).await;
        assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(2), "{took:?}");
    }
    // Over QUIC: a socket that never answers.
    let server = serve_quic();
    let _hole = UdpSocket::bind((HOLE, server.url.port())).unwrap();
    let (_, took) = reach(&connector(&server, &[HOLE, HERE]), &server.url).await;
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn a_name_whose_first_address_refuses_or_is_of_the_other_family_is_reached_at_once() {
    let v6 = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
    for server in [serve_tcp("ws", None, Trust::Nobody), serve_quic()] {
        let (_, took) = reach(&connector(&server, &[HERE]), &server.url).await;
        assert!(took < Duration::from_secs(1), "{took:?}");
        let (_, took) = reach(&connector(&server, &[v6, HERE]), &server.url).await;
        assert!(took < Duration::from_secs(2), "{took:?}");
    }
}

#[tokio::test]
async fn where_udp_is_blocked_the_websocket_is_there_within_two_seconds_and_is_remembered() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let quic: Url = format!("quic://127.0.0.1:{}", silent.local_addr().unwrap().port()).parse().unwrap();
    let urls = Urls::try_from(vec![quic, server.url.clone()]).unwrap();
    let (client, took) = reach(&connector(&server, &[HERE]), urls).await;
    assert!(took >= Duration::from_millis(600) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(client.url(), Some(server.url.clone()));
    // It comes back the same way, and does not wait for QUIC again.
    let cut = Instant::now();
    server.connections.fetch_add(1, Ordering::SeqCst); // the server ends connections that are not the newest
    let _ = client.publish("show", "cut").await;
    while !matches!(within(client.next_event()).await, Some(E::Reconnecting { .. })) {}
    let Some(E::Welcome { .. }) = within(async {
        loop {
            let event = client.next_event().await;
            if matches!(event, Some(E::Welcome { .. }) | None) {
                return event;
            }
        }
    })
    .await
    else {
        panic!("it is over")
    };
    assert!(cut.elapsed() < Duration::from_secs(2), "{:?}", cut.elapsed());
}

/// QUIC wins where it works, and the WebSocket is not even tried.
#[tokio::test]
async fn where_quic_works_it_is_used_alone() {
    let (ws, quic) = (serve_tcp("ws", None, Trust::Nobody), serve_quic());
    let urls = Urls::try_from(vec![quic.url.clone(), ws.url.clone()]).unwrap();
    let (client, _) = reach(&connector(&quic, &[HERE]), urls).await;
    assert_eq!(client.url(), Some(quic.url));
    assert_eq!(ws.connections.load(Ordering::SeqCst), 0);
}

async fn failure(url: &Url, connector: &Connector) -> Ending {
    let session = Session::new(Options { retries_max: 0, ..Options::default() });
    match within(Driver::new(connector, url, session, |_: u64, _: &Event<'_>| {}).run()).await.reason {
        Reason::Transport(ending) => ending,
        other => panic!("{url}: {other:?}"),
    }
}

async fn connect_error(url: &str, trust: &Trust) -> ConnectError {
    let url = url.parse().unwrap();
    match failure(&url, &Connector::new(trust).unwrap()).await {
        Ending::Connect(error) => *error,
        other => panic!("{url}: {other:?}"),
    }
}

/// A certificate for these names, valid for these years.
fn serve_with(alpn: &[u8], names: &[&str], years: (i32, i32)) -> (Arc<rustls::ServerConfig>, Trust) {
    let mut params =
        rcgen::CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    (Arc::new(config), Trust::Pem(made.pem().into_bytes()))
}

#[tokio::test]
async fn each_fault_of_a_certificate_is_told_apart_over_both_transports() {
    let alpn = grandstand_client::protocol::version::ALPN;
    let serve = |is_quic: bool, names: &[&str], years| {
        let (config, trust) = serve_with(if is_quic { alpn } else { b"http/1.1" }, names, years);
        if is_quic { servers::serve_quic_with(config, trust) } else { serve_tcp("wss", Some(config), trust) }
    };
    for is_quic in [false, true] {
        let expired = serve(is_quic, &["localhost"], (2001, 2002));
        let error = connect_error(&expired.url.to_string(), &expired.trust).await;
        assert_eq!(error, ConnectError::Expired);
        let early = serve(is_quic, &["localhost"], (2120, 2121));
        let error = connect_error(&early.url.to_string(), &early.trust).await;
        assert_eq!(error, ConnectError::NotYetValid);
        let other = serve(is_quic, &["chat.example"], (2001, 2121));
        let error = connect_error(&other.url.to_string(), &other.trust).await;
        assert_eq!(error, ConnectError::WrongName { host: "localhost".into() });
        let good = serve(is_quic, &["localhost"], (2001, 2121));
        let (_, _, stranger) = certificate();
        for trust in [Trust::Pem(stranger.into_bytes()), Trust::Nobody] {
            let error = connect_error(&good.url.to_string(), &trust).await;
            assert_eq!(error, ConnectError::UnknownAuthority);
        }
        let error = connect_error(&good.url.to_string(), &Trust::Fingerprint([7; 32])).await;
        let ConnectError::WrongFingerprint { expected: [7, ..], found } = error else { panic!("{error:?}") };
        assert_ne!(found, [7; 32]);
        let told = error.to_string();
        let hex: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(told.contains(&hex) && told.contains(&"07".repeat(32)), "{told}");
        // The hash that is told is the one to trust.
        let connector = Connector::new(&Trust::Fingerprint(found)).unwrap();
        within(reach(&connector, &good.url)).await;
    }
}

/// Answers each connection with these bytes once it has sent something, or ends it.
fn answering(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok).take(32) {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(bytes);
        }
    });
    port
}

#[tokio::test]
async fn what_answers_in_place_of_a_node_is_named() {
    let nobody = Trust::Nobody;
    let plain = answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(connect_error(&format!("wss://127.0.0.1:{plain}/v1"), &nobody).await, ConnectError::NotTls);
    let (config, trust) = tls(b"http/1.1");
    let secure = serve_tcp("wss", Some(config), trust).url.port();
    assert_eq!(connect_error(&format!("ws://127.0.0.1:{secure}/v1"), &nobody).await, ConnectError::OnlyTls);
    let mail = answering(b"220 mail.example ESMTP\r\n");
    let error = connect_error(&format!("ws://127.0.0.1:{mail}/v1"), &nobody).await;
    assert!(matches!(error, ConnectError::NotANode { .. }), "{error:?}");
    let error = connect_error("ws://no-such-host.invalid/v1", &nobody).await;
    assert_eq!(error, ConnectError::UnknownHost { host: "no-such-host.invalid".into() });
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = connect_error(&format!("ws://{free}/v1"), &nobody).await;
    assert_eq!(error, ConnectError::NobodyThere { address: free });
    assert!(error.to_string().contains(&free.to_string()));

    for (answer, status, says) in [
        (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], 404, "path"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel/\r\n\r\n", 302, "login page"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>Welcome to our Wi-Fi", 200, "log in"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", 403, "origins"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", 502, "proxy"),
    ] {
        let url: Url = format!("ws://127.0.0.1:{}/v1", answering(answer)).parse().unwrap();
        let ending = failure(&url, &Connector::new(&nobody).unwrap()).await;
        assert_eq!(ending, Ending::Http { status, retry_after_s: None });
        assert!(ending.to_string().contains(says), "{ending}");
    }
}

#[tokio::test]
async fn another_protocol_over_quic_is_named() {
    let (config, trust) = tls(b"h3");
    let other = servers::serve_quic_with(config, trust.clone());
    assert_eq!(connect_error(&other.url.to_string(), &trust).await, ConnectError::NoCommonVersion);
}

#[tokio::test]
async fn no_answer_over_udp_says_that_udp_may_be_blocked() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let error = connect_error(&format!("quic://{address}"), &Trust::Nobody).await;
    assert_eq!(error, ConnectError::NoAnswer { address: Some(address), udp: true });
    assert!(error.to_string().contains("may block UDP"), "{error}");
}

/// A portal that answers in place of the node for a while, on a session that worked.
#[tokio::test]
async fn a_portal_between_does_not_end_a_session() {
    let server = serve_tcp("ws", None, Trust::Nobody);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url: Url = format!("ws://{}/v1", listener.local_addr().unwrap()).parse().unwrap();
    let node = server.url.port();
    let pages: [&[u8]; 4] = [
        b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"\x15\x03\x01\x00\x02\x02\x28",
    ];
    std::thread::spawn(move || {
        let proxy = |mut near: std::net::TcpStream, cut_after: Option<Duration>| {
            let mut far = std::net::TcpStream::connect(("127.0.0.1", node)).unwrap();
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            let whole = near.try_clone().unwrap();
            std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
            std::thread::spawn(move || std::io::copy(&mut far, &mut near));
            if let Some(after) = cut_after {
                std::thread::sleep(after);
                let _ = whole.shutdown(std::net::Shutdown::Both);
            }
        };
        let mut incoming = listener.incoming().map_while(Result::ok);
        proxy(incoming.next().unwrap(), Some(Duration::from_millis(300)));
        for round in 0..8 {
            let mut stream = incoming.next().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(pages[round % pages.len()]);
        }
        proxy(incoming.next().unwrap(), None);
        std::thread::park();
    });
    let session = Options { backoff_ms: 10, backoff_max_ms: 50, ..Options::default() };
    let options = ClientOptions { session, ..ClientOptions::default() };
    let client = Client::connect(&Connector::new(&Trust::Nobody).unwrap(), &url, options).unwrap();
    client.subscribe("show", SubscribeOptions::default()).unwrap();
    within(client.publish("show", "before")).await.unwrap();
    let mut told = 0;
    while told < 8 {
        match within(client.next_event()).await {
            Some(E::Disconnected { reason: Reason::Transport(ending) }) => {
                told += usize::from(!matches!(ending, Ending::Eof | Ending::Broken(_)));
            }
            Some(E::Closed { reason }) => panic!("{reason}"),
            Some(_) => {}
            None => panic!("over"),
        }
    }
    assert_eq!(within(client.publish("show", "after")).await.unwrap().offset, 1);
}
