//! Tests of claims and keys as attackers and identity providers send them: every claim in every form, tokens
//! that were built by hand, several keys, audiences and issuers.
//!
//! Not here: what well-formed claims become (`super`).

use super::*;

/// Values of every JSON form, the odd ones of each above all.
fn values() -> Vec<Value> {
    let mut nested = json!("x");
    for _ in 0..40 {
        nested = json!([nested]);
    }
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(NOW_S + 60),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(-1e300),
        json!(""),
        json!(" "),
        json!("*"),
        json!("host"),
        json!("Host "),
        json!("publish"),
        json!("NaN"),
        json!("show-1"),
        json!([]),
        json!([null]),
        json!([[]]),
        json!([""]),
        json!(["*"]),
        json!(["publish", 1]),
        json!(["publish", null]),
        json!(["show-1", ["*"]]),
        json!(["**"]),
        json!({}),
        json!({ "0": "*" }),
        json!({ "$ne": null }),
        nested,
    ]
}

/// The forms that a claim is documented to have (docs/OPERATING.md, Tokens).
fn is_understood(claim: &str, value: &Value) -> bool {
    let texts = |of: &dyn Fn(&str) -> bool| {
        value.as_array().is_some_and(|list| list.iter().all(|v| v.as_str().is_some_and(of)))
    };
    match claim {
        "exp" | "nbf" | "iat" => value.is_number(),
        "sub" => value.as_str().is_some_and(|sub| !sub.is_empty()),
        "iss" => value.is_string(),
        "aud" => false,
        "role" => {
            ["viewer", "subscriber", "moderator", "host", "bot"].contains(&value.as_str().unwrap_or(""))
        }
        "may" => texts(&|word| Right::from_word(word).is_some()),
        "rooms" => texts(&|pattern| !pattern.strip_suffix('*').unwrap_or(pattern).contains('*')),
        _ => true,
    }
}

/// A claim in a form that it is not documented to have refuses the token; so no form of a claim grants more
/// than the documented ones do. Only a name is mended, and then it is nobody's wish.
#[test]
fn a_claim_of_another_form_refuses_and_never_grants_more() {
    for claim in ["exp", "nbf", "iat", "iss", "aud", "sub", "name", "role", "may", "rooms"] {
        for value in values() {
            let got = admit(&json!({ claim: value.clone() }));
            if !is_understood(claim, &value) {
                let denied = got.expect_err(&format!("{claim}: {value}"));
                assert_eq!(denied.code, CloseCode::Unauthorized, "{claim}: {value}");
                assert!(denied.detail.contains(claim), "{claim}: {value}: {}", denied.detail);
            } else if claim == "name" {
                let grant = got.unwrap();
                assert_ne!(&*grant.name, "wish", "{value}");
                let without = admit(&json!({})).unwrap();
                assert_eq!(Grant { name: without.name.clone(), ..grant }, without, "{value}");
            }
        }
    }
}

/// The bug that was found, and its neighbours: what is not a list of rooms opens no room.
#[test]
fn rooms_that_are_no_list_open_no_room() {
    for rooms in [json!(null), json!("show-1"), json!({}), json!(0), json!([null]), json!([["a"]])] {
        assert_eq!(code(admit(&json!({ "rooms": rooms.clone() }))), CloseCode::Unauthorized, "{rooms}");
    }
    assert!(!admit(&json!({ "rooms": [] })).unwrap().rooms.allows("lobby"));
    assert!(!admit(&json!({ "rooms": [""] })).unwrap().rooms.allows("lobby"));
}

#[test]
fn names_are_mended_and_lock_nobody_out() {
    let name = |name: Value| admit(&json!({ "name": name })).unwrap().name;
    assert_eq!(&*name(json!("名".repeat(22))), "名".repeat(21));
    assert_eq!(&*name(json!(" Ada \n")), "Ada");
    assert_eq!(&*name(json!("A\u{202e}d\u{200b}a")), "Ada");
    for unusable in [json!(""), json!(" "), json!("\u{200b}"), json!(null), json!(7), json!(["Ada"])] {
        assert_eq!(&*name(unusable.clone()), "", "{unusable}: the node gives one");
    }
}

