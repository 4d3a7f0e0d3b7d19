//! A TCP relay that splits and delays the bytes of a connection, and may cut it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::Random;

/// Relays one connection to `to`, and cuts it after `cut` bytes in that direction.
/// Returns the address to connect to.
pub(super) async fn relay(to: SocketAddr, mut random: Random, cut: Option<usize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        for io in [&near, &far] {
            io.set_nodelay(true).unwrap();
        }
        let (near, far) = (near.into_split(), far.into_split());
        let one = Random::new(random.next());
        tokio::select! {
            () = pass(near.0, far.1, one, cut) => {}
            () = pass(far.0, near.1, random, None) => {}
        }
    });
    addr
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut random: Random,
    cut: Option<usize>,
) {
    let mut passed = 0;
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let most = random.one_of(&[1, 9, 100, 5_000, 64 * 1024]);
        let Ok(len @ 1..) = from.read(&mut bytes[..most]).await else {
            return;
        };
        let len = len.min(cut.unwrap_or(usize::MAX) - passed);
        passed += len;
        if to.write_all(&bytes[..len]).await.is_err() || Some(passed) == cut {
            return;
        }
        for _ in 0..random.below(4) {
            tokio::task::yield_now().await;
        }
    }
}
