//! Tests of the form of lists: what each line means, and what is said of a wrong one.
//!
//! Why every fault: a moderator has nothing but the line and the reason.

use super::*;

fn faults(text: &str) -> Vec<String> {
    List::parse("t", text).map(drop).map_err(|f| f.iter().map(ToString::to_string).collect()).unwrap_err()
}

#[test]
fn each_line_is_a_rule_with_its_marks() {
    let text = "\u{feff}# comment\n\n@ mask severity=3 category=insult\nblockhead\ntwo words | timeout=600\n\
                ! blockheads\n/buy (gold|coins)/ | hold\n@\nplain\n\\#tag | shadow moderators=judged\r\n";
    let list = List::parse("house", text).unwrap();
    let seen: Vec<String> = list
        .rules()
        .iter()
        .map(|rule| {
            format!(
                "{} {} {} {} {}",
                rule.line, rule.text, rule.marks.action, rule.marks.severity, rule.marks.category
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            "4 blockhead mask 3 insult",
            "5 two words timeout=600 3 insult",
            "9 plain refuse 2 ",
            "10 \\#tag shadow 2 ",
            "7 buy (gold|coins) hold 3 insult",
        ]
    );
    assert!(list.rules()[3].marks.concerns_moderators && list.concerns_moderators);
    assert_eq!((list.name(), list.words), ("house", 4));
}

#[test]
fn each_fault_is_told_with_its_line() {
    let cases = [
        ("ok\n!!!\n", "line 2: `!!` has no letter or digit"),
        ("x\n", "line 1: `x` has one letter, expected at least 2"),
        ("word | maskk\n", "line 1: got `maskk`, expected pass, mask"),
        ("@ severity=5\n", "line 1: got `severity=5`, expected severity=1 to severity=4"),
        ("@ category=a/b\n", "line 1: got `category=a/b`, expected 1 to 32 letters"),
        ("word | timeout=0\n", "line 1: got `timeout=0`, expected pass"),
        ("word | timeout=1209601\n", "line 1: got `timeout=1209601`, expected pass"),
        ("word | moderators=never\n", "line 1: got `moderators=never`, expected moderators=judged"),
        ("\n/(/\n", "line 2: not a regular expression: unclosed group"),
        ("/(a{1000}){1000}/\n", "line 1: the regular expression needs more than 1 MiB"),
        ("/a*/\n", "line 1: the regular expression matches the empty text"),
        ("/ab\n", "line 1: a regular expression stands between two slashes"),
        ("/ab/ hold\n", "line 1: got `hold` behind the regular expression"),
    ];
    for (text, says) in cases {
        let faults = faults(text);
        assert!(faults.len() == 1 && faults[0].starts_with(says), "{text}: {faults:?}");
    }
    assert_eq!(faults(&"?\n".repeat(100)).len(), 20);
}

#[test]
fn bounds_hold() {
    let long = "a".repeat(EXPRESSION_CHARS_MAX + 1);
    assert!(faults(&format!("/{long}/"))[0].contains("261 characters, expected at most 260"));
    assert!(List::parse("t", &format!("/{}/", &long[1..])).is_ok());
    let eleven: String = (0..=EXPRESSIONS_MAX).map(|n| format!("/word{n}/\n")).collect();
    assert_eq!(faults(&eleven), ["line 11: more than 10 regular expressions in one list"]);
    assert!(faults(&"ab".repeat(61))[0].contains("a term of 122 letters, expected at most 120"));
    assert!(faults(&" ".repeat(LIST_BYTES_MAX + 1))[0].contains("at most 4194304"));
    let many: String = (0..=LIST_RULES_MAX).map(|n| format!("w{n}\n")).collect();
    assert_eq!(faults(&many), ["line 50001: more than 50000 rules"]);
}

/// Nobody writes a list that panics.
#[test]
fn any_text_is_a_list_or_a_fault() {
    use proptest::prelude::*;
    proptest!(|(lines in proptest::collection::vec("[#@!/\\\\*|]{0,3}\\PC{0,12}[|/*]?( mask| hold severity=2)?", 0..8))| {
        let _ = List::parse("t", &lines.join("\n"));
    });
}
