//! The examples of docs/API.md, each run against a node.
//!
//! Why: an example that does not work costs every reader more than one that is missing.
//! Not here: what the operations do (`api`).

use std::process::Command;

use grandstand::api_keys::{ApiKeys, NewKey, Scope};
use grandstand_edge::clock::Clock;
use grandstand_harness::local::node;

#[test]
fn every_example_of_the_page_works() {
    let folder = std::env::temp_dir().join(format!("grandstand-api-docs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("keys.jsonl");
    let scopes = Scope::ALL.iter().copied().collect();
    let new = NewKey { name: "docs".to_owned(), env: "test".to_owned(), scopes, ..NewKey::default() };
    let (secret, _) = ApiKeys::new(Clock::start()).create_in_file(&file, &new).unwrap();
    let (dir, keys_file) = (folder.join("log").display().to_string(), file.display().to_string());
    let node = node(&[("api.listen", "127.0.0.1:0"), ("api.keys_file", &keys_file), ("log.dir", &dir)]);
    let at = format!("http://{}", node.addresses().api.unwrap());
    let page = include_str!("../../../docs/API.md");
    let examples: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let description = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let paths: serde_json::Value = serde_json::from_slice(&std::fs::read(description).unwrap()).unwrap();
    for path in paths["paths"].as_object().unwrap().keys() {
        assert!(page.contains(path.split('{').next().unwrap()), "docs/API.md says nothing of {path}");
    }
    assert!(examples.len() > 20, "the page has examples");
    for example in examples {
        let script = format!(
            "curl() {{ command curl -sS --fail-with-body --max-time 20 \"$@\"; }}\nset -o pipefail\n{example}"
        );
        let ran = Command::new("bash")
            .args(["-c", &script])
            .env("at", &at)
            .env("key", secret.expose())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{example}\n{said}{}", String::from_utf8_lossy(&ran.stderr));
        assert!(!said.contains("\"problem\""), "{example}\n{said}");
    }
    node.stop();
    std::fs::remove_dir_all(folder).unwrap();
}
