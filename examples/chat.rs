//! A room: what one says, all hear. Each message is framed once, however many
//! hear it, and who does not keep up is closed (1013) and holds up nobody.
//!
//! `cargo run --example chat`, then in two terminals
//! `h2ws connect --http2 'ws://127.0.0.1:8080/?ann'`, and as somebody else.

use futures_util::StreamExt;
use h2ws::Server;
use h2ws::broadcast::{Broadcast, LagPolicy};
use h2ws::frame::PreparedMessage;
use h2ws::server::WebSocketRequest;
use h2ws::socket::WebSocketWriter;
use tokio::sync::mpsc;

/// What happens in the room.
enum Event {
    Came(String, WebSocketWriter),
    Said(String, String),
    Went(String),
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::builder().bind("127.0.0.1:8080").await?;
    println!("listening on ws://{}", server.local_addr()?);
    // Bounded: who talks waits for the room, and the room for nobody.
    let (room, events) = mpsc::channel(64);
    tokio::spawn(tell_all(events));
    server
        .serve(move |request: WebSocketRequest| visit(request, room.clone()))
        .await?;
    Ok(())
}

/// The room: the only task that writes to the sockets.
async fn tell_all(mut events: mpsc::Receiver<Event>) {
    let mut present = Broadcast::new(LagPolicy::Close);
    while let Some(event) = events.recv().await {
        let news = match event {
            Event::Came(name, writer) => {
                present.join(writer);
                format!("{name} is here, with {} others", present.len() - 1)
            }
            Event::Said(name, text) => format!("{name}: {text}"),
            // The socket that has ended leaves the group with this message.
            Event::Went(name) => format!("{name} has gone"),
        };
        // Fails for control frames that are too long alone.
        if let Ok(message) = PreparedMessage::new(news) {
            present.send(&message).await;
        }
    }
}

async fn visit(request: WebSocketRequest, room: mpsc::Sender<Event>) {
    let name = request.query().unwrap_or("somebody").to_owned();
    let Ok(socket) = request.accept().await else {
        return;
    };
    let (mut reader, writer) = socket.split();
    if room.send(Event::Came(name.clone(), writer)).await.is_err() {
        return;
    }
    while let Some(Ok(message)) = reader.next().await {
        if let Some(text) = message.as_text() {
            let said = Event::Said(name.clone(), text.to_owned());
            if room.send(said).await.is_err() {
                return;
            }
        }
    }
    // The room ends with the program.
    let _ = room.send(Event::Went(name)).await;
}
