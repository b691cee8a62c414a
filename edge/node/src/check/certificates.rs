//! The certificate as clients will see it: its key, its dates, its names, and the chain up to its issuer.
//!
//! Why beyond what a start reads: a node starts with a certificate that no client accepts (expired, without
//! its intermediates, a CA's own), and each client then reports a fault of its own.
//! Invariant: the rules are those of the verifier that our clients use (rustls's webpki).
//! Not here: reading and pairing the files (`crate::certificates`).

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grandstand_edge::config::Config;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert};

use super::report::Report;
use crate::certificates::Certificates;

/// A certificate that ends within this time is probably not renewed by itself.
const SOON: Duration = Duration::from_secs(14 * 24 * 3_600);

const DAY: u64 = 24 * 3_600;

/// The last second of the year 9999, in which an X.509 date can be.
const LAST: Duration = Duration::from_secs(253_402_300_799);

pub(super) fn inspect(report: &mut Report, config: &Config, now: SystemTime, told: &[&'static str]) {
    let uses_tls = config.wss.listen.is_some() || config.quic.listen.is_some();
    let Some(path) = &config.tls.cert else {
        match Certificates::load(&config.tls, now) {
            Ok(_) if uses_tls => report.warn(
                "tls.cert",
                "no certificate: each start makes one for development, which browsers and clients do not trust",
                "set tls.cert and tls.key before strangers connect",
            ),
            Ok(_) => {}
            Err(fault) => report.error("tls.dev_names", fault, "see tls.dev_names"),
        }
        return;
    };
    if told.iter().any(|name| name.starts_with("tls.")) {
        return;
    }
    if let Err(fault) = Certificates::load(&config.tls, now) {
        return report.error("tls.cert", fault, "see tls.cert and tls.key");
    }
    report.fine("tls.cert", format!("{} and the key of tls.key belong together", path.display()));
    inspect_chain(
        report,
        path,
        UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default()),
    );
}

fn inspect_chain(report: &mut Report, path: &Path, now: UnixTime) {
    let Ok(pem) = std::fs::read(path) else { return };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    let Some((leaf, above)) = chain.split_first() else { return };
    inspect_dates(report, &chain, now);
    match EndEntityCert::try_from(leaf) {
        Ok(parsed) => {
            let names: Vec<&str> = parsed.valid_dns_names().collect();
            match names.is_empty() {
                false => report.fine("tls.cert", format!("it is for {}", names.join(", "))),
                true => report.warn(
                    "tls.cert",
                    "it has no DNS name among its alternative names, so clients that connect by name refuse it",
                    "ask for a certificate with subjectAltName=DNS:your.host (an IP address alone works for that address)",
                ),
            }
        }
        Err(error) => {
            return report.error(
                "tls.cert",
                format!("it cannot be read: {error}"),
                "it must be X.509 version 3",
            );
        }
    }
    let root = chain.last().expect("there is a leaf");
    match verify(leaf, above, root, now) {
        Ok(()) if above.is_empty() => report.warn(
            "tls.cert",
            "it is signed by itself: a client accepts it only if it is told to",
            "give clients the file (`gs chat --ca FILE`) or its hash (`--fingerprint HEX`), or use a public authority",
        ),
        Ok(()) => report.fine("tls.cert", format!("its chain is whole: {} certificates, leaf first", chain.len())),
        // Told with the dates.
        Err(Error::CertExpired { .. } | Error::CertNotValidYet { .. }) => {}
        Err(Error::CaUsedAsEndEntity) => report.error(
            "tls.cert",
            "it is a certificate of an authority (CA:TRUE), which clients refuse as that of a server",
            "make it with `-addext basicConstraints=critical,CA:FALSE`, or let the authority sign one for the server",
        ),
        Err(Error::UnknownIssuer) if above.is_empty() => report.warn(
            "tls.cert",
            "the file has the leaf alone: clients that do not know its issuer refuse it",
            "append the intermediate certificates (of Let's Encrypt: use fullchain.pem)",
        ),
        Err(Error::UnknownIssuer) => report.error(
            "tls.cert",
            "the certificates of the file are no chain: one did not sign the one before it",
            "put the leaf first, then its issuer, then the issuer's issuer",
        ),
        Err(error) => report.error("tls.cert", format!("clients refuse it: {error}"), "ask its issuer for another one"),
    }
}

/// Dates of every certificate of the chain.
fn inspect_dates(report: &mut Report, chain: &[CertificateDer<'static>], now: UnixTime) {
    let mut first_end: Option<u64> = None;
    for (n, certificate) in chain.iter().enumerate() {
        let name = if n == 0 { "it".to_owned() } else { format!("certificate {} of its chain", n + 1) };
        let at = |time| verify(certificate, &[], certificate, time).err();
        if let Some(Error::CertNotValidYet { not_before, .. }) = at(now) {
            report.error(
                "tls.cert",
                format!("{name} is valid from {} on only", date(not_before.as_secs())),
                "wait, or look at the clock of this machine",
            );
        }
        if let Some(Error::CertExpired { not_after, .. }) = at(UnixTime::since_unix_epoch(LAST)) {
            let end = not_after.as_secs();
            if end < now.as_secs() {
                report.error(
                    "tls.cert",
                    format!("{name} ended on {}, {} days ago", date(end), (now.as_secs() - end) / DAY),
                    "renew it",
                );
            }
            first_end = Some(first_end.map_or(end, |first| first.min(end)));
        }
    }
    let Some(left) = first_end.and_then(|end| end.checked_sub(now.as_secs()).map(|left| (end, left))) else {
        return;
    };
    let (end, days) = (date(left.0), left.1 / DAY);
    if Duration::from_secs(left.1) < SOON {
        report.warn(
            "tls.cert",
            format!("it ends on {end}, in {days} days"),
            "renew it, or see why it was not renewed",
        );
    } else {
        report.fine("tls.cert", format!("it is valid until {end}, for {days} days"));
    }
}

fn verify(
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    time: UnixTime,
) -> Result<(), Error> {
    let anchor = anchor_from_trusted_cert(root)?;
    let algorithms = default_provider().signature_verification_algorithms.all;
    let leaf = EndEntityCert::try_from(leaf)?;
    leaf.verify_for_usage(algorithms, &[anchor], above, time, KeyUsage::server_auth(), None, None).map(drop)
}

/// `2026-12-28`.
fn date(unix_s: u64) -> String {
    let at = i64::try_from(unix_s).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    at.map_or_else(|| "a far day".to_owned(), |at| at.date().to_string())
}
