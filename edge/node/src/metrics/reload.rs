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
    let ends_s = value(&numbers.certificate_ends_s);
    if ends_s > 0.0 {
        let help = "End of the certificate in use, in seconds since 1970.";
        readings.push(("grandstand_certificate_expiry_timestamp_seconds", help, ends_s));
    }
    readings
}
