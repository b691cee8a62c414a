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
