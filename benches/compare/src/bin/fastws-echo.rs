//! An echo server on fastwebsockets, with a TCP connection per socket; `--tls` adds TLS.

use fastwebsockets::{Frame, OpCode, Role, WebSocket};
use h2ws_compare::{Error, args::Args, process, tls, upgrade};
use tokio::io::{AsyncRead, AsyncWrite};

fn main() -> Result<(), Error> {
    let args = Args::from_env(&["listen", "runtime"], &["tls"])?;
    let acceptor = args.has("tls").then(tls::acceptor).transpose()?;
    let listen = args.or("listen", "127.0.0.1:0".to_owned())?;
    process::runtime(&args.or("runtime", "multi".to_owned())?)?.block_on(async move {
        let listener = process::listen(&listen).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream).await,
                    Some(acceptor) => serve(acceptor.accept(stream).await?).await,
                }
            });
        }
    })
}

/// Echoes as the crate's example does, but in frames of its own: that of the client, sent back as it
/// is, would be masked, which clients must refuse (RFC 6455 §5.1).
async fn serve<T>(mut stream: T) -> Result<(), Error>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    upgrade::accept(&mut stream).await?;
    let mut socket = WebSocket::after_handshake(stream, Role::Server);
    socket.set_writev(true);
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                let answer = Frame::new(frame.fin, frame.opcode, None, frame.payload);
                socket.write_frame(answer).await?;
            }
            _ => {}
        }
    }
}
