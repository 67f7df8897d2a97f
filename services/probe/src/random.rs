//! Random words for what must not be guessed or met twice: tags, branches, passwords, sources of packets.

use crate::report::Fault;
use rustix::rand::{GetRandomFlags, getrandom};

/// Returns so many random octets of the kernel.
///
/// # Errors
/// The kernel gives none.
pub fn octets<const N: usize>() -> Result<[u8; N], Fault> {
    let mut octets = [0; N];
    match getrandom(&mut octets, GetRandomFlags::empty()) {
        Ok(count) if count == N => Ok(octets),
        Ok(_) | Err(_) => {
            Err(Fault::new("the kernel gives no random octets", "run the probe where getrandom(2) works"))
        }
    }
}

/// Returns a word of so many random octets in hexadecimal: a token of SIP, an id of XMPP, ice-chars.
///
/// # Errors
/// As [`octets`].
pub fn word<const N: usize>() -> Result<String, Fault> {
    Ok(octets::<N>()?.iter().map(|octet| format!("{octet:02x}")).collect())
}
