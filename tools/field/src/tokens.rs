//! Trials of tokens, names and texts: what identity providers give, what attackers craft, what people see.
//! Why: a token comes from another system, and a name from anybody.
//! Not here: limits of rate (`limits`).

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use grandstand_harness::node::NodePlan;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};

use grandstand_protocol::batch::{BatchReader, Item};
use grandstand_protocol::frame::ServerFrame;

use crate::peer::{Identity, Peer, Said};
use crate::trial::{Checks, Directory, Field, Figure, Trial, figure, outcome, stranger};

pub(crate) const TRIALS: &[Trial] = &[
    Trial {
        name: "token-claims",
        right: "a claim that is not understood refuses the token or grants less, never more",
        run: claims,
    },
    Trial {
        name: "token-names",
        right: "a long or untidy display name in a token locks nobody out",
        run: names,
    },
    Trial {
        name: "token-expiry",
        right: "sessions whose tokens expire together are not closed together",
        run: expiry,
    },
    Trial {
        name: "visible-text",
        right: "names, room names and keys hold no invisible or direction-changing characters",
        run: visible_text,
    },
    Trial {
        name: "look-alikes",
        right: "nobody without a role shows a name that looks like a host's or an operator's",
        run: look_alikes,
    },
    Trial {
        name: "session-numbers",
        right: "later session numbers do not follow from earlier ones",
        run: session_numbers,
    },
];

/// The secret of this program's tokens.
const SECRET: &str = "a secret of the field trials, known to everybody";

/// An identity provider.
pub(crate) struct Issuer {
    file: PathBuf,
}

impl Issuer {
    pub(crate) fn new(directory: &Directory) -> Result<Issuer> {
        let file = directory.join("token.key");
        std::fs::write(&file, SECRET)?;
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        Ok(Issuer { file })
    }

    /// A plan of a node that trusts it.
    pub(crate) fn plan(&self, field: &Field) -> NodePlan {
        let plan = field.plan().key("limits.loopback_exempt", false);
        plan.key("auth.hs256_secret_file", self.file.to_string_lossy().as_ref())
    }

    /// A token of an hour with these members of the claims, in JSON.
    pub(crate) fn token(&self, members: &str) -> String {
        self.token_until(members, Duration::from_secs(3600))
    }

