//! The certificate recipe of docs/OPERATING.md, command by command as it stands there, with our own client.
//!
//! Why from the document: a recipe that is copied into a test goes on working while the document rots.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use grandstand::Node;
use grandstand_edge::config::load;

/// A folder of this test's own, removed when the test ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The blocks of commands between two sentences of the document.
fn commands(from: &str, to: &str) -> Vec<String> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATING.md");
    let document = std::fs::read_to_string(document).unwrap();
    let (_, rest) = document.split_once(from).unwrap_or_else(|| panic!("OPERATING has no {from:?}"));
    let (recipe, _) =
        rest.split_once(to).unwrap_or_else(|| panic!("OPERATING has no {to:?} behind {from:?}"));
    let blocks = recipe.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let joined = blocks.collect::<String>().replace("\\\n", " ");
    joined.lines().map(|line| line.split("   #").next().unwrap().trim().to_owned()).collect()
}

/// A node in this process with the flags of `grandstand serve` as the document has them, in that folder.
fn serve(line: &str, folder: &Path) -> Node {
    let words: Vec<&str> = line.split_whitespace().skip(2).collect();
    let path = |value: &str| folder.join(value).to_str().unwrap().to_owned();
    let given = words.chunks(2).map(|pair| (pair[0].trim_start_matches("--").to_owned(), path(pair[1])));
    let ports = ["ws-listen", "wss-listen", "quic-listen", "admin-listen"];
    let ports = ports.map(|port| (port.to_owned(), "127.0.0.1:0".to_owned()));
    let effective = load(None, std::iter::empty(), ports.into_iter().chain(given)).unwrap();
    Node::start(effective.config).unwrap()
}

#[test]
fn the_certificate_recipe_works_as_it_is_written() {
    let folder = Folder(std::env::temp_dir().join(format!("gs-recipe-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0).unwrap();
    let lines = commands("For a trial, with openssl:", "## Tokens");
    let (mut node, mut chats, mut made) = (None, 0, false);
    for line in lines.iter().filter(|line| !line.is_empty()) {
        if line.starts_with("grandstand serve") {
            node = Some(serve(line, &folder.0));
            continue;
        }
        let mut line =
            line.replacen("gs chat", &format!("echo hello | {} chat", env!("CARGO_BIN_EXE_gs")), 1);
        if let Some(node) = &node {
            let addresses = node.addresses();
            let (wss, quic) = (addresses.wss.unwrap().port(), addresses.quic.unwrap().port());
            line = line.replace("quic://localhost:7443", &format!("quic://localhost:{quic}"));
            line = line.replace("localhost:7443", &format!("localhost:{wss}"));
        }
        let output = Command::new("sh")
            .args(["-ec", &line])
            .current_dir(&folder.0)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}\n{out}{err}");
        if line.contains(" chat ") {
            assert!(out.ends_with(": hello\n") && err.contains("you are in show"), "{line}\n{out}{err}");
            chats += 1;
        }
        made |= line.starts_with("openssl req");
    }
    assert!(made && node.is_some() && chats == 4, "the recipe makes, serves and joins: {lines:#?}");
}
