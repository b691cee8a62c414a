//! Rows of shows: a text that is stored once, by its hash, with one entry in the index of words.
//!
//! Why by hash: a listing repeats most of its texts, and comparing a number is cheap for 600,000 airings.
//! Invariant: a show's row never changes; another text is another row. Not here: airings (`apply`).

use std::hash::{Hash, Hasher};

use rusqlite::{Connection, OptionalExtension, Row, params};
use siphasher::sip::SipHasher13;

use crate::model::Show;

/// Between entries of a list; texts have no line ends.
const BETWEEN: char = '\n';

/// A number that stands for the whole text.
pub(super) fn hash(show: &Show) -> i64 {
    let mut hasher = SipHasher13::new_with_keys(0x67_7569_6465, 0x7368_6f77);
    show.hash(&mut hasher);
    hasher.finish() as i64
}

/// The row of a show; it is made when it is missing.
pub(super) fn id(conn: &Connection, show: &Show, hash: i64) -> rusqlite::Result<i64> {
    let mut known = conn.prepare_cached("SELECT id FROM shows WHERE hash = ?1")?;
    if let Some(id) = known.query_row([hash], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    let Show { title, other_titles, sub_title, description, episode, provider, series, .. } = show;
    let join = |list: &[String]| list.join("\n");
    let (people, teams, categories) = (join(&show.people), join(&show.teams), join(&show.categories));
    let statement =
        "INSERT INTO shows (hash, title, other_titles, sub_title, description, episode, provider, series,
                                        people, teams, categories)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    conn.prepare_cached(statement)?.execute(params![
        hash,
        title,
        join(other_titles),
        sub_title,
        description,
        episode,
        provider,
        series,
        people,
        teams,
        categories
    ])?;
    let id = conn.last_insert_rowid();
    let titles =
        if other_titles.is_empty() { title.clone() } else { format!("{title}\n{}", join(other_titles)) };
    let statement = "INSERT INTO words (rowid, title, sub_title, series, people, teams, categories)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    conn.prepare_cached(statement)?
        .execute(params![id, titles, sub_title, series, people, teams, categories])?;
    Ok(id)
}

/// Columns of [`read`], of a table `s`.
pub(super) const COLUMNS: &str = "s.title, s.other_titles, s.sub_title, s.description, s.episode, s.provider, \
                                  s.series, s.people, s.teams, s.categories";

/// A show from [`COLUMNS`], which begin at `from`.
pub(super) fn read(row: &Row<'_>, from: usize) -> rusqlite::Result<Show> {
    let list = |at: usize| -> rusqlite::Result<Vec<String>> {
        let text = row.get_ref(from + at)?.as_str()?;
        Ok(text.split(BETWEEN).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
    };
    Ok(Show {
        title: row.get(from)?,
        other_titles: list(1)?,
        sub_title: row.get(from + 2)?,
        description: row.get(from + 3)?,
        episode: row.get(from + 4)?,
        provider: row.get(from + 5)?,
        series: row.get(from + 6)?,
        people: list(7)?,
        teams: list(8)?,
        categories: list(9)?,
    })
}
