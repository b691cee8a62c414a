//! Tests of listed issuers: whose keys prove a token, for whom it is, and who its users are.
//!
//! Not here: keys that are fetched (`fetched`), kinds of keys (`keys`).

use super::keys::Pair;
use super::*;

/// An authority of this list; files of keys are in the same folder.
pub(super) fn listed(files: &Files, list: &str, own: config::Auth) -> Result<Authority, String> {
    let path = files.0.join("issuers.toml");
    std::fs::write(&path, list).unwrap();
    Authority::from_config(&config::Auth { issuers_file: Some(path), ..own })
}

const TWO: &str = r#"
[[issuer]]
iss = "https://a.example/"
key_files = ["k=a.pem"]
audience = ["chat"]
user_prefix = "a:"

[[issuer]]
iss = "https://b.example/"
key_files = ["k=b.pem"]
audience = ["chat"]
audience_required = false
user_prefix = "b:"
"#;

/// Two issuers that name a key and a user alike, and the node's own key.
fn two(files: &Files) -> (Authority, Pair, Pair) {
    let (a, b) = (Pair::rsa(), Pair::p256());
    std::fs::write(files.0.join("a.pem"), &a.pem).unwrap();
    std::fs::write(files.0.join("b.pem"), &b.pem).unwrap();
    (listed(files, TWO, auth()).unwrap(), a, b)
}

/// The kind: no key proves a token of another issuer's, whatever the token says of itself.
#[test]
fn a_token_is_proven_by_its_issuers_keys_alone() {
    let files = Files::new("issuers");
    let (authority, a, b) = two(&files);
    let (of_a, of_b) = ("https://a.example/", "https://b.example/");
    let admit = |token: &str| authority.authorize(token, "", NOW_MS);
    let user = |token: &str| admit(token).unwrap().user;
    let claims = |iss: &str| json!({ "iss": iss, "sub": "7", "aud": "chat" });
    let users = [
        user(&a.token(Some("k"), &claims(of_a))),
        user(&b.token(Some("k"), &claims(of_b))),
        user(&token(&json!({ "sub": "7" }))),
    ];
    assert!(users[0] != users[1] && users[1] != users[2] && users[0] != users[2], "three people: {users:?}");
    assert_eq!(
        users[0].map(|user| Subject::User(user.0)),
        Some(bans::user("a:7")),
        "as an operator names her"
    );
    for iss in [of_a, of_b, "https://c.example/", "HTTPS://a.example/", "https://a.example", ""] {
        for (name, pair) in [("a", &a), ("b", &b)] {
            let is_own = iss == format!("https://{name}.example/");
            for kid in [None, Some("k")] {
                assert_eq!(admit(&pair.token(kid, &claims(iss))).is_ok(), is_own, "{name} as {iss}, {kid:?}");
            }
            assert!(admit(&pair.token(Some("x"), &claims(iss))).is_err(), "another name of a key");
        }
        let own = admit(&token(&json!({ "iss": iss, "sub": "7" })));
        assert_eq!(own.is_ok(), ![of_a, of_b].contains(&iss), "the node's own key as {iss}");
    }
    // A name that only another issuer can give.
    let stolen = admit(&token(&json!({ "sub": "a:7" }))).unwrap_err();
    assert!(stolen.detail.contains("another issuer"), "{stolen:?}");
    assert!(admit(&token(&json!({ "jti": "b:7" }))).unwrap_err().detail.contains("jti"));
}

#[test]
fn an_issuer_has_its_own_audience_required_or_allowed() {
    let files = Files::new("audience");
    let (authority, a, b) = two(&files);
    let at = |pair: &Pair, iss: &str, aud: Option<&str>| {
        let mut claims = json!({ "iss": iss });
        aud.into_iter().for_each(|aud| claims["aud"] = json!(aud));
        authority.authorize(&pair.token(None, &claims), "", NOW_MS).is_ok()
    };
    for (aud, is_ok) in [(Some("chat"), [true; 2]), (None, [false, true]), (Some("other"), [false; 2])] {
        assert_eq!([at(&a, "https://a.example/", aud), at(&b, "https://b.example/", aud)], is_ok, "{aud:?}");
    }
}

