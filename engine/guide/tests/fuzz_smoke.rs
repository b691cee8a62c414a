//! The smoke of the guide's fuzz target: documents, mutations of them and noise, the same in every run.
//!
//! Why: the guided search (`cargo xtask fuzz guide_document`) is run by hand and for long.
//! Not here: what the target checks (`protocol/fuzz/guide.rs`).

#[path = "../../../protocol/fuzz/guide.rs"]
mod guide;
#[path = "../../../protocol/fuzz/smoke.rs"]
mod smoke;

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><tv><channel id=\"c\"><display-name>C</display-name></channel>\
    <programme start=\"20261025013000 +0000\" stop=\"20261025020000\" channel=\"c\" clumpidx=\"0/2\"><title lang=\"en\">A &amp; B</title>\
    <sub-title>S</sub-title><desc>D &eacute;</desc><credits><actor>P</actor></credits><category>News</category>\
    <episode-num system=\"xmltv_ns\">1.2/3.</episode-num><episode-num>S1 E2</episode-num><live/></programme>\
    <programme start=\"202610250130 BST\" channel=\"c\"><title>T</title></programme></tv>";

const JSON: &str = r#"[{"stationId":"1","callSign":"A","airings":[{"startTime":"2026-03-01T18:00Z","duration":30,
    "program":{"tmsId":"EP012345670005","title":"T","seasonNum":1,"episodeNum":2,"topCast":["A"]}}]}]"#;

const SCHEDULES: &str = r#"{"schedules":[{"stationID":"1","programs":[{"programID":"EP1","airDateTime":"2026-03-01T18:00:00Z",
    "duration":1800}]}],"programs":[{"programID":"EP1","titles":[{"title120":"T"}]}]}"#;

#[test]
fn guide_document() {
    let seeds: Vec<Vec<u8>> = [XML, JSON, SCHEDULES].iter().map(|text| text.as_bytes().to_vec()).collect();
    smoke::smoke(guide::guide_document, &seeds, 20_000);
}
