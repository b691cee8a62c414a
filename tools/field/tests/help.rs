//! `grandstand-field` explains itself.
//!
//! Not here: the rules (`grandstand_harness::command_line`).

#[test]
fn the_trials_explain_themselves() {
    grandstand_harness::command_line::check(env!("CARGO_BIN_EXE_grandstand-field"), "grandstand-field", &[]);
}
