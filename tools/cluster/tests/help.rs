//! `grandstand-faults` explains itself.
//!
//! Not here: the rules (`grandstand_harness::command_line`).

use std::process::Command;

use grandstand_harness::command_line::check;

const PROGRAM: &str = env!("CARGO_BIN_EXE_grandstand-faults");

#[test]
fn the_faults_explain_themselves() {
    check(PROGRAM, "grandstand-faults", &[]);
}

#[test]
fn each_fault_of_the_list_says_what_must_hold_and_a_wrong_name_is_refused() {
    let output = Command::new(PROGRAM).arg("--list").output().unwrap();
    let list = String::from_utf8(output.stdout).unwrap();
    let (names, limits) = (list.lines().step_by(2), list.lines().skip(1).step_by(2));
    assert!(names.clone().count() >= 23, "{list}");
    assert!(limits.clone().all(|line| line.trim().starts_with("must hold: ")), "{list}");
    let total: usize =
        names.map(|line| line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()).sum();
    assert!(total > 1_000, "a full run has over a thousand faults, and not {total}");
    for (line, error) in [(&["nonsense"][..], "no fault has a name"), (&[], "name faults")] {
        let output = Command::new(PROGRAM).args(line).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(error), "{line:?}");
    }
}
