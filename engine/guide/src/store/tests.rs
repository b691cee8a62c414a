//! The store: what an import changes, what it leaves, what it refuses, and what queries find.
//!
//! Why by documents: a document is what a provider sends, and rooms are what people notice.

use std::collections::HashSet;

use jiff::tz::TimeZone;

use super::*;
use crate::report::Rule;
use crate::{Import, ImportError, Options, Outcome, RoomUse, Unused};

/// 2026-03-01 00:00 UTC.
const DAY: i64 = 1_772_323_200;

struct Used(HashSet<String>);

impl RoomUse for Used {
    fn is_used(&self, room: &str) -> bool {
        self.0.contains(room)
    }
}

/// A channel of half-hour shows from an hour of the day on.
fn channel(id: &str, hour: i64, titles: &[&str]) -> String {
    let mut document = format!("<channel id='{id}'><display-name>{id} TV</display-name></channel>");
    for (n, title) in titles.iter().enumerate() {
        let start = DAY + hour * 3_600 + 1_800 * n as i64;
        let stamp = |at: i64| crate::time::compact(at).replace(['T', 'Z'], "");
        let (from, to) = (stamp(start), stamp(start + 1_800));
        document += &format!(
            "<programme channel='{id}' start='{from} +0000' stop='{to} +0000'><title>{title}</title></programme>\n"
        );
    }
    document
}

fn options(source: &str) -> Options {
    Options { source: source.into(), ..Options::default() }
}

fn import_with(
    guide: &mut Guide,
    options: &Options,
    rooms: &dyn RoomUse,
    now: i64,
    inside: &str,
) -> (Result<Outcome, ImportError>, Report) {
    let mut report = Report::new(&options.source, now);
    let document = format!("<tv>{inside}</tv>");
    let import = Import { guide, rooms, now, progress: None };
    (import.run(document.as_bytes(), options, &mut report), report)
}

fn import(guide: &mut Guide, inside: &str) -> Report {
    let (outcome, report) = import_with(guide, &options("s"), &Unused, 0, inside);
    outcome.unwrap();
    report
}

fn grid(guide: &Guide) -> Vec<ChannelRow> {
    guide.queries().unwrap().grid(&whole_day()).unwrap().rows
}

fn whole_day() -> GridQuery {
    let (from, to) = (DAY, DAY + 86_400);
    GridQuery { from, to, channels: Vec::new(), limit: 200, after: None, full: false, zone: TimeZone::UTC }
}

fn titles(rows: &[ChannelRow], channel: &str) -> Vec<String> {
    let row = rows.iter().find(|row| row.channel == channel).unwrap();
    row.airings.iter().map(|airing| airing.title.clone()).collect()
}

fn room(guide: &Guide, title: &str) -> String {
    let rows = grid(guide);
    let mut airings = rows.iter().flat_map(|row| &row.airings);
    airings.find(|airing| airing.title == title).unwrap_or_else(|| panic!("no {title}")).room.clone()
}

const EVENING: [&str; 6] = ["News", "Quiz", "Film", "Sport", "Talk", "Late"];

#[test]
fn a_room_stays_for_life() {
    let mut guide = Guide::temporary().unwrap();
    import(&mut guide, &channel("a", 18, &EVENING));
    let film = room(&guide, "Film");
    assert!(film.starts_with("airing/a/20260301T190000Z/"), "{film}");
    let report =
        import(&mut guide, &channel("a", 18, &["News", "Budget", "Quiz", "Film", "Sport", "Talk", "Late"]));
    assert_eq!((report.unchanged, report.changed, report.added), (1, 5, 1));
    assert_eq!(room(&guide, "Film"), film);
    let found = guide.queries().unwrap().airing(&film, &TimeZone::UTC).unwrap().unwrap();
    assert_eq!((found.title.as_str(), found.start.as_str()), ("Film", "2026-03-01T19:30:00Z"));
    assert_eq!(
        guide.queries().unwrap().airing("airing/a/20260301T190000Z/aaaaaa", &TimeZone::UTC).unwrap(),
        None
    );
}

#[test]
fn only_the_time_that_a_document_shows_of_a_channel_is_judged_by_it() {
    let mut guide = Guide::temporary().unwrap();
    import(&mut guide, &(channel("a", 6, &EVENING) + &channel("b", 6, &EVENING)));
    let report = import(&mut guide, &channel("a", 20, &["Tomorrow", "Beyond"]));
    assert_eq!((report.added, report.cancelled), (2, 0));
    let rows = grid(&guide);
    assert_eq!(titles(&rows, "a").len(), 8);
    assert_eq!(titles(&rows, "b"), EVENING);
}

