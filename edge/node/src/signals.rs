//! Signals: what each conventional signal does to a node.
//!
//! | signal | effect |
//! |---|---|
//! | TERM, INT, QUIT, PWR, XCPU | drain; a second TERM, INT or QUIT ends the drain at once |
//! | HUP | reload, and open the log file again; drain if the terminal of the node has gone |
//! | USR1 | open the log file again |
//! | USR2, ALRM, VTALRM, PROF, IO, STKFLT, XFSZ, PIPE, TTIN, TTOU, real-time signals | nothing |
//! | TSTP | nothing; at a terminal, a stop until `fg` |
//!
//! Why all: the default of most of them is to kill the process, with everybody who is inside.
//! Invariant: from [`Signals::new`] on, no signal that can be caught ends the process without a drain, except
//! those of a fault of the program itself (SEGV, BUS, ILL, FPE, ABRT, TRAP, SYS).
//! Not here: what a drain or a reload does (`shutdown`, `reload`).

use std::io::{self, IsTerminal};

use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::NodeError;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Drain. `at_terminal`: a person waits, and no load balancer is to be told.
    Drain { at_terminal: bool },
    /// The same, and it does not count as the second request: the kernel repeats it.
    DrainOnce,
    /// Read credentials and configuration again, and open the log file again.
    Reload,
    /// Open the log file again.
    ReopenLog,
}

/// Signals without an effect, whose default is to end or to stop the process.
const IGNORED: &[Number] = &[
    Number::USR2,
    Number::ALARM,
    Number::VTALARM,
    Number::PROF,
    Number::IO,
    Number::STKFLT,
    Number::XFSZ,
    Number::PIPE,
    Number::TTIN,
    Number::TTOU,
];

/// Real-time signals that the C library leaves to programs, on Linux. Their default is to end the process.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

/// The signals of the process.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    power: Signal,
    cpu: Signal,
    hangup: Signal,
    user_1: Signal,
    began_at_terminal: bool,
}

impl Signals {
    /// Catch all signals.
    pub(crate) fn new() -> Result<Signals, NodeError> {
        let fault =
            |e: io::Error| NodeError::new(format!("cannot watch signals: {e}"), "check the system's limits");
        let catch = |number: Number| signal(SignalKind::from_raw(number.as_raw())).map_err(fault);
        let signals = Signals {
            terminate: catch(Number::TERM)?,
            interrupt: catch(Number::INT)?,
            quit: catch(Number::QUIT)?,
            power: catch(Number::POWER)?,
            cpu: catch(Number::XCPU)?,
            hangup: catch(Number::HUP)?,
            user_1: catch(Number::USR1)?,
            began_at_terminal: io::stdin().is_terminal(),
        };
        let stops_at_terminal = (!signals.began_at_terminal).then_some(Number::TSTP);
        for &number in IGNORED.iter().chain(&stops_at_terminal) {
            // The handler stays when its receiver is dropped.
            drop(catch(number)?);
        }
        for number in REAL_TIME {
            // Some of them are the C library's own on some systems; those cannot be caught.
            let _ = signal(SignalKind::from_raw(number));
        }
        Ok(signals)
    }

    /// The next signal that asks for something.
    pub(crate) async fn next(&mut self) -> Wish {
        let began_at_terminal = self.began_at_terminal;
        let is_at_terminal = move || began_at_terminal && io::stdin().is_terminal();
        tokio::select! {
            _ = self.terminate.recv() => Wish::Drain { at_terminal: false },
            _ = self.interrupt.recv() => Wish::Drain { at_terminal: is_at_terminal() },
            _ = self.quit.recv() => Wish::Drain { at_terminal: is_at_terminal() },
            _ = self.power.recv() => Wish::DrainOnce,
            _ = self.cpu.recv() => Wish::DrainOnce,
            _ = self.hangup.recv() => match began_at_terminal && !is_at_terminal() {
                true => Wish::Drain { at_terminal: true },
                false => Wish::Reload,
            },
            _ = self.user_1.recv() => Wish::ReopenLog,
        }
    }
}
