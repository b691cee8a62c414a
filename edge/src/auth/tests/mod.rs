//! Tests of tokens and tickets, at times that the tests choose.
//!
//! Why: the core of auth takes the time as an argument, so no test waits.

mod claims;
mod fetched;
mod issuers;
mod keys;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grandstand_edge_core::audience::{Audience, FrameSink, LinkKey, Settings};
use grandstand_edge_core::auth::{RoomScope, SealTickets, TicketBody};
use grandstand_edge_core::people::{People, PeopleLimits};
use grandstand_engine::link::Backbone;
use grandstand_engine::link::{Alias, Input, Now, ShardId, UserId};
use grandstand_protocol::frame::{ClientFrame, Encoder, Hello, Role, ServerFrame, Subscribe};
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::{limits, stream};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SECRET: &[u8] = b"an honest secret of enough bytes";
const NOW_S: u64 = 1_700_000_000;
const NOW_MS: u64 = NOW_S * 1_000;

fn auth() -> config::Auth {
    config::Auth { hs256_secret: Some(config::Secret::new(SECRET)), ..config::Auth::default() }
}

fn authority() -> Authority {
    Authority::from_config(&auth()).unwrap()
}

/// A token with these claims, valid for a minute unless they say otherwise.
fn token(claims: &Value) -> String {
    token_of(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET).unwrap())
}

fn token_of(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    let mut all = json!({ "exp": NOW_S + 60 });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    jsonwebtoken::encode(header, &all, key).unwrap()
}

fn admit(claims: &Value) -> Result<Grant, Denied> {
    authority().authorize(&token(claims), "wish", NOW_MS)
}

fn code(result: Result<Grant, Denied>) -> CloseCode {
    result.expect_err("it is not to be admitted").code
}

/// A token with this header and these claims unchanged, and a signature of HMAC-SHA256 by this key.
fn signed_by_hand(header: &str, claims: &str, key: &[u8]) -> String {
    let b64 = |bytes: &[u8]| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
        let six = |chunk: &[u8]| {
            let text = format!("{:0<6}", std::str::from_utf8(chunk).unwrap());
            alphabet[usize::from_str_radix(&text, 2).unwrap()] as char
        };
        bits.as_bytes().chunks(6).map(six).collect::<String>()
    };
    let message = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", b64(tag.as_ref()))
}

#[test]
fn claims_become_a_grant() {
    let grant = admit(&json!({
        "sub": "u-17", "name": "Ada", "role": "host", "may": ["publish", "state"], "rooms": ["show-*", "lobby"],
    }));
    let grant = grant.unwrap();
    assert_eq!((&*grant.name, grant.role), ("Ada", Role::Host));
    assert_eq!(grant.permissions, permission::PUBLISH | permission::STATE);
    assert_eq!(grant.expiry, Some(Expiry { expires_unix_ms: (NOW_S + 60) * 1_000, leeway_ms: 30_000 }));
    assert!(grant.rooms.allows("show-1") && grant.rooms.allows("lobby"));
    assert!(!grant.rooms.allows("lobby-2") && !grant.rooms.allows("sho"));
}

#[test]
fn missing_claims_have_their_meaning() {
    let grant = admit(&json!({})).unwrap();
    assert_eq!((grant.user, &*grant.name, grant.role), (None, "wish", Role::Viewer));
    assert_eq!(grant.permissions, permission::PUBLISH | permission::REACT);
    assert_eq!(grant.rooms, RoomScope::All);
    assert_eq!(admit(&json!({ "may": [] })).unwrap().permissions, 0);
    assert!(!admit(&json!({ "rooms": [] })).unwrap().rooms.allows("lobby"));
}

#[test]
fn who_may_moderate_is_said_or_follows_from_the_role() {
    let may = |claims| admit(&claims).unwrap().permissions & permission::MODERATE != 0;
    for role in ["viewer", "subscriber", "bot"] {
        assert!(!may(json!({ "role": role })), "{role}");
        assert!(may(json!({ "role": role, "may": ["moderate"] })), "{role}");
    }
    for role in ["moderator", "host"] {
        assert!(may(json!({ "role": role })), "{role}");
        assert!(!may(json!({ "role": role, "may": ["publish"] })), "{role}: what a token lists is all");
    }
    assert_eq!(config::Auth::default().open_may.iter().filter(|right| **right == Right::Moderate).count(), 0);
}

