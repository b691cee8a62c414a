//! Tests of keys that are fetched, in virtual time: rotation, an address that is down, unknown names.
//!
//! Why virtual: a rotation takes half an hour, and a token waits 30 s for the next fetch.

use super::issuers::listed;
use super::keys::Pair;
use super::*;

const ISSUER: &str = "https://id.example/";

fn authority(files: &Files) -> (Authority, Arc<FetchedKeys>) {
    let list = format!("[[issuer]]\niss = \"{ISSUER}\"\njwks_url = \"https://id.example/keys\"\n");
    let authority = listed(files, &list, config::Auth::default()).unwrap();
    let fetched = authority.fetched().remove(0);
    (authority, fetched)
}

fn set(keys: &[(&Pair, &str)]) -> Vec<u8> {
    let keys: Vec<Value> = keys.iter().map(|(pair, kid)| pair.named(kid)).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

fn code_at(authority: &Authority, pair: &Pair, kid: &str, now_ms: u64) -> Result<(), (CloseCode, u32)> {
    let claims = json!({ "iss": ISSUER, "exp": now_ms / 1_000 + 60 });
    let got = authority.authorize(&pair.token(Some(kid), &claims), "", now_ms);
    got.map(|_| ()).map_err(|denied| (denied.code, denied.retry_after_ms))
}

/// The kind: at every moment of a rotation (old, both, new), with the address down in between, whoever has a
/// token of a published key is let in, and nobody is refused for good whose key may still come.
#[test]
fn a_rotation_keeps_nobody_out_also_while_the_address_is_down() {
    let files = Files::new("rotation");
    let (old, new) = (Pair::rsa(), Pair::p256());
    let (authority, keys) = authority(&files);
    let woken = Arc::new(AtomicU64::new(0));
    let count = woken.clone();
    authority.on_keys_wanted(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let at = |pair: &Pair, kid: &str, ms: u64| code_at(&authority, pair, kid, NOW_MS + ms);
    let due = |ms: u64| keys.due_ms(NOW_MS + ms).unwrap().saturating_sub(NOW_MS);
    // Before the first fetch a token waits, and gets a time.
    assert_eq!(due(0), 0, "fetched at once");
    let (code, after_ms) = at(&old, "old", 0).unwrap_err();
    assert!(code == CloseCode::KeysPending && (1_000..2_000).contains(&after_ms), "{code:?} {after_ms}");
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    // The address is down at first.
    keys.begin(NOW_MS);
    assert_eq!(keys.due_ms(NOW_MS), None, "one fetch at a time");
    keys.fail(NOW_MS);
    assert_eq!(due(0), 2_000);
    assert_eq!(at(&old, "old", 1_500).unwrap_err().0, CloseCode::KeysPending, "it may come yet");
    keys.begin(NOW_MS + 2_000);
    assert_eq!(keys.take(NOW_MS + 2_000, &set(&[(&old, "old")]), Some(3_600)), Ok(1));
    assert_eq!(at(&old, "old", 2_000), Ok(()));
    // Refreshed at half its age.
    let half = 2_000 + 1_800_000;
    assert_eq!(due(3_000), half);
    // The new key is used before the node has it: told to come back, and fetched 30 s after the last time.
    let (code, after_ms) = at(&new, "new", 10_000).unwrap_err();
    assert!(code == CloseCode::KeysPending && (23_000..24_000).contains(&after_ms), "{after_ms}");
    assert_eq!(due(10_000), 32_000);
    keys.begin(NOW_MS + 32_000);
    keys.fail(NOW_MS + 32_000);
    assert_eq!([at(&old, "old", 40_000).is_ok(), at(&new, "new", 40_000).is_ok()], [true, false], "down");
    assert_eq!(at(&new, "new", 40_000).unwrap_err().0, CloseCode::KeysPending);
    let next = due(40_000);
    assert_eq!(next, 62_000, "again, as the token asked");
    keys.begin(NOW_MS + next);
    keys.take(NOW_MS + next, &set(&[(&old, "old"), (&new, "new")]), None).unwrap();
    assert_eq!([at(&old, "old", next), at(&new, "new", next)], [Ok(()); 2], "both");
    // An empty set, rubbish, a set that is too long: faults, and no set without keys.
    for bad in [&b"{\"keys\":[]}"[..], b"rubbish", &[b' '; 70_000], b"<html>", &[0xff; 9]] {
        keys.begin(NOW_MS + next);
        assert!(keys.take(NOW_MS + next, bad, None).is_err());
        assert_eq!([at(&old, "old", next), at(&new, "new", next)], [Ok(()); 2], "kept");
    }
    let later = next + 700_000;
    keys.begin(NOW_MS + later);
    keys.take(NOW_MS + later, &set(&[(&new, "new")]), Some(1)).unwrap();
    assert_eq!(at(&new, "new", later), Ok(()));
    assert_eq!(due(later), later + 300_000, "no sooner than in five minutes");
    // The old key is gone: told to come back once, and then refused for good.
    assert_eq!(at(&old, "old", later).unwrap_err().0, CloseCode::KeysPending);
    let again = due(later);
    assert_eq!(again, later + 30_000);
    keys.begin(NOW_MS + again);
    assert_eq!(at(&old, "old", again).unwrap_err().0, CloseCode::KeysPending, "a fetch runs");
    keys.take(NOW_MS + again, &set(&[(&new, "new")]), Some(u64::MAX)).unwrap();
    assert_eq!(at(&old, "old", again), Err((CloseCode::Unauthorized, 0)));
    assert_eq!(due(again), again + 24 * 3_600_000, "no later than in a day");
    let numbers = keys.numbers(NOW_MS + again + 5);
    assert_eq!((numbers.keys, numbers.fetches, numbers.failures), (1, 4, 7));
    assert_eq!(numbers.age_ms, Some(5));
}

/// Strangers who name keys without end cause one fetch in 30 s, and cost a bounded memory.
#[test]
fn names_without_end_cause_one_fetch_in_thirty_seconds() {
    let files = Files::new("strangers");
    let (authority, keys) = authority(&files);
    let (pair, other) = (Pair::ed25519(), Pair::ed25519());
    let (mut fetches, mut ms) = (0, 0);
    while ms < 600_000 {
        for name in 0..3 {
            let _ = code_at(&authority, &other, &format!("{ms}-{name}"), NOW_MS + ms);
        }
        if keys.due_ms(NOW_MS + ms).unwrap() <= NOW_MS + ms {
            keys.begin(NOW_MS + ms);
            keys.take(NOW_MS + ms, &set(&[(&pair, "k")]), None).unwrap();
            fetches += 1;
        }
        ms += 250;
    }
    assert!((19..=21).contains(&fetches), "{fetches} in ten minutes");
    assert_eq!(code_at(&authority, &pair, "k", NOW_MS + ms), Ok(()));
    let wrong = code_at(&authority, &other, "k", NOW_MS + ms);
    assert_eq!(
        wrong,
        Err((CloseCode::Unauthorized, 0)),
        "a known name with another key is no reason to fetch"
    );
}

/// Keys of a set are public: a shared secret among them is none. And a reload keeps what was fetched.
#[test]
fn a_published_secret_opens_nothing_and_a_reload_keeps_the_keys() {
    let files = Files::new("published");
    let (authority, keys) = authority(&files);
    let pair = Pair::ed25519();
    let secret = json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0" });
    keys.begin(NOW_MS);
    let both = json!({ "keys": [secret, pair.named("k")] }).to_string();
    assert_eq!(keys.take(NOW_MS, both.as_bytes(), None), Ok(1));
    let header = Header { kid: Some("s".to_owned()), ..Header::new(Algorithm::HS256) };
    let by_secret = EncodingKey::from_secret(b"secretsecretsecretsecretsecretsecret").unwrap();
    let stolen = token_of(&header, &json!({ "iss": ISSUER }), &by_secret);
    assert!(authority.authorize(&stolen, "", NOW_MS).is_err());
    let auth = config::Auth { issuers_file: Some(files.0.join("issuers.toml")), ..config::Auth::default() };
    authority.reload(&auth).unwrap();
    assert_eq!(code_at(&authority, &pair, "k", NOW_MS), Ok(()));
    let list = std::fs::read_to_string(files.0.join("issuers.toml")).unwrap();
    std::fs::write(files.0.join("issuers.toml"), list.replace("/keys", "/others")).unwrap();
    authority.reload(&auth).unwrap();
    assert!(code_at(&authority, &pair, "k", NOW_MS).is_err(), "another address has other keys");
}
