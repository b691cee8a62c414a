//! The chat generator: an endless run of lines with the shapes of real live chats, the same for the same
//! seed.
//!
//! Why: the repository, its tests and the demo need crowds that behave like crowds, and nobody's texts or
//! names. Shapes (measured over 17 real logs of 50 to 130,000 viewers; `tests::shapes` holds each range
//! and tests it): over-dispersed arrivals, bursts of 3 to 10 times background, short texts with a long tail,
//! many who write once and few who write much, one message in four said before within 30 s.
//! Invariants: times never fall; every text and name passes [`grandstand_protocol::rules`]; memory does not
//! grow with time.
//! Not here: arrival times (`arrivals`), authors (`people`), texts (`texts`), files (`synth`).

use grandstand_harness::chat_log::Message;

use super::arrivals::Arrivals;
use super::people::People;
use super::texts::Texts;
use super::words::Language;

/// The kind of chat.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The same seed gives the same chat.
    pub(crate) seed: u64,
    /// How many people watch: decides the rate.
    pub(crate) viewers: u64,
    /// Messages per second in the mean, instead of what the audience suggests.
    pub(crate) rate_per_s: Option<f64>,
    /// Languages; one that is named twice is used twice as often. Empty: English.
    pub(crate) languages: Vec<Language>,
    /// Number of events per hour that many people write about; 0: none.
    pub(crate) bursts_per_hour: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            seed: 1,
            viewers: 10_000,
            rate_per_s: None,
            languages: vec![Language::En],
            // Every five minutes: with this, variance over mean stays within what was measured, at 10
            // messages/s too.
            bursts_per_hour: 12.0,
        }
    }
}

/// An endless chat.
#[derive(Debug)]
pub(crate) struct Chat {
    arrivals: Arrivals,
    people: People,
    texts: Texts,
}

impl Chat {
    /// The chat of these settings.
    pub(crate) fn new(settings: &Settings) -> Chat {
        let rate =
            settings.rate_per_s.unwrap_or_else(|| messages_per_s(settings.viewers)).max(RATE_MIN_PER_S);
        let languages =
            if settings.languages.is_empty() { vec![Language::En] } else { settings.languages.clone() };
        // Three sequences of their own: a longer text does not move the next arrival.
        Chat {
            arrivals: Arrivals::new(settings.seed, rate, settings.bursts_per_hour),
            people: People::new(settings.seed ^ 0x70656f706c65, rate, languages),
            texts: Texts::new(settings.seed ^ 0x7465787473),
        }
    }

    /// How excited the audience is at the last line: 1 in calm, up to 10 at the height of a burst.
    pub(crate) fn heat(&self) -> f64 {
        self.arrivals.heat()
    }
}

impl Iterator for Chat {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        let t_ms = self.arrivals.next_ms();
        let person = self.people.next_author();
        let text = self.texts.next_text(t_ms, person.language, self.arrivals.heat());
        Some(Message { t_ms, author: person.name.clone(), text, role: person.role })
    }
}

/// A message in a quarter of an hour: below that, a log is silence.
const RATE_MIN_PER_S: f64 = 0.001;

/// Messages per second that an audience of this size writes in the mean.
///
/// Why a power: a room of 100,000 runs at 5 to 13 messages/s, everyday channels of some thousands at 0.3 to
/// 1, one of 50 at 0.05. Talk per head falls as rooms grow; this line goes through all three (0.03, 0.3 at
/// 1,000, 8 at 100,000).
pub(crate) fn messages_per_s(viewers: u64) -> f64 {
    0.3 * (viewers as f64 / 1000.0).powf(0.713)
}

/// Reactions per second that an audience of this size sends at this heat ([`Chat::heat`]).
///
/// Measured: tens to hundreds of likes per second per 10,000 viewers; 20 in calm, 500 when a burst is at 10
/// times.
pub(crate) fn reactions_per_s(viewers: u64, heat: f64) -> f64 {
    viewers as f64 / 10_000.0 * 20.0 * heat.max(0.0).powf(1.4)
}
