//! `tandem check`: what would go wrong, found before anybody calls. One line per fault: key, value, remedy.

use runtime::Config;
use runtime::config::parse_listen;
use runtime::service::read;
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
    for fault in &faults {
        println!("{fault}");
    }
    if faults.is_empty() {
        println!("nothing would go wrong");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}

/// What the configuration alone does not show.
fn surroundings(config: &Config) -> Vec<String> {
    let mut faults = vec![];
    let mut fault = |line: String| faults.push(line);
    for listen in &config.sip.listen {
        let Some((tcp, address)) = parse_listen(listen) else { continue };
        let bound =
            if tcp { TcpListener::bind(address).map(drop) } else { UdpSocket::bind(address).map(drop) };
        if let (Err(error), false) = (bound, config.sip.reuse_port) {
            fault(format!("[sip] listen: \"{listen}\": {error}; free it or name another address"));
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
    for trunk in &config.trunk {
        let host = host_port(&trunk.uri);
        if let Err(error) = look_up(&host) {
            fault(format!("[[trunk]] uri: \"{}\": {error}; name a host that is known", trunk.uri));
        }
    }
    for component in &config.xmpp.component {
        match look_up(&component.server).and_then(|at| std::net::TcpStream::connect_timeout(&at, DEADLINE)) {
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
        let reached = look_up(&host).and_then(|at| std::net::TcpStream::connect_timeout(&at, DEADLINE));
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

fn look_up(host: &str) -> std::io::Result<SocketAddr> {
    host.to_socket_addrs()?.next().ok_or_else(|| std::io::Error::other("no address"))
}

/// Host and port of a SIP URI.
fn host_port(uri: &str) -> String {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = rest.split([';', '?']).next().unwrap_or(rest);
    let port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if port { host.to_owned() } else { format!("{host}:5060") }
}
