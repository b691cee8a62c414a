//! Properties of removals: a batch loses what was removed and nothing else, and a removal covers what was
//! meant.
//!
//! Why apart from `properties`: servers and clients rely on the same rule, which is more than a codec.

mod support;

use grandstand_protocol::batch::*;
use proptest::collection::vec;
use proptest::prelude::*;
use support::arbitrary::{name, sealed};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// M-3: redaction replaces what it should, and nothing else; offsets, state and tallies stay.
    #[test]
    fn redaction_takes_what_it_is_told_and_nothing_else(sealed in sealed(), bits in any::<u64>()) {
        let goes = |offset: u64| bits >> (offset % 64) & 1 == 1;
        let (body, mut out, mut again) = (sealed.write(), Vec::new(), Vec::new());
        let replaced = redact(&body, sealed.first_offset, &mut out, |offset, _| goes(offset)).expect("a batch");
        let (before, offsets) = sealed.items();
        let mut reader = BatchReader::new(&out).expect("a batch");
        let mut at = 0;
        for item in before {
            let expected = match item {
                Item::Message(m) if goes(offsets[at]) => Item::Removed(m.skip),
                other => other,
            };
            at += usize::from(matches!(item, Item::Message(_)));
            prop_assert_eq!(reader.next_item(), Ok(Some(expected)));
        }
        prop_assert_eq!(reader.next_item(), Ok(None));
        prop_assert_eq!(replaced, offsets[..sealed.messages.len()].iter().filter(|o| goes(**o)).count() as u64);
        prop_assert_eq!(redact(&out, sealed.first_offset, &mut again, |offset, _| goes(offset)), Ok(0));
        prop_assert_eq!(again, out);
    }

    /// M-4: what is written is read, and covers what was meant.
    #[test]
    fn removals_cover_what_was_meant(
        at in 200u64..1 << 40, back in 1u64..150, lengths in vec((0u64..9, 1u64..9), 0..9),
        names in vec(name(20), 1..4), probe in 0u64..220, author in 0usize..5,
    ) {
        let mut runs = Vec::new();
        let mut end = at;
        for (gap, length) in lengths {
            runs.push((end - gap - length, end - gap));
            end -= gap + length;
        }
        let offset = at + 10 - probe;
        let author = names.get(author).copied().unwrap_or("somebody else");
        let is_in = runs.iter().any(|run| (run.0..run.1).contains(&offset));
        let cases = [
            (RemovalParts::One { offset: at - back }, offset == at - back),
            (
                RemovalParts::Names { from: at - back, names: &names, but: &runs },
                offset >= at - back && offset < at && names.contains(&author) && !is_in,
            ),
            (RemovalParts::Runs(&runs), is_in),
            (RemovalParts::All { from: at - back }, offset >= at - back && offset < at),
        ];
        for (parts, expected) in cases {
            let mut body = Vec::new();
            let mut w = BatchWriter::begin(&mut body, 1, 1, false, false, 0);
            w.chat(at, 0, 0);
            w.act(0, "", at, &parts);
            w.finish();
            let Ok(Some(Item::Act(act))) = BatchReader::new(&body).unwrap().next_item() else {
                panic!("no act")
            };
            prop_assert_eq!(act.removal(at).covers(at, offset, author), expected, "{:?}", parts);
        }
    }
}
