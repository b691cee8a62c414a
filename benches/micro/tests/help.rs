//! `micro` explains itself.
//!
//! Not here: the rules (`grandstand_harness::command_line`).

#[test]
fn micro_explains_itself() {
    let micro = env!("CARGO_BIN_EXE_micro");
    grandstand_harness::command_line::check(micro, "micro", &[]);
    let output = std::process::Command::new(micro).arg("nonsense").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: got nonsense, expected the name of a bench\nhelp: `micro` lists them, `micro --help` explains\n"
    );
}
