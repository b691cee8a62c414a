//! Tests of display names: mended, never fatal, and kept for those with a role.
//!
//! Not here: what mending does (`protocol/tests/text.rs`), names in tokens (`grandstand_edge::auth`).

use std::sync::Arc;

use grandstand_protocol::frame::{ClientFrame, Hello, Publish, Role, permission};
use grandstand_protocol::text::Likeness;

use super::super::Settings;
use super::harness::{Harness, Plan, V};
use super::viewer::Seen;
use crate::auth::{Authorize, Denied, Grant};
use crate::testing::OpenAuthority;

/// Gives the role that the token is the name of.
#[derive(Debug)]
pub(super) struct ByRole;

impl Authorize for ByRole {
    fn authorize(&self, token: &str, wished_name: &str, _now_unix_ms: u64) -> Result<Grant, Denied> {
        let role = match token {
            "subscriber" => Role::Subscriber,
            "moderator" => Role::Moderator,
            "host" => Role::Host,
            "bot" => Role::Bot,
            _ => Role::Viewer,
        };
        Ok(Grant { role, ..Grant::without_token(wished_name, permission::PUBLISH) })
    }
}

pub(super) fn greet(harness: &mut Harness, name: &str, token: &str) -> (V, String) {
    let v = harness.enter(0);
    harness.send(v, &ClientFrame::Hello(Hello { name, token, ..Hello::default() }));
    harness.turn();
    let Some(Seen::Welcome { name, .. }) = harness.viewers[v.0].seen.first() else {
        panic!("{name:?}: {:?}", harness.viewers[v.0].seen)
    };
    let name = name.clone();
    (v, name)
}

/// Clauses H-4 and L-5.
#[test]
fn a_wish_in_any_form_is_mended_and_locks_nobody_out() {
    let mut harness = Harness::new(&Plan::default());
    let long = "\u{540d}".repeat(22);
    for (wish, shown) in [
        ("ann ", "ann"),
        ("a\u{202e}n\u{200b}n\0", "ann"),
        ("Jose\u{301}", "José"),
        (&long, &*"\u{540d}".repeat(21)),
        (&"a ".repeat(3_000), &*format!("{}a", "a ".repeat(31))),
    ] {
        assert_eq!(greet(&mut harness, wish, "").1, shown, "{wish:?}");
    }
    for nothing in ["", " ", "\u{200b}", "\u{3164}\u{2800}", "\u{301}", "\u{e0041}"] {
        assert!(greet(&mut harness, nothing, "").1.starts_with("guest-"), "{nothing:?}");
    }
}

fn kept(names: &[&str]) -> Settings {
    let reserved_names = names.iter().flat_map(|name| Likeness::all_of(name)).collect();
    Settings { reserved_names, ..Plan::default().settings }
}

/// Clause L-6.
#[test]
fn reserved_names_and_what_looks_like_them_are_shown_to_nobody() {
    let settings = kept(&["admin", "Host"]);
    let plan = Plan { settings, authority: Arc::new(ByRole), ..Plan::default() };
    let mut harness = Harness::new(&plan);
    for name in [
        "admin",
        "Admin",
        "\u{430}dmin",
        "adrnin",
        "@dmin",
        "HOST",
        "H0st",
        "H o s t",
        "\u{41d}ost",
        "Ho\u{ad}st",
    ] {
        for token in ["", "subscriber"] {
            assert!(greet(&mut harness, name, token).1.starts_with("guest-"), "{name:?} {token:?}");
        }
        let shown = grandstand_protocol::text::mend_name(name).expect("a name");
        for token in ["moderator", "host", "bot"] {
            assert_eq!(greet(&mut harness, name, token).1, shown, "{name:?} {token:?}");
        }
    }
    assert_eq!(greet(&mut harness, "Hostess", "").1, "Hostess");
}

