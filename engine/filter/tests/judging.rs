//! Tests of judging: which texts meet a rule, what is masked, and which rule decides.
//!
//! Why the words are mild: they have the shapes that matter, and readers of the tests are people.

use std::sync::Arc;

use grandstand_filter::{Action, Author, Filter, List, Rooms, Scratch, Seen, Verdict};
use proptest::prelude::*;

fn filter(list: &str) -> Filter {
    Filter::of(List::parse("t", list).unwrap_or_else(|faults| panic!("{faults:?}")))
}

fn judge(filter: &Filter, text: &str) -> (Verdict, Scratch) {
    let mut scratch = Scratch::new();
    (filter.judge(filter.select("room"), text, Author::default(), &mut scratch), scratch)
}

fn meets(list: &str, text: &str) -> bool {
    judge(&filter(list), text).0.hit.is_some()
}

#[track_caller]
fn all(list: &str, texts: &[&str], wanted: bool) {
    for text in texts {
        assert_eq!(meets(list, text), wanted, "{text:?} by {list:?}");
    }
}

#[test]
fn a_word_is_found_however_it_is_written() {
    let texts = [
        "a nitwit",
        "NITWIT",
        "you,nitwit!",
        "n i t w i t",
        "N.I.T.W.I.T",
        "n-i-t-w-i-t-y-o-u",
        "nit wit",
        "ni.twit",
        "nnnniiitwiit",
        "nitwwwit",
        "n1tw1t",
        "n!tw!t",
        "ni+wit",
        "n|tw|t",
        "n1tw1+!",
        "ոіtwіt",
        "ɴɪᴛᴡɪᴛ",
        "n*twit",
        "n**wit",
        "ni_tw_it",
        "n i t  w i t",
        "x n i t w i t x",
        "\u{202e}tiwtin\u{202c}",
        "nitwit's",
        "nitwit2you",
        "n¡tw¡t",
        "n🔥i🔥t🔥w🔥i🔥t",
        "@nitwit",
        "#nitwit",
        "ｎｉｔｗｉｔ",
        "'n i t w i t'",
        "n'i't'w'i't",
    ];
    all("nitwit\n", &texts, true);
}

#[test]
fn letters_that_are_no_word_are_not_found() {
    all(
        "nitwit\n",
        &["nit", "unitwitty", "knit with", "nitwits", "n", "nit-picking", "n1tw1ts", "ni t", "wit nit"],
        false,
    );
    // Traps of SHOW.md 1c: `rn` is no `m`; one letter is not two; apostrophes end a word.
    all("bum\n", &["burn", "album", "bu rn"], false);
    all("raping\nboner\n", &["rapping", "bonner"], false);
    all(
        "hell\ntit\nshit\n",
        &["he'll", "she'll", "can't it", "that's hit", "it's hit", "what's hitting"],
        false,
    );
    all("penis\nanus\n", &["the pen is red", "an us citizen", "pen is"], false);
    // Numbers and prices are no words.
    all(
        "ass\nsos\ntits\nbob\n",
        &["455", "4.55", "$4.55", "505", "717 17", "808", "call 505 now", "5:05"],
        false,
    );
    // A bracket, a bar and an exclamation mark beside a word are none of its letters.
    all("crap\nanal\nlick\n", &["(rap)", "Ana!", "a (rap song)", "|ick|"], false);
}

#[test]
fn counts_of_letters_decide() {
    all("boob\n", &["boob", "booob", "boooob", "bboob", "BBOOOOBB"], true);
    all("boob\n", &["bob", "bobb"], false);
    all("noo*b\n", &["noob", "nooob", "noooooob"], true);
    all("noo*b\n", &["nob"], false);
    all("fun\n", &["fuun", "fuuun", "ffun", "funnn"], true);
    all("fun\n", &["funn", "fund"], false);
}

