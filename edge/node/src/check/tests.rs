//! Tests of the checks: broken certificates one by one, and that no key that names a path is left out.
//!
//! Not here: the command as a process (`tests/check.rs`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use grandstand_edge::config::{Kind, keys, load};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::report::Level;
use super::*;

/// A folder of this test's own, removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("grandstand-check-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn report(keys: &[(&str, &str)], now: SystemTime) -> Report {
    let ports = ["ws.listen", "wss.listen", "quic.listen", "admin.listen"].map(|key| (key, "127.0.0.1:0"));
    let all = ports.iter().filter(|(port, _)| keys.iter().all(|(key, _)| key != port)).chain(keys);
    let all = all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    inspect(load(None, std::iter::empty(), all), now, false)
}

/// A chain that is made for a test, leaf first.
struct Made {
    chain: String,
    key: String,
}

/// How a test breaks a certificate.
#[derive(Clone, Copy, Default)]
struct Break {
    self_signed: bool,
    is_ca: bool,
    nameless: bool,
    leaf_alone: bool,
    foreign_issuer: bool,
    not_yet: bool,
}

fn make(how: Break, now: SystemTime) -> Made {
    let params = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = (now - Duration::from_secs(3600)).into();
        params.not_after = (now + Duration::from_secs(60 * 86_400)).into();
        params
    };
    let authority = |name: &str| {
        let mut params = params(&[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    };
    let key = KeyPair::generate().unwrap();
    let mut leaf = params(if how.nameless { &["127.0.0.1"] } else { &["chat.example.org", "localhost"] });
    if how.is_ca {
        leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    if how.not_yet {
        leaf.not_before = (now + Duration::from_secs(86_400)).into();
    }
    let chain = if how.self_signed {
        leaf.self_signed(&key).unwrap().pem()
    } else {
        let (root, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let issuer = Issuer::from_params(&authority("issuer"), &root).key().serialize_pem();
        assert!(!issuer.is_empty());
        let issuer_params = authority("issuer");
        let issuer = Issuer::from_params(&issuer_params, &root);
        let signed = leaf.signed_by(&key, &issuer).unwrap().pem();
        let above = match how.foreign_issuer {
            true => authority("other").self_signed(&other).unwrap().pem(),
            false => issuer_params.self_signed(&root).unwrap().pem(),
        };
        if how.leaf_alone { signed } else { signed + &above }
    };
    Made { chain, key: key.serialize_pem() }
}

#[test]
fn each_way_in_which_clients_refuse_a_certificate_is_told() {
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    let fine = Break::default();
    for (name, how, at, level, words) in [
        ("whole", fine, now, Level::Ok, "its chain is whole: 2 certificates"),
        ("names", fine, now, Level::Ok, "it is for chat.example.org, localhost"),
        ("dates", fine, now, Level::Ok, "it is valid until"),
        ("soon", fine, now + 50 * day + day / 2, Level::Warning, "in 9 days"),
        ("ended", fine, now + 70 * day, Level::Error, "ended on"),
        ("early", Break { not_yet: true, ..fine }, now, Level::Error, "on only"),
        ("itself", Break { self_signed: true, ..fine }, now, Level::Warning, "signed by itself"),
        ("authority", Break { self_signed: true, is_ca: true, ..fine }, now, Level::Error, "CA:TRUE"),
        ("nameless", Break { nameless: true, ..fine }, now, Level::Warning, "no DNS name"),
        ("alone", Break { leaf_alone: true, ..fine }, now, Level::Warning, "the leaf alone"),
        ("foreign", Break { foreign_issuer: true, ..fine }, now, Level::Error, "are no chain"),
    ] {
        let (folder, made) = (Folder::new(name), make(how, now));
        let (cert, key) = (folder.write("cert.pem", &made.chain), folder.write("key.pem", &made.key));
        let report = report(&[("tls.cert", &cert), ("tls.key", &key)], at);
        let found = report.findings.iter().find(|finding| finding.text.contains(words));
        let found = found.unwrap_or_else(|| panic!("{name}: {:#?}", report.findings));
        assert_eq!((found.level, found.key.as_str()), (level, "tls.cert"), "{name}");
        assert_eq!(found.hint.is_empty(), level == Level::Ok, "{name}");
        let is_faulty = report.verdict(false) == Verdict::Faulty;
        assert_eq!(is_faulty, level == Level::Error, "{name}: {:#?}", report.findings);
    }
}

#[test]
fn every_key_that_names_a_path_is_looked_at() {
    for key in keys().iter().filter(|key| key.kind == Kind::Path) {
        assert!(paths::use_of(key).is_some(), "{}", key.name);
    }
    let secret = |name: &str| paths::use_of(grandstand_edge::config::key(name).unwrap());
    for name in ["tls.key", "auth.hs256_secret_file", "admin.key_file", "auth.ticket_key_file"] {
        assert_eq!(secret(name), Some(paths::Use::ReadSecret), "{name}");
    }
    assert_eq!(secret("auth.eddsa_public_key_file"), Some(paths::Use::Read));
    assert_eq!(secret("tls.cert"), Some(paths::Use::Read));
}

/// Every key that names a file is an error when the file is not there, is a folder or is empty.
#[test]
fn a_file_that_is_not_there_or_no_file_is_an_error_of_its_key() {
    let folder = Folder::new("files");
    let (empty, dir) = (folder.write("empty", ""), folder.0.to_str().unwrap().to_owned());
    let missing = folder.0.join("missing").to_str().unwrap().to_owned();
    for key in keys().iter().filter(|key| key.kind == Kind::Path) {
        if !matches!(paths::use_of(key), Some(paths::Use::Read | paths::Use::ReadSecret)) {
            continue;
        }
        for path in [&empty, &dir, &missing] {
            // The pair needs both.
            let also = match key.name {
                "tls.cert" => vec![("tls.key", path.as_str())],
                "tls.key" => vec![("tls.cert", path.as_str())],
                _ => Vec::new(),
            };
            let report = report(&[&[(key.name, path.as_str())][..], &also].concat(), SystemTime::now());
            let found = report.findings.iter().find(|f| f.level == Level::Error && f.key == key.name);
            let found = found.unwrap_or_else(|| panic!("{} = {path}: {:#?}", key.name, report.findings));
            assert!(found.text.contains(path) && found.hint.contains(key.name), "{found:?}");
        }
    }
}

#[test]
fn secrets_that_others_may_read_are_a_warning() {
    let folder = Folder::new("modes");
    let secret = folder.write("secret", &"s".repeat(40));
    for (mode, level) in [(0o600, Level::Ok), (0o640, Level::Warning), (0o644, Level::Warning)] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        for (key, value) in
            [("auth.hs256_secret_file", &secret), ("auth.key_files", &format!("kid={secret}"))]
        {
            let report = report(&[(key, value.as_str())], SystemTime::now());
            let found = report.findings.iter().find(|f| f.key == key).unwrap();
            assert_eq!(found.level, level, "{found:?}");
        }
    }
    let public = folder.write("public", "-----BEGIN PUBLIC KEY-----\n");
    fs::set_permissions(&public, fs::Permissions::from_mode(0o644)).unwrap();
    let report = report(&[("auth.key_files", &public)], SystemTime::now());
    assert_eq!(report.findings.iter().find(|f| f.key == "auth.key_files").unwrap().level, Level::Ok);
}

#[test]
fn both_forms_have_every_finding_and_the_sum() {
    let mut report = Report::default();
    report.fine("a", "good");
    report.warn("b", "odd", "look");
    assert_eq!((report.verdict(false), report.verdict(true)), (Verdict::Fine, Verdict::Warned));
    report.error("c", "bad", "mend it");
    assert_eq!(report.verdict(true).code(), 2);
    let (mut text, mut json) = (Vec::new(), Vec::new());
    report.print(&mut text).unwrap();
    report.print_json(&mut json).unwrap();
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "ok       a: good\nwarning  b: odd\n         help: look\nerror    c: bad\n         help: mend it\n\
         1 error, 1 warning: a node with this configuration does not start\n"
    );
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["ok"], &json["errors"], &json["warnings"]), (&false.into(), &1.into(), &1.into()));
    assert_eq!(json["findings"][2]["level"], "error");
    assert_eq!(json["findings"][2]["hint"], "mend it");
}
