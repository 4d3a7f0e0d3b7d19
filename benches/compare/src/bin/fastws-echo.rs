//! Echo on fastwebsockets, a TCP connection per socket.

use fastwebsockets::{OpCode, Role, WebSocket, WebSocketError};
use h2ws_compare::{Error, args::Args, process, upgrade};
use tokio::net::TcpStream;

fn main() -> Result<(), Error> {
    let args = Args::from_env(&["listen", "runtime"], &[])?;
    let listen = args.or("listen", "127.0.0.1:0".to_owned())?;
    process::runtime(&args.or("runtime", "multi".to_owned())?)?.block_on(async move {
        let listener = process::listen(&listen).await?;
        loop {
            let (mut stream, _) = listener.accept().await?;
            tokio::spawn(async move {
                if upgrade::accept(&mut stream).await.is_ok() {
                    let _ = echo(stream).await;
                }
            });
        }
    })
}

/// As the crate's own example does it.
async fn echo(stream: TcpStream) -> Result<(), WebSocketError> {
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_writev(true);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => socket.write_frame(frame).await?,
            _ => {}
        }
    }
}