/// How `Host` and other names are imitated, by class.
const IMITATIONS: [(&str, &str); 14] = [
    ("case", "hOST"),
    ("cyrillic", "\u{41d}\u{43e}\u{455}t"),
    ("greek", "\u{397}\u{3bf}st"),
    ("full width", "\u{ff28}\u{ff4f}\u{ff53}\u{ff54}"),
    ("mathematical", "\u{1d407}\u{1d5fc}\u{1d4fc}\u{1d69d}"),
    ("circled", "\u{24bd}\u{24de}\u{24e2}\u{24e3}"),
    ("digits", "H05t"),
    ("diacritics", "H\u{f3}s\u{301}t"),
    ("strokes", "H\u{336}o\u{336}s\u{336}t\u{336}"),
    ("spacing", "H o\u{3000}s t"),
    ("signs", "[H.o.s.t] \u{2713}"),
    ("zero width", "Ho\u{200b}s\u{2060}t"),
    ("overrides", "\u{202e}Host\u{202c}"),
    ("fillers and tags", "Host\u{3164}\u{e0061}"),
];

/// Clause L-6: a person with a role who is in the room, also on another worker, is not imitated in it.
#[test]
fn a_present_host_is_imitated_by_nobody_on_any_worker() {
    let plan = Plan { workers: 2, authority: Arc::new(ByRole), ..Plan::default() };
    let mut harness = Harness::new(&plan);
    let (host, _) = greet(&mut harness, "Host", "host");
    harness.subscribe(host, "r", None, 0);
    harness.run_ms(50);
    let speak = |harness: &mut Harness, worker: u16, name: &str| {
        let v = harness.enter(worker.into());
        harness.send(v, &ClientFrame::Hello(Hello { name, ..Hello::default() }));
        harness.subscribe(v, "r", None, 0);
        harness.run_ms(50);
        harness.talk(v, "r", 1);
        harness.run_ms(50);
        harness.viewers[v.0].authors.last().expect("its own message").clone()
    };
    for (class, name) in IMITATIONS {
        for worker in 0..2 {
            assert!(speak(&mut harness, worker, name).starts_with("guest-"), "{class} on worker {worker}");
        }
    }
    assert_eq!(speak(&mut harness, 1, "Hostess"), "Hostess");
    harness.talk(host, "r", 1);
    harness.run_ms(50);
    assert_eq!(harness.viewers[host.0].authors.last().map(String::as_str), Some("Host"));
    // A host who never spoke and left keeps nobody's name.
    let (quiet, _) = greet(&mut harness, "Mo", "moderator");
    harness.subscribe(quiet, "r", None, 0);
    harness.run_ms(50);
    assert!(speak(&mut harness, 1, "M0").starts_with("guest-"));
    harness.cut(quiet);
    harness.run_ms(50);
    assert_eq!(speak(&mut harness, 1, "M0"), "M0");
}

/// Clause L-6: a bridge speaks for strangers, whose names are as little theirs.
#[test]
fn a_bridges_author_is_judged_by_its_role() {
    let authority = OpenAuthority { permissions: permission::PUBLISH | permission::BRIDGE };
    let plan = Plan { settings: kept(&["host"]), authority: Arc::new(authority), ..Plan::default() };
    let mut harness = Harness::new(&plan);
    let v = harness.member(0, "r");
    let alias = harness.alias(v, "r");
    for (nonce, author, role) in
        [(1, "\u{41d}ost", Role::Viewer), (2, "\u{41d}ost", Role::Host), (3, "Ann", Role::Viewer)]
    {
        let text = ["", "one", "two", "three"][nonce as usize];
        let publish = Publish { alias, nonce, text, author, role, ..Publish::default() };
        harness.send(v, &ClientFrame::Publish(publish));
    }
    harness.run_ms(200);
    let authors = &harness.viewers[v.0].authors;
    assert!(authors[0].starts_with("guest-"), "{authors:?}");
    assert_eq!(authors[1..], ["\u{41d}ost", "Ann"]);
}