#[test]
fn a_star_at_an_end_opens_it() {
    all("*spam*\n", &["spam", "antispam", "spammer", "xspamx", "SP4MMER", "s p a m"], true);
    all("spam*\n", &["spammer", "spam"], true);
    all("spam*\n", &["antispam", "tips pam"], false);
    all("*spam\n", &["antispam"], true);
    all("*spam*\n", &["tips pamper", "xsp amx"], false);
}

#[test]
fn an_exception_covers_a_match() {
    let list = "*cock*\n! cocktail\n! pea cock\n";
    all(list, &["cocktail", "COCKTAIL", "c0cktail", "a peacock", "pea cock"], false);
    all(list, &["cock", "cocktail cock", "cocktails", "cocky"], true);
}

#[test]
fn several_words_are_one_term() {
    all(
        "total dunce\n",
        &["total dunce", "Total, dunce!", "totaldunce", "t0tal dunc3", "total  dunce", "total-dunce"],
        true,
    );
    all("total dunce\n", &["total", "dunce total", "total dunces", "subtotal dunce"], false);
}

/// Scripts that write no spaces have no borders to look at (trap 5); marks make another letter (trap 2).
#[test]
fn scripts_without_spaces() {
    all("馬鹿\nばか\nบ้า\n", &["お前は馬鹿だ", "バカじゃない", "ﾊﾞｶです", "คนบ้ามาก", "馬.鹿馬鹿"], true);
    all("馬鹿\nはか\n", &["馬と鹿", "ばかです"], false);
    all("바보\n", &["야바보야", "\u{1107}\u{1161}\u{1107}\u{1169}", "ㅂㅏㅂㅗ"], true);
    all("дурак\n", &["ты ДУРАК", "д у р а к", "дурааак"], true);
    all("дурак\n", &["дураков"], false);
    // Greek capitals look like other letters than their small ones.
    all("ηλίθιος\n", &["ηλίθιος", "Ηλίθιος", "ΗΛΙΘΙΟΣ"], true);
    all("ninny\n", &["ηιηηy", "ΝΙΝΝΥ"], true);
}

#[test]
fn what_is_masked_is_what_was_met() {
    let filter = filter("@ mask\nnitwit\nbuffoon\n/[0-9]{4} coins/\n");
    for (text, wanted) in [
        ("you Nitwit, b u f f o o n!", "you ******, *************!"),
        ("ｎｉｔｗｉｔ\u{301}\u{200b} ok", "******** ok"),
        ("1234 coins for a n.i.t.w.i.t", "********** for a ***********"),
        ("buffoonnitwit", "buffoonnitwit"),
        ("\u{202e}tiwtin\u{202c}", "\u{202e}*******"),
    ] {
        let (verdict, scratch) = judge(&filter, text);
        assert_eq!(scratch.masked(text), wanted, "{verdict:?}");
        assert!(scratch.masked(text).len() <= text.len());
    }
}

#[test]
fn the_strictest_rule_decides_and_then_the_first_list() {
    let list = |name, text| Arc::new(List::parse(name, text).unwrap());
    let filter = Filter::new([
        (Rooms::All, list("first", "dolt | mask\nnitwit | hold severity=1\noaf | pass")),
        (
            Rooms::parse("kids/*"),
            list("kids", "nitwit | hold severity=4\ndunce | timeout=60\ndullard | timeout=5"),
        ),
        (Rooms::parse("one"), list("one", "nitwit | shadow")),
    ]);
    let mut scratch = Scratch::new();
    let mut decided = |room: &str, text: &str| {
        let verdict = filter.judge(filter.select(room), text, Author::default(), &mut scratch);
        verdict.hit.map(|hit| format!("{} {}", filter.rule(&hit).0.name(), verdict.action))
    };
    assert_eq!(decided("any", "nitwit dolt").as_deref(), Some("first hold"));
    assert_eq!(decided("kids/a", "nitwit").as_deref(), Some("first hold"));
    assert_eq!(decided("kids/a", "nitwit dunce dullard").as_deref(), Some("kids timeout=60"));
    assert_eq!(decided("one", "nitwit").as_deref(), Some("one shadow"));
    assert_eq!(decided("ones", "dunce"), None);
    assert_eq!(decided("any", "oaf").as_deref(), Some("first pass"));
    assert!(Filter::new([]).select("any").is_empty());
}

