//! A network of a test's own: loopback with one more address that looks like anybody's, since ICE agents pass over 127.0.0.0/8.

use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;
use std::process::Command;

/// The address that the network has beside loopback.
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
    let script = format!("ip link set lo up && ip address add {ADDRESS}/32 dev lo && exec \"$@\"");
    let mut again = Command::new("unshare");
    again.args(["--user", "--map-root-user", "--net", "--", "sh", "-c", &script, "sh"]);
    again.arg(std::env::current_exe()?).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let done = again.output().context("unshare (util-linux) cannot be started")?;
    let said = [done.stdout, done.stderr].concat();
    ensure!(done.status.success(), "in a namespace of its own:\n{}", String::from_utf8_lossy(&said));
    Ok(false)
}
