//! The authors of a generated chat: their names, their roles, and the number of messages of each.
//!
//! The tickets in a hat: a new author puts one ticket into it for each message that they are going to write;
//! the next author is whoever's ticket is drawn. The hat is kept so full that a ticket stays in it for five
//! minutes in the mean, which is what makes chatters stay for minutes and leave.
//! Why: half of real chatters write once, the top 1 % write 9 to 23 % of all, sessions have a median of 4 to
//! 11 minutes; all of it follows from how many tickets people bring, at constant cost and memory.
//! Not here: their texts (`texts`).

use std::sync::Arc;

use grandstand_protocol::frame::Role;

use super::arrivals::Draws;
use super::words::Language;
use grandstand_harness::random::Random;

/// How long a ticket stays in the hat, in the mean.
const STAY_S: f64 = 300.0;
/// Tickets in the hat at least: in a small room the same dozen people talk.
const TICKETS_MIN: usize = 12;

/// Share of the authors that write one message.
const ONCE: f64 = 0.45;
/// The others bring two tickets or more: a Pareto tail with this exponent, cut off at a mean and lively
/// evening.
const TAIL: f64 = 1.3;
const MESSAGES_MIN: f64 = 2.0;
const MESSAGES_MAX: f64 = 90.0;
/// Nobody brings more than this part of the hat (but always [`LIVELY`] tickets): the room would be theirs.
const PART_MAX: usize = 8;
const LIVELY: usize = 8;

/// Parts of all messages that the host and the moderators write, who stay.
const HOST: f64 = 0.003;
const MODERATORS: f64 = 0.02;
/// Share of the authors that support the show.
const SUBSCRIBERS: f64 = 0.2;

/// A person.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) name: Arc<str>,
    pub(super) role: Role,
    pub(super) language: Language,
}

#[derive(Debug)]
pub(super) struct People {
    random: Random,
    languages: Vec<Language>,
    staff: [Arc<Person>; 4],
    tickets: Vec<Arc<Person>>,
    tickets_wanted: usize,
    messages_max: f64,
}

impl People {
    pub(super) fn new(seed: u64, rate_per_s: f64, languages: Vec<Language>) -> People {
        let mut random = Random::new(seed);
        let mut staff = |role| Arc::new(Person { name: name(&mut random), role, language: languages[0] });
        let staff =
            [staff(Role::Host), staff(Role::Moderator), staff(Role::Moderator), staff(Role::Moderator)];
        let tickets_wanted = ((rate_per_s * STAY_S) as usize).max(TICKETS_MIN);
        let messages_max = (tickets_wanted / PART_MAX).max(LIVELY) as f64;
        People {
            random,
            languages,
            staff,
            tickets: Vec::with_capacity(tickets_wanted),
            tickets_wanted,
            messages_max,
        }
    }

    /// The next author.
    pub(super) fn next_author(&mut self) -> Arc<Person> {
        let who = self.random.unit();
        if who < HOST + MODERATORS {
            let moderator = 1 + self.random.below(self.staff.len() - 1);
            return self.staff[if who < HOST { 0 } else { moderator }].clone();
        }
        while self.tickets.len() < self.tickets_wanted {
            self.come();
        }
        let drawn = self.random.below(self.tickets.len());
        self.tickets.swap_remove(drawn)
    }

    fn come(&mut self) {
        let messages = self.messages();
        let role = if self.random.unit() < SUBSCRIBERS { Role::Subscriber } else { Role::Viewer };
        let language = self.random.pick(&self.languages);
        let person = Arc::new(Person { name: name(&mut self.random), role, language });
        self.tickets.extend(std::iter::repeat_n(person, messages));
    }

    fn messages(&mut self) -> usize {
        if self.random.unit() < ONCE {
            return 1;
        }
        (MESSAGES_MIN * self.random.unit().powf(-1.0 / TAIL)).min(MESSAGES_MAX).min(self.messages_max)
            as usize
    }
}

/// A name of made-up syllables. Lengths as measured: p50 10 bytes, p95 17; long enough that hardly two are
/// equal.
fn name(random: &mut Random) -> Arc<str> {
    let bytes = (10.6 + 4.2 * random.normal()).clamp(5.0, 24.0) as usize;
    let digits = if random.unit() < 0.3 { 1 + random.below(3) } else { 0 };
    let mut name = String::with_capacity(bytes + 4);
    while name.len() < bytes - digits.min(bytes - 4) {
        if name.len() > 4 && random.unit() < 0.12 {
            name.push('_');
        }
        name.push_str(random.pick(&STARTS));
        name.push_str(random.pick(&VOWELS));
    }
    name.truncate(bytes - digits.min(bytes - 4));
    for _ in 0..digits {
        name.push(char::from(b'0' + random.below(10) as u8));
    }
    if random.unit() < 0.25 {
        name[..1].make_ascii_uppercase();
    }
    name.into()
}

const STARTS: [&str; 24] = [
    "b", "br", "d", "dr", "f", "fl", "g", "gl", "h", "k", "kl", "l", "m", "n", "p", "pl", "qu", "r", "s",
    "st", "t", "v", "w", "z",
];
const VOWELS: [&str; 14] = ["a", "e", "i", "o", "u", "ai", "an", "ee", "el", "in", "oo", "or", "um", "y"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hat_stays_as_full_as_it_is() {
        let mut people = People::new(1, 10.0, vec![Language::En]);
        for _ in 0..50_000 {
            people.next_author();
        }
        assert!((2900..3100).contains(&people.tickets.len()), "{}", people.tickets.len());
    }

    #[test]
    fn names_pass_the_protocols_rules() {
        let mut random = Random::new(9);
        for _ in 0..10_000 {
            let name = name(&mut random);
            assert!(grandstand_protocol::rules::is_name(&name) && name.len() <= 24, "{name}");
        }
    }

    #[test]
    fn every_language_asked_for_is_spoken() {
        let mut people = People::new(1, 1.0, vec![Language::En, Language::Ja, Language::Ja]);
        let spoken: Vec<Language> = (0..5000).map(|_| people.next_author().language).collect();
        let ja = spoken.iter().filter(|l| **l == Language::Ja).count();
        assert!((2500..4000).contains(&ja), "{ja} of 5000");
    }
}
