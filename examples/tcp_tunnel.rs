//! A tunnel for TCP: each connection that one end accepts becomes a stream of one HTTP/2
//! connection, and a TCP connection again at the other end.
//!
//! ```sh
//! cargo run --example tcp_tunnel -- server 127.0.0.1:8080 127.0.0.1:6379            # LISTEN TARGET
//! cargo run --example tcp_tunnel -- client 127.0.0.1:7000 ws://127.0.0.1:8080/      # LISTEN URL
//! redis-cli -p 7000 ping
//! ```
//!
//! Only the target on the command line can be reached. `h2ws bridge --to tcp://…` is a server of
//! this kind with access rules.

use h2ws::server::WebSocketRequest;
use h2ws::{Client, HttpVersion, Server};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [role, listen, to] = args.as_slice() else {
        return Err("expected server LISTEN TARGET, or client LISTEN URL".into());
    };
    match role.as_str() {
        "server" => serve(listen, to.clone()).await,
        "client" => listen_for_tcp(listen, to).await,
        _ => Err(format!("{role:?} is neither server nor client").into()),
    }
}

async fn serve(listen: &str, target: String) -> Result<(), Failure> {
    let server = Server::builder().bind(listen).await?;
    println!("listening on ws://{}", server.local_addr()?);
    let handler = move |request| forward(request, target.clone());
    server.serve(handler).await?;
    Ok(())
}

async fn forward(request: WebSocketRequest, target: String) -> Result<(), Failure> {
    // First, because a request whose target cannot be reached is rejected.
    let mut tcp = TcpStream::connect(target).await?;
    let mut stream = request.accept_raw().await?;
    copy_bidirectional(&mut tcp, &mut stream).await?;
    Ok(())
}

async fn listen_for_tcp(listen: &str, url: &str) -> Result<(), Failure> {
    // Raw streams exist over HTTP/2 alone.
    let client = Client::builder().version(HttpVersion::Http2).build()?;
    let listener = TcpListener::bind(listen).await?;
    println!("listening on tcp://{}", listener.local_addr()?);
    loop {
        let (mut tcp, peer) = listener.accept().await?;
        let opening = client.request(url).connect_raw();
        tokio::spawn(async move {
            let tunnel = async {
                let mut stream = opening.await?;
                copy_bidirectional(&mut tcp, &mut stream).await?;
                Ok::<_, Failure>(())
            };
            if let Err(error) = tunnel.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}
