//! The terminal while a tool draws on it, and the signals that end a tool.
//!
//! Why one place: a terminal that is left in raw mode, without its cursor or on its alternate screen is
//! unusable, so every way out of a tool undoes all of it: an end, an error, a panic of any thread, a signal,
//! a stop by the shell.
//! Invariants: [`restore`] undoes everything that [`Screen::enter`] did, in any order and any number of
//! times; a terminal that cannot place its cursor (`TERM=dumb`, or none) is never drawn on.
//! Not here: what is drawn (`chat::screen`, `demo::view`).

use std::io::{IsTerminal, stdin, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use crossterm::cursor::Show;
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Is there something to undo?
static IS_ENTERED: AtomicBool = AtomicBool::new(false);

/// Did a shell show its own lines meanwhile? Then everything is drawn anew.
static IS_RESUMED: AtomicBool = AtomicBool::new(false);

/// Can this terminal be drawn on? Input and output are one, and it can place its cursor.
pub(crate) fn can_draw() -> bool {
    let term = std::env::var("TERM").unwrap_or_default();
    stdin().is_terminal() && stdout().is_terminal() && !matches!(term.as_str(), "" | "dumb" | "unknown")
}

/// Whether the terminal was closed. crossterm reads a closed terminal without end, so this is asked before.
pub(crate) fn is_gone() -> bool {
    let input = stdin();
    let mut asked = [PollFd::new(&input, PollFlags::IN)];
    poll(&mut asked, Some(&Timespec::default())).is_ok() && asked[0].revents().contains(PollFlags::HUP)
}

/// The terminal while it is ours: alternate screen, keys without echo, pastes marked as such.
pub(crate) struct Screen(Terminal<CrosstermBackend<std::io::Stdout>>);

impl Screen {
    /// Take the terminal. A panic of any thread gives it back before its message is printed.
    ///
    /// # Errors
    /// The terminal cannot do so; it is as before then.
    pub(crate) fn enter() -> anyhow::Result<Screen> {
        restore_in_panics();
        match enter().and_then(|()| Terminal::new(CrosstermBackend::new(stdout()))) {
            Ok(terminal) => Ok(Screen(terminal)),
            Err(error) => {
                restore();
                Err(anyhow::Error::from(error)
                    .context("cannot use this terminal; TERM=dumb prints lines only"))
            }
        }
    }

    /// Draw a frame.
    ///
    /// # Errors
    /// The terminal is gone, or was given back in a panic.
    pub(crate) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        anyhow::ensure!(IS_ENTERED.load(Ordering::SeqCst), "a part of this program panicked, see above");
        if IS_RESUMED.swap(false, Ordering::SeqCst) {
            // The alternate screen is empty then. `clear` would ask the terminal for its cursor, and wait.
            self.0 = Terminal::new(CrosstermBackend::new(stdout())).context("cannot draw on the terminal")?;
        }
        self.0.draw(draw).context("cannot draw on the terminal")?;
        Ok(())
    }
}

fn enter() -> std::io::Result<()> {
    IS_ENTERED.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste)
}

/// Stop this process until a shell continues it (`fg`). The terminal is the shell's meanwhile.
///
/// # Errors
/// The terminal is gone when the process goes on.
pub(crate) fn suspend() -> anyhow::Result<()> {
    let is_drawing = IS_ENTERED.load(Ordering::SeqCst);
    restore();
    kill_process(getpid(), rustix::process::Signal::STOP).context("cannot stop this process")?;
    if is_drawing {
        enter().context("cannot use this terminal any more")?;
        IS_RESUMED.store(true, Ordering::SeqCst);
    }
    Ok(())
}

/// Suspend this process at each SIGTSTP from now on. To be called within a `LocalSet`.
///
/// # Errors
/// The system does not allow it.
pub(crate) fn suspend_on_signal() -> anyhow::Result<()> {
    let kind = SignalKind::from_raw(rustix::process::Signal::TSTP.as_raw());
    let mut signals = signal(kind).context("cannot listen for signals")?;
    tokio::task::spawn_local(async move {
        // Where the terminal is gone, the next drawing says so.
        while signals.recv().await.is_some() && suspend().is_ok() {}
    });
    Ok(())
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Give the terminal back, if it was taken. The first call does it; so the message of a panic stays.
pub(crate) fn restore() {
    if IS_ENTERED.swap(false, Ordering::SeqCst) {
        // Whatever of it fails, the rest is tried.
        let _ = execute!(stdout(), DisableBracketedPaste);
        let _ = execute!(stdout(), LeaveAlternateScreen);
        let _ = execute!(stdout(), Show);
        let _ = disable_raw_mode();
    }
}

fn restore_in_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let earlier = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            earlier(info);
        }));
    });
}

/// The signals after which a tool ends in its own way.
pub(crate) struct Stop([(Signal, i32); 4]);

impl Stop {
    /// Listen for them from now on. The process does not end by itself any more.
    ///
    /// # Errors
    /// The system does not allow it.
    pub(crate) fn new() -> anyhow::Result<Stop> {
        let listen = |kind: SignalKind| {
            anyhow::Ok((signal(kind).context("cannot listen for signals")?, kind.as_raw_value()))
        };
        Ok(Stop([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
            listen(SignalKind::quit())?,
        ]))
    }

    /// Wait for the next one; its number. May be dropped and called again.
    pub(crate) async fn wait(&mut self) -> i32 {
        let [(interrupt, int), (terminate, term), (hangup, hup), (quit, quits)] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => *int,
            _ = terminate.recv() => *term,
            _ = hangup.recv() => *hup,
            _ = quit.recv() => *quits,
        }
    }
}

/// End this process at once, as a shell reports the end by this signal.
pub(crate) fn exit_by(signal: i32) -> ! {
    restore();
    std::process::exit(128 + signal);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use grandstand_harness::pty::Pty;
    use grandstand_harness::wait::until;

    use super::*;

    /// Set in the process that panics.
    const PANICS: &str = "GS_TEST_PANICS_ON_THREAD";

    #[test]
    fn a_panic_of_any_thread_gives_the_terminal_back_before_its_message() {
        if let Some(thread) = std::env::var_os(PANICS) {
            let mut screen = Screen::enter().unwrap();
            screen.draw(|frame| frame.render_widget("drawn", frame.area())).unwrap();
            if thread == "main" {
                panic!("on purpose");
            }
            assert!(std::thread::spawn(|| panic!("on purpose")).join().is_err());
            let error = screen.draw(|_| ()).unwrap_err().to_string();
            assert!(
                error.contains("panicked"),
                "nothing is drawn on a terminal that was given back: {error}"
            );
            return;
        }
        for thread in ["main", "another"] {
            let pty = Pty::open(80, 24).unwrap();
            let name = "terminal::tests::a_panic_of_any_thread_gives_the_terminal_back_before_its_message";
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PANICS, thread);
            let mut child = pty.spawn(command).unwrap();
            child.wait().unwrap();
            pty.wait_for("on purpose");
            let output = pty.output();
            let at = |text: &str| output.find(text).unwrap_or_else(|| panic!("no {text:?} in {output:?}"));
            assert!(at("drawn") < at("\x1b[?1049l") && at("\x1b[?1049l") < at("on purpose"), "{output:?}");
            assert!(at("\x1b[?2004l") < at("on purpose") && at("\x1b[?25h") < at("on purpose"), "{output:?}");
            until("keys are echoed", || pty.is_sane().unwrap());
        }
    }
}
