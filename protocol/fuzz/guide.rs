//! What the fuzz target of the guide does with its input: it reads a document of any form to its end.
//!
//! Why apart from `bodies.rs`: the protocol does not know the guide. `fuzz_targets` runs this under
//! libFuzzer, `engine/guide` in every test run.
//! Not here: where inputs come from.

use grandstand_guide::input::{self, Bounds, Form};
use grandstand_guide::model::{Channel, Programme};
use grandstand_guide::report::{EXAMPLES_MAX, Report};
use grandstand_guide::time::{RANGE, Zones};
use grandstand_guide::xmltv::{self, Sink};

/// Checks what it is given.
#[derive(Default)]
struct Checked(u64);

impl Sink for Checked {
    fn channel(&mut self, channel: Channel, _: u64, _: &mut Report) -> std::io::Result<()> {
        assert!(!channel.id.is_empty() && channel.names.len() <= 8);
        Ok(())
    }

    fn programme(&mut self, channel: &str, programme: Programme, _: &mut Report) -> std::io::Result<()> {
        self.0 += 1;
        let show = &programme.show;
        assert!(!channel.is_empty() && !show.title.is_empty());
        assert!(RANGE.contains(&programme.start));
        assert!(
            [&show.title, &show.sub_title, &show.description]
                .iter()
                .all(|t| !t.chars().any(char::is_control))
        );
        assert!(show.title.len() <= 400 && show.description.len() <= 4_000 && show.people.len() <= 80);
        Ok(())
    }
}

/// Any document. Whatever it is, its reader ends, and every programme is one that was kept or skipped.
pub(crate) fn guide_document(data: &[u8]) {
    let bounds = Bounds { text_max: 1 << 20, ..Bounds::default() };
    let Ok(document) = input::open(data, &bounds) else { return };
    let (mut report, mut checked) = (Report::new("fuzz", 0), Checked::default());
    let read = match document.form {
        Form::Xml => {
            let zones = Zones::parse("Europe/London", "").expect("it is known");
            xmltv::read(document, &zones, "en", &mut report, &mut checked)
        }
        Form::Json => grandstand_guide::json::read(document, &mut report, &mut checked),
        Form::Empty | Form::Unknown => return,
    };
    if read.is_ok() {
        assert_eq!(report.programmes, checked.0 + report.skipped, "a programme without an outcome");
    }
    assert!(report.rules.values().all(|tally| tally.examples.len() <= EXAMPLES_MAX && tally.count > 0));
}
