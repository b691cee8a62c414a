//! Reload: reads certificates, keys, secrets and word lists again while the node serves, and the part of the
//! configuration that may change.
//!
//! Why: a certificate is renewed every few weeks, and a restart for it would move everybody who is inside.
//! A reload is asked for by SIGHUP, by `POST /reload`, or by the watch, which looks at the files every
//! `node.watch_files_ms`.
//! Invariants: a credential that cannot be used changes nothing: the one before stays in use, and the log, a
//! metric and the answer say why. Each credential is read on its own, so a bad one does not keep another
//! from changing. Sessions inside stay.
//! Not here: how a credential is read (`certificates`, `grandstand_edge::auth`), signals (`run`), the
//! request (`http::admin`).

mod stamps;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use grandstand_edge::auth::{Authority, Tickets};
use grandstand_edge::clock::Clock;
use grandstand_edge::config::{self, Config};
use grandstand_engine::runtime::pulse::{Pulses, TURN_EVERY};

use crate::api_keys::ApiKeys;
use crate::certificates::Certificates;
use crate::handover::Secrets;
use crate::house::House;
use crate::http::SharedKey;
use crate::http::admin::{ReloadControl, Reloaded};
use crate::keys::{Kept, KeyThread};
use crate::metrics::ReloadNumbers;
use crate::shutdown::Shutdown;
use crate::word_lists::WordLists;
use stamps::Stamps;

/// Reads the configuration again, from where it came; an error is for operators.
pub(crate) type ReadConfig = Box<dyn Fn() -> Result<Config, String> + Send + Sync>;

/// The credentials of a running node, each a handle of what is in use.
pub(crate) struct Credentials {
    pub(crate) certificates: Certificates,
    pub(crate) authority: Arc<Authority>,
    pub(crate) tickets: Arc<Tickets>,
    pub(crate) house: Arc<House>,
    pub(crate) api_keys: Arc<ApiKeys>,
    pub(crate) admin_key: SharedKey,
    pub(crate) word_lists: Arc<WordLists>,
    /// By which people without a token are known.
    pub(crate) people_key: [u8; 16],
}

/// What can be read again, and what was read last.
pub(crate) struct Reload {
    clock: Clock,
    credentials: Credentials,
    shutdown: Arc<Shutdown>,
    numbers: Arc<ReloadNumbers>,
    /// Held during a reload, so that two do not mix.
    state: Mutex<State>,
    keys: Mutex<Keys>,
    kept: Kept,
}

/// The thread that fetches keys: there is none before an issuer needs it.
enum Keys {
    /// The node is not serving yet, or stops.
    Idle,
    /// What a thread is made with.
    Waits(Pulses),
    Runs {
        _thread: KeyThread,
    },
}

struct State {
    /// The configuration in effect.
    config: Config,
    /// `None`: the caller of the node gave it a configuration from nowhere.
    read_config: Option<ReadConfig>,
    /// The files as they were when they were read last.
    read: Stamps,
    /// When they are read again after a fault, whether they changed or not.
    retry: Option<Instant>,
}

/// Time after a fault until the files are read again: it may have been the disk's or the file limit's.
const RETRY: Duration = Duration::from_secs(60);

impl Reload {
    pub(crate) fn new(
        clock: Clock,
        config: &Config,
        credentials: Credentials,
        shutdown: Arc<Shutdown>,
    ) -> Arc<Reload> {
        let read = Stamps::of(&files(config));
        let state = Mutex::new(State { config: config.clone(), read_config: None, read, retry: None });
        let keys = Mutex::new(Keys::Idle);
        let kept = Kept::of(config.log.dir.as_deref());
        let reload = Reload { clock, credentials, shutdown, numbers: Arc::default(), state, keys, kept };
        reload.note_certificate();
        Arc::new(reload)
    }

    /// From now on a reload that an operator asks for reads the configuration again, too.
    pub(crate) fn read_config_by(&self, read: ReadConfig) {
        self.state().read_config = Some(read);
    }

