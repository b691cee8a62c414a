//! Tests of API keys: what is refused and why, two programs on one database, rotation, and the file.
//!
//! Why over files: a key that one program revokes must be refused by another.

use super::*;
use std::path::PathBuf;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("grandstand-keys-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn keys_in(database: &Database) -> ApiKeys {
    let keys = ApiKeys::new(Clock::start());
    keys.open(database).unwrap();
    keys
}

fn wanted(name: &str) -> NewKey {
    let scopes = Scopes::default().with(Scope::Publish).with(Scope::RoomsRead);
    NewKey { name: name.to_owned(), env: "test".to_owned(), scopes, ..NewKey::default() }
}

#[test]
fn a_key_is_known_by_its_hash_until_it_is_revoked_or_over() {
    let keys = keys_in(&Database::of(None));
    let (secret, made) = keys.create(&wanted("app")).unwrap();
    let found = keys.find(secret.expose()).unwrap();
    assert_eq!((&found.id, found.scopes), (&made.id, made.scopes));
    assert!(found.used_ms().is_some() && !format!("{found:?}").contains(secret.expose()));
    let other = NewSecret::random("test").unwrap();
    assert_eq!(keys.find(other.expose()).unwrap_err(), Refused::Unknown);
    for bad in ["", "gsk_test_x", &secret.expose()[1..], &format!("{} ", secret.expose())] {
        assert_eq!(keys.find(bad).unwrap_err(), Refused::Malformed, "{bad}");
    }
    let over = NewKey { expires_ms: Some(keys.now_ms()), ..wanted("over") };
    assert_eq!(keys.find(keys.create(&over).unwrap().0.expose()).unwrap_err(), Refused::Expired);
    assert_eq!(keys.revoke(&made.id), Ok(true));
    assert_eq!(keys.find(secret.expose()).unwrap_err(), Refused::Revoked);
    assert_eq!((keys.revoke(&made.id), keys.revoke("key_none")), (Ok(false), Ok(false)));
}

#[test]
fn a_name_has_two_live_keys_and_a_third_when_one_has_ended() {
    let keys = keys_in(&Database::of(None));
    let first = keys.create(&wanted("app")).unwrap().1;
    keys.create(&wanted("app")).unwrap();
    assert!(matches!(keys.create(&wanted("app")), Err(CreateError::TooMany)));
    keys.create(&wanted("other")).unwrap();
    keys.revoke(&first.id).unwrap();
    keys.create(&wanted("app")).unwrap();
    assert!(matches!(keys.create(&wanted("app")), Err(CreateError::TooMany)));
    assert_eq!(keys.all().len(), 4, "the revoked one is listed");
}

#[test]
fn two_programs_share_a_database_and_see_each_other_s_changes_at_once() {
    let folder = folder("shared");
    let database = Database::of(Some(&folder));
    let (node, program) = (keys_in(&database), keys_in(&database));
    let (secret, made) = program.create(&wanted("app")).unwrap();
    assert_eq!(node.find(secret.expose()).unwrap().id, made.id);
    program.revoke(&made.id).unwrap();
    assert_eq!(node.find(secret.expose()).unwrap_err(), Refused::Revoked);
    let bytes = std::fs::read(folder.join("node.db")).unwrap();
    let text = secret.expose().as_bytes();
    assert!(!bytes.windows(text.len()).any(|window| window == text), "the key itself is stored nowhere");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_nodes_of_a_cluster_share_a_file_and_a_damaged_line_changes_nothing() {
    let folder = folder("file");
    let path = folder.join("keys.jsonl");
    let (one, two) = (ApiKeys::new(Clock::start()), ApiKeys::new(Clock::start()));
    let (secret, made) = one.create_in_file(&path, &wanted("app")).unwrap();
    for keys in [&one, &two] {
        keys.read_file(Some(&path)).unwrap();
        let found = keys.find(secret.expose()).unwrap();
        assert_eq!((&found.id, found.scopes, found.is_of_file), (&made.id, made.scopes, true));
    }
    one.create_in_file(&path, &wanted("app")).unwrap();
    assert!(matches!(one.create_in_file(&path, &wanted("app")), Err(CreateError::TooMany)));
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(secret.expose()));
    std::fs::write(&path, format!("# a comment\n\n{text}{{\"id\":\"x\"}}\n")).unwrap();
    let fault = two.read_file(Some(&path)).unwrap_err();
    assert!(fault.contains("line 5"), "{fault}");
    assert!(two.find(secret.expose()).is_ok(), "the keys before stay in use");
    std::fs::write(&path, "").unwrap();
    two.read_file(Some(&path)).unwrap();
    assert_eq!(two.find(secret.expose()).unwrap_err(), Refused::Unknown, "a removed line is a revoked key");
    std::fs::remove_dir_all(folder).unwrap();
}
