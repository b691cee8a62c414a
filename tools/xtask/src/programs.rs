//! The workspace's own programs: the node and `gs`, built for a measurement or for a smoke test.
//!
//! Invariant: measured programs are built like packages, with the profile `dist`. A smoke test uses the build
//! of the workspace's tests, so that a machine builds everything once. A build of one package alone could
//! choose other features of its dependencies.
//! Not here: running them (`node`, `load`).

use crate::run::{cargo, run, target_dir};
use anyhow::Result;
use std::path::PathBuf;

/// What for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Measurement,
    Smoke,
}

/// Where the built programs are.
pub(crate) struct Programs {
    directory: PathBuf,
}

/// All programs, as they were built last.
pub(crate) fn built(purpose: Purpose) -> Programs {
    let directory = if purpose == Purpose::Measurement { "dist" } else { "debug" };
    Programs { directory: target_dir().join(directory) }
}

/// Builds all programs.
pub(crate) fn build(purpose: Purpose) -> Result<Programs> {
    match purpose {
        Purpose::Measurement => {
            let packages = ["grandstand", "grandstand-tools", "grandstand-benches", "grandstand-field"];
            let packages = packages.iter().flat_map(|package| ["--package", package]);
            run(cargo(["build", "--profile", "dist", "--quiet", "--bins"]).args(packages))?;
        }
        Purpose::Smoke => {
            run(&mut cargo(["build", "--workspace", "--all-targets", "--quiet"]))?;
        }
    }
    Ok(built(purpose))
}

impl Programs {
    pub(crate) fn node(&self) -> PathBuf {
        self.directory.join("grandstand")
    }

    pub(crate) fn gs(&self) -> PathBuf {
        self.directory.join("gs")
    }

    pub(crate) fn bench(&self) -> PathBuf {
        self.directory.join("grandstand-bench")
    }

    pub(crate) fn field(&self) -> PathBuf {
        self.directory.join("grandstand-field")
    }

    pub(crate) fn faults(&self) -> PathBuf {
        self.directory.join("grandstand-faults")
    }

    pub(crate) fn layout(&self) -> PathBuf {
        self.directory.join("layout")
    }
}