#[test]
fn a_user_is_its_subject_on_every_node() {
    let user = |sub| admit(&json!({ "sub": sub })).unwrap().user.unwrap();
    assert_eq!(user("u-17"), user("u-17"));
    assert_ne!(user("u-17"), user("u-18"));
    // printf 'user:u-17' | sha256sum
    assert_eq!(format!("{:016x}", user("u-17").0), "625db053d02b3679");
}

#[test]
fn a_wrong_claim_refuses_the_token() {
    for claims in [
        json!({ "role": "admin" }),
        json!({ "role": 3 }),
        json!({ "may": ["publish", "fly"] }),
        json!({ "may": "publish" }),
        json!({ "rooms": ["a*b"] }),
        json!({ "rooms": ["a**"] }),
        json!({ "sub": "" }),
        json!({ "sub": 17 }),
        json!({ "exp": "tomorrow" }),
        json!({ "exp": null }),
        json!({ "nbf": "yesterday" }),
        json!({ "aud": "another service" }),
    ] {
        assert_eq!(code(admit(&claims)), CloseCode::Unauthorized, "{claims}");
    }
}

#[test]
fn times_are_the_ones_passed_in_with_leeway() {
    let (authority, token) = (authority(), token(&json!({ "nbf": NOW_S })));
    let at =
        |now_s: u64| authority.authorize(&token, "", now_s * 1_000).map(|_| ()).map_err(|denied| denied.code);
    assert_eq!(at(NOW_S - 31), Err(CloseCode::Unauthorized));
    assert_eq!([at(NOW_S - 30), at(NOW_S), at(NOW_S + 60 + 29)], [Ok(()); 3]);
    assert_eq!(at(NOW_S + 60 + 30), Err(CloseCode::TokenExpired));
}

#[test]
fn times_with_fractions_and_far_away_are_taken() {
    let expires = |exp: Value| admit(&json!({ "exp": exp })).unwrap().expiry.unwrap().expires_unix_ms;
    assert_eq!(expires(json!(NOW_S as f64 + 0.5)), NOW_MS + 500);
    assert_eq!(expires(json!(1e300)), u64::MAX);
    assert_eq!(code(admit(&json!({ "exp": -1 }))), CloseCode::TokenExpired);
}

#[test]
fn only_the_keys_own_algorithm_counts() {
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let hs512 = token_of(&Header::new(Algorithm::HS512), &json!({}), &key);
    assert_eq!(code(authority().authorize(&hs512, "", NOW_MS)), CloseCode::Unauthorized);
    let claims = format!("{{\"exp\":{}}}", NOW_S + 60);
    let good = signed_by_hand(r#"{"alg":"HS256"}"#, &claims, SECRET);
    assert!(authority().authorize(&good, "", NOW_MS).is_ok(), "the test's own signature is right");
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS384"}"#, r#"{"alg":"EdDSA"}"#, r#"{}"#, "no JSON"] {
        let token = signed_by_hand(header, &claims, SECRET);
        assert_eq!(code(authority().authorize(&token, "", NOW_MS)), CloseCode::Unauthorized, "{header}");
    }
    let unsigned = format!("{}.", good.rsplit_once('.').unwrap().0);
    assert_eq!(code(authority().authorize(&unsigned, "", NOW_MS)), CloseCode::Unauthorized);
}

#[test]
fn keys_in_the_header_are_not_followed_and_extensions_refused() {
    let claims = format!("{{\"exp\":{}}}", NOW_S + 60);
    let jwk =
        r#"{"alg":"HS256","kid":"x","jku":"http://127.0.0.1:1/","jwk":{"kty":"oct","k":"YXR0YWNrZXI"}}"#;
    let attacker = signed_by_hand(jwk, &claims, b"attacker");
    assert_eq!(code(authority().authorize(&attacker, "", NOW_MS)), CloseCode::Unauthorized);
    assert!(
        authority().authorize(&signed_by_hand(jwk, &claims, SECRET), "", NOW_MS).is_ok(),
        "they are only passed over"
    );
    let critical = signed_by_hand(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &claims, SECRET);
    assert_eq!(code(authority().authorize(&critical, "", NOW_MS)), CloseCode::Unauthorized);
}