    /// A token that ends then.
    pub(crate) fn token_until(&self, members: &str, lifetime: Duration) -> String {
        let exp = (SystemTime::now() + lifetime).duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let comma = if members.is_empty() { "" } else { "," };
        signed(&format!(r#"{{"exp":{exp}{comma}{members}}}"#))
    }
}

/// These claims, signed as they are.
fn signed(claims: &str) -> String {
    let raw =
        serde_json::value::RawValue::from_string(claims.to_owned()).expect("the trials' claims are JSON");
    encode(&Header::new(Algorithm::HS256), &raw, &EncodingKey::from_secret(SECRET.as_bytes()).unwrap())
        .expect("HS256 signs anything")
}

fn claims(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let issuer = Issuer::new(&directory)?;
    let node = field.node(&issuer.plan(field).key("auth.anonymous", false))?;
    let address = node.address("ws://")?;
    let deep = format!(r#""rooms":{}"a"{}"#, "[".repeat(500), "]".repeat(500));
    let cases = [
        r#""sub":"a","rooms":null"#,
        r#""sub":"a","rooms":"*""#,
        r#""sub":"a","rooms":{}"#,
        r#""sub":"a","rooms":[]"#,
        r#""sub":"a","rooms":[null]"#,
        r#""sub":"a","rooms":[1]"#,
        r#""sub":"a","rooms":[["here"]]"#,
        r#""sub":"a","rooms":["other"],"rooms":["*"]"#,
        &deep,
    ];
    let mut checks = Checks::default();
    for case in cases {
        let token = issuer.token(case);
        let entered = Peer::join_as(stranger(1), address, Identity { token: &token, ..Identity::default() })
            .and_then(|mut peer| peer.subscribe("here"));
        let is_in = matches!(entered, Ok(Ok(_)));
        checks.check(&case[..case.len().min(40)], !is_in, "grants the room");
    }
    for may in ["null", r#""publish""#, "{}", "[null]", "[[\"bridge\"]]", "[\"bridge\",7]", "255"] {
        let token = issuer.token(&format!(r#""sub":"a","may":{may}"#));
        let permissions =
            Peer::join_as(stranger(1), address, Identity { token: &token, ..Identity::default() })
                .map(|peer| peer.welcome.permissions);
        checks.check(
            &format!("may {may}"),
            permissions.as_ref().map_or(true, |bits| bits & 12 == 0),
            outcome(&permissions),
        );
    }
    for (name, token) in [
        ("no algorithm", format!("{}.{}.", "eyJhbGciOiJub25lIn0", "eyJzdWIiOiJhIiwiZXhwIjo0MTAyNDQ0ODAwfQ")),
        (
            "no signature",
            issuer
                .token("\"sub\":\"a\"")
                .rsplit_once('.')
                .map_or(String::new(), |(head, _)| format!("{head}.")),
        ),
        ("spaces", format!(" {} ", issuer.token("\"sub\":\"a\""))),
        ("negative expiry", signed(r#"{"sub":"a","exp":-1}"#)),
        ("expiry as text", signed(r#"{"sub":"a","exp":"4102444800"}"#)),
        ("no expiry", signed(r#"{"sub":"a"}"#)),
        ("expiry null", signed(r#"{"sub":"a","exp":null}"#)),
        ("not yet valid", signed(r#"{"sub":"a","exp":4102444800,"nbf":4102444000}"#)),
        ("nbf as text", signed(r#"{"sub":"a","exp":4102444800,"nbf":"soon"}"#)),
        ("sub as number", signed(r#"{"sub":7,"exp":4102444800}"#)),
        ("role nested", signed(r#"{"sub":"a","exp":4102444800,"role":{"role":"host"}}"#)),
    ] {
        let joined = Peer::join_as(stranger(1), address, Identity { token: &token, ..Identity::default() });
        let is_plain = joined.is_ok_and(|peer| name == "role nested" && peer.welcome.permissions & 12 == 0);
        checks.check(name, !is_plain || name == "role nested", "accepted");
    }
    checks.close()
}

fn names(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let issuer = Issuer::new(&directory)?;
    let node = field.node(&issuer.plan(field))?;
    let address = node.address("ws://")?;
    let mut checks = Checks::default();
    let kanji = "漢".repeat(22);
    let family = "👨‍👩‍👧‍👦".repeat(6);
    for name in [
        kanji.as_str(),
        "Ada ",
        " Ada",
        "Ada  Lovelace",
        "",
        "\\u0007Ada",
        "Ada\\u200b",
        &family,
        &"x".repeat(300),
    ] {
        let token = issuer.token(&format!(r#""sub":"u","name":"{name}""#));
        let joined = Peer::join_as(stranger(1), address, Identity { token: &token, ..Identity::default() });
        let shown = joined.map(|peer| peer.welcome.name);
        let is_tidy =
            shown.as_ref().is_ok_and(|shown| shown.trim() == shown && !shown.contains(['\u{7}', '\u{200b}']));
        checks.check(&format!("`{}`", name.chars().take(12).collect::<String>()), is_tidy, outcome(&shown));
    }
    checks.close()
}

fn expiry(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let issuer = Issuer::new(&directory)?;
    let node = field.node(&issuer.plan(field).key("auth.leeway_s", 2))?;
    let address = node.address("ws://")?;
    let token = issuer.token_until(r#""sub":"u""#, Duration::from_secs(4));
    let count = field.either(40, 100);
    let mut peers = (0..count)
        .map(|n| Peer::join_as(stranger(n), address, Identity { token: &token, ..Identity::default() }))
        .collect::<Result<Vec<_>>>()?;
    let begin = Instant::now();
    let mut closed: Vec<Option<Duration>> = vec![None; peers.len()];
    while begin.elapsed() < Duration::from_secs(20) && closed.contains(&None) {
        for (peer, closed) in peers.iter_mut().zip(&mut closed) {
            if closed.is_none() && peer.close_code(Duration::from_millis(1))?.is_some() {
                *closed = Some(begin.elapsed());
            }
        }
    }
    let times: Vec<Duration> = closed.into_iter().flatten().collect();
    let (first, last) = (times.iter().min(), times.iter().max());
    let spread = last.zip(first).map_or(Duration::ZERO, |(last, first)| *last - *first);
    figure(
        times.len() == count as usize && spread > Duration::from_millis(700),
        format!("{} of {count} closed, over {} ms", times.len(), spread.as_millis()),
    )
}

/// Characters that nobody sees, or that move what others see.
const HIDDEN: &[(&str, char)] = &[
    ("C1 control", '\u{85}'),
    ("zero-width space", '\u{200b}'),
    ("bidi override", '\u{202e}'),
    ("bidi isolate", '\u{2066}'),
    ("tag", '\u{e0041}'),
    ("Hangul filler", '\u{3164}'),
    ("word joiner", '\u{2060}'),
    ("soft hyphen", '\u{ad}'),
    ("byte order mark", '\u{feff}'),
    ("private use", '\u{e000}'),
    ("noncharacter", '\u{fdd0}'),
    ("line separator", '\u{2028}'),
];

fn visible_text(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan().key("limits.loopback_exempt", false))?;
    let address = node.address("ws://")?;
    let mut checks = Checks::default();
    for (index, (class, hidden)) in HIDDEN.iter().enumerate() {
        let from = stranger(index as u32 * 300);
        let name = format!("Ad{hidden}a");
        let shown = Peer::join_as(from, address, Identity { name: &name, ..Identity::default() })
            .map(|peer| peer.welcome.name);
        checks.check(
            &format!("{class} in a name"),
            shown.as_ref().map_or(true, |shown| !shown.contains(*hidden)),
            outcome(&shown),
        );
        let mut peer = Peer::join_as(from, address, Identity::default())?;
        let room = peer.subscribe(&format!("room{hidden}"))?;
        checks.check(&format!("{class} in a room's name"), room.is_err(), "accepted");
        let alias = peer.enter("here")?;
        let said = peer.say(alias, 1, &hidden.to_string())?;
        checks.check(
            &format!("{class} as a whole text"),
            matches!(said, Said::Refused(_)),
            format!("{said:?}"),
        );
    }
    for (index, text) in
        ["👩‍👩‍👧 family", "می‌خواهم", "क्‍ष", "שלום", "مرحبا", "tab\tand\nline", "❤️"].iter().enumerate()
    {
        let mut peer = Peer::join_as(stranger(9_000 + index as u32 * 300), address, Identity::default())?;
        let alias = peer.enter("here")?;
        let said = peer.say(alias, 1, text)?;
        checks.check(text, matches!(said, Said::Published { .. }), format!("{said:?}"));
    }
    checks.close()
}

fn look_alikes(field: &Field) -> Result<Figure> {
    let directory = field.directory()?;
    let issuer = Issuer::new(&directory)?;
    let node = field.node(&issuer.plan(field))?;
    let address = node.address("ws://")?;
    let token = issuer.token(r#""sub":"h","name":"Marlene","role":"host""#);
    let mut host =
        Peer::join_as(Ipv4Addr::LOCALHOST, address, Identity { token: &token, ..Identity::default() })?;
    host.enter("here")?;
    let mut checks = Checks::default();
    for (index, name) in [
        "admin",
        "Admin",
        "аdmin",
        "ADMIN",
        "a d m i n",
        "ａｄｍｉｎ",
        "àdmin",
        "moderator",
        "Marlene",
        "marlene",
        "Mаrlene",
        "Mar1ene",
        "MARLENE",
    ]
    .iter()
    .enumerate()
    {
        let from = stranger(3_000 + index as u32 * 300);
        let joined = Peer::join_as(from, address, Identity { name, ..Identity::default() });
        let Ok(mut peer) = joined else {
            checks.check(name, true, "");
            continue;
        };
        let alias = peer.enter("here")?;
        let text = format!("I am number {index}");
        peer.publish(alias, 1, &text)?;
        // What another viewer sees.
        let shown = host.wait_for("the message", |frame| match frame {
            ServerFrame::Batch(body) => author_of(body, &text),
            _ => None,
        })?;
        checks.check(name, shown != *name, format!("shown as `{shown}`"));
    }
    checks.close()
}

/// The author of the message with this text, if the batch has it.
fn author_of(body: &[u8], text: &str) -> Option<String> {
    let mut items = BatchReader::new(body).ok()?;
    while let Ok(Some(item)) = items.next_item() {
        if let Item::Message(message) = item
            && message.text == text
        {
            return Some(message.author.to_owned());
        }
    }
    None
}

fn session_numbers(field: &Field) -> Result<Figure> {
    let node = field.node(&field.plan())?;
    let address = node.address("ws://")?;
    let numbers = (0..12).map(|_| Ok(Peer::join(address)?.welcome.session)).collect::<Result<Vec<u64>>>()?;
    // SplitMix64 of a counter: the inverse of its finalizer shows a constant step.
    let steps: Vec<u64> = numbers.windows(2).map(|two| unmix(two[1]).wrapping_sub(unmix(two[0]))).collect();
    let is_constant = steps.windows(2).any(|two| two[0] == two[1]);
    let is_near = numbers.windows(2).any(|two| two[0].abs_diff(two[1]) < 1 << 20);
    figure(
        !is_constant && !is_near,
        format!("12 sessions, constant step {is_constant}, near one another {is_near}"),
    )
}

/// The inverse of SplitMix64's finalizer.
fn unmix(mut z: u64) -> u64 {
    z = (z ^ (z >> 31) ^ (z >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    z = (z ^ (z >> 27) ^ (z >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    z ^ (z >> 30) ^ (z >> 60)
}
