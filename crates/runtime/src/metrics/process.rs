//! Figures of this process from Linux, under the names that every Prometheus client uses. Read when somebody asks.

use super::text::{head, sample};
use rustix::process::{Resource, getrlimit};
use std::fmt::Display;

/// Clock ticks a second in /proc, the same on every architecture (USER_HZ).
const TICKS: f64 = 100.0;

/// Writes what can be read; what cannot is left out.
pub(super) fn write(text: &mut String) {
    if let Some(seconds) = cpu_seconds() {
        one(text, "process_cpu_seconds_total", "CPU time of user and system, seconds", "counter", seconds);
    }
    for (name, key, help) in [
        ("process_resident_memory_bytes", "VmRSS:", "Memory that is in use"),
        ("process_virtual_memory_bytes", "VmSize:", "Memory that is addressed"),
    ] {
        if let Some(octets) = memory(key) {
            one(text, name, help, "gauge", octets);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is this look.
        one(text, "process_open_fds", "Descriptors that are open", "gauge", open.count().saturating_sub(1));
    }
    let most = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    one(text, "process_max_fds", "Most descriptors", "gauge", most);
    if let Some(seconds) = started() {
        let help = "Start of the process since the Unix epoch, seconds";
        one(text, "process_start_time_seconds", help, "gauge", seconds);
    }
}

fn one(text: &mut String, name: &str, help: &str, kind: &str, value: impl Display) {
    head(text, name, help, kind);
    sample(text, name, "", value);
}

/// Returns a field of /proc/self/stat by its number in proc_pid_stat(5). The second may hold blanks, and ends in `)`.
fn stat(number: usize) -> Option<f64> {
    let text = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    Some((stat(14)? + stat(15)?) / TICKS)
}

fn memory(key: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1_024)
}

fn started() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat(22)? / TICKS)
}