#[test]
fn a_list_that_cannot_be_used_says_what_to_do() {
    let files = Files::new("list");
    std::fs::write(files.0.join("a.pem"), Pair::ed25519().pem).unwrap();
    let fault = |list: &str| listed(&files, list, config::Auth::default()).unwrap_err();
    let one = "[[issuer]]\niss = \"a\"\n";
    let key = "key_files = [\"a.pem\"]\n";
    for (list, why) in [
        (String::new(), "1 to 64"),
        ("[[issuer]]\n".to_owned(), "iss"),
        (one.to_owned(), "jwks_url, or key_files"),
        (format!("{one}key_files = [\"none.pem\"]\n"), "cannot be read"),
        (format!("{one}{key}jwks_url = \"https://a/\"\n"), "one of them"),
        (format!("{one}{key}jwks = 1\n"), "unknown field"),
        (format!("{one}{key}{one}{key}user_prefix = \"a\"\n"), "no other issuer"),
        (format!("{one}{key}[[issuer]]\niss = \"b\"\n{key}"), "user_prefix"),
        (format!("{one}{key}shares_users = true\n[[issuer]]\niss = \"b\"\n{key}"), "user_prefix"),
        (format!("{one}{key}[[issuer]]\niss = \"b\"\nshares_users = true\n{key}"), "user_prefix"),
    ] {
        let fault = fault(&list);
        assert!(fault.contains(why) && fault.contains("issuers.toml"), "{list}: {fault}");
    }
    for url in
        ["ftp://a/", "http://a/", "http://localhost.evil/", "http://localhost@evil/", "https://", "/k", ""]
    {
        assert!(fault(&format!("{one}jwks_url = \"{url}\"\n")).contains("https://HOST/PATH"), "{url}");
    }
    for url in ["https://a/k", "http://localhost:8/k", "http://127.0.0.1/k", "http://[::1]:80"] {
        let list = format!("{one}jwks_url = \"{url}\"\n");
        assert!(listed(&files, &list, config::Auth::default()).is_ok(), "{url}");
    }
    let shared =
        format!("{one}{key}shares_users = true\n[[issuer]]\niss = \"b\"\nshares_users = true\n{key}");
    let authority = listed(&files, &shared, config::Auth::default()).unwrap();
    assert!(!authority.runs_open(), "a list of issuers is a key");
    let beside = listed(&files, &format!("{one}{key}"), auth()).unwrap_err();
    assert!(beside.contains("user_prefix"), "the node's own key names users, too: {beside}");
}

#[test]
fn the_list_and_its_files_are_watched_and_read_again() {
    let files = Files::new("watched");
    let (authority, a, b) = two(&files);
    let auth = config::Auth { issuers_file: Some(files.0.join("issuers.toml")), ..auth() };
    let names = ["issuers.toml", "a.pem", "b.pem"].map(|name| files.0.join(name));
    assert_eq!(Authority::files(&auth), names);
    let is_ok = |pair: &Pair| {
        let claims = json!({ "iss": "https://a.example/", "aud": "chat" });
        authority.authorize(&pair.token(None, &claims), "", NOW_MS).is_ok()
    };
    assert_eq!([is_ok(&a), is_ok(&b)], [true, false]);
    std::fs::write(files.0.join("a.pem"), &b.pem).unwrap();
    authority.reload(&auth).unwrap();
    assert_eq!([is_ok(&a), is_ok(&b)], [false, true]);
    std::fs::write(files.0.join("issuers.toml"), "no list").unwrap();
    assert!(authority.reload(&auth).is_err() && is_ok(&b), "a reload that fails changes nothing");
}