/// Times of every kind: what is no time refuses, what is one is kept.
#[test]
fn times_of_any_kind_never_lengthen_a_token() {
    let at = |claims: &str| {
        let token = signed_by_hand(r#"{"alg":"HS256"}"#, claims, SECRET);
        authority().authorize(&token, "", NOW_MS)
    };
    for exp in ["NaN", "Infinity", "1e999", "\"1e300\"", "null", "[]", "{}", "true", "1_000", "0x7fffffff"] {
        assert!(at(&format!("{{\"exp\":{exp}}}")).is_err(), "{exp}");
    }
    for exp in ["-1", "-1e300", "0", "0.5", "-0", "1e-300", &(NOW_S - 30).to_string()] {
        assert_eq!(at(&format!("{{\"exp\":{exp}}}")).unwrap_err().code, CloseCode::TokenExpired, "{exp}");
    }
    let later = NOW_S + 60;
    for (claim, is_ok) in [("nbf", true), ("iat", true)].into_iter().flat_map(|(c, ok)| [(c, ok), (c, !ok)]) {
        let time = if is_ok { NOW_S + 30 } else { NOW_S + 31 };
        let got = at(&format!("{{\"exp\":{later},\"{claim}\":{time}}}"));
        assert_eq!(got.is_ok(), is_ok, "{claim} {time}");
    }
}

#[test]
fn claims_that_are_there_twice_or_nearly_or_too_deep_refuse_the_token() {
    let exp = NOW_S + 60;
    let deep = |n: usize| format!("{{\"exp\":{exp},\"x\":{}{}}}", "[".repeat(n), "]".repeat(n));
    let deep_object = format!("{{\"exp\":{exp},\"x\":{}1{}}}", "{\"a\":".repeat(400), "}".repeat(400));
    for (claims, why) in [
        (format!("{{\"exp\":{exp},\"rooms\":[\"a\"],\"rooms\":[\"*\"]}}"), "twice"),
        (format!("{{\"exp\":{exp},\"exp\":{exp}}}"), "twice"),
        (format!("{{\"exp\":{exp},\"role\":\"viewer\",\"r\\u006fle\":\"host\"}}"), "twice"),
        (format!("{{\"exp\":{exp},\"Rooms\":[\"a\"]}}"), "lower case"),
        (format!("{{\"exp\":{exp},\"rooms \":[\"a\"]}}"), "lower case"),
        (format!("{{\"exp\":{exp},\"MAY\":[]}}"), "lower case"),
        (deep(17), "deeper"),
        (deep(1000), "deeper"),
        (deep_object, "deeper"),
    ] {
        let token = signed_by_hand(r#"{"alg":"HS256"}"#, &claims, SECRET);
        let denied = authority().authorize(&token, "", NOW_MS).expect_err(&claims);
        assert!(denied.detail.contains(why), "{claims}: {}", denied.detail);
    }
    for claims in
        [deep(15), format!("{{\"exp\":{exp},\"realm_access\":{{\"roles\":[\"a\"]}},\"azp\":\"web\"}}")]
    {
        let token = signed_by_hand(r#"{"alg":"HS256"}"#, &claims, SECRET);
        assert!(authority().authorize(&token, "", NOW_MS).is_ok(), "{claims}");
    }
    let huge = format!("{{\"exp\":{exp},\"x\":\"{}\"}}", "x".repeat(5_000));
    let token = signed_by_hand(r#"{"alg":"HS256"}"#, &huge, SECRET);
    assert!(authority().authorize(&token, "", NOW_MS).unwrap_err().detail.contains("4096"));
}

/// Over a hundred tokens as attackers make them from a good one. None opens a session.
#[test]
fn crafted_tokens_open_nothing() {
    let claims = format!("{{\"exp\":{},\"sub\":\"u\",\"role\":\"host\"}}", NOW_S + 60);
    let good = signed_by_hand(r#"{"alg":"HS256","typ":"JWT"}"#, &claims, SECRET);
    assert!(authority().authorize(&good, "", NOW_MS).is_ok(), "the token itself is good");
    let parts: Vec<&str> = good.split('.').collect();
    let [header, body, tag] = parts[..] else { panic!("three parts") };
    let mut crafted = Vec::new();
    // Algorithms: none in every spelling, others of the family, others.
    for alg in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        " ",
        "HS256 ",
        "hs256",
        "HS384",
        "HS512",
        "RS256",
        "ES256",
        "PS256",
        "EdDSA",
        "ES512",
        "A128KW",
        "dir",
        "HS256\\u0000",
        "HS\\u200b256",
        "null",
    ] {
        let header = format!("{{\"alg\":\"{alg}\"}}");
        crafted.push(signed_by_hand(&header, &claims, SECRET));
        crafted.push(signed_by_hand(&header, &claims, b""));
        crafted.push(format!("{}.", signed_by_hand(&header, &claims, b"").rsplit_once('.').unwrap().0));
    }
    // Headers that are no header.
    for header in [
        "",
        "{}",
        "[]",
        "null",
        "\"HS256\"",
        r#"{"alg":null}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":{}}"#,
        r#"{"alg":"none","alg":"none"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256""#,
        r#"{"alg":"HS256"} "x""#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"HS256","kid":7}"#,
        r#"{"typ":"JWT"}"#,
    ] {
        crafted.push(signed_by_hand(header, &claims, SECRET));
    }
    // Keys of the attacker's, and names of keys that lead elsewhere.
    for kid in ["../../dev/null", "/dev/null", "' OR 1=1 --", "http://127.0.0.1:1/k", "\\u0000", "|cat", "x"]
    {
        let header = format!("{{\"alg\":\"HS256\",\"kid\":\"{kid}\"}}");
        for key in [&b""[..], b"\0", b"AA==", kid.as_bytes()] {
            crafted.push(signed_by_hand(&header, &claims, key));
        }
    }
    let own = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"YXR0YWNrZXI"},"jku":"http://127.0.0.1:1/","x5u":"http://127.0.0.1:1/"}"#;
    crafted.push(signed_by_hand(own, &claims, b"attacker"));
    // Signatures: none, cut, padded, of another part, of other bytes.
    for sign in [
        "",
        "=",
        "AA",
        "AAAA",
        &tag[1..],
        &tag[..tag.len() - 1],
        &format!("{tag}="),
        &format!("{tag}A"),
        &format!(" {tag}"),
        &format!("{tag}\n"),
        &format!("{tag}\0"),
        body,
        header,
        &tag.to_lowercase(),
    ] {
        crafted.push(format!("{header}.{body}.{sign}"));
    }
    // Parts: too few, too many, swapped, white space, another alphabet.
    crafted.extend([
        format!("{header}.{body}"),
        format!("{header}..{tag}"),
        format!(".{body}.{tag}"),
        format!("{body}.{header}.{tag}"),
        format!("{good}."),
        format!("{good}.x"),
        format!(".{good}"),
        format!(" {good}"),
        format!("{good} "),
        format!("Bearer {good}"),
        format!("{header}=.{body}.{tag}"),
        format!("{header}.{body}=.{tag}"),
        format!("{header}.{body}==.{tag}"),
        format!("{header}.\t{body}.{tag}"),
        format!("{header}\u{200b}.{body}.{tag}"),
        good.replace('.', ","),
        ".".into(),
        "..".into(),
        "...".into(),
        "\0".into(),
        "null".into(),
        format!("{{\"protected\":\"{header}\",\"payload\":\"{body}\",\"signature\":\"{tag}\"}}"),
    ]);
    // Bodies that are no claims, well signed.
    for body in [
        "",
        "[]",
        "null",
        "{",
        "\"x\"",
        "{}{}",
        "{\"exp\":1e999}",
        &format!("[{claims}]"),
        &format!("{claims} x"),
        &format!("\u{feff}{claims}"),
    ] {
        crafted.push(signed_by_hand(r#"{"alg":"HS256"}"#, body, SECRET));
    }
    // One bit of the signature or of what is signed.
    crafted.extend(
        (0..good.len())
            .step_by(7)
            .filter(|&at| good.as_bytes()[at] != b'.')
            .map(|at| {
                let mut bytes = good.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                String::from_utf8(bytes).unwrap()
            })
            .filter(|token| *token != good),
    );
    assert!(crafted.len() > 108, "{} tokens", crafted.len());
    for token in crafted {
        let got = authority().authorize(&token, "", NOW_MS);
        assert_eq!(code(got), CloseCode::Unauthorized, "{token}");
    }
}

#[test]
fn a_token_is_for_an_audience_of_this_node() {
    let with = |audience: &[&str], issuer: &[&str]| {
        let of = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Authority::from_config(&config::Auth { audience: of(audience), issuer: of(issuer), ..auth() })
            .unwrap()
    };
    let at = |authority: &Authority, claims: Value| {
        authority.authorize(&token(&claims), "", NOW_MS).map(|_| ()).map_err(|denied| denied.detail)
    };
    let ours = with(&["chat", "https://chat.example.org"], &["https://id.example.org/"]);
    let iss = "https://id.example.org/";
    for aud in [json!("chat"), json!(["account", "chat"]), json!(["https://chat.example.org"])] {
        assert_eq!(at(&ours, json!({ "aud": aud, "iss": iss })), Ok(()));
    }
    for aud in [
        json!("Chat"),
        json!("other"),
        json!(["other"]),
        json!([]),
        json!(null),
        json!([["chat"]]),
        json!({}),
    ] {
        assert!(at(&ours, json!({ "aud": aud, "iss": iss })).unwrap_err().contains("aud"), "{aud}");
    }
    assert!(at(&ours, json!({ "iss": iss })).unwrap_err().contains("auth.audience"));
    for iss in [json!("https://id.example.org"), json!("x"), json!(null), json!([iss])] {
        assert!(at(&ours, json!({ "aud": "chat", "iss": iss })).unwrap_err().contains("iss"), "{iss}");
    }
    assert!(at(&ours, json!({ "aud": "chat" })).unwrap_err().contains("auth.issuer"));
    let nameless = with(&[], &[]);
    assert_eq!(at(&nameless, json!({ "iss": "anybody" })), Ok(()));
    assert!(at(&nameless, json!({ "aud": "chat" })).unwrap_err().contains("auth.audience"));
}

/// Rotation: old and new are valid together, then the new one alone, while the node runs.
#[test]
fn keys_rotate_while_the_node_runs() {
    let files = Files::new("rotate");
    let (old, new) = (files.0.join("old"), files.0.join("new.pem"));
    let secret = [b's'; 40];
    std::fs::write(&old, secret).unwrap();
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    std::fs::write(&new, pair.public_key_pem()).unwrap();
    let entry = |kid: &str, path: &std::path::Path| format!("{kid}={}", path.display());
    let both =
        config::Auth { key_files: vec![entry("old", &old), entry("new", &new)], ..config::Auth::default() };
    let authority = Authority::from_config(&both).unwrap();
    assert!(!authority.runs_open());
    assert_eq!(Authority::files(&both), [old.clone(), new.clone()]);
    let header = |alg, kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..Header::new(alg) };
    let by_old = |kid| {
        token_of(&header(Algorithm::HS256, kid), &json!({}), &EncodingKey::from_secret(&secret).unwrap())
    };
    let by_new = |kid| {
        token_of(&header(Algorithm::EdDSA, kid), &json!({}), &EncodingKey::from_ed_der(pair.serialized_der()))
    };
    let is_ok = |token: &str| authority.authorize(token, "", NOW_MS).is_ok();
    for kid in [None, Some("old")] {
        assert!(is_ok(&by_old(kid)), "{kid:?}");
    }
    for kid in [None, Some("new")] {
        assert!(is_ok(&by_new(kid)), "{kid:?}");
    }
    // A token that names another key is not tried with this one.
    assert!(!is_ok(&by_old(Some("new"))) && !is_ok(&by_new(Some("old"))) && !is_ok(&by_old(Some("none"))));
    // The public key is not secret: as a secret it opens nothing.
    let public = EncodingKey::from_secret(pair.public_key_pem().as_bytes()).unwrap();
    assert!(!is_ok(&token_of(&header(Algorithm::HS256, None), &json!({}), &public)));

    let one = config::Auth { key_files: vec![entry("new", &new)], ..config::Auth::default() };
    authority.reload(&one).unwrap();
    assert!(!is_ok(&by_old(None)) && is_ok(&by_new(None)));
    // A reload that fails changes nothing.
    std::fs::write(&new, "-----BEGIN PUBLIC KEY-----\nrubbish\n").unwrap();
    assert!(authority.reload(&one).unwrap_err().contains("no Ed25519, RSA"));
    assert!(is_ok(&by_new(None)));
    std::fs::write(&new, "short").unwrap();
    assert!(authority.reload(&one).unwrap_err().contains("fewer than 32 bytes"));
}

proptest! {
    /// No claim that is added, in whatever form, grants more than the documented forms of claims do.
    #[test]
    fn no_mutation_of_a_claim_grants_more(
        claim in proptest::sample::select(vec!["exp", "nbf", "iat", "iss", "aud", "sub", "name", "role", "may", "rooms"]),
        value in json_value(),
    ) {
        let base = json!({ "sub": "u", "name": "Ada", "role": "viewer", "may": ["react"], "rooms": ["a"] });
        let mut mutated = base.clone();
        mutated[claim] = value.clone();
        let was = admit(&base).unwrap();
        if let Ok(got) = admit(&mutated) {
            prop_assert!(is_understood(claim, &value), "{claim}: {value}");
            prop_assert!(claim == "role" || got.role == was.role);
            prop_assert!(claim == "may" || got.permissions == was.permissions);
            prop_assert!(claim == "rooms" || got.rooms == was.rooms);
            prop_assert!(claim == "sub" || got.user == was.user);
            prop_assert!(claim == "exp" || got.expiry == was.expiry);
            prop_assert!(got.rooms != RoomScope::All);
        }
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        proptest::sample::select(vec!["host", "viewer", "publish", "bridge", "*", "a", "a*", ""])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec(("[a-z]{0,5}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}
