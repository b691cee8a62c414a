//! Tests of the database: steps, other connections, and later releases.
//!
//! Why over files: what another program sees is what SQLite wrote.

use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("grandstand-database-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn steps_are_done_once_and_all_or_none() {
    let folder = folder("steps");
    let database = Database::of(Some(&folder));
    let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1)";
    let second = "ALTER TABLE a ADD COLUMN y INTEGER NOT NULL DEFAULT 2";
    let sum =
        |connection: &Connection, sql| connection.query_row(sql, [], |row| row.get::<_, u32>(0)).unwrap();
    let old = database.connect("m", &[first]).unwrap();
    assert_eq!(sum(&old, "SELECT sum(x) FROM a"), 1);
    assert!(database.connect("m", &[first, second, "this is no SQL"]).is_err(), "a step fails");
    assert!(old.prepare("SELECT y FROM a").is_err(), "then no step of it is done");
    let new = database.connect("m", &[first, second]).unwrap();
    assert_eq!(sum(&new, "SELECT sum(x) + sum(y) FROM a"), 3, "the first step is done once");
    let refused = database.connect("m", &[first]).unwrap_err();
    assert!(refused.contains("a later release"), "{refused}");
    assert!(database.connect("other", &[]).is_ok(), "each module counts by itself");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn without_a_folder_nothing_is_written_and_a_missing_folder_is_named() {
    let memory = Database::of(None);
    let connection = memory.connect("m", &["CREATE TABLE a (x INTEGER) STRICT"]).unwrap();
    connection.execute("INSERT INTO a VALUES (1)", []).unwrap();
    let gone = Path::new("/nowhere/grandstand");
    let fault = Database::of(Some(gone)).connect("m", &[]).unwrap_err();
    assert!(fault.starts_with("/nowhere/grandstand/node.db"), "{fault}");
}
