//! Input: compression, encodings and bounds.
//!
//! Why the bounds are small here: what they are does not matter to how they work.

use std::io::{Read, Write};

use flate2::{Compression, write::GzEncoder};

use super::*;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

fn read_all(bytes: &[u8], bounds: &Bounds) -> io::Result<String> {
    let mut text = String::new();
    open(bytes, bounds)?.text.read_to_string(&mut text)?;
    Ok(text)
}

/// `<tv>xz</tv>` and a line end, by xz 5.
const XZ: &str = "fd377a585a000004e6d6b4460200210116000000742fe5a301000b3c74763e787a3c2f74763e0a00ef170ad4f30418\
                  fa0001240ca618d8d81fb6f37d010000000004595a";

#[test]
fn gzip_in_parts_and_lines_are_counted() {
    let document = format!("<tv>{}</tv>", "line\n".repeat(10_000));
    let parts = [gzip(&document.as_bytes()[..999]), gzip(&document.as_bytes()[999..])].concat();
    assert_eq!(read_all(&parts, &Bounds::default()).unwrap(), document);
    let mut opened = open(&parts[..], &Bounds::default()).unwrap();
    assert_eq!((opened.form, opened.marks.line()), (Form::Xml, 1));
    opened.text.read_to_string(&mut String::new()).unwrap();
    assert_eq!(
        (opened.marks.line(), opened.marks.bytes()),
        (10_001, (parts.len() as u64, document.len() as u64))
    );
}

#[test]
fn xz_is_read_and_an_error_where_it_is_cut() {
    let bytes: Vec<u8> =
        (0..XZ.len()).step_by(2).map(|at| u8::from_str_radix(&XZ[at..at + 2], 16).unwrap()).collect();
    assert_eq!(read_all(&bytes, &Bounds::default()).unwrap(), "<tv>xz</tv>\n");
    for cut in 7..bytes.len() {
        assert!(read_all(&bytes[..cut], &Bounds::default()).is_err(), "{cut}");
    }
}

#[test]
fn each_bound_ends_a_document_with_a_reason() {
    let fault = |bytes: &[u8], bounds: Bounds| read_all(bytes, &bounds).unwrap_err().to_string();
    let long = format!("<{}", "a".repeat(3 << 20));
    assert!(fault(long.as_bytes(), Bounds::default()).contains("without the end of a tag"));
    let small = Bounds { text_max: 1_000, ..Bounds::default() };
    assert!(fault(long.as_bytes(), small).contains("1000 bytes of text"));
    let bomb = gzip(&vec![b'<'; 32 << 20]);
    let told = fault(&bomb, Bounds { between_max: u64::MAX, ..Bounds::default() });
    assert!(told.contains("a compressed byte"), "{told}");
    assert!(fault(b"BZh91AY", Bounds::default()).contains("bzip2"));
}

#[test]
fn forms_are_told_by_their_first_letter() {
    let form = |bytes: &[u8]| open(bytes, &Bounds::default()).unwrap().form;
    assert_eq!(form(b"\xef\xbb\xbf \n<tv/>"), Form::Xml);
    assert_eq!(
        (form(b" [1]"), form(b"{"), form(b"\n"), form(b"tv")),
        (Form::Json, Form::Json, Form::Empty, Form::Unknown)
    );
}
