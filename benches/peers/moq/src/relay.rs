//! `moq-relay` as its own package starts it: the same one call as its `main`.
//!
//! Why not `cargo install`: so the relay and the viewers are built once, from one lock file.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    moq_tokio::crypto::install_default().expect("no crypto provider was installed before");
    moq_relay::Relay::load(moq_relay::Config::load()?).await?.run().await
}
