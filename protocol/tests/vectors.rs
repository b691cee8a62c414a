//! The test vectors: each is read, compared, written again; and the files are what the generator writes.
//!
//! Clauses: the ones that the vectors name. Not here: conversations, which need a server.

mod support;

use std::collections::HashSet;

use grandstand_protocol::batch::BatchReader;
use grandstand_protocol::close::CloseCode;
use grandstand_protocol::compress::{COMPRESSED_BATCH, Decompressor};
use grandstand_protocol::frame::{ClientFrame, Encoder, FrameFault, Kind, ServerFrame};
use grandstand_protocol::limits;
use grandstand_protocol::refusal::Refusal;
use grandstand_protocol::stream::{HeaderFault, read_header};
use serde_json::{Value, json};
use support::{batches, json as form, streams, unhex};

fn load(file: &str) -> Vec<Value> {
    let path = support::directory().join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn text<'v>(v: &'v Value, field: &str) -> &'v str {
    v[field].as_str().unwrap_or_else(|| panic!("no {field} in {v}"))
}

/// What a decoder made of a vector's bytes, in the vector's own terms.
fn judged(result: Result<(Kind, Value), FrameFault>) -> Value {
    match result {
        Ok((kind, fields)) => json!({ "kind": format!("{kind:?}"), "frame": fields }),
        Err(fault) if fault.is_ignorable() => json!({ "ignored": true }),
        Err(fault) => {
            json!({ "close": fault.close_code().wire(), "close_name": format!("{:?}", fault.close_code()) })
        }
    }
}

fn expected(v: &Value) -> Value {
    let fields = ["kind", "frame", "ignored", "close", "close_name"];
    fields.iter().filter(|f| v.get(**f).is_some()).map(|f| ((*f).to_owned(), v[*f].clone())).collect()
}

#[test]
fn files_are_as_generated() {
    for (name, generated) in support::files() {
        let generated: Value = serde_json::from_str(&generated).expect("JSON");
        let hint = "run `cargo run -p grandstand-protocol --example vectors`";
        assert_eq!(Value::Array(load(name)), generated, "{name} is stale: {hint}");
    }
}

#[test]
fn names_are_unique_and_clauses_exist() {
    let document = include_str!("../../docs/PROTOCOL.md");
    for file in ["client.json", "server.json", "batch.json", "stream.json", "conversations.json"] {
        let mut names = HashSet::new();
        for v in load(file) {
            assert!(names.insert(text(&v, "name").to_owned()), "{file}: {} twice", text(&v, "name"));
            assert!(
                document.contains(&format!("- **{}** ", text(&v, "clause"))),
                "{file}: no clause {}",
                v["clause"]
            );
        }
    }
}

