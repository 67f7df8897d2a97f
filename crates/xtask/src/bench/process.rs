//! CPU time and memory of processes, from `/proc`.

use std::collections::BTreeMap;

/// CPU time and memory of a process with its children.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// User and system time so far, ms.
    pub cpu_ms: f64,
    /// Proportional set size, KiB.
    pub pss_kib: f64,
}

/// The cost of a process and everything it started, so far; zero when it is gone.
pub fn cost(pid: u32) -> Cost {
    let parents = parents();
    let mut family = vec![pid];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, p)| **p == parent).map(|(child, _)| *child));
        at += 1;
    }
    let (cpu_ms, pss_kib) = family
        .into_iter()
        .map(|pid| (cpu_ms(pid), pss_kib(pid)))
        .fold((0.0, 0.0), |(cpu, pss), (c, p)| (cpu + c, pss + p));
    Cost { cpu_ms, pss_kib }
}

/// Fields of `/proc/PID/stat` after the name, which may hold blanks: state is the first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn parents() -> BTreeMap<u32, u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| Some((pid, stat(pid)?.get(1)?.parse().ok()?))).collect()
}

/// CPU time of all threads of a process, those that have ended too, by its CPU clock: to the nanosecond, where `/proc/PID/stat` counts
/// steps of 10 ms.
fn cpu_ms(pid: u32) -> f64 {
    // As clock_getcpuclockid(3) makes it: bits of the inverted id, and 2 for the time that was scheduled.
    let clock = (!pid).cast_signed() << 3 | 2;
    let mut spent = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives for the call.
    let known = unsafe { libc::clock_gettime(clock, &raw mut spent) } == 0;
    if known { spent.tv_sec as f64 * 1e3 + spent.tv_nsec as f64 / 1e6 } else { 0.0 }
}

fn pss_kib(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}

/// The machine's load, as the kernel tells it: 1, 5 and 15 minutes.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_costs_something_and_its_children_count() {
        let before = cost(std::process::id());
        assert!(before.pss_kib > 100.0, "{before:?}");
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let with_child = cost(std::process::id());
        let _ = child.kill();
        let _ = child.wait();
        assert!(with_child.cpu_ms > before.cpu_ms, "{before:?} {with_child:?}");
        assert!(cost(child.id()).pss_kib == 0.0, "gone");
    }
}
