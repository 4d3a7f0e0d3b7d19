//! Runtimes, and CPU time and resident memory from Linux's `/proc`.

use std::fs;

use tokio::net::TcpListener;

use crate::Error;

/// `USER_HZ`: fixed at 100 in the kernel's interface to user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// Builds the runtime for `--runtime multi|current`.
///
/// # Errors
///
/// If the kind is unknown, or the operating system returns an error.
pub fn runtime(kind: &str) -> Result<tokio::runtime::Runtime, Error> {
    let mut builder = match kind {
        "multi" => tokio::runtime::Builder::new_multi_thread(),
        "current" => tokio::runtime::Builder::new_current_thread(),
        other => return Err(format!("--runtime {other}: multi or current").into()),
    };
    Ok(builder.enable_all().build()?)
}

/// Binds, and prints the line that the runner waits for.
///
/// # Errors
///
/// If the address is invalid or in use.
pub async fn listen(address: &str) -> Result<TcpListener, Error> {
    let listener = TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// Returns the user and system CPU seconds of a process since it started, in steps of 10 ms.
///
/// # Errors
///
/// If the process does not exist.
pub fn cpu_seconds(pid: u32) -> Result<f64, Error> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name is in parentheses and may contain spaces.
    let rest = stat.rsplit_once(')').ok_or("malformed stat")?.1;
    let field = |index: usize| -> Result<f64, Error> {
        Ok(rest
            .split_whitespace()
            .nth(index)
            .ok_or("short stat")?
            .parse()?)
    };
    Ok((field(11)? + field(12)?) / TICKS_PER_SECOND)
}

/// Returns the resident memory of a process in bytes.
///
/// # Errors
///
/// If the process does not exist.
pub fn resident_bytes(pid: u32) -> Result<u64, Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .ok_or("no VmRSS")?;
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .ok_or("short VmRSS")?
        .parse()?;
    Ok(kib * 1024)
}