#[test]
fn what_goes_is_cancelled_and_comes_back_with_its_room() {
    let mut guide = Guide::temporary().unwrap();
    import(&mut guide, &channel("a", 18, &EVENING));
    let quiz = room(&guide, "Quiz");
    let report = import(&mut guide, &channel("a", 18, &["News", "Tribute", "Film", "Sport", "Talk", "Late"]));
    assert_eq!((report.added, report.cancelled), (1, 1));
    assert_eq!(titles(&grid(&guide), "a")[1], "Tribute");
    let gone = guide.queries().unwrap().airing(&quiz, &TimeZone::UTC).unwrap().unwrap();
    assert_eq!(gone.facts, ["cancelled"]);
    import(&mut guide, &channel("a", 18, &EVENING));
    assert_eq!(room(&guide, "Quiz"), quiz);
    let report = import(&mut guide, &channel("a", 18, &EVENING));
    assert_eq!((report.result.as_str(), report.rows_written), ("unchanged", 0));
}

#[test]
fn a_room_in_use_keeps_its_show_and_the_new_one_has_its_own() {
    let mut guide = Guide::temporary().unwrap();
    import(&mut guide, &channel("a", 18, &EVENING));
    let quiz = room(&guide, "Quiz");
    let used = Used(HashSet::from([quiz.clone()]));
    let document = channel("a", 18, &["News", "Quizzes", "Film", "Sport", "Talk", "Late"]);
    // Without people in it, it is the same show under another name.
    let (outcome, report) =
        import_with(&mut guide, &Options { dry_run: true, ..options("s") }, &Unused, 0, &document);
    assert_eq!((outcome.unwrap(), report.changed, report.added), (Outcome::Tried, 1, 0));
    let document = channel("a", 18, &["News", "Quite Interesting", "Film", "Sport", "Talk", "Late"]);
    let (outcome, report) = import_with(&mut guide, &options("s"), &used, 0, &document);
    outcome.unwrap();
    assert_eq!((report.disagreeing, report.added, report.cancelled), (1, 1, 0));
    assert_eq!(report.count(Rule::RoomKeepsShow), 1);
    let kept = guide.queries().unwrap().airing(&quiz, &TimeZone::UTC).unwrap().unwrap();
    assert_eq!((kept.title.as_str(), &kept.facts[..]), ("Quiz", &["disagrees"][..]));
    assert_ne!(room(&guide, "Quite Interesting"), quiz);
    let (outcome, report) = import_with(&mut guide, &options("s"), &used, 0, &document);
    assert_eq!((outcome.unwrap(), report.rows_written, report.disagreeing), (Outcome::Unchanged, 0, 1));
    // The people have left.
    let (_, report) = import_with(&mut guide, &options("s"), &Unused, 0, &document);
    assert_eq!((report.cancelled, report.disagreeing), (1, 0));
}

#[test]
fn a_document_that_empties_or_halves_the_guide_is_refused_unless_forced() {
    let mut guide = Guide::temporary().unwrap();
    let evening: Vec<String> = (0..40).map(|n| format!("Show {n} of {}", EVENING[n % 6])).collect();
    let all: Vec<&str> = evening.iter().map(String::as_str).collect();
    import(&mut guide, &(channel("a", 0, &all) + &channel("b", 0, &all)));
    let before = grid(&guide);
    let sparse = |keep: usize| {
        let titles: Vec<&str> =
            (0..40).map(|n| if n % keep == 0 || n == 39 { all[n] } else { "Programme follows" }).collect();
        channel("a", 0, &titles) + &channel("b", 0, &titles)
    };
    let only_a = |titles: &[&str]| channel("a", 0, titles);
    let mut replaced = all.clone();
    replaced[5..26].fill("Telethon");
    for (name, now, document) in [
        ("empty", DAY, String::new()),
        ("channels without programmes", DAY, "<channel id='a'/>".to_owned()),
        ("every second of all", 0, sparse(2)),
        ("half of a channel", 0, only_a(&replaced)),
        ("a third of the next day", DAY, {
            let mut some = all.clone();
            some[5..24].fill("Telethon");
            some[24] = "x";
            only_a(&some)
        }),
    ] {
        let (outcome, report) = import_with(&mut guide, &options("s"), &Unused, now, &document);
        let is_refused = matches!(outcome, Err(ImportError::Refused(_)));
        assert!(is_refused, "{name}: {report:?} {outcome:?}");
        assert_eq!((report.result.as_str(), report.rows_written), ("refused", 0), "{name}");
        assert_eq!(grid(&guide), before, "{name}");
        assert_eq!(guide.queries().unwrap().reports().unwrap()[0].result, "refused", "{name}");
    }
    let forced = Options { force: true, ..options("s") };
    let (outcome, report) = import_with(&mut guide, &forced, &Unused, DAY, &only_a(&replaced));
    assert_eq!(outcome.unwrap(), Outcome::Applied);
    assert_eq!(report.cancelled, 21);
}

