//! Every file that holds a credential, over every transport: replaced while viewers are inside, and spoiled.
//!
//! Each file is replaced in every way that reaches the node: by itself (the watch), by SIGHUP, and by the
//! admin port.
//! Not here: how a certificate is parsed (`certificates`).

use std::path::Path;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use grandstand_harness::http;
use grandstand_harness::node::{Node, NodePlan};
use grandstand_harness::wait::until;
use rustix::process::Signal;

use crate::rig::{ALL, Client, Folder, admin, leaves, plan, says, send};

/// How the node is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Watch,
    Sighup,
    AdminPort,
}

const WAYS: [Told; 3] = [Told::Watch, Told::Sighup, Told::AdminPort];

fn plan_for(told: Told) -> NodePlan {
    plan().key("node.watch_files_ms", if told == Told::Watch { 20 } else { 0 })
}

fn with(plan: NodePlan, key: &str, path: &Path) -> NodePlan {
    plan.variable(
        &format!("GRANDSTAND_{}", key.replace('.', "_").to_uppercase()),
        path.display().to_string().as_str(),
    )
}

fn tell(node: &Node, told: Told) {
    match told {
        Told::Watch => {}
        Told::Sighup => send(node, Signal::HUP),
        Told::AdminPort => drop(http::request(admin(node), "POST", "/reload")),
    }
}

/// A certificate and its key, as PEM.
fn pair() -> (String, String, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem(), made.cert.der().to_vec())
}

#[test]
fn a_renewed_certificate_is_shown_over_every_transport_and_a_bad_one_is_not() {
    for told in WAYS {
        let folder = Folder::new();
        let (cert, key, first) = pair();
        let (cert_file, key_file) = (folder.write("cert.pem", cert), folder.write("key.pem", key));
        let node =
            Node::start(&with(with(plan_for(told), "tls.cert", &cert_file), "tls.key", &key_file)).unwrap();
        let mut inside = ALL.map(|transport| Client::welcomed(&node, transport));
        assert_eq!(leaves(&node), [first.clone(), first.clone()]);

        // A certificate whose key does not fit.
        let (cert, key, second) = pair();
        folder.write("cert.pem", &cert);
        tell(&node, told);
        says(&node, "is not the one of the certificate", 1);
        assert_eq!(leaves(&node), [first.clone(), first.clone()]);
        let metric = |name| node.metric(name).unwrap();
        assert!(
            metric("grandstand_credentials_faulty") > 0.0 && metric("grandstand_reload_failures_total") > 0.0
        );
        let answer = http::request(admin(&node), "POST", "/reload").unwrap_err().to_string();
        assert!(answer.contains("422") && answer.contains("key.pem"), "{answer}");

        // Then its key.
        folder.write("key.pem", &key);
        tell(&node, told);
        until("the new certificate is shown", || leaves(&node) == [second.clone(), second.clone()]);
        assert_eq!(metric("grandstand_credentials_faulty"), 0.0);
        assert!(metric("grandstand_certificate_expiry_timestamp_seconds") > 1e9);

        // Cut, empty, gone, and a folder.
        for spoil in 0..4 {
            let before = node.log().unwrap().matches("stays in use").count();
            match spoil {
                0 => drop(folder.write("cert.pem", &cert[..cert.len() / 2])),
                1 => drop(folder.write("cert.pem", "")),
                2 => std::fs::remove_file(&cert_file).unwrap(),
                _ => std::fs::create_dir(&cert_file).unwrap(),
            }
            tell(&node, told);
            says(&node, "stays in use", before + 1);
            assert_eq!(leaves(&node), [second.clone(), second.clone()]);
        }
        inside.iter_mut().for_each(Client::is_served);
        ALL.into_iter().for_each(|transport| drop(Client::welcomed(&node, transport)));
    }
}

