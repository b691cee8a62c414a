//! `gs-sim` explains itself, and its numbers have bounds.
//!
//! Not here: the rules (`grandstand_harness::command_line`).

#[test]
fn the_simulator_explains_itself() {
    let sim = env!("CARGO_BIN_EXE_gs-sim");
    grandstand_harness::command_line::check(sim, "gs-sim", &[]);
    for absurd in ["--seeds=0", "--steps=0", "--threads=100000", "--found-max=0", "--seed=-1", "--first=x"] {
        let output = std::process::Command::new(sim).arg(absurd).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{absurd}: {error}");
        assert!(error.contains("expected an integer from"), "{absurd}: {error}");
    }
}