#[test]
fn moderators_are_judged_by_the_rules_that_concern_them() {
    let filter = filter("dolt\nnitwit | hold moderators=judged\n");
    let mut scratch = Scratch::new();
    let mut by = |is_moderator, text: &str| {
        filter.judge(filter.select(""), text, Author { is_moderator }, &mut scratch).action
    };
    assert_eq!((by(false, "dolt"), by(true, "dolt")), (Action::Refuse, Action::Allow));
    assert_eq!((by(false, "nitwit"), by(true, "nitwit dolt")), (Action::Hold, Action::Hold));
}

#[test]
fn a_hit_says_how_the_word_was_written() {
    let filter = filter("nitwit\n/buy now/\n");
    for (text, seen) in [
        ("nitwit", Seen::Plain),
        ("n1tw1t", Seen::AsLetters),
        ("n*twit", Seen::Hidden),
        ("\u{202e}tiwtin", Seen::Turned),
        ("Buy NOW", Seen::Expression),
    ] {
        assert_eq!(judge(&filter, text).0.hit.map(|hit| hit.seen), Some(seen), "{text}");
    }
}

/// A text of one letter, of letters that are all apart, of all the starts of a term: the work stays linear.
#[test]
fn texts_made_to_be_slow_are_judged() {
    let list: String = (2..100).map(|n| format!("{}\n", "a".repeat(n))).collect();
    let filter = filter(&format!("{list}/(a|b|ab)*c/\n/(.*)(.*)(.*)x/\n*aaab*\n"));
    for text in
        ["a".repeat(2_000), "a ".repeat(1_000), "a.".repeat(1_000), "1".repeat(2_000), "a*".repeat(1_000)]
    {
        let (verdict, scratch) = judge(&filter, &text);
        assert!(scratch.hits().len() <= 250_000, "{} hits, {verdict:?}", scratch.hits().len());
    }
}

proptest! {
    /// Whatever is typed: no panic, spans are borders of characters in order, a mask is never longer, and
    /// what was masked is met no more.
    #[test]
    fn any_text_is_judged(
        text in "(nit|wit|n|1|!|\\*|\\.| |b|馬|鹿|\u{202e}|\u{202c}|\u{200b}|\u{3099}|ㅂ|ㅏ|ﬁ|\\PC){0,24}",
    ) {
        let filter = filter("@ mask\nnitwit\n*wit*\n馬鹿\nか\u{3099}\nfi*nn\n! wi twit\n/[^a]b/\n");
        let (verdict, scratch) = judge(&filter, &text);
        let mut at = 0;
        for &(start, end) in scratch.spans() {
            prop_assert!(at <= start && start < end && end as usize <= text.len());
            prop_assert!(text.is_char_boundary(start as usize) && text.is_char_boundary(end as usize));
            at = end;
        }
        prop_assert_eq!(verdict.hit.is_some(), !scratch.spans().is_empty());
        let masked = scratch.masked(&text);
        prop_assert!(masked.len() <= text.len());
        prop_assert_eq!(masked.chars().count(), text.chars().count());
    }

    /// A judgement depends on nothing that was judged before.
    #[test]
    fn scratch_remembers_nothing(one in "\\PC{0,30}", other in "(nitwit|n1t wit|\\PC){0,6}") {
        let filter = filter("@ mask\nnitwit\n*wit*\n");
        let (alone, fresh) = judge(&filter, &other);
        let mut scratch = Scratch::new();
        filter.judge(filter.select(""), &one, Author::default(), &mut scratch);
        let again = filter.judge(filter.select(""), &other, Author::default(), &mut scratch);
        prop_assert_eq!(alone, again);
        prop_assert_eq!(fresh.spans(), scratch.spans());
    }
}