#[test]
fn a_secret_that_kubernetes_swaps_is_followed() {
    let folder = Folder::new();
    let swap = |version: &str| {
        let (cert, key, leaf) = pair();
        std::fs::create_dir(folder.file(version)).unwrap();
        folder.write(&format!("{version}/tls.crt"), cert);
        folder.write(&format!("{version}/tls.key"), key);
        std::os::unix::fs::symlink(version, folder.file("..data_tmp")).unwrap();
        std::fs::rename(folder.file("..data_tmp"), folder.file("..data")).unwrap();
        leaf
    };
    let first = swap("..v1");
    for name in ["tls.crt", "tls.key"] {
        std::os::unix::fs::symlink(format!("..data/{name}"), folder.file(name)).unwrap();
    }
    let plan = with(plan_for(Told::Watch), "tls.cert", &folder.file("tls.crt"));
    let node = Node::start(&with(plan, "tls.key", &folder.file("tls.key"))).unwrap();
    assert_eq!(leaves(&node), [first.clone(), first]);
    let second = swap("..v2");
    std::fs::remove_dir_all(folder.file("..v1")).unwrap();
    until("the new version is shown", || leaves(&node) == [second.clone(), second.clone()]);
    assert_eq!(node.metric("grandstand_reload_failures_total").unwrap(), 0.0);
}

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |bits: u32| DIGITS[bits as usize & 63] as char;
    let three = |chunk: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        let digits = [digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)];
        digits[..=chunk.len()].iter().collect::<String>()
    };
    bytes.chunks(3).map(three).collect()
}

