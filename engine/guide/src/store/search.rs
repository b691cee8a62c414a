//! Search: shows by words of their title, series, people, teams and categories, with their next airings.
//!
//! Why by show: a weekly repeat has one entry in the index, and people look for a show before a time.
//! Invariants: no text of a person is a query's syntax; a search has at most [`TERMS_MAX`] words. Not here:
//! the index (`schema`), HTTP.

use jiff::tz::TimeZone;
use rusqlite::params;
use serde::Serialize;

use super::query::{Airing, Page, Queries, airing, select};
use super::{GuideError, rows};

/// Words of a search.
const TERMS_MAX: usize = 8;
/// Shows of a page.
const SHOWS_MAX: usize = 100;
/// Shows whose airings are looked at for one page.
const LOOKED_AT_MAX: usize = 1_000;
/// Airings of a show in an answer.
const AIRINGS_MAX: usize = 5;

/// A search.
#[derive(Clone, Debug)]
pub struct SearchQuery {
    /// Words, and phrases in quotes. The last word may be unfinished.
    pub text: String,
    /// Airings that end after this instant.
    pub from: i64,
    /// Airings that begin before this one.
    pub to: i64,
    /// Shows of a page.
    pub limit: usize,
    /// `next` of the page before.
    pub after: Option<String>,
    /// Zone of times in the answer.
    pub zone: TimeZone,
}

/// A show that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundShow {
    /// Title.
    pub title: String,
    /// Title of the episode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sub_title: String,
    /// What happens.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Id of the series.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub series: String,
    /// People.
    pub people: Vec<String>,
    /// Teams.
    pub teams: Vec<String>,
    /// Categories.
    pub categories: Vec<String>,
    /// Its next airings.
    pub airings: Vec<Airing>,
}

impl Queries {
    /// Shows that have these words and an airing in this time, best first.
    ///
    /// # Errors
    /// The database failed.
    pub fn search(&self, query: &SearchQuery) -> Result<Page<FoundShow>, GuideError> {
        let nothing = Page { rows: Vec::new(), next: None };
        let Some(words) = expression(&query.text) else { return Ok(nothing) };
        let answer = || -> rusqlite::Result<Page<FoundShow>> {
            let limit = query.limit.clamp(1, SHOWS_MAX);
            let passed: usize =
                query.after.as_deref().and_then(|a| a.strip_prefix('s')?.parse().ok()).unwrap_or(0);
            let statement =
                "SELECT rowid FROM words WHERE words MATCH ?1 ORDER BY bm25(words, 10, 5, 3, 3, 5, 1), rowid
                             LIMIT ?2 OFFSET ?3";
            let mut statement = self.conn.prepare_cached(statement)?;
            let ids =
                statement.query_map(params![words, LOOKED_AT_MAX, passed], |row| row.get::<_, i64>(0))?;
            let ids: Vec<i64> = ids.collect::<Result<_, _>>()?;
            let show = format!("SELECT {} FROM shows s WHERE s.id = ?1", rows::COLUMNS);
            let airings = select(&format!(
                "a.show = ?1 AND a.start < ?3 AND a.stop > ?2 AND a.flags & 1 = 0 ORDER BY a.start, a.id LIMIT {AIRINGS_MAX}"
            ));
            let mut page = Page { rows: Vec::new(), next: None };
            for (n, id) in ids.iter().enumerate() {
                let mut of_show = self.conn.prepare_cached(&airings)?;
                let found = of_show
                    .query_map(params![id, query.from, query.to], |row| airing(row, false, &query.zone))?;
                let airings: Vec<Airing> = found.collect::<Result<_, _>>()?;
                if airings.is_empty() {
                    continue;
                }
                let show = self.conn.prepare_cached(&show)?.query_row([id], |row| rows::read(row, 0))?;
                page.rows.push(FoundShow {
                    title: show.title,
                    sub_title: show.sub_title,
                    description: show.description,
                    series: show.series,
                    people: show.people,
                    teams: show.teams,
                    categories: show.categories,
                    airings,
                });
                if page.rows.len() == limit {
                    page.next = (n + 1 < ids.len() || ids.len() == LOOKED_AT_MAX)
                        .then(|| format!("s{}", passed + n + 1));
                    return Ok(page);
                }
            }
            page.next = (ids.len() == LOOKED_AT_MAX).then(|| format!("s{}", passed + ids.len()));
            Ok(page)
        };
        answer().map_err(self.fault())
    }
}

/// The words as an expression of the index: quoted, so that none of them is its syntax.
fn expression(text: &str) -> Option<String> {
    let mut terms: Vec<String> = Vec::new();
    let mut is_open = false;
    for (n, part) in text.split('"').enumerate() {
        let is_phrase = n % 2 == 1;
        is_open = !is_phrase;
        if is_phrase {
            terms.extend(phrase(part));
        } else {
            terms.extend(part.split_whitespace().filter_map(phrase));
        }
    }
    terms.truncate(TERMS_MAX);
    if is_open
        && !text.ends_with(char::is_whitespace)
        && let Some(last) = terms.last_mut()
    {
        last.push('*');
    }
    (!terms.is_empty()).then(|| terms.join(" "))
}

fn phrase(text: &str) -> Option<String> {
    let words: String =
        text.chars().map(|c| if c.is_alphanumeric() || is_mark(c) { c } else { ' ' }).take(100).collect();
    let words: Vec<&str> = words.split_whitespace().collect();
    (!words.is_empty()).then(|| format!("\"{}\"", words.join(" ")))
}

fn is_mark(c: char) -> bool {
    unicode_normalization::char::is_combining_mark(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_syntax() {
        assert_eq!(expression("doctor who").unwrap(), r#""doctor" "who"*"#);
        assert_eq!(expression("doctor ").unwrap(), r#""doctor""#);
        assert_eq!(expression(r#""the chase" uk"#).unwrap(), r#""the chase" "uk"*"#);
        assert_eq!(expression("a* OR NEAR(b) -c:d").unwrap(), r#""a" "OR" "NEAR b" "c d"*"#);
        assert_eq!(expression(" *:\"\" "), None);
        assert_eq!(expression(&"x ".repeat(50)).unwrap().split(' ').count(), TERMS_MAX);
    }
}