    /// From now on keys of issuers are fetched, if there are such, and after a reload that brings some.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn fetch_keys(&self, pulses: &Pulses) -> io::Result<()> {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Keys::Waits(pulses.clone());
        self.look_for_issuers()
    }

    /// Keys are fetched no more.
    pub(crate) fn stop_fetching(&self) {
        *self.keys.lock().unwrap_or_else(PoisonError::into_inner) = Keys::Idle;
    }

    fn look_for_issuers(&self) -> io::Result<()> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = &self.credentials.authority;
        if let Keys::Waits(pulses) = &*keys
            && !authority.fetched().is_empty()
        {
            let thread = KeyThread::start(
                authority.clone(),
                self.clock,
                self.numbers.clone(),
                self.kept.clone(),
                pulses,
            )?;
            *keys = Keys::Runs { _thread: thread };
        }
        Ok(())
    }

    /// What is in no file, for the next process.
    pub(crate) fn secrets(&self) -> Secrets {
        Secrets {
            ticket_key: self.credentials.tickets.key_of_process(),
            certificate: self.credentials.certificates.development_pair(),
            dev_names: self.state().config.tls.dev_names.clone(),
            people_key: Some(self.credentials.people_key),
        }
    }

    /// The key of the admin port.
    pub(crate) fn admin_key(&self) -> SharedKey {
        self.credentials.admin_key.clone()
    }

    /// The keys of the HTTP API.
    #[cfg(feature = "api")]
    pub(crate) fn api_keys(&self) -> Arc<ApiKeys> {
        self.credentials.api_keys.clone()
    }

    /// The keys of tokens.
    #[cfg(feature = "media")]
    pub(crate) fn authority(&self) -> &Arc<Authority> {
        &self.credentials.authority
    }

    /// The node's certificate.
    #[cfg(feature = "api")]
    pub(crate) fn certificates(&self) -> &Certificates {
        &self.credentials.certificates
    }

    pub(crate) fn word_lists(&self) -> Arc<WordLists> {
        self.credentials.word_lists.clone()
    }

    pub(crate) fn numbers(&self) -> Arc<ReloadNumbers> {
        self.numbers.clone()
    }

    /// Read everything again. `cause` is for the log.
    pub(crate) fn reload(&self, cause: &str) -> Reloaded {
        let mut state = self.state();
        let read_config = state.read_config.as_ref().map(|read| read());
        let mut done = Reloaded::default();
        let wanted = match read_config {
            None => state.config.clone(),
            Some(Ok(config)) => config,
            Some(Err(error)) => {
                done.faults.push(format!("the configuration stays as it is: {error}"));
                state.config.clone()
            }
        };
        self.read_again(&mut state, &wanted, &mut done);
        done.needs_restart = needs_restart(&state.config, &wanted);
        self.tell(cause, &done);
        done
    }

    /// Read the credentials again; the configuration stays as it is.
    fn reload_files(&self, cause: &str) {
        let (mut state, mut done) = (self.state(), Reloaded::default());
        let wanted = state.config.clone();
        self.read_again(&mut state, &wanted, &mut done);
        self.tell(cause, &done);
    }

    fn read_again(&self, state: &mut State, wanted: &Config, done: &mut Reloaded) {
        let Credentials { certificates, authority, tickets, admin_key, api_keys, word_lists, .. } =
            &self.credentials;
        // Before the files are read: a change during the reading is found by the next look.
        let stamps = Stamps::of(&files(wanted));
        let config = &mut state.config;
        match certificates.reload(&wanted.tls, self.clock.wall()) {
            Ok(is_new) => {
                config.tls = wanted.tls.clone();
                done.read.push(if is_new { "certificate (new)" } else { "certificate" }.to_owned());
            }
            Err(error) => done.faults.push(error),
        }
        match authority.reload(&wanted.auth) {
            Ok(()) => {
                let ticket_key_file = config.auth.ticket_key_file.take();
                config.auth = config::Auth {
                    ticket_key_file,
                    ticket_lifetime_ms: config.auth.ticket_lifetime_ms,
                    reserved_names: std::mem::take(&mut config.auth.reserved_names),
                    ..wanted.auth.clone()
                };
                done.read.push("keys of tokens".to_owned());
                if let Err(error) = self.look_for_issuers() {
                    done.faults.push(format!("there is no thread to fetch keys of issuers: {error}"));
                }
            }
            Err(error) => done.faults.push(error),
        }
        match tickets.reload(wanted) {
            Ok(()) => {
                config.auth.ticket_key_file.clone_from(&wanted.auth.ticket_key_file);
                done.read.push("keys of tickets".to_owned());
            }
            Err(error) => done.faults.push(error),
        }
        match wanted.admin_key() {
            Ok(key) => {
                admin_key.replace(key.as_ref());
                let config::Admin { listen, hosts, .. } = config.admin.clone();
                config.admin = config::Admin { listen, hosts, ..wanted.admin.clone() };
                done.read.push("admin key".to_owned());
            }
            Err(error) => done.faults.push(error.to_string()),
        }
        if config.api.listen.is_some() {
            match api_keys.read_file(wanted.api.keys_file.as_deref()) {
                Ok(()) => {
                    config.api.keys_file.clone_from(&wanted.api.keys_file);
                    done.read.push("API keys".to_owned());
                }
                Err(error) => done.faults.push(error),
            }
        }
        match word_lists.reload(&wanted.moderation) {
            Ok(rules) => {
                config.moderation = wanted.moderation.clone();
                done.read.extend((rules > 0).then(|| format!("word lists ({rules} rules)")));
            }
            Err(error) => done.faults.push(error),
        }
        config.drain = config::Drain { flush_ms: config.drain.flush_ms, ..wanted.drain.clone() };
        self.shutdown.set_times(&config.drain);
        state.read = stamps;
        state.retry = (!done.faults.is_empty()).then(|| self.clock.instant() + RETRY);
    }

    fn tell(&self, cause: &str, done: &Reloaded) {
        let numbers = &self.numbers;
        numbers.reloads.fetch_add(1, Ordering::Relaxed);
        numbers.failures.fetch_add(u64::from(!done.faults.is_empty()), Ordering::Relaxed);
        numbers.faulty.store(done.faults.len() as u64, Ordering::Relaxed);
        self.note_certificate();
        for fault in &done.faults {
            tracing::error!(cause, "reload: {fault}; what was in use before stays in use");
        }
        tracing::info!(cause, read = done.read.join(", "), "reload: done");
        if !done.needs_restart.is_empty() {
            let keys = done.needs_restart.join(", ");
            tracing::warn!(keys, "reload: these keys changed and take effect at the next restart");
        }
    }

    fn note_certificate(&self) {
        let ends = self.credentials.certificates.ends();
        let ends_s =
            ends.and_then(|ends| ends.duration_since(UNIX_EPOCH).ok()).map_or(0, |unix| unix.as_secs());
        self.numbers.certificate_ends_s.store(ends_s, Ordering::Relaxed);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReloadControl for Reload {
    fn reload(&self) -> Reloaded {
        Reload::reload(self, "POST /reload")
    }
}

/// Every file that holds a credential or a word list of this configuration.
fn files(config: &Config) -> Vec<PathBuf> {
    let api_keys = config.api.keys_file.as_ref().filter(|_| config.api.listen.is_some());
    let own = [&config.tls.cert, &config.tls.key, &config.admin.key_file].into_iter().flatten();
    let own = own.chain(api_keys).cloned();
    let own = own.chain(WordLists::files(&config.moderation));
    own.chain(Authority::files(&config.auth)).chain(Tickets::file(config)).collect()
}

/// Does a new value of this key take effect at a reload?
fn is_reloaded(key: &str) -> bool {
    match key {
        "drain.flush_ms" | "auth.ticket_lifetime_ms" | "auth.reserved_names" => false,
        key => ["tls.", "auth.", "admin.key", "api.keys_file", "moderation.lists", "drain."]
            .iter()
            .any(|section| key.starts_with(section)),
    }
}

/// The keys whose new values cannot take effect now.
fn needs_restart(in_effect: &Config, wanted: &Config) -> Vec<String> {
    let differs = |key: &&config::Key| key.value(in_effect) != key.value(wanted) && !is_reloaded(key.name);
    config::keys().iter().filter(differs).map(|key| key.name.to_owned()).collect()
}

/// The thread that looks at the files. Dropping it ends the thread.
pub(crate) struct Watch {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Look at the files of `reload` at this interval; 0: never.
    pub(crate) fn start(reload: Arc<Reload>, every_ms: u64, pulses: &Pulses) -> io::Result<Option<Watch>> {
        if every_ms == 0 {
            return Ok(None);
        }
        let (stop, stopped) = mpsc::channel();
        let (every, clock, pulse) = (Duration::from_millis(every_ms), reload.clock, pulses.register("files"));
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(move || {
            let (mut last, mut due) = (None, clock.instant() + every);
            loop {
                pulse.turn();
                let left = due.saturating_duration_since(clock.instant());
                match stopped.recv_timeout(left.min(TURN_EVERY / 2)) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return pulse.end(),
                }
                if clock.instant() >= due {
                    let _disk = pulse.wait_outside();
                    last = Some(reload.look(last.as_ref()));
                    due = clock.instant() + every;
                }
            }
        })?;
        Ok(Some(Watch { stop: Some(stop), thread: Some(thread) }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}

impl Reload {
    /// Look at the files once. Changed files are read when two looks found them equal: who writes a pair, or
    /// a large file, is done then. Returns what this look found.
    fn look(&self, last: Option<&Stamps>) -> Stamps {
        let (stamps, is_read, is_retried) = {
            let state = self.state();
            let stamps = Stamps::of(&files(&state.config));
            let is_read = stamps == state.read;
            (stamps, is_read, state.retry.is_some_and(|at| at <= self.clock.instant()))
        };
        if !is_read && last == Some(&stamps) {
            self.reload_files("a file changed");
        } else if is_retried {
            self.reload_files("again, after a fault");
        } else if self.credentials.certificates.must_be_renewed(self.clock.wall()) {
            self.reload_files("the development certificate ends soon");
            let fingerprint = self.credentials.certificates.fingerprint_sha256_hex();
            tracing::info!("development certificate, SHA-256 {fingerprint}");
        }
        stamps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that names a file of a credential is in the list, whatever its section. A connection keeps its
    /// reset token, so `quic.key_file` takes effect with the next process.
    #[test]
    fn every_file_of_a_credential_is_watched() {
        let is_credential = |name: &str| {
            let ends = ["key_file", "secret_file", "key_files", "issuers_file"]
                .iter()
                .any(|end| name.ends_with(end));
            // Read at a start alone, as OPERATING says: what they open is made once.
            let is_read_once = ["quic.key_file", "uploads.s3_key_file", "gifs.key_file"].contains(&name);
            (ends || name == "tls.cert" || name == "tls.key") && !is_read_once
        };
        let names = config::keys().iter().map(|key| key.name).filter(|name| is_credential(name));
        for name in names {
            let flag = (name.to_owned(), "/some/file".to_owned());
            let pair = ("tls.cert", "tls.key");
            let other = match name {
                name if name == pair.0 => vec![(pair.1.to_owned(), "/other".to_owned())],
                name if name == pair.1 => vec![(pair.0.to_owned(), "/other".to_owned())],
                _ => Vec::new(),
            };
            let config = config::load(None, [], [flag].into_iter().chain(other)).unwrap().config;
            assert!(files(&config).contains(&PathBuf::from("/some/file")), "{name}");
        }
    }
}