#[test]
fn a_channel_belongs_to_the_source_that_brought_it() {
    let mut guide = Guide::temporary().unwrap();
    import(&mut guide, &channel("a", 18, &EVENING));
    let (outcome, report) = import_with(
        &mut guide,
        &options("other"),
        &Unused,
        0,
        &(channel("a", 18, &["x"]) + &channel("b", 18, &["y"])),
    );
    outcome.unwrap();
    assert_eq!((report.count(Rule::ChannelOfAnother), report.skipped, report.added), (1, 1, 1));
    assert_eq!(titles(&grid(&guide), "a"), EVENING);
}

#[test]
fn the_grid_has_what_is_on_at_some_moment_by_page() {
    let mut guide = Guide::temporary().unwrap();
    let long = "<channel id='long'/><programme channel='long' start='20260301' stop='20260301200000'><title>Marathon</title></programme>";
    import(&mut guide, &(channel("a", 18, &EVENING) + &channel("b", 18, &EVENING) + long));
    let queries = guide.queries().unwrap();
    let query = GridQuery { from: DAY + 18 * 3_600 + 900, to: DAY + 19 * 3_600, limit: 2, ..whole_day() };
    let page = queries.grid(&query).unwrap();
    assert_eq!((page.rows.len(), titles(&page.rows, "a")), (2, vec!["News".to_owned(), "Quiz".into()]));
    let rest = queries.grid(&GridQuery { after: page.next, ..query.clone() }).unwrap();
    assert_eq!(
        (rest.rows.len(), titles(&rest.rows, "long"), rest.next),
        (1, vec!["Marathon".to_owned()], None)
    );
    let page =
        queries.grid(&GridQuery { channels: vec!["long".into(), "none".into()], ..query.clone() }).unwrap();
    assert_eq!(page.rows.len(), 1);
    let now = queries.now(DAY + 18 * 3_600 + 1_800, &query).unwrap();
    let (on, next) = (now.rows[0].now.as_ref().unwrap(), now.rows[0].next.as_ref().unwrap());
    assert_eq!((on.title.as_str(), next.title.as_str()), ("Quiz", "Film"));
    assert_eq!(queries.starting(DAY + 18 * 3_600, DAY + 18 * 3_600 + 1).unwrap().len(), 2);
    assert_eq!(queries.counts().unwrap(), (3, 13, 7));
}

#[test]
fn shows_are_found_by_their_words_once_with_their_next_airings() {
    let mut guide = Guide::temporary().unwrap();
    let with = "<programme channel='a' start='20260301230000' stop='20260301234500'><title>Match of the Day</title>\
                <sub-title>Crème v Brûlée</sub-title><team>Arsenal</team><category>Football</category>\
                <credits><presenter>Gary Lineker</presenter></credits></programme>";
    import(&mut guide, &(channel("a", 6, &["News", "Quiz", "News", "News"]) + with));
    let queries = guide.queries().unwrap();
    let search = |text: &str| {
        let (from, to, after, zone) = (DAY, DAY + 86_400, None, TimeZone::UTC);
        queries.search(&SearchQuery { text: text.into(), from, to, limit: 10, after, zone }).unwrap().rows
    };
    for words in
        ["match day", "arsenal", "lineker", "football", "creme", "BRÛLÉE", "\"of the day\" mat", "line"]
    {
        let found = search(words);
        assert_eq!(
            (found.len(), found.first().map(|show| show.title.as_str())),
            (1, Some("Match of the Day")),
            "{words}"
        );
    }
    let news = search("news");
    assert_eq!((news.len(), news[0].airings.len()), (1, 3));
    assert!(search("news quiz").is_empty() && search("\" OR *").is_empty() && search("").is_empty());
}

#[test]
fn what_ended_is_forgotten_but_for_rooms_in_use() {
    let mut guide = Guide::temporary().unwrap();
    import(&mut guide, &channel("a", 6, &EVENING));
    let used = Used(HashSet::from([room(&guide, "News")]));
    assert_eq!(guide.forget(DAY + 8 * 3_600, &used).unwrap(), 2);
    assert_eq!(titles(&grid(&guide), "a"), ["News", "Sport", "Talk", "Late"].map(str::to_owned));
    assert_eq!(guide.queries().unwrap().counts().unwrap(), (1, 4, 4));
}

#[test]
fn a_guide_stays_after_it_was_closed_and_a_newer_one_is_refused() {
    let mut guide = Guide::temporary().unwrap();
    import(&mut guide, &channel("a", 6, &EVENING));
    let validators = Validators { tag: "\"x\"".into(), modified: "Sun".into() };
    guide.keep_validators("s", &validators).unwrap();
    let again = Guide::open(guide.dir()).unwrap();
    assert_eq!(titles(&grid(&again), "a"), EVENING);
    assert_eq!(
        (again.validators("s").unwrap(), again.validators("t").unwrap()),
        (validators, Validators::default())
    );
    guide.conn.pragma_update(None, "user_version", 99).unwrap();
    assert!(Guide::open(guide.dir()).err().unwrap().to_string().contains("version 99"));
}
