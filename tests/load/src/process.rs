//! Resources of the relay's process, as the kernel tells them: CPU time, memory, and memory of its sockets in the kernel.

use std::collections::BTreeMap;
use std::time::Duration;

/// There is such a process.
pub fn lives(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/task")).exists()
}

/// CPU time of all its threads so far, by the scheduler's own count.
pub fn cpu(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let ran = tasks.map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
    });
    Duration::from_nanos(ran.sum())
}

/// Memory of a process with its sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident, KiB.
    pub resident_kib: f64,
    /// Kernel objects of sockets of the whole machine, KiB; `None` without the right to read it.
    pub kernel_kib: Option<f64>,
}

/// Kernel objects that every socket has one of, and those that are watched.
const OBJECTS: [&str; 6] = ["UDP", "UDPv6", "sock_inode_cache", "eventpoll_epi", "eventpoll_pwq", "ep_head"];
/// And those that everything open has one of: taken by the number of descriptors, others open files too.
const FILES: [&str; 2] = ["filp", "dentry"];

/// Resources taken now.
pub fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    let text = std::fs::read_to_string("/proc/slabinfo").ok();
    let kernel = text.as_deref().map(slabs).map(|slabs| {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |fds| fds.flatten().count()) as f64;
        let own: f64 =
            OBJECTS.iter().filter_map(|name| slabs.get(*name)).map(|(count, size)| count * size).sum();
        let files: f64 = FILES.iter().filter_map(|name| slabs.get(*name)).map(|(_, size)| open * size).sum();
        (own + files) / 1024.0
    });
    Memory { resident_kib: resident, kernel_kib: kernel }
}

/// Objects in use and octets of each, by the name of their cache.
fn slabs(text: &str) -> BTreeMap<&str, (f64, f64)> {
    let line = |line: &'_ str| -> Option<(usize, f64, f64)> {
        let mut words = line.split_whitespace();
        let name = words.next()?.len();
        let active = words.next()?.parse().ok()?;
        Some((name, active, words.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(|l| line(l).map(|(name, active, size)| (&l[..name], (active, size)))).collect()
}

/// Packets that the kernel threw away because this process did not read them in time.
pub fn thrown_away() -> u64 {
    // A process sees the sockets of its network namespace: ours are told by their inodes.
    let fds = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let inodes: std::collections::BTreeSet<String> = fds
        .filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let text = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            inodes.contains(*words.get(9)?).then_some(words.last()?.parse::<u64>().ok()?)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        assert!(lives(pid) && cpu(pid) > Duration::ZERO && memory(pid).resident_kib > 100.0);
    }

    #[test]
    fn slabs_are_read_by_column() {
        let text = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\nUDP 120 150 1152 28 8 : tunables 0\n";
        assert_eq!(slabs(text).get("UDP"), Some(&(120.0, 1152.0)));
    }

    #[test]
    fn what_is_not_read_in_time_is_counted() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (at, before) = (socket.local_addr().unwrap(), thrown_away());
        for _ in 0..2_000 {
            socket.send_to(&[0; 1_400], at).unwrap();
        }
        assert!(thrown_away() > before);
    }
}
