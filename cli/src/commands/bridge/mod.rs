//! `h2ws bridge`: takes sockets on to servers behind it.

mod config;
mod listener;
mod metrics;
mod reload;
mod upstream;

use std::io::Write;

use h2ws::Bridge;

use self::config::Config;
use self::listener::{Fixed, Listener};
use self::metrics::{Admin, Metrics};
use self::reload::Reload;
use super::listen;
use super::request::shutdown;
use crate::args::BridgeArgs;
use crate::{Failure, Usage, signals};

pub(crate) async fn run(args: BridgeArgs) -> Result<(), Failure> {
    let config = match &args.config {
        Some(file) => Some(Config::load(file).map_err(|mistakes| Usage::all(&mistakes))?),
        None => None,
    };
    if args.check {
        let routes = config.map_or(0, |config| config.routes.iter().count());
        writeln!(std::io::stdout(), "routes: {routes}, mistakes: none")?;
        return Ok(());
    }
    let fixed = Fixed::of(&args, config.as_ref());
    let (bridge, tls) = match config {
        Some(config) => {
            let client = upstream::client(&args, &config.routes)?;
            (Bridge::new(client, config.routes), config.tls)
        }
        None => (upstream::only(&args)?, None),
    };
    let metrics = Metrics::new(bridge.clone());
    bridge.observe(metrics.counters());
    // Before anybody is told that the program is there.
    let stop = signals::stop();
    let listener = Listener::bind(&args.listen, &fixed, tls).await?;
    let admin = match fixed.metrics {
        Some(address) => Some(metrics.serve(address).await?),
        None => None,
    };
    let reload = Reload::new(&args, &fixed, &bridge, listener.tls.clone())?;
    announce(&listener.url()?, admin.as_ref())?;
    let reload = tokio::spawn(reload.run());
    let drained = listener
        .server
        .serve(bridge.handler())
        .fallback(bridge.service())
        .grace(fixed.drain_grace)
        .with_graceful_shutdown(async move {
            stop.await;
            metrics.drain();
        })
        .await?;
    reload.abort();
    listen::report(drained);
    shutdown(bridge.client()).await;
    Ok(())
}

/// Tells, on the first lines of stdout, where the program listens.
fn announce(url: &str, admin: Option<&Admin>) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening on {url}")?;
    if let Some(admin) = admin {
        writeln!(stdout, "metrics at {}/metrics", admin.url())?;
    }
    stdout.flush()
}
