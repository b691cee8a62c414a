//! A viewer: follows a room and prints its messages.
//!
//! Why: it shows the shortest use of the client.
//!
//! `cargo run -p grandstand-client --example viewer -- ws://127.0.0.1:7400/v1 show`

use grandstand_client::core::{OwnedEvent, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, Connector, Url, Urls};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let room = args.pop().unwrap_or_else(|| "show".into());
    // Several URLs are raced: the first that works is used.
    let urls = args.iter().map(|url| url.parse()).collect::<Result<Vec<Url>, _>>()?;
    let connector = Connector::builder().build()?;
    let client = Client::connect(&connector, Urls::try_from(urls)?, ClientOptions::default())?;
    client.subscribe(&room, SubscribeOptions { replay: 20, resume: None })?;
    while let Some(event) = client.next_event().await {
        match event {
            OwnedEvent::Message { author, text, .. } => println!("{author}: {text}"),
            OwnedEvent::Omitted { from, to, .. } => println!("({} more were said)", to - from),
            OwnedEvent::Gap { count, .. } => println!("({count} messages missed)"),
            OwnedEvent::Disconnected { reason } => eprintln!("* {reason}"),
            OwnedEvent::Closed { reason } => eprintln!("* over: {reason}"),
            _ => {}
        }
    }
    Ok(())
}
