//! The keys of the guide: TV listings.
//!
//! Why apart from the other sections: a file holds one subject. Not here: the form of a line (`table`).

use super::super::keys::config_sections;

config_sections! {
    guide: Guide = "The guide: TV listings" {
        sources: Vec<String> = Vec::new(), [],
            "Listings that the node imports, such as `uk https://listings.example.org/uk.xml.gz every=6h offset_missing=Europe/London`: a name, a file or URL, \
             and of every= (6h), offset_missing= (utc), correct_by= (such as -01:00) and language= those that the source needs. XMLTV or JSON, plain, gzip or xz.",
            "a node without a guide needs no listing";
        push: bool = false, [],
            "Keep a guide for documents that applications send to POST /v1/guide/documents, without any source too.",
            "a node without sources keeps no guide";
        opens_before_min: u32 = 15, [0, 10_080],
            "Minutes before its start from which people may come to an airing's room.",
            "people gather a quarter of an hour before a show";
        closes_after_min: u32 = 15, [0, 10_080],
            "Minutes after its end for which an airing's room takes messages. Everybody in it is told the time.",
            "people talk a show over, and then go to the next one";
        archive_hours: u64 = 168, [1, 876_000],
            "Hours after which the closed room of an airing is removed with its messages.",
            "a week: the show, and viewers who return to it";
        keep_days: u64 = 14, [0, 3_650],
            "Days for which airings that ended stay in the guide; 0 keeps them for ever. One whose room is open or has messages stays.",
            "two weeks: people look for what they missed";
    }
}
