//! Runs a node: `h2ws-example-cluster LISTEN ENGINE`.
//!
//! With a `redis-server` or `nats-server` at its usual port, run
//!
//! ```sh
//! cargo run -p h2ws-example-cluster -- 127.0.0.1:8081 redis://127.0.0.1    # or nats://127.0.0.1
//! cargo run -p h2ws-example-cluster -- 127.0.0.1:8082 redis://127.0.0.1
//! h2ws connect 'ws://127.0.0.1:8081/news?ann'
//! h2ws connect 'ws://127.0.0.1:8082/news?ben'
//! ```
//!
//! What one sends the other receives; `?who` returns both names, and
//! <http://127.0.0.1:8081/metrics> what was lost.

use std::time::Duration;

use h2ws_example_cluster::engine::{Address, EngineError};
use h2ws_example_cluster::{Config, Node};

#[tokio::main]
async fn main() -> Result<(), EngineError> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let (listen, engine, presence) = match args.as_slice() {
        [listen, engine] => (listen, engine, None),
        [listen, engine, presence] => (listen, engine, Some(presence.parse()?)),
        _ => return Err("expected LISTEN ENGINE [SECONDS between announcements]".into()),
    };
    let mut config = Config::default();
    if let Some(seconds) = presence {
        config.presence_interval = Duration::from_secs(seconds);
    }
    let node = Node::bind(listen, Address::parse(engine)?, config).await?;
    println!("listening on ws://{}", node.local_addr()?);
    node.serve(async {
        // If signals are not available, the node shuts down at once.
        let _ = tokio::signal::ctrl_c().await;
    })
    .await?;
    Ok(())
}
