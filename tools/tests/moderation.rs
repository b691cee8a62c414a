//! `gs mod` as people call it: what a list catches, and how that is told.
//!
//! Why by process: exit codes are what scripts see.
//! Not here: judging (`engine/filter`), a log (`grandstand_store`).

use std::path::PathBuf;
use std::process::{Command, Output};

fn gs(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_gs")).arg("mod").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("grandstand-mod-{}-{name}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn lint_names_the_common_words_that_a_list_catches() {
    let words = file("words", "classic\nopened\nass's\nhello\n");
    let (words, list) = (words.to_str().unwrap(), file("lint", "*ass*\n*pen*\n! classic\n"));
    let (code, out, err) = gs(&["lint", list.to_str().unwrap(), "--words", words]);
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("opened: refuse by `*pen*` (line 2)") && !out.contains("classic"), "{out}");
    let mild = file("mild", "*pen* | pass\n");
    let (code, out, _) = gs(&["lint", mild.to_str().unwrap(), "--words", words, "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &told["ok"], told["found"].as_array().map(Vec::len)), (Some(0), &true.into(), Some(1)));
    let wrong = file("wrong", "nitwit | maybe\n");
    let (code, _, err) = gs(&["lint", wrong.to_str().unwrap()]);
    assert!(code == Some(1) && err.contains("line 1: got `maybe`"), "{err}");
}

#[test]
fn try_says_which_rule_catches_a_text_and_how() {
    let list = file("try", "@ mask\nnitwit\n/buy now/ | hold\n");
    let list = list.to_str().unwrap();
    let (code, out, err) = gs(&["try", "--list", list, "--text", "a n1tw1t", "--text", "hello"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("with digits or signs for letters") && out.contains("hello: pass"), "{out}");
    let (_, out, _) = gs(&["try", "--list", list, "--text", "Buy now, nitwit", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["judged"], &told["caught"]), (&1.into(), &1.into()));
    assert_eq!(told["rules"].as_array().map(Vec::len), Some(2), "{out}");
    assert_eq!(gs(&["try", "--list", list]).0, Some(1));
    assert_eq!(gs(&["try", "--list", list, "--log", "/nowhere", "--room", "a"]).0, Some(1));
}

#[test]
fn import_writes_a_list_that_is_read() {
    let json =
        r#"[{"id":"a","match":"nit*wit|half wit","tags":["general"],"severity":3,"exceptions":["k*s"]}]"#;
    let (code, out, err) = gs(&["import", file("json", json).to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("severity=3 category=general") && out.contains("! knitwits"), "{out}");
    let (code, out, _) = gs(&["import", "--glued", file("plain", "# a\nnitwit\n\ndolt\n").to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(0), "*nitwit*\n*dolt*\n"));
}
