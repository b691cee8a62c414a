//! `gs chat`: a room in a terminal.
//!
//! - `model`, `events`, `keys`: the shown state, and its changes by events and keys, without IO;
//! - `editor`, `command`, `tally`, `entry`, `clean`: the parts of the model;
//! - `screen`, `terminal`: drawing and the loop on a terminal; `plain`: the loop without one.
//!
//! Not here: sessions, reconnects and resuming (the client library).

mod clean;
mod command;
mod editor;
mod entry;
mod events;
mod keys;
mod model;
mod plain;
mod screen;
mod tally;
mod terminal;

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use grandstand_client::core::{Options, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, OwnedPublication, Url};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::target::{DEFAULT_WS, TrustArgs, token};
use model::{Action, Model};

/// Follow a room in the terminal, write in it, react.
///
/// Without a terminal, each line of standard input is published, and each message of the room is printed on
/// a line; notices go to standard error. The chat ends with the input, once everything is acknowledged. The
/// exit code is not 0 if something was refused.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Address of the node: ws://, wss:// or quic://.
    #[arg(long, default_value = DEFAULT_WS)]
    url: Url,
    /// Room to follow.
    #[arg(long, default_value = "show")]
    room: String,
    /// Display name to ask for.
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// File that holds a signed token.
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
    /// Number of earlier messages to show first.
    #[arg(long, default_value_t = 50, value_name = "N")]
    replay: u32,
    /// Without a terminal: keep listening after the end of input.
    #[arg(long)]
    stay: bool,
}

/// Run the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let connector = args.trust.decide(std::slice::from_ref(&args.url))?.connector(None)?;
    let session = Options { token: token(args.token.as_deref())?, name: args.name, ..Options::default() };
    let client =
        Client::connect(&connector, &args.url, ClientOptions { session, ..ClientOptions::default() })?;
    client.subscribe(&args.room, SubscribeOptions { replay: args.replay, resume: None })?;
    let mut model = Model::new(&args.room);
    // https://no-color.org
    model.coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let clock = Clock(Instant::now());
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        return plain::run(&client, &mut model, clock, args.stay).await;
    }
    terminal::run(&client, &mut model, clock).await?;
    say_goodbye(&client).await;
    Ok(())
}

/// Wait until pending publications are answered; the client bounds this wait.
async fn say_goodbye(client: &Client) {
    client.close();
    while client.next_event().await.is_some() {}
}

/// Pass an action to the session. Returns whether it was a request to leave.
fn perform(client: &Client, model: &mut Model, action: Action) -> bool {
    let room = model.room.clone();
    match action {
        Action::Quit => return true,
        Action::Publish { text, reply_to } => {
            let publication =
                OwnedPublication { text: text.clone(), reply_to, ..OwnedPublication::default() };
            match client.try_publish(&room, publication) {
                Ok(nonce) => model.handle_sent(nonce, &text),
                Err(_) => model.handle_busy(&text),
            }
        }
        Action::React { key, count } => {
            if client.react(&room, &key, count).is_err() {
                model.handle_busy(&key);
            }
        }
        Action::State { key, value } => {
            if client.set_state(&room, &key, value.as_deref().map(str::as_bytes)).is_err() {
                model.handle_busy(&key);
            }
        }
    }
    false
}

/// Time since the start.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn ms(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}

/// The signals after which a chat closes its session and ends.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Stop {
    fn new() -> anyhow::Result<Stop> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        let (terminate, interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        Ok(Stop { terminate, interrupt, hangup: listen(SignalKind::hangup())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
