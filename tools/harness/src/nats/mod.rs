//! NATS servers on loopback: one or three, for tests, trials and the demo.
//!
//! Why the file that is shipped: these servers run from `docs/nats-server.conf` with other addresses, so that
//! what operators copy is what every test runs.
//! Invariants: the servers end with their value, and their folder with them. JetStream writes into that
//! folder only.
//! Not here: fetching the program (`program`), what is asked of the servers (`grandstand-nats`).

mod file;
mod program;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::{http, wait};

pub use file::{PASSWORD, ServerFile, USER};
pub use program::{VERSION, program};

/// What the servers' memory is limited to, as docs/OPERATING.md says.
const GOMEMLIMIT: &str = "160MiB";
/// Servers elect the leader of JetStream's own data within seconds.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// A server that is told to stop hands its leaderships over first.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Running servers of one cluster, numbered from 0.
#[derive(Debug)]
pub struct Servers {
    program: PathBuf,
    folder: PathBuf,
    is_kept: bool,
    servers: Vec<Server>,
}

#[derive(Debug)]
struct Server {
    file: ServerFile,
    child: Option<Child>,
    is_paused: bool,
}

impl Servers {
    /// One or three servers in a temporary folder, ready for streams.
    ///
    /// # Errors
    /// The program cannot be had, or the servers do not become ready.
    pub fn start(count: usize) -> Result<Servers> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("grandstand-nats-{}-{number}", std::process::id()));
        let mut servers = Servers::start_in(count, folder)?;
        servers.is_kept = false;
        Ok(servers)
    }

    /// The same in a folder that stays; it holds the streams of an earlier start if there was one.
    ///
    /// # Errors
    /// As [`Servers::start`].
    pub fn start_in(count: usize, folder: PathBuf) -> Result<Servers> {
        Servers::start_with(count, folder, |file| file)
    }

    /// The same with changes to the servers' files, for tests of wrong ones.
    ///
    /// # Errors
    /// As [`Servers::start`].
    pub fn start_with(
        count: usize,
        folder: PathBuf,
        change: impl Fn(ServerFile) -> ServerFile,
    ) -> Result<Servers> {
        let program = program()?;
        let routes: Vec<SocketAddr> = (0..count).map(|_| wait::free_port()).collect();
        let file = |number: usize| ServerFile {
            number,
            listen: wait::free_port(),
            http: wait::free_port(),
            route: (count > 1).then(|| routes[number]),
            routes: routes.clone(),
            store: folder.join(format!("data-{number}")),
            sync_interval: "always".to_owned(),
            under: Vec::new(),
        };
        let files = (0..count).map(|number| change(file(number)));
        let servers = files.map(|file| Server { file, child: None, is_paused: false }).collect();
        let mut servers = Servers { program, folder, is_kept: true, servers };
        for number in 0..count {
            servers.spawn(number)?;
        }
        servers.wait_ready()?;
        Ok(servers)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.servers.len()
    }

    /// The address of each, as clients name it, in their order.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("nats://{}", server.file.listen)).collect()
    }

    /// The name that a server gives itself.
    #[must_use]
    pub fn name(&self, number: usize) -> String {
        self.servers[number].file.name()
    }

    /// The number of the server with this name.
    #[must_use]
    pub fn number_of(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.file.name() == name)
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self, number: usize) -> Option<u32> {
        self.servers[number].child.as_ref().map(Child::id)
    }

    /// What a server logged.
    #[must_use]
    pub fn log(&self, number: usize) -> String {
        fs::read_to_string(self.log_file(number)).unwrap_or_default()
    }

    /// Ends a server as a power cut does.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        let server = &mut self.servers[number];
        let mut child = server.child.take().context("the server does not run")?;
        server.is_paused = false;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Ends a server as an operator does (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub fn stop(&mut self, number: usize) -> Result<()> {
        self.signal(number, Signal::TERM)?;
        let mut child = self.servers[number].child.take().context("the server does not run")?;
        let deadline = Instant::now() + STOP_WITHIN;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!("the server did not end within {} s of SIGTERM", STOP_WITHIN.as_secs());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Stops a server's process, as a machine that hangs.
    ///
    /// # Errors
    /// It does not run.
    pub fn pause(&mut self, number: usize) -> Result<()> {
        self.signal(number, Signal::STOP)?;
        self.servers[number].is_paused = true;
        Ok(())
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// It does not run.
    pub fn resume(&mut self, number: usize) -> Result<()> {
        self.signal(number, Signal::CONT)?;
        self.servers[number].is_paused = false;
        Ok(())
    }

    /// Starts a server that was killed or stopped, on the same ports and data. It may not be ready yet
    /// ([`Servers::wait_ready`]).
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart(&mut self, number: usize) -> Result<()> {
        if self.servers[number].child.is_none() {
            self.spawn(number)?;
        }
        Ok(())
    }

    /// Waits until every server that runs is ready for streams.
    ///
    /// # Errors
    /// They are not in time; the text has the end of a log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        for number in 0..self.servers.len() {
            while self.servers[number].child.is_some() && !self.is_ready(number) {
                let server = &mut self.servers[number];
                let has_ended =
                    server.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)));
                if has_ended || Instant::now() > deadline {
                    let log = self.log(number);
                    let tail: Vec<&str> = log.lines().rev().take(5).collect();
                    let what = if has_ended { "ended" } else { "is not ready" };
                    bail!("server {} {what}; its log ends with: {}", self.name(number), tail.join(" / "));
                }
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    fn is_ready(&self, number: usize) -> bool {
        let file = &self.servers[number].file;
        if TcpStream::connect(file.listen).is_err() {
            return false;
        }
        let get = |path| http::request(file.http, "GET", path).unwrap_or_default();
        let has_leader = file.route.is_none() || get("/jsz").contains("\"leader\":");
        has_leader && get("/healthz").contains("\"ok\"")
    }

    fn log_file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("server-{number}.log"))
    }

    fn spawn(&mut self, number: usize) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let path = self.folder.join(format!("server-{number}.conf"));
        fs::write(&path, self.servers[number].file.text())?;
        let log = fs::File::options().create(true).append(true).open(self.log_file(number))?;
        let mut words =
            self.servers[number].file.under.iter().map(PathBuf::from).chain([self.program.clone()]);
        let mut command = Command::new(words.next().expect("at least the server"));
        command.args(words).arg("-c").arg(&path).env("GOMEMLIMIT", GOMEMLIMIT).envs(file::PASSWORDS);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        self.servers[number].child = Some(child);
        Ok(())
    }

    fn signal(&self, number: usize, signal: Signal) -> Result<()> {
        let child = self.servers[number].child.as_ref().context("the server does not run")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Where the servers write.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in &mut self.servers {
            if let Some(mut child) = server.child.take() {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        if !self.is_kept {
            // What stays is in the system's folder for temporary files.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Servers for a test, or `None`: then it says on standard error that the test is skipped, and why. With
/// `CI=true` it panics instead, since CI can have the program.
///
/// # Panics
/// In CI, if the servers do not start; anywhere, if the program is there and they do not.
#[must_use]
pub fn servers_or_skip(count: usize) -> Option<Servers> {
    if let Err(error) = program() {
        assert!(std::env::var_os("CI").is_none(), "no NATS server: {error:#}");
        eprintln!("skipped: no NATS server: {error:#}");
        return None;
    }
    Some(Servers::start(count).expect("the servers start"))
}