#[test]
fn client_frames_decode_as_their_vectors_say() {
    let mut wrong = Vec::new();
    for v in load("client.json") {
        let bytes = unhex(text(&v, "hex"));
        let got = judged(ClientFrame::decode(&bytes).map(|f| (f.kind(), form::of_client(&f))));
        if got != expected(&v) {
            wrong.push(format!("{}: got {got}", v["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn server_frames_decode_as_their_vectors_say() {
    let mut wrong = Vec::new();
    for v in load("server.json") {
        let bytes = unhex(text(&v, "hex"));
        let got = judged(ServerFrame::decode(&bytes).map(|f| (f.kind(), form::of_server(&f))));
        if got != expected(&v) {
            wrong.push(format!("{}: got {got}", v["name"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn frames_encode_to_their_vectors() {
    let mut written = 0;
    for file in ["client.json", "server.json"] {
        for v in load(file).iter().filter(|v| v.get("frame").is_some()) {
            let mut bytes = Vec::new();
            let kind = text(v, "kind");
            if file == "client.json" {
                Encoder::new().client(&form::client_of(kind, &v["frame"]), &mut bytes);
            } else {
                Encoder::new().server(&form::server_of(kind, &v["frame"]), &mut bytes);
            }
            let same = support::hex(&bytes) == text(v, "hex");
            assert_eq!(same, v.get("canonical") != Some(&json!(false)), "{}", v["name"]);
            written += 1;
        }
    }
    assert!(written > 90, "only {written} vectors");
}

#[test]
fn every_kind_has_valid_vectors() {
    let kinds: HashSet<String> = ["client.json", "server.json"]
        .into_iter()
        .flat_map(load)
        .filter_map(|v| v.get("kind").map(|k| k.as_str().expect("a name").to_owned()))
        .collect();
    for kind in Kind::ALL {
        assert!(kinds.contains(&format!("{kind:?}")), "no vector of {kind:?}");
    }
}

/// A test puts its own alias where `alias_at` says.
#[test]
fn aliases_stand_where_they_are_said_to() {
    let mut patched = 0;
    for v in load("client.json") {
        let Some(at) = v.get("alias_at").and_then(Value::as_u64) else { continue };
        let mut bytes = unhex(text(&v, "hex"));
        bytes[at as usize..][..4].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        let mut fields = v["frame"].clone();
        fields["alias"] = json!(0xdead_beef_u32);
        assert_eq!(form::of_client(&ClientFrame::decode(&bytes).expect("a frame")), fields, "{}", v["name"]);
        patched += 1;
    }
    assert!(patched > 20, "only {patched} vectors with an alias");
}

/// Clauses S-9, P-8: what decodes but is to be refused passes a limit or a rule of the protocol.
#[test]
fn refusals_follow_from_limits() {
    use grandstand_protocol::rules::{self, Content};
    for v in load("client.json").iter().filter(|v| v.get("refused").is_some()) {
        let bytes = unhex(text(v, "hex"));
        let verdict = match ClientFrame::decode(&bytes).expect("a frame") {
            ClientFrame::Subscribe(f) => rules::check_room_name(f.room, limits::ROOM_NAME_BYTES_MAX),
            ClientFrame::Publish(f) if f.alias == u32::MAX => Err(Refusal::NotSubscribed),
            ClientFrame::Publish(f) => {
                let content = Content { text: f.text, attachment: f.attachment, author: f.author };
                rules::check_content(&content, limits::TEXT_BYTES_MAX)
            }
            ClientFrame::SetState(f) => rules::check_state(f.key, f.value, limits::STATE_VALUE_BYTES_MAX),
            other => panic!("{}: no rule refuses {other:?}", v["name"]),
        };
        let got = verdict.expect_err("a refusal");
        assert_eq!(json!(got.wire()), v["refused"], "{}", v["name"]);
    }
}

#[test]
fn batches_read_as_their_vectors_say() {
    for v in load("batch.json") {
        let body = unhex(text(&v, "hex"));
        match batches::read(&body) {
            Ok((head, items, after)) => {
                assert_eq!((&head, &json!(items)), (&v["head"], &v["items"]), "{}", v["name"]);
                assert_eq!(after.is_err(), v["after"].get("desync").is_some(), "{}", v["name"]);
                let same = batches::rewrite(&body) == body;
                assert_eq!(same, v.get("canonical") != Some(&json!(false)), "{}", v["name"]);
            }
            Err(fault) => {
                assert_eq!(
                    json!({ "at": fault.at, "expected": fault.expected }),
                    v["fault"],
                    "{}",
                    v["name"]
                );
            }
        }
    }
}

/// The generator's intent and the reader's judgement agree; neither is taken from the other.
#[test]
fn batches_are_of_the_form_that_was_meant() {
    for v in batches::all() {
        let form = match batches::read(&v.body) {
            Err(_) => batches::Form::Fault,
            Ok((_, _, Err(_))) => batches::Form::OutOfPlace,
            Ok(_) if batches::rewrite(&v.body) == v.body => batches::Form::Canonical,
            Ok(_) => batches::Form::Other,
        };
        assert_eq!(form, v.form, "{}", v.name);
    }
}

/// Clause B-4: no beginning of a full batch is a batch.
#[test]
fn a_batch_cut_anywhere_is_a_fault() {
    let body = batches::all().into_iter().find(|v| v.name == "every_feature").expect("the full batch").body;
    for cut in 0..body.len() {
        assert!(batches::read(&body[..cut]).is_err(), "cut at {cut}");
    }
}

/// Clause B-1: a count that the bytes cannot hold is refused at the head, before anybody makes room for it.
#[test]
fn a_count_beyond_the_bytes_is_refused_at_once() {
    for (body, fits) in
        [(&[7, 0x20, 0, 0, 0, b'a', 0, 0, 0][..], false), (&[7, 0x20, 0, 0, 0, 0, 0, 0, 0, 0], true)]
    {
        assert_eq!(BatchReader::new(body).is_ok(), fits);
    }
}

#[test]
fn headers_read_as_their_vectors_say() {
    for v in load("stream.json") {
        let max = v["frame_bytes_max"].as_u64().expect("a limit") as usize;
        let got = match read_header(&unhex(text(&v, "hex")), max) {
            Ok(Some((header, frame))) => json!([header, frame]),
            Ok(None) => json!("more"),
            Err(fault) => json!(streams::close_code(fault).wire()),
        };
        let expected = if v.get("more").is_some() {
            json!("more")
        } else if let Some(close) = v.get("close") {
            close.clone()
        } else {
            json!([v["header_bytes"], v["frame_bytes"]])
        };
        assert_eq!(got, expected, "{}", v["name"]);
    }
    for v in streams::all() {
        let got = read_header(&v.bytes, v.frame_bytes_max);
        match v.expect {
            streams::Expect::Header(header, frame) => {
                assert_eq!(got, Ok(Some((header, frame))), "{}", v.name);
            }
            streams::Expect::More => assert_eq!(got, Ok(None), "{}", v.name),
            streams::Expect::Fault(fault) => assert_eq!(got, Err::<_, HeaderFault>(fault), "{}", v.name),
        }
    }
}

/// F-5, F-9.
#[test]
fn compressed_frames_open_as_they_say() {
    let mut decompressor = Decompressor::default();
    let mut opened = 0;
    for v in load("compressed.json") {
        let frame = unhex(text(&v, "hex"));
        assert_eq!(frame[0], COMPRESSED_BATCH);
        match decompressor.open(&frame[1..]) {
            Ok(body) => {
                let zeros = vec![0; v.get("zeros").map_or(0, |n| n.as_u64().expect("a number") as usize)];
                let plain = [unhex(text(&v, "opens_to")), zeros].concat();
                assert!(plain[0] == Kind::Batch as u8 && plain[1..] == *body, "{}", v["name"]);
                opened += 1;
            }
            Err(fault) => assert_eq!(v["close"], json!(fault.close_code().wire()), "{}: {fault}", v["name"]),
        }
    }
    assert!(opened > 10, "only {opened} vectors");
}

#[test]
fn conversations_name_vectors_kinds_and_codes_that_exist() {
    let names: HashSet<String> = load("client.json").iter().map(|v| text(v, "name").to_owned()).collect();
    for talk in load("conversations.json") {
        assert!(["any", "websocket", "quic"].contains(&text(&talk, "transport")));
        for step in talk["steps"].as_array().expect("steps") {
            if let Some(send) = step.get("send") {
                assert!(names.contains(send.as_str().expect("a name")), "{}: no vector {send}", talk["name"]);
            } else if let Some(kind) = step.get("expect") {
                let kind = kind.as_str().expect("a kind");
                assert!(Kind::ALL.iter().any(|k| *k as u8 > 0x40 && format!("{k:?}") == kind), "{kind}");
            } else if let Some(code) = step.get("close") {
                let code = code.as_u64().expect("a code") as u16;
                assert!(CloseCode::from_wire(code).is_some(), "{}: {code}", talk["name"]);
            }
        }
    }
}