/// A token for an hour.
fn token(algorithm: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let unix_s = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let head = base64url(format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#).as_bytes());
    let claims = base64url(format!(r#"{{"sub":"ann","exp":{}}}"#, unix_s + 3_600).as_bytes());
    let signed = format!("{head}.{claims}");
    let signature = sign(signed.as_bytes());
    format!("{signed}.{}", base64url(&signature))
}

fn hs256(secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    token("HS256", |signed| hmac::sign(&key, signed).as_ref().to_vec())
}

fn is_welcome(node: &Node, token: &str) -> [bool; 3] {
    ALL.map(|transport| Client::open(node, transport).hello(token, b"").is_some())
}

/// The keys of tokens: what opens a session, before and after the file was replaced, and when it is spoiled.
fn keys_of_tokens(key: &str, first: (&[u8], &str), second: (&[u8], &str)) {
    for told in WAYS {
        let folder = Folder::new();
        let file = folder.write("key", first.0);
        let node = Node::start(&with(plan_for(told).key("auth.anonymous", false), key, &file)).unwrap();
        let mut inside = ALL.map(|transport| {
            let mut client = Client::open(&node, transport);
            assert!(client.hello(first.1, b"").is_some(), "{transport:?}");
            client
        });
        folder.write("key", second.0);
        tell(&node, told);
        until("the new key is in use", || is_welcome(&node, second.1) == [true; 3]);
        assert_eq!(is_welcome(&node, first.1), [false; 3], "the old key is over");
        inside.iter_mut().for_each(Client::is_served);
        for bad in [&b""[..], b"x"] {
            let before = node.log().unwrap().matches("stays in use").count();
            folder.write("key", bad);
            tell(&node, told);
            says(&node, "stays in use", before + 1);
            assert_eq!(is_welcome(&node, second.1), [true; 3]);
        }
    }
}

#[test]
fn a_new_secret_of_tokens_is_used_and_a_bad_one_is_not() {
    let (one, two) = ("one".repeat(16), "two".repeat(16));
    keys_of_tokens("auth.hs256_secret_file", (one.as_bytes(), &hs256(&one)), (two.as_bytes(), &hs256(&two)));
}

#[test]
fn a_new_public_key_of_tokens_is_used_and_a_bad_one_is_not() {
    let make = || {
        let key = Ed25519KeyPair::generate().unwrap();
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend_from_slice(key.public_key().as_ref());
        // 44 bytes: no digit is left out, and the two that differ from base64url are put back.
        let text = base64url(&der).replace('-', "+").replace('_', "/");
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}=\n-----END PUBLIC KEY-----\n");
        (pem, token("EdDSA", |signed| key.sign(signed).as_ref().to_vec()))
    };
    let (one, two) = (make(), make());
    keys_of_tokens("auth.eddsa_public_key_file", (one.0.as_bytes(), &one.1), (two.0.as_bytes(), &two.1));
}

#[test]
fn new_keys_of_tickets_are_used_and_bad_ones_are_not() {
    // The file of its own, and that in `log.dir`.
    for is_own in [true, false] {
        for told in WAYS {
            let folder = Folder::new();
            let (old, new) = ("5a".repeat(32), "a5".repeat(32));
            std::fs::create_dir(folder.file("log")).unwrap();
            let file = folder.write(if is_own { "shared.key" } else { "log/tickets.key" }, &old);
            let plan = match is_own {
                true => with(plan_for(told), "auth.ticket_key_file", &file),
                false => with(
                    with(plan_for(told), "log.dir", &folder.file("log")),
                    "log.recorder_dir",
                    &folder.file("log"),
                ),
            };
            let node = Node::start(&plan).unwrap();
            let mut inside = ALL.map(|transport| Client::open(&node, transport));
            let of_old = [0, 1, 2].map(|at| inside[at].hello("", b"").unwrap());
            let resumes = |ticket: &(Vec<u8>, u64)| {
                ALL.map(|transport| {
                    Client::open(&node, transport).hello("", &ticket.0).unwrap().1 == ticket.1
                })
            };
            // Rotation: the new key seals, the old one still opens.
            std::fs::write(&file, format!("{new}\n{old}\n")).unwrap();
            let reloads = node.metric("grandstand_reloads_total").unwrap();
            tell(&node, told);
            until("the keys are read", || node.metric("grandstand_reloads_total").unwrap() > reloads);
            assert!(of_old.iter().all(|ticket| resumes(ticket) == [true; 3]));
            let of_new = Client::open(&node, ALL[0]).hello("", b"").unwrap();
            // The old one is dropped.
            std::fs::write(&file, format!("{new}\n")).unwrap();
            tell(&node, told);
            until("the old key is over", || resumes(&of_old[0]) == [false; 3]);
            assert_eq!(resumes(&of_new), [true; 3], "sealed by the new key");
            for bad in ["", "5a5a", "no key"] {
                let before = node.log().unwrap().matches("stays in use").count();
                std::fs::write(&file, bad).unwrap();
                tell(&node, told);
                says(&node, "stays in use", before + 1);
                assert_eq!(resumes(&of_new), [true; 3]);
            }
            inside.iter_mut().for_each(Client::is_served);
        }
    }
}

#[test]
fn a_new_admin_key_is_asked_for_and_a_bad_one_is_not() {
    for told in WAYS {
        let folder = Folder::new();
        let (old, new) = ("old admin key 123", "new admin key 123");
        let file = folder.write("admin.key", old);
        let node = Node::start(&with(plan_for(told), "admin.key_file", &file)).unwrap();
        let status = |method: &str, path: &str, key: &str| {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect(admin(&node)).unwrap();
            let head =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n");
            stream.write_all(format!("{head}Content-Length: 0\r\n\r\n").as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
        };
        let tell = |key: &str| match told {
            Told::AdminPort => drop(status("POST", "/reload", key)),
            told => tell(&node, told),
        };
        assert_eq!((status("GET", "/rooms", old), status("GET", "/rooms", new)), (200, 401));
        folder.write("admin.key", new);
        tell(old);
        until("the new key is asked for", || status("GET", "/rooms", new) == 200);
        assert_eq!(status("GET", "/rooms", old), 401);
        for bad in ["", "short"] {
            let before = node.log().unwrap().matches("stays in use").count();
            folder.write("admin.key", bad);
            tell(new);
            says(&node, "stays in use", before + 1);
            assert_eq!((status("GET", "/rooms", new), status("GET", "/rooms", bad)), (200, 401));
        }
    }
}

#[test]
fn a_reload_takes_what_may_change_of_the_configuration_and_names_the_rest() {
    let folder = Folder::new();
    let file = folder.write("node.toml", "[drain]\nspread_ms = 1\n[limits]\nconnections_max = 1000\n");
    let plan = with(plan(), "config", &file);
    let mut node = Node::start(&plan).unwrap();
    folder.write(
        "node.toml",
        "[drain]\nspread_ms = 1\ngo_to = \"b.example:1\"\n[limits]\nconnections_max = 2000\n",
    );
    let answer = http::request(admin(&node), "POST", "/reload").unwrap();
    assert!(answer.contains(r#""needs_restart":["limits.connections_max"]"#), "{answer}");
    says(&node, "limits.connections_max", 1);
    folder.write("node.toml", "[drain]\nspread_mss = 1\n");
    let answer = http::request(admin(&node), "POST", "/reload").unwrap_err().to_string();
    assert!(answer.contains("spread_mss") && answer.contains("stays as it is"), "{answer}");
    let mut viewer = Client::welcomed(&node, ALL[0]);
    send(&node, Signal::TERM);
    let away = viewer.next();
    let grandstand_protocol::frame::ServerFrame::GoAway(away) =
        grandstand_protocol::frame::ServerFrame::decode(&away).unwrap()
    else {
        panic!("go-away is due")
    };
    assert_eq!(away.where_to, "b.example:1", "the new configuration");
    drop(viewer);
    assert_eq!(crate::rig::code(&mut node), Some(0));
}
