//! A chat room that sends every message to all members. Each message is framed only once, and a
//! member that does not keep up is closed with 1013, so that it does not delay the others.
//!
//! Run `cargo run --example chat`, then in two terminals
//! `h2ws connect --http2 'ws://127.0.0.1:8080/?ann'`, with a different name in each.

use h2ws::broadcast::{Broadcast, LagPolicy};
use h2ws::frame::PreparedMessage;
use h2ws::server::WebSocketRequest;
use h2ws::socket::WebSocketWriter;
use h2ws::{Error, Server};
use tokio::sync::mpsc;

/// What happens in the room.
enum Event {
    Joined(String, WebSocketWriter),
    Said(String, String),
    Left(String),
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1);
    let listen = listen.as_deref().unwrap_or("127.0.0.1:8080");
    let server = Server::builder().bind(listen).await?;
    println!("listening on ws://{}", server.local_addr()?);
    // Bounded: senders wait for the room, but the room does not wait for any client.
    let (room, events) = mpsc::channel(64);
    tokio::spawn(run_room(events));
    server
        .serve(move |request: WebSocketRequest| join(request, room.clone()))
        .await?;
    Ok(())
}

/// Runs the room: the only task that writes to the WebSockets.
async fn run_room(mut events: mpsc::Receiver<Event>) {
    let mut members = Broadcast::new(LagPolicy::Close);
    while let Some(event) = events.recv().await {
        let news = match event {
            Event::Joined(name, writer) => {
                members.join(writer);
                format!("{name} joined {} others", members.len() - 1)
            }
            Event::Said(name, text) => format!("{name}: {text}"),
            // Sending this message removes the WebSocket that has ended from the group.
            Event::Left(name) => format!("{name} left"),
        };
        members.send(&PreparedMessage::text(news)).await;
    }
}

async fn join(request: WebSocketRequest, room: mpsc::Sender<Event>) -> Result<(), Error> {
    let name = request.query().unwrap_or("somebody").to_owned();
    let (mut reader, writer) = request.accept().await?.split();
    // The room runs as long as the program, so sending does not fail.
    let _ = room.send(Event::Joined(name.clone(), writer)).await;
    let ended = loop {
        match reader.recv().await {
            Some(Ok(message)) => {
                if let Some(text) = message.as_text() {
                    let _ = room.send(Event::Said(name.clone(), text.to_owned())).await;
                }
            }
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    let _ = room.send(Event::Left(name)).await;
    ended
}
