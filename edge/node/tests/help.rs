//! `grandstand` and its commands explain themselves.
//!
//! Not here: the rules (`grandstand_harness::command_line`).

#[test]
fn every_command_explains_itself() {
    let commands = ["serve", "config", "check", "version", "backup", "restore", "verify", "key"];
    grandstand_harness::command_line::check(env!("CARGO_BIN_EXE_grandstand"), "grandstand", &commands);
}
