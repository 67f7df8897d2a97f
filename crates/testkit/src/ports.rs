//! Free ports of loopback, each for one process of this machine at a time.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Below the ports that the kernel hands out by itself, so that nobody's outgoing connection sits on one.
const FIRST: u32 = 10_000;
const LAST: u32 = 32_000;

/// Ports that are claimed together.
const SLOT: u16 = 64;

static STEP: AtomicU32 = AtomicU32::new(0);

/// Slots of this process with their locks; none where the machine cannot lock. The kernel drops them with the process.
static CLAIMED: LazyLock<Mutex<HashMap<u16, Option<File>>>> = LazyLock::new(Mutex::default);

/// Claims a range of ports for this process and returns the number of them that other processes have claimed.
///
/// A program binds its port a while after the port was chosen; the claim keeps other tests away until then.
pub fn claim(ports: Range<u16>) -> usize {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let mut is_foreign = |slot: u16| {
        if claimed.contains_key(&slot) {
            return false;
        }
        let lock = File::create(lock_file(slot)).and_then(|file| match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        });
        match lock {
            Ok(None) => true,
            Ok(lock) => {
                claimed.insert(slot, lock);
                false
            }
            Err(_) => {
                claimed.insert(slot, None);
                false
            }
        }
    };
    let Some(last) = ports.end.checked_sub(1) else { return 0 };
    let foreign: Vec<u16> = (ports.start / SLOT..=last / SLOT).filter(|slot| is_foreign(*slot)).collect();
    ports.filter(|port| foreign.contains(&(port / SLOT))).count()
}

fn lock_file(slot: u16) -> PathBuf {
    std::env::temp_dir().join(format!("tandem-ports-{}.lock", slot * SLOT))
}

/// The first of `count` neighbouring ports that are free for TCP and UDP on 127.0.0.1 and claimed for this process; even.
///
/// Processes begin at different places, so that they seldom meet. 0 when none is free.
#[must_use]
pub fn block(count: u16) -> u16 {
    let (span, size) = (LAST - FIRST, u32::from(count) + u32::from(count % 2));
    let seed = std::process::id().wrapping_mul(0x9e37_79b9) >> 8;
    for _ in 0..span {
        let step = STEP.fetch_add(size.max(8), Ordering::Relaxed);
        let first = FIRST + (seed.wrapping_add(step) % (span - size)) / 2 * 2;
        let first = u16::try_from(first).unwrap_or(0);
        if first != 0 && (first..first + count).all(is_free) && claim(first..first + count) == 0 {
            return first;
        }
    }
    0
}

/// One such port.
#[must_use]
pub fn one() -> u16 {
    block(1)
}

/// True when nobody listens on the port on 127.0.0.1, neither TCP nor UDP.
#[must_use]
pub fn is_free(port: u16) -> bool {
    let at = (Ipv4Addr::LOCALHOST, port);
    UdpSocket::bind(at).is_ok() && TcpListener::bind(at).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_even_free_and_never_the_same() {
        let (a, b) = (block(20), block(20));
        assert!(a != 0 && b != 0 && a % 2 == 0 && b % 2 == 0);
        assert!(a.abs_diff(b) >= 20, "{a} {b}");
        let _taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, a)).unwrap();
        assert!(!is_free(a));
    }

    #[test]
    fn what_another_process_has_claimed_is_given_to_nobody() {
        // The end of the range, where no other test begins; a lock of another file handle is another's lock.
        let slot = 31_900 / SLOT;
        let first = slot * SLOT;
        let other = File::create(lock_file(slot)).unwrap();
        other.lock().unwrap();
        assert_eq!(claim(first - 1..first + 2), 2);
        assert_eq!(claim(first..first + 3 * SLOT), usize::from(SLOT));
        drop(other);
        assert_eq!(claim(first..first + 1), 0);
        let later = File::create(lock_file(slot)).unwrap();
        assert!(matches!(later.try_lock(), Err(TryLockError::WouldBlock)));
    }
}
