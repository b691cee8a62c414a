//! Addresses of issuers' keys: each is asked once, as the node asks it.
//!
//! Not here: files of keys (`super::inspect_keys`), how an address is asked (`keys`).

use grandstand_edge::auth::Authority;

use super::report::Report;
use crate::keys::fetch;

pub(super) fn inspect(report: &mut Report, authority: &Authority) {
    let all = authority.fetched();
    if all.is_empty() {
        return;
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return report.error(
                "auth.issuers_file",
                format!("no address can be asked: {error}"),
                "try again",
            );
        }
    };
    for keys in all {
        let place = format!("the keys of the issuer {:?} at {}", keys.issuer(), keys.url());
        let got = runtime.block_on(fetch(&keys));
        match got.and_then(|set| keys.take(0, &set.body, set.max_age_s).map_err(|what| format!("the answer {what}"))) {
            Ok(count) => report.fine("auth.issuers_file", format!("{place} can be used: {count}")),
            Err(what) => report.error(
                "auth.issuers_file",
                format!("{place} cannot be fetched: {what}"),
                "its tokens wait until they can be: mend jwks_url, or check again from the node's own network",
            ),
        }
    }
}
