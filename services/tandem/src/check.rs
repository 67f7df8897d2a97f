//! `tandem check`: what would go wrong, found before anybody calls. One line per fault: key, value, remedy.

use runtime::Config;
use runtime::config::Transport;
use runtime::service::read;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(3);

/// Checks the file, then the ports, then who is to be reached.
pub fn main(path: Option<&Path>) -> ExitCode {
    let faults = match read(path) {
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
        Ok(config) => surroundings(&config),
    };
    // Nobody may read on, as in `tandem check | head -1`.
    let say = |line: &str| drop(writeln!(std::io::stdout(), "{line}"));
    for fault in &faults {
        say(fault);
    }
    if faults.is_empty() {
        say("nothing would go wrong");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// Faults that the configuration alone does not show: ports, names, servers.
fn surroundings(config: &Config) -> Vec<String> {
    let mut faults = vec![];
    let mut fault = |line: String| faults.push(line);
    for listener in config.sip.listeners().unwrap_or_default() {
        let bound = match listener.transport {
            Transport::Udp => UdpSocket::bind(listener.address).map(drop),
            _ => TcpListener::bind(listener.address).map(drop),
        };
        if let (Err(error), false) = (bound, config.sip.reuse_port) {
            fault(format!("[sip] listen: \"{listener}\": {error}; free it or name another address"));
        }
    }
    if let Err(error) = TcpListener::bind(config.admin.listen) {
        fault(format!(
            "[admin] listen: \"{}\": {error}; free it or name another address",
            config.admin.listen
        ));
    }
    if let Err(error) = UdpSocket::bind(SocketAddr::new(config.relay.listen, 0)) {
        fault(format!(
            "[relay] listen: \"{}\": {error}; name an address of this machine",
            config.relay.listen
        ));
    }
    let (limit, needed) = (runtime::descriptors::raise(), runtime::descriptors::needed(config));
    if limit < needed {
        fault(format!(
            "open files: {limit} are allowed and {needed} may be needed for the ports of [relay] and connections; raise \
             LimitNOFILE of the unit, or `ulimit -Hn`"
        ));
    }
    if let Err(error) = sip_edge::Tls::new(config) {
        fault(format!("{error:#}"));
    }
    for line in sip_edge::unknown_trunks(config) {
        fault(line);
    }
    for component in &config.xmpp.component {
        match look_up(component.server.as_str())
            .and_then(|at| std::net::TcpStream::connect_timeout(&at, DEADLINE))
        {
            Ok(_) => {}
            Err(error) => fault(format!(
                "[[xmpp.component]] server: \"{}\": {error}; is the XMPP server running, with component {} configured?",
                component.server, component.domain
            )),
        }
    }
    let reach = |key: &str, url: &str, port: u16| {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let host = host.split(['/', ',']).next().unwrap_or(host);
        let host = if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") };
        let reached =
            look_up(host.as_str()).and_then(|at| std::net::TcpStream::connect_timeout(&at, DEADLINE));
        reached.err().map(|error| format!("{key}: \"{host}\": {error}; is it running there?"))
    };
    if let Some(bus) = &config.bus {
        faults.extend(reach("[bus] url", &bus.url, 4_222));
    }
    if let Some(store) = &config.store {
        faults.extend(reach("[store] url", &store.url, 6_379));
    }
    faults
}

fn look_up(host: impl ToSocketAddrs) -> std::io::Result<SocketAddr> {
    host.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("no address"))
}
