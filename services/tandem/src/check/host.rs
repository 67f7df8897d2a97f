//! Faults of this host: ports, descriptors, files, dates.

use super::{Report, certificate};
use runtime::Config;
use runtime::config::{BusConfig, ComponentConfig, Fault, NamedFile, StoreConfig, Transport};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;
use ureq::tls::{TlsConfig, TlsProvider};

pub(super) fn check(config: &Config, report: &mut Report) {
    ports(config, report);
    descriptors(config, report);
    ephemeral(config, report);
    for line in rtp_relay::check(config) {
        report.start_fault(&line);
    }
    if let Err(error) = sip_edge::Tls::new(config) {
        report.start_fault(&format!("{error:#}"));
    }
    if let Err(fault) = runtime::tls::admin_listener(&config.admin) {
        report.fault(fault);
    }
    let control = runtime::tls::control_listener(config).map(drop);
    if let Err(fault) = control.and_then(|()| runtime::tls::control_link(config).map(drop)) {
        report.fault(fault);
    }
    dates(config, report);
    records(config, report);
    if config.xmpp.component.is_empty() {
        let trouble = "absent: no XMPP domain is served";
        let remedy = "name the domain, server and secret of one";
        report.warning(Fault::new("[[xmpp.component]]", trouble, remedy));
    }
}

/// Looks for the directory of the call detail records.
fn records(config: &Config, report: &mut Report) {
    let Some(file) = &config.records.file else { return };
    let folder = Path::new(file).parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let trouble = format!("\"{file}\": there is no directory {}", folder.display());
        report.fault(Fault::new("[records] file", trouble, "make it, writable for the service"));
    }
}

/// Looks at the dates of every certificate and authority that a file has.
fn dates(config: &Config, report: &mut Report) {
    let mut files = vec![config.cluster.tls_files(), config.telemetry.tls_files()];
    files.extend(config.bus.as_ref().map(BusConfig::tls_files));
    files.extend(config.store.as_ref().map(StoreConfig::tls_files));
    files.extend([config.sip.tls_files(), config.admin.tls_files()]);
    files.extend(config.xmpp.component.iter().map(ComponentConfig::tls_files));
    let dtls = NamedFile {
        key: "[cluster] dtls_certificate_file".to_owned(),
        file: config.cluster.dtls_certificate_file.clone(),
    };
    let named = files.into_iter().flat_map(|files| [files.ca, files.certificate]);
    for NamedFile { key, file } in named.chain([dtls]) {
        if let Some(file) = file {
            certificate::check(&key, &file, report);
        }
    }
}

fn ports(config: &Config, report: &mut Report) {
    let mut taken = |key: &str, address: String, error: std::io::Error| {
        report.fault(Fault::new(key, format!("\"{address}\": {error}"), "free it or name another address"));
    };
    for listener in config.sip.listeners().unwrap_or_default() {
        let bound = match listener.transport {
            Transport::Udp => UdpSocket::bind(listener.address).map(drop),
            _ => TcpListener::bind(listener.address).map(drop),
        };
        if let (Err(error), false) = (bound, config.sip.reuse_port) {
            taken("[sip] listen", listener.to_string(), error);
        }
    }
    let admin = [("[admin] listen", Some(config.admin.listen)), ("[admin] health", config.admin.health)];
    for (key, listen) in admin.into_iter().chain([("[relay] control", config.relay.control)]) {
        if let Some((listen, Err(error))) = listen.map(|listen| (listen, TcpListener::bind(listen))) {
            taken(key, listen.to_string(), error);
        }
    }
    if let Err(error) = UdpSocket::bind(SocketAddr::new(config.relay.listen, 0)) {
        report.fault(Fault::new(
            "[relay] listen",
            format!("\"{}\": {error}", config.relay.listen),
            "name an address of this machine",
        ));
    }
}

fn descriptors(config: &Config, report: &mut Report) {
    let (limit, needed) = (runtime::descriptors::raise(), runtime::descriptors::needed(config));
    if limit < needed {
        report.fault(Fault::new(
            "open files",
            format!(
                "{limit} are allowed and {needed} may be needed for the ports of [relay] and connections"
            ),
            "raise LimitNOFILE of the unit, or `ulimit -Hn`",
        ));
    }
}

/// Returns true if a gateway answers at the admin port of this configuration.
pub(super) fn gateway_runs(config: &Config) -> bool {
    let mut agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(1)));
    let scheme = match config.admin.certificate_file {
        Some(_) => {
            // Nothing is told there and nothing believed: it is there, or it is not.
            let tls = TlsConfig::builder().provider(TlsProvider::Rustls).disable_verification(true);
            agent =
                agent.tls_config(tls.unversioned_rustls_crypto_provider(runtime::tls::provider()).build());
            "https"
        }
        None => "http",
    };
    let (agent, url) = (agent.build(), format!("{scheme}://{}/healthz", config.admin.listen));
    let answer =
        ureq::Agent::from(agent).get(url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    answer.is_ok_and(|text| text.trim() == "ok")
}

/// Warns of media ports that the system may give to other programs.
fn ephemeral(config: &Config, report: &mut Report) {
    let (Ok((first, last)), Some((from, to))) = (config.relay.port_range(), given_away()) else { return };
    let reserved = ranges("/proc/sys/net/ipv4/ip_local_reserved_ports", ',', '-');
    let kept = |port: u16| reserved.iter().any(|(first, last)| (*first..=*last).contains(&port));
    if (first.max(from)..=last.min(to)).any(|port| !kept(port)) {
        report.warning(Fault::new(
            "[relay] ports",
            format!("\"{}\" meets {from}-{to}, which the system gives to other programs", config.relay.ports),
            format!("reserve them: sysctl -w net.ipv4.ip_local_reserved_ports={first}-{last}"),
        ));
    }
}

/// Returns the range of ports for programs that ask for any (ip(7)).
fn given_away() -> Option<(u16, u16)> {
    ranges("/proc/sys/net/ipv4/ip_local_port_range", '\n', '\t').into_iter().next()
}

fn ranges(file: &str, between: char, within: char) -> Vec<(u16, u16)> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let range = |text: &str| {
        let (first, last) = text.trim().split_once(within).unwrap_or((text.trim(), text.trim()));
        Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
    };
    text.split(between).filter_map(range).collect()
}
