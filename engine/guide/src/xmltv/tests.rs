//! XMLTV: what is read of well-formed and of broken programmes.
//!
//! Why here and not in the trials: these look at fields.

use super::*;
use crate::input::{self, Bounds};

#[derive(Default)]
struct Found {
    channels: Vec<Channel>,
    programmes: Vec<(String, Programme)>,
}

impl Sink for Found {
    fn channel(&mut self, channel: Channel, _: u64, _: &mut Report) -> io::Result<()> {
        self.channels.push(channel);
        Ok(())
    }
    fn programme(&mut self, channel: &str, programme: Programme, _: &mut Report) -> io::Result<()> {
        self.programmes.push((channel.to_owned(), programme));
        Ok(())
    }
}

fn read_all(text: &[u8], language: &str) -> (Found, Report) {
    let (mut found, mut report) = (Found::default(), Report::new("s", 0));
    let document = input::open(text, &Bounds::default()).unwrap();
    read(document, &Zones::default(), language, &mut report, &mut found).unwrap();
    (found, report)
}

const WHOLE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tv SYSTEM "xmltv.dtd">
<tv><channel id="a&amp;b"><display-name>One</display-name><display-name>1</display-name><icon src="i.png"/></channel>
<programme start="20260301180000 +0100" stop="20260301190000 BST" channel="a&amp;b" clumpidx="0/2">
 <title lang="es">Uno</title><title lang="en">One &#38; All &eacute;&nbsp;<![CDATA[<x>]]></title>
 <sub-title>Sub</sub-title><desc>Two
  lines</desc>
 <credits><actor role="x">Ryan Lee<image>http://i</image><url>http://u</url></actor><director>D</director></credits>
 <category>News</category><category>News</category><episode-num system="xmltv_ns"> 18 . 50/30 . </episode-num>
 <episode-num system="dd_progid">EP01234567.0005</episode-num><live/><premiere/></programme>
</tv>"#;

#[test]
fn the_fields_of_a_programme() {
    let (found, report) = read_all(WHOLE.as_bytes(), "en");
    assert_eq!(found.channels[0].names, ["One", "1"]);
    assert_eq!((found.channels[0].id.as_str(), found.channels[0].icon.as_str()), ("a&b", "i.png"));
    let (channel, programme) = &found.programmes[0];
    let show = &programme.show;
    assert_eq!((channel.as_str(), programme.line), ("a&b", 4));
    assert_eq!((programme.start, programme.stop), (1_772_384_400, Some(1_772_388_000)));
    assert_eq!(
        (show.title.as_str(), show.other_titles.as_slice()),
        ("One & All é <x>", &["Uno".to_owned()][..])
    );
    assert_eq!((show.sub_title.as_str(), show.description.as_str()), ("Sub", "Two lines"));
    assert_eq!(
        (show.people.as_slice(), show.categories.as_slice()),
        (&["Ryan Lee".to_owned(), "D".into()][..], &["News".to_owned()][..])
    );
    assert_eq!(
        (show.episode.as_str(), show.provider.as_str(), show.series.as_str()),
        ("18.50.", "EP01234567.0005", "SH01234567")
    );
    assert!(programme.is_live && programme.is_new);
    assert_eq!(programme.clump, Some((0, 2)));
    assert!(report.rules.is_empty(), "{:?}", report.rules);
}

#[test]
fn encodings_are_those_that_are_declared() {
    let of = |bytes: &[u8]| read_all(bytes, "").0.programmes[0].1.show.title.clone();
    let text = |encoding: &str| {
        format!(
            "<?xml version='1.0' encoding='{encoding}'?><tv><programme start='2026' channel='c'><title>Caf\u{e9}</title></programme></tv>"
        )
    };
    for label in ["ISO-8859-1", "windows-1252", "UTF-8", "utf-16", "Shift_JIS"] {
        let bytes = match label {
            "Shift_JIS" => encoding_rs::SHIFT_JIS.encode(&text(label).replace('é', "カ")).0.into_owned(),
            "ISO-8859-1" | "windows-1252" => encoding_rs::WINDOWS_1252.encode(&text(label)).0.into_owned(),
            _ => text(label).into_bytes(),
        };
        let wanted = if label == "Shift_JIS" { "Cafカ" } else { "Café" };
        assert_eq!(of(&bytes), wanted, "{label}");
    }
    let utf16 = |big: bool, mark: bool| -> Vec<u8> {
        let text = if mark { format!("\u{feff}{}", text("utf-16")) } else { text("utf-16") };
        text.encode_utf16()
            .flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() })
            .collect()
    };
    for (big, mark) in [(false, false), (false, true), (true, false), (true, true)] {
        assert_eq!(of(&utf16(big, mark)), "Café", "{big} {mark}");
    }
    assert_eq!(of(&[b"\xef\xbb\xbf", text("UTF-8").as_bytes()].concat()), "Café");
}

#[test]
fn an_element_that_is_not_closed_takes_nothing_of_the_next_programme() {
    let document = "<tv><programme start='20260301' channel='c'><title>One<desc>x</programme>\
                    <programme start='20260302' channel='c'><title>Two <b>bold</b> & more < less</title><category>Q</category></programme>\
                    <programme start='20260303' channel='c'><title>Three</title></programme></tv>";
    let (found, report) = read_all(document.as_bytes(), "");
    let titles: Vec<&str> = found.programmes.iter().map(|(_, p)| p.show.title.as_str()).collect();
    assert_eq!(titles.len(), 3, "{titles:?}");
    assert_eq!((titles[0], titles[2]), ("One", "Three"));
    assert!(titles[1].starts_with("Two"), "{titles:?}");
    assert!(report.count(Rule::TagsCrossed) > 0);
}

#[test]
fn a_document_that_is_cut_gives_what_is_complete() {
    for cut in 0..WHOLE.len() {
        let bytes = &WHOLE.as_bytes()[..cut];
        let mut report = Report::new("s", 0);
        let mut found = Found::default();
        let document = input::open(bytes, &Bounds::default()).unwrap();
        read(document, &Zones::default(), "", &mut report, &mut found).unwrap();
        let is_complete = cut >= WHOLE.find("</programme>").unwrap() + "</programme>".len();
        assert_eq!(found.programmes.len(), usize::from(is_complete), "{cut}");
        assert_eq!(report.count(Rule::DocumentCut) == 1, cut < WHOLE.len(), "{cut}");
    }
}

#[test]
fn numbers_on_screen_are_those_of_xmltv() {
    let of = |text: &str| {
        let document = format!(
            "<tv><programme start='2026' channel='c'><title>T</title><episode-num>{text}</episode-num></programme></tv>"
        );
        read_all(document.as_bytes(), "").0.programmes[0].1.show.episode.clone()
    };
    assert_eq!(of("S19 E51"), "18.50.");
    assert_eq!(of("s01e02"), "0.1.");
    assert_eq!(of("Season 2 Episode 3"), "1.2.");
    assert_eq!(of("Episode 3"), "");
    assert_eq!(of("E99999999999999S9"), "");
}
