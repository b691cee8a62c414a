//! Objects in a real implementation of S3 (moto): written, read and removed, with signed requests.
//!
//! Why moto: it is by other people, so what it takes is S3 and not what we take for it.
//! Invariant: without moto a desk is told how to get it, and CI fails.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use grandstand_fetch::{Fetcher, Policy, Request, Settings};
use grandstand_media::objects::{Objects, S3};
use hyper::Method;

/// moto's server; killed with this.
struct Moto(Child);

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/moto/bin/moto_server");
    if program.exists() {
        return Some(program);
    }
    let how = "target/tools/moto/bin/moto_server is missing: `cargo xtask clients` installs moto";
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    assert!(!in_ci, "{how}");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {how}");
    None
}

#[tokio::test]
async fn objects_are_written_read_and_removed_in_s3() {
    let Some(program) = program() else { return };
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let moto = Command::new(program)
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("moto starts");
    let _moto = Moto(moto);
    let endpoint = format!("http://127.0.0.1:{port}");
    let allowed = Policy::allowing(&[format!("127.0.0.1:{port}")]).unwrap();
    let fetcher = Fetcher::new(Settings::new(allowed)).unwrap();
    let bucket = Request::with_method(Method::PUT, &format!("{endpoint}/pictures"), "");
    let made = async {
        while fetcher.send(&bucket).await.map_or(true, |answer| answer.status != 200) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), made).await.expect("moto serves");
    let s3 = |bucket: &str| S3 {
        endpoint: endpoint.clone(),
        region: "us-east-1".to_owned(),
        bucket: bucket.to_owned(),
        access_key_id: "id".to_owned(),
        secret_access_key: "secret".to_owned(),
    };
    let objects = Objects::s3(&s3("pictures")).unwrap();
    let (key, bytes) = ("ab/cd/abcd.thumbnail", Bytes::from(vec![7; 300_000]));
    assert_eq!(objects.get(key).await.unwrap(), None);
    for _ in 0..2 {
        objects.put(key, bytes.clone(), "image/png").await.unwrap();
        assert_eq!(objects.get(key).await.unwrap(), Some(bytes.clone()));
    }
    for _ in 0..2 {
        objects.delete(key).await.unwrap();
        assert_eq!(objects.get(key).await.unwrap(), None);
    }
    let nowhere = Objects::s3(&s3("nothing")).unwrap();
    assert!(nowhere.put(key, bytes, "image/png").await.is_err(), "the bucket is not there");
}
