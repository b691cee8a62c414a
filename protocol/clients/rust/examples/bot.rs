//! A bot: answers each message that asks "time?" in a room, and waits for the receipt.
//!
//! Why: it shows a publication that is awaited, and a refusal that is tried again.
//!
//! `cargo run -p grandstand-client --example bot -- ws://127.0.0.1:7400/v1 show`

use std::time::{SystemTime, UNIX_EPOCH};

use grandstand_client::core::{Options, OwnedEvent, SubscribeOptions};
use grandstand_client::net::{Client, ClientOptions, Connector, OwnedPublication, PublishError, Url};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url: Url = args.next().unwrap_or_else(|| "ws://127.0.0.1:7400/v1".into()).parse()?;
    let room = args.next().unwrap_or_else(|| "show".into());
    let session = Options { name: "clock".into(), ..Options::default() };
    let options = ClientOptions { session, ..ClientOptions::default() };
    let client = Client::connect(&Connector::builder().build()?, &url, options)?;
    client.subscribe(&room, SubscribeOptions::default())?;
    while let Some(event) = client.next_event().await {
        match event {
            OwnedEvent::Message { offset, text, .. } if text.trim() == "time?" => {
                answer(&client, &room, offset).await;
            }
            OwnedEvent::Closed { reason } => eprintln!("over: {reason}"),
            _ => {}
        }
    }
    Ok(())
}

/// Answers, and tries once more after a refusal that is for the moment: what was refused is not in the log.
async fn answer(client: &Client, room: &str, reply_to: u64) {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let text = format!("{seconds} seconds since 1970");
    let publication = OwnedPublication { text, reply_to: Some(reply_to), ..OwnedPublication::default() };
    let mut answered = client.publish(room, publication.clone()).await;
    if let Err(PublishError::Refused { retry_after: Some(wait), .. }) = answered {
        tokio::time::sleep(wait).await;
        answered = client.publish(room, publication).await;
    }
    match answered {
        Ok(receipt) => println!("answered at offset {}", receipt.offset),
        Err(error) => eprintln!("not answered: {error}"),
    }
}
