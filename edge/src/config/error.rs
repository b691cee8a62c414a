//! Errors of the configuration: all faults at once, each with what to do.
//!
//! Why: an operator who must restart after each fixed key loses an evening.
//! Invariant: no text here contains a secret.
//! Not here: finding the faults (`source`, `check`).

use std::fmt;

/// All faults of a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    faults: Vec<String>,
}

impl ConfigError {
    /// The faults, one sentence each.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    pub(super) fn one(fault: String) -> ConfigError {
        ConfigError { faults: vec![fault] }
    }

    /// `Ok` when there is no fault.
    pub(super) fn unless_empty(faults: Vec<String>) -> Result<(), ConfigError> {
        if faults.is_empty() { Ok(()) } else { Err(ConfigError { faults }) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration cannot be used:")?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for ConfigError {}