#[test]
fn a_claim_that_stands_twice_refuses_the_token() {
    let claims = format!("{{\"exp\":{},\"role\":\"viewer\",\"role\":\"host\"}}", NOW_S + 60);
    let token = signed_by_hand(r#"{"alg":"HS256"}"#, &claims, SECRET);
    assert_eq!(code(authority().authorize(&token, "", NOW_MS)), CloseCode::Unauthorized);
}

#[test]
fn without_a_key_everybody_may_what_the_open_node_allows() {
    let open = Authority::from_config(&config::Auth::default()).unwrap();
    assert!(open.runs_open() && !authority().runs_open());
    for token in ["", "rubbish", &token(&json!({ "name": "Ada" }))] {
        let grant = open.authorize(token, "wish", NOW_MS).unwrap();
        assert_eq!((grant.user, &*grant.name, grant.expiry), (None, "wish", None));
        assert_eq!(grant.permissions, bits(&[Right::Publish, Right::React]), "a bridge never by default");
    }
    let defaults = config::Auth::default();
    assert_eq!(defaults.open_may, defaults.anonymous_may, "as a node with a key");
    let all = config::Auth { open_may: Right::ALL.to_vec(), ..defaults };
    let granted = Authority::from_config(&all).unwrap().authorize("", "", NOW_MS).unwrap().permissions;
    assert_eq!(granted, bits(Right::ALL), "by an explicit key");
}

#[test]
fn without_a_token_it_is_the_configuration_that_decides() {
    let grant = authority().authorize("", "", NOW_MS).unwrap();
    assert_eq!((grant.user, &*grant.name, grant.role), (None, "", Role::Viewer));
    assert_eq!(grant.permissions, permission::PUBLISH | permission::REACT);
    let closed = Authority::from_config(&config::Auth { anonymous: false, ..auth() }).unwrap();
    assert_eq!(code(closed.authorize("", "wish", NOW_MS)), CloseCode::Unauthorized);
}

/// A directory of this test's own, removed when the test ends.
struct Files(std::path::PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let path = std::env::temp_dir().join(format!("grandstand-auth-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Files(path)
    }

    fn write(&self, name: &str, text: &str) -> config::Auth {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        config::Auth { eddsa_public_key_file: Some(path), ..config::Auth::default() }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn eddsa_tokens_are_checked_by_the_public_key_of_a_file() {
    let files = Files::new("eddsa");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let public = pair.public_key_pem();
    let authority = Authority::from_config(&files.write("public.pem", &public)).unwrap();
    let header = Header::new(Algorithm::EdDSA);
    let sign = |pair: &rcgen::KeyPair| {
        token_of(&header, &json!({ "sub": "u" }), &EncodingKey::from_ed_der(pair.serialized_der()))
    };
    assert!(authority.authorize(&sign(&pair), "", NOW_MS).unwrap().user.is_some());
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    assert_eq!(code(authority.authorize(&sign(&other), "", NOW_MS)), CloseCode::Unauthorized);
    // The public key is not secret: used as a secret, it must open nothing.
    let confused = token_of(
        &Header::new(Algorithm::HS256),
        &json!({}),
        &EncodingKey::from_secret(public.as_bytes()).unwrap(),
    );
    assert_eq!(code(authority.authorize(&confused, "", NOW_MS)), CloseCode::Unauthorized);
}

#[test]
fn key_files_that_are_none_say_what_to_do() {
    let files = Files::new("faults");
    let fault = |auth: &config::Auth| Authority::from_config(auth).err().unwrap();
    let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let p256 = rcgen::KeyPair::generate().unwrap();
    assert!(fault(&files.write("private.pem", &ed.serialize_pem())).contains("-pubout"));
    assert!(fault(&files.write("p256.pem", &p256.public_key_pem())).contains("no Ed25519 public key"));
    assert!(fault(&files.write("empty.pem", "")).contains("no Ed25519"));
    let missing =
        config::Auth { eddsa_public_key_file: Some(files.0.join("none")), ..config::Auth::default() };
    assert!(fault(&missing).contains("cannot be read"));
    let secret = config::Auth { hs256_secret_file: Some(files.0.join("none")), ..config::Auth::default() };
    assert!(fault(&secret).contains("auth.hs256_secret"));
}

#[test]
fn a_ticket_carries_a_session_for_its_time() {
    let tickets = Tickets::new([7; 32], 1_000);
    let body = TicketBody { session: 0x0123_4567_89ab_cdef, user: UserId(u64::MAX) };
    let ticket = tickets.issue(&body, NOW_MS);
    assert_eq!(tickets.read(&ticket, NOW_MS + 999), Some(body));
    assert_eq!(tickets.read(&ticket, NOW_MS + 1_000), None);
    assert_eq!(Tickets::new([8; 32], 1_000).read(&ticket, NOW_MS), None);
    let (one, other) = (Tickets::with_random_key(1_000).unwrap(), Tickets::with_random_key(1_000).unwrap());
    assert_eq!(other.read(&one.issue(&body, NOW_MS), NOW_MS), None);
}

#[test]
fn older_keys_still_open_and_the_newest_seals() {
    let body = TicketBody { session: 5, user: UserId(6) };
    let (old, both) = (Tickets::new([7; 32], 1_000), Tickets::with_keys(&[[8; 32], [7; 32]], 1_000));
    assert_eq!(both.read(&old.issue(&body, NOW_MS), NOW_MS), Some(body));
    assert_eq!(old.read(&both.issue(&body, NOW_MS), NOW_MS), None);
    assert_eq!(Tickets::new([8; 32], 1_000).read(&both.issue(&body, NOW_MS), NOW_MS), Some(body));
}

#[test]
fn ticket_keys_are_read_again_while_the_node_runs() {
    let files = Files::new("ticket-keys");
    let path = files.0.join("tickets.key");
    let write = |keys: &[&str]| {
        std::fs::write(&path, keys.iter().map(|key| format!("{}\n", key.repeat(32))).collect::<String>())
            .unwrap();
    };
    let auth = config::Auth { ticket_key_file: Some(path.clone()), ..config::Auth::default() };
    let config = config::Config { auth, ..config::Config::default() };
    write(&["07"]);
    let tickets = Tickets::from_config(&config).unwrap();
    let body = TicketBody { session: 5, user: UserId(6) };
    let old = tickets.issue(&body, NOW_MS);
    write(&["08", "07"]);
    tickets.reload(&config).unwrap();
    let new = tickets.issue(&body, NOW_MS);
    assert_eq!((tickets.read(&old, NOW_MS), tickets.read(&new, NOW_MS)), (Some(body), Some(body)));
    assert_eq!(Tickets::new([7; 32], 1_000).read(&new, NOW_MS), None);
    std::fs::write(&path, "damaged").unwrap();
    assert!(tickets.reload(&config).is_err());
    write(&["08"]);
    assert_eq!(tickets.read(&old, NOW_MS), Some(body), "a reload that fails changes nothing");
    tickets.reload(&config).unwrap();
    assert_eq!((tickets.read(&old, NOW_MS), tickets.read(&new, NOW_MS)), (None, Some(body)));
}

#[test]
fn a_ticket_that_was_changed_in_any_bit_or_cut_is_none() {
    let tickets = Tickets::new([7; 32], 1_000);
    let ticket = tickets.issue(&TicketBody { session: 1, user: UserId(2) }, NOW_MS);
    for bit in 0..ticket.len() * 8 {
        let mut changed = ticket.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(tickets.read(&changed, NOW_MS), None, "bit {bit}");
    }
    assert!((0..ticket.len()).all(|end| tickets.read(&ticket[..end], NOW_MS).is_none()));
    assert_eq!(tickets.read(&[&ticket[..], &[0]].concat(), NOW_MS), None);
}

proptest! {
    #[test]
    fn no_token_makes_it_panic_or_passes(token in ".{0,200}") {
        prop_assume!(!token.is_empty());
        prop_assert!(authority().authorize(&token, "wish", NOW_MS).is_err());
    }

    #[test]
    fn no_ticket_makes_it_panic_or_passes(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        prop_assert_eq!(Tickets::new([7; 32], 1_000).read(&bytes, NOW_MS), None);
    }
}

/// Keeps every input that is submitted, and every byte that is written.
#[derive(Debug, Default)]
struct Kept {
    inputs: Mutex<Vec<Input>>,
    bytes: Vec<u8>,
}

impl Backbone for Kept {
    fn shards(&self) -> u16 {
        1
    }

    fn shard_of(&self, _room: &str) -> ShardId {
        ShardId(0)
    }

    fn shard_of_alias(&self, _alias: Alias) -> ShardId {
        ShardId(0)
    }

    fn submit(&self, _shard: ShardId, input: Input) -> Result<(), Input> {
        self.inputs.lock().unwrap().push(input);
        Ok(())
    }
}

impl FrameSink for Kept {
    fn send(&mut self, _wire: LinkKey, frames: &[&Bytes]) -> usize {
        frames.iter().for_each(|frame| self.bytes.extend_from_slice(frame));
        frames.iter().map(|frame| frame.len()).sum()
    }
}

/// The first frame, without its header, and the bytes after it.
fn split_frame(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = stream::read_header(bytes, limits::SERVER_FRAME_BYTES_MAX).unwrap().unwrap();
    bytes[header..].split_at(length)
}

#[test]
fn an_audience_opens_a_tokens_rooms_for_its_time() {
    let authority = Authority::from_config(&config::Auth { leeway_s: 0, ..auth() }).unwrap();
    let (shards, mut wire) = (Arc::new(Kept::default()), Kept::default());
    let (tickets, key) = (Tickets::new([7; 32], 60_000), grandstand_edge_core::key::Key::from_seed(1));
    let people =
        Arc::new(People::new(PeopleLimits::for_tests(), grandstand_edge_core::key::Key::from_seed(1)));
    let mut audience = Audience::new(
        Settings::for_tests(),
        Arc::new(authority),
        Arc::new(tickets),
        shards.clone(),
        people,
        key,
    );
    let at = |s: u64| Now { us: s * 1_000_000, unix_ms: NOW_MS + s * 1_000 };
    let key = audience.handle_open(at(0), LinkKey(0), None);
    let token = token(&json!({ "sub": "u1", "rooms": ["show/*"], "exp": NOW_S + 10 }));
    let mut encoder = Encoder::new();
    for frame in [
        ClientFrame::Hello(Hello { token: &token, ..Hello::default() }),
        ClientFrame::Subscribe(Subscribe { request: 1, room: "other", ..Subscribe::default() }),
        ClientFrame::Subscribe(Subscribe { request: 2, room: "show/1", ..Subscribe::default() }),
    ] {
        let mut bytes = Vec::new();
        encoder.client(&frame, &mut bytes);
        audience.handle_frame(at(0), key, &bytes);
    }
    audience.handle_timeout(at(9));
    audience.poll_writes(&mut wire, 100);
    assert_eq!(audience.poll_close(), None);
    audience.handle_timeout(at(11));
    audience.poll_writes(&mut wire, 100);
    assert_eq!(audience.poll_close().map(|close| close.code), Some(CloseCode::TokenExpired));

    let inputs = shards.inputs.lock().unwrap();
    let Some(Input::Attach { room, .. }) = inputs.first() else { panic!("{inputs:?}") };
    assert_eq!(&**room, "show/1");
    let (welcome, rest) = split_frame(&wire.bytes);
    let (refused, _) = split_frame(rest);
    let Ok(ServerFrame::Welcome(welcome)) = ServerFrame::decode(welcome) else { panic!("no Welcome") };
    assert_eq!(welcome.permissions, permission::PUBLISH | permission::REACT);
    let Ok(ServerFrame::Refused(refused)) = ServerFrame::decode(refused) else { panic!("no Refused") };
    assert_eq!(refused.reason, Refusal::Forbidden);
}
