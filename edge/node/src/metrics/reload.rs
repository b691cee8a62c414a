//! Metrics of reloads, and of the certificate in use.
//!
//! Why: a certificate that nobody renewed ends a show, and a bad file is noticed before its end only here.
//! Not here: the reload itself (`reload`).

use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of the scrape.
#[derive(Debug, Default)]
pub(crate) struct ReloadNumbers {
    /// Reloads, good or bad.
    pub(crate) reloads: AtomicU64,
    /// Reloads in which something could not be used.
    pub(crate) failures: AtomicU64,
    /// Credentials whose present file could not be used, at the last reload.
    pub(crate) faulty: AtomicU64,
    /// The end of the certificate in use, seconds since 1970; 0 when it does not tell.
    pub(crate) certificate_ends_s: AtomicU64,
    /// Fetches of issuers' keys that succeeded, and that failed.
    pub(crate) key_fetches: AtomicU64,
    pub(crate) key_fetch_failures: AtomicU64,
    /// Issuers whose keys have not come yet.
    pub(crate) issuers_without_keys: AtomicU64,
    /// When the oldest fetched keys were fetched, seconds since 1970; 0: none were.
    pub(crate) keys_fetched_s: AtomicU64,
}

/// Name, help and value of each number.
pub(super) fn readings(numbers: &ReloadNumbers) -> Vec<(&'static str, &'static str, f64)> {
    let value = |number: &AtomicU64| number.load(Ordering::Relaxed) as f64;
    let mut readings = vec![
        (
            "grandstand_reloads_total",
            "Times that certificates, keys and secrets were read again.",
            value(&numbers.reloads),
        ),
        (
            "grandstand_reload_failures_total",
            "Reloads in which something could not be used; what was in use before stayed in use.",
            value(&numbers.failures),
        ),
        (
            "grandstand_credentials_faulty",
            "Credentials whose present file could not be used at the last reload.",
            value(&numbers.faulty),
        ),
    ];
    let fetches = (value(&numbers.key_fetches), value(&numbers.key_fetch_failures));
    if fetches != (0.0, 0.0) {
        readings.extend([
            ("grandstand_key_fetches_total", "Times that keys of issuers were fetched.", fetches.0),
            (
                "grandstand_key_fetch_failures_total",
                "Times that keys of issuers could not be fetched; those from before stayed in use.",
                fetches.1,
            ),
            (
                "grandstand_issuers_without_keys",
                "Issuers of tokens whose keys have not been fetched yet: their tokens wait.",
                value(&numbers.issuers_without_keys),
            ),
            (
                "grandstand_keys_fetched_timestamp_seconds",
                "When the oldest fetched keys were fetched, in seconds since 1970.",
                value(&numbers.keys_fetched_s),
            ),
        ]);
    }
    let ends_s = value(&numbers.certificate_ends_s);
    if ends_s > 0.0 {
        let help = "End of the certificate in use, in seconds since 1970.";
        readings.push(("grandstand_certificate_expiry_timestamp_seconds", help, ends_s));
    }
    readings
}
