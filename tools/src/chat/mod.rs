//! `gs chat`: a room in a terminal.
//!
//! - `model`, `events`, `keys`: the shown state, and its changes by events and keys, without IO;
//! - `order`, `acts`: moderation, as commands, outcomes and notices;
//! - `editor`, `command`, `tally`, `entry`, `clean`, `times`: the parts of the model;
//! - `screen`, `terminal`: drawing and the loop on a terminal; `plain`: the loop without one.
//!
//! Not here: sessions, reconnects and resuming (the client library).

mod acts;
mod clean;
mod command;
mod editor;
mod entry;
mod events;
mod keys;
mod model;
mod order;
mod plain;
mod screen;
mod tally;
mod terminal;
mod times;

use std::io::{IsTerminal, stdin};
use std::path::PathBuf;
use std::time::Instant;

use grandstand_client::core::{Options, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, OwnedPublication, Url};

use crate::target::{DEFAULT_WS, TrustArgs, token};
use crate::terminal::can_draw;
use grandstand_harness::numbers::integer;
use model::{Action, Model};
use times::Times;

/// Follow a room in the terminal, write in it, react.
///
/// Without a terminal, or with TERM=dumb, each line of standard input is published, and each message of the
/// room is printed on a line; notices go to standard error. A line is sent when the one before it is
/// answered. The chat ends with the input, or after the first line that is refused, once everything that was
/// sent is answered.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Address of the node: ws://, wss:// or quic://.
    #[arg(value_name = "URL", default_value = DEFAULT_WS)]
    address: Url,
    /// The same, as the other tools take it.
    #[arg(long, conflicts_with = "address")]
    url: Option<Url>,
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
    #[arg(long, default_value_t = 50, value_name = "N",
        value_parser = integer(0_u32, 100_000, "no node replays more (rooms.replay_max)"))]
    replay: u32,
    /// Without a terminal: keep listening after the end of input, and keep trying to connect.
    #[arg(long)]
    stay: bool,
    /// Without a terminal: go on with the next line after one that was refused. The exit code says so all the
    /// same.
    #[arg(long)]
    keep_going: bool,
}

const EXIT_CODES: &str = "Exit codes: 0 when everything that was sent is in the room; 1 when something was refused, \
                          may be lost, or the session ended by itself; 2 for a wrong command line. A signal (SIGINT, \
                          SIGTERM, SIGHUP) ends the chat as /quit does.";

/// Failed connections in a row after which a chat without a terminal gives up: with their pauses, half a
/// minute at most.
const RETRIES_MAX: u32 = 6;

/// Run the command; `Ok(false)` when something was refused or may be lost.
///
/// # Errors
/// When the session cannot begin, or ends by itself.
pub(crate) async fn run(args: Args) -> anyhow::Result<bool> {
    let url = args.url.unwrap_or(args.address);
    let is_drawn = can_draw();
    let is_typed = stdin().is_terminal();
    let connector = args.trust.decide(std::slice::from_ref(&url))?.connector(None)?;
    let mut session = Options { token: token(args.token.as_deref())?, name: args.name, ..Options::default() };
    if !is_typed && !args.stay {
        session.retries_max = RETRIES_MAX;
    }
    let client = Client::connect(&connector, &url, ClientOptions { session, ..ClientOptions::default() })?;
    client.subscribe(&args.room, SubscribeOptions { replay: args.replay, resume: None })?;
    let mut model = Model::new(&args.room);
    // https://no-color.org
    model.coloured = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let clock = Clock(Instant::now());
    if !is_drawn {
        let habits = plain::Habits { stays: args.stay, keeps_going: args.keep_going || is_typed };
        return plain::run(&client, &mut model, clock, habits).await;
    }
    model.times = Times::here();
    terminal::run(&client, &mut model, clock).await?;
    say_goodbye(&client).await;
    Ok(true)
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
                Err(why) => model.handle_unsent(&text, &why.to_string()),
            }
        }
        Action::React { key, count } => {
            if let Err(why) = client.react(&room, &key, count) {
                model.handle_unsent(&key, &why.to_string());
            }
        }
        Action::Act { act, line } => match client.try_act(&room, act) {
            Ok(number) => model.order.note_acting(number, &line),
            Err(why) => model.handle_unsent(&line, &why.to_string()),
        },
        Action::State { key, value } => {
            match client.set_state(&room, &key, value.as_deref().map(str::as_bytes)) {
                Ok(_) => model.states_unanswered += 1,
                Err(why) => model.handle_unsent(&key, &why.to_string()),
            }
        }
    }
    false
}

/// The time since the chat began.
#[derive(Clone, Copy, Debug)]
struct Clock(Instant);

impl Clock {
    fn ms(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }
}
