//! A phone's app: keeps its position in a file, goes on there after a restart, and tells the client when the
//! network changed (here: a line of input).
//!
//! Why: it shows positions, several URLs, and what an app does when a device wakes up.
//!
//! `cargo run -p grandstand-client --example phone -- position.txt ws://127.0.0.1:7400/v1`

use std::io::BufRead;
use std::path::{Path, PathBuf};

use grandstand_client::core::{OwnedEvent, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, Connector, Url, Urls};

const ROOM: &str = "show";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = PathBuf::from(args.next().ok_or("usage: phone FILE URL...")?);
    let urls = args.map(|url| url.parse()).collect::<Result<Vec<Url>, _>>()?;
    let connector = Connector::builder().build()?;
    let client = Client::connect(&connector, Urls::try_from(urls)?, ClientOptions::default())?;
    client.subscribe(ROOM, SubscribeOptions { replay: 20, resume: load(&file) })?;

    let for_input = client.clone();
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            for_input.network_changed();
        }
    });
    while let Some(event) = client.next_event().await {
        match event {
            OwnedEvent::Message { author, text, .. } => {
                println!("{author}: {text}");
                if let Some((epoch, offset)) = client.position(ROOM) {
                    std::fs::write(&file, format!("{epoch} {offset}"))?;
                }
            }
            OwnedEvent::Welcome { .. } => eprintln!("* connected: {}", client.url().ok_or("no URL")?),
            OwnedEvent::Disconnected { reason } => eprintln!("* {reason}"),
            OwnedEvent::Closed { reason } => return Err(reason.to_string().into()),
            _ => {}
        }
    }
    Ok(())
}

fn load(file: &Path) -> Option<(u64, u64)> {
    let text = std::fs::read_to_string(file).ok()?;
    let (epoch, offset) = text.trim().split_once(' ')?;
    Some((epoch.parse().ok()?, offset.parse().ok()?))
}
