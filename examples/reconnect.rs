//! A client that stays connected: it prints messages, and reconnects after every failure that may
//! be temporary, with exponential backoff and jitter (RFC 6455 §7.2.3).
//!
//! Run `cargo run --example reconnect -- 'ws://127.0.0.1:8080/?me'` while the example
//! `chat` runs, and restart `chat`.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use h2ws::{Client, CloseCode, Error};

const FIRST_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = std::env::args().nth(1);
    let url = url.as_deref().unwrap_or("ws://127.0.0.1:8080/?me");
    let client = Client::builder().build()?;
    let mut delay = FIRST_DELAY;
    loop {
        match listen(&client, url, &mut delay).await {
            Ok(code) if code.is_retryable() => println!("closed with code {code}"),
            Ok(_) => return Ok(()),
            Err(error) if error.is_retryable() => println!("{error}"),
            Err(error) => return Err(error),
        }
        // Many clients lose their server at the same time. Jitter spreads their reconnects.
        tokio::time::sleep(delay.mul_f64(random())).await;
        delay = MAX_DELAY.min(delay * 2);
    }
}

/// Prints messages until the WebSocket ends. Returns the peer's close code.
async fn listen(client: &Client, url: &str, delay: &mut Duration) -> Result<CloseCode, Error> {
    let mut socket = client.connect(url).await?;
    println!("open over {}", socket.transport());
    while let Some(message) = socket.recv().await {
        println!("{}", message?.as_text().unwrap_or("(binary)"));
        // The server works, so the next failure starts with the shortest delay.
        *delay = FIRST_DELAY;
    }
    Ok(socket.close_code().unwrap_or(CloseCode::NO_STATUS_RECEIVED))
}

/// Returns a random number from 0 to 1, good enough for a delay.
fn random() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}
