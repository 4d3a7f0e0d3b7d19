//! A client that stays connected: it prints messages and sends one every few seconds. After every
//! failure that may be temporary it reconnects, with exponential backoff and jitter. Ctrl-C closes it.
//!
//! Run `cargo run --example reconnect -- 'ws://127.0.0.1:8080/?me'` while the example
//! `chat` runs, and restart `chat`.

use std::time::Duration;

use h2ws::client::ReconnectEvent;
use h2ws::{Client, CloseCode, Error};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let url = url.as_deref().unwrap_or("ws://127.0.0.1:8080/?me");
    let client = Client::builder().build()?;
    let mut socket = client
        .request(url)
        .reconnecting()
        // The server does not know the new WebSocket, so this is where to subscribe again.
        .after_connect(|socket| Box::pin(async move { socket.send("I am here").await }))
        .connect()
        .await?;
    let mut interval = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            // Reconnects meanwhile. It loses nothing if the interval comes first.
            event = socket.recv() => match event.transpose()? {
                Some(ReconnectEvent::Message(message)) => {
                    println!("{}", message.as_text().unwrap_or("(binary)"));
                }
                Some(ReconnectEvent::Connected) => {
                    let carrier = socket.get_ref().map(|socket| socket.transport().to_string());
                    println!("open over {}", carrier.unwrap_or_default());
                }
                Some(ReconnectEvent::Disconnected(lost)) => {
                    println!("{}", lost.cause);
                    let lost = lost.unconfirmed;
                    println!("messages {lost:?} may not have arrived");
                }
                Some(ReconnectEvent::AttemptFailed(failed)) => println!("{}", failed.cause),
                // The server closed it with a code that is final.
                _ => break,
            },
            _ = tokio::signal::ctrl_c() => break,
            _ = interval.tick() => if socket.is_connected() {
                let number = socket.sent();
                socket.send(format!("message {number}")).await?;
            }
        }
    }
    socket.close(CloseCode::NORMAL).await
}
