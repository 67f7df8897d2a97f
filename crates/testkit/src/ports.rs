//! Free ports of loopback.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that the kernel hands out by itself, so that nobody's outgoing connection sits on one.
const FIRST: u32 = 10_000;
const LAST: u32 = 32_000;

static STEP: AtomicU32 = AtomicU32::new(0);

/// The first of `count` neighbouring ports that are free for TCP and UDP on 127.0.0.1 just now; even.
///
/// Processes begin at different places, so that two that ask at once seldom get the same answer. 0 when none is free.
#[must_use]
pub fn block(count: u16) -> u16 {
    let (span, size) = (LAST - FIRST, u32::from(count) + u32::from(count % 2));
    let seed = std::process::id().wrapping_mul(0x9e37_79b9) >> 8;
    for _ in 0..span {
        let step = STEP.fetch_add(size.max(8), Ordering::Relaxed);
        let first = FIRST + (seed.wrapping_add(step) % (span - size)) / 2 * 2;
        let first = u16::try_from(first).unwrap_or(0);
        if first != 0 && (first..first + count).all(is_free) {
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
}
