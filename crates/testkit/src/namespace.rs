//! A network of a test's own: loopback and one interface with an address that looks like anybody's, since ICE agents pass over
//! 127.0.0.0/8, and browsers over loopback.

use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;
use std::process::Command;

/// The address of the interface.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

const INSIDE: &str = "TESTKIT_NAMESPACE";

/// Runs the test of this name (`module::function`) once more in a network namespace of its own and gives `false`; inside it
/// gives `true`, and the test goes on there.
///
/// # Errors
/// The test failed inside, or the namespace cannot be made: `unshare` (util-linux) and `ip` (iproute2) are needed, and the right
/// to make user namespaces.
pub fn entered(test: &str) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    // Both ends of the cable lie here; what goes to our own address never takes it.
    let script = format!(
        "ip link set lo up && ip link add near type veth peer name far && \
         ip link set near addrgenmode none up && ip link set far addrgenmode none up && \
         ip address add {ADDRESS}/24 dev near && ip route add default dev near && exec \"$@\""
    );
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--net", "--", "sh", "-c", &script, "sh"]);
    again.arg(std::env::current_exe()?).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let done = again.output().context("unshare (util-linux) cannot be started")?;
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(done.status.success(), "in a namespace of its own:\n{said}");
    println!("{said}");
    Ok(false)
}
