//! Memory and CPU time of a process, from `/proc`.

use std::time::Duration;

fn proc(pid: Option<u32>, file: &str) -> Option<String> {
    let pid = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

/// Returns the resident memory of a process (this one by default), in KiB.
pub(crate) fn resident_kib(pid: Option<u32>) -> Option<u64> {
    let status = proc(pid, "status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the CPU time that a process (this one by default) has used. Linux counts in steps of
/// 10 ms.
pub(crate) fn cpu_time(pid: Option<u32>) -> Option<Duration> {
    let stat = proc(pid, "stat")?;
    // The name, in parentheses, may contain spaces.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        assert!(resident_kib(None).is_some_and(|kib| kib > 100));
        assert_eq!(
            cpu_time(None).is_some(),
            cpu_time(Some(std::process::id())).is_some()
        );
        assert!(resident_kib(Some(u32::MAX)).is_none());
    }
}
