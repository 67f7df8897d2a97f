//! Questions to DNS about the hosts of trunks (RFC 3263); what is asked, and in which order, is decided in `address::locate`.
//!
//! One rule: every question has an end, and silence is told apart from "there is none".

use anyhow::{Context, Result, bail};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use runtime::config::{NextHop, Transport};
use sip::locate::{Location, MAX_SERVICES, Pointer, Service, ServiceName, follow, services};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// Longest wait for the answer to one question, whichever servers are asked for it.
const QUESTION: Duration = Duration::from_secs(5);
/// Pause before a question is asked again, and number of its repetitions.
const REPEAT: Duration = Duration::from_millis(1_200);
const REPETITIONS: usize = 2;
/// Longest time for which it is believed that a name does not exist.
const NEGATIVE: Duration = Duration::from_secs(10);
/// Time for which an answer without a lifetime is believed.
const FOREVER: Duration = Duration::from_secs(3_600);
/// Most addresses taken of one host, in either family.
const MAX_ADDRESSES: usize = 8;

/// The resolver.
#[derive(Clone)]
pub(crate) struct Names(TokioResolver);

/// Servers of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) services: Vec<Reached>,
    /// Shortest lifetime of the answers.
    pub(crate) lifetime: Duration,
    /// Every question was answered, if only by "there is none".
    pub(crate) complete: bool,
}

/// Service with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) priority: u16,
    pub(crate) weight: u16,
    pub(crate) transport: Transport,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Answers to several questions.
struct Answers {
    lifetime: Duration,
    complete: bool,
}

impl Default for Answers {
    fn default() -> Answers {
        Answers { lifetime: FOREVER, complete: true }
    }
}

impl Names {
    /// Makes a resolver that asks these servers, or those of the system.
    ///
    /// # Errors
    /// A resolver that cannot be made.
    pub(crate) fn new(servers: &[SocketAddr]) -> Result<Names> {
        let provider = TokioRuntimeProvider::default();
        let system = || match TokioResolver::builder_tokio() {
            Ok(builder) => builder,
            Err(error) => {
                warn!(%error, "the system names no DNS servers: names of trunks are looked up in the hosts file alone");
                let none = ResolverConfig::from_name_servers(vec![]);
                TokioResolver::builder_with_config(none, TokioRuntimeProvider::default())
            }
        };
        let mut builder = if servers.is_empty() {
            system()
        } else {
            let servers = servers.iter().map(server).collect();
            TokioResolver::builder_with_config(ResolverConfig::from_name_servers(servers), provider)
        };
        let options = builder.options_mut();
        options.timeout = REPEAT;
        options.attempts = REPETITIONS;
        options.negative_max_ttl = Some(NEGATIVE);
        Ok(Names(builder.build().context("the resolver of names cannot be made")?))
    }

    /// Finds the servers of a next hop.
    ///
    /// # Errors
    /// There are none, or nobody says so: in words for the log.
    pub(crate) async fn locate(&self, hop: &NextHop) -> Result<Found> {
        let mut answers = Answers::default();
        let services = match Location::of(hop) {
            Location::Address(transport, address) => vec![plain(transport, vec![address])],
            Location::Host(transport, host, port) => {
                vec![plain(transport, self.addresses(&host, port, &mut answers).await)]
            }
            Location::Services(names, host) => self.services(&names, &host, hop, &mut answers).await?,
            Location::Pointers(host) => {
                let pointed = follow(&self.pointers(&host, &mut answers).await, hop.secure);
                let names = pointed.map_or_else(|| services(&host, hop.secure), |service| vec![service]);
                self.services(&names, &host, hop, &mut answers).await?
            }
        };
        let services: Vec<Reached> = services.into_iter().filter(|one| !one.addresses.is_empty()).collect();
        if services.is_empty() {
            let why = if answers.complete { "it has no address" } else { "no DNS server answers" };
            bail!("{}: {why}", hop.host);
        }
        Ok(Found { services, lifetime: answers.lifetime, complete: answers.complete })
    }

    /// Returns the services of the first of these names that has any, else the addresses of the host.
    async fn services(
        &self,
        names: &[ServiceName],
        host: &str,
        hop: &NextHop,
        answers: &mut Answers,
    ) -> Result<Vec<Reached>> {
        for ServiceName { transport, name } in names {
            let mut found = self.service(name, answers).await;
            let some = !found.is_empty();
            found.retain(|service| !service.host.is_empty());
            found.sort_by_key(|service| service.priority);
            found.truncate(MAX_SERVICES);
            if some && found.is_empty() {
                // RFC 2782: a target of "." says that the service is decidedly not there.
                bail!("{name} is said not to be there");
            }
            if some {
                return Ok(self.reach(found, *transport, answers).await);
            }
        }
        Ok(vec![plain(hop.transport(), self.addresses(host, hop.port(), answers).await)])
    }

    /// Looks up the addresses of services, side by side.
    async fn reach(&self, found: Vec<Service>, transport: Transport, answers: &mut Answers) -> Vec<Reached> {
        let mut asked = JoinSet::new();
        for (place, service) in found.into_iter().enumerate() {
            let names = self.clone();
            asked.spawn(async move {
                let mut answers = Answers::default();
                let addresses = names.addresses(&service.host, service.port, &mut answers).await;
                let Service { priority, weight, .. } = service;
                (place, Reached { priority, weight, transport, addresses }, answers)
            });
        }
        let mut reached = vec![];
        while let Some(one) = asked.join_next().await {
            let Ok((place, one, its)) = one else { continue };
            answers.complete &= its.complete;
            answers.lifetime = answers.lifetime.min(its.lifetime);
            reached.push((place, one));
        }
        reached.sort_by_key(|(place, _)| *place);
        reached.into_iter().map(|(_, one)| one).collect()
    }

    async fn pointers(&self, host: &str, answers: &mut Answers) -> Vec<Pointer> {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let pointer = |data: &RData| match data {
            RData::NAPTR(naptr) => Some(Pointer {
                order: naptr.order,
                preference: naptr.preference,
                flags: text(&naptr.flags),
                service: text(&naptr.services),
                replacement: naptr.replacement.to_ascii(),
            }),
            _ => None,
        };
        self.ask(host, RecordType::NAPTR, answers, pointer).await
    }

    async fn service(&self, name: &str, answers: &mut Answers) -> Vec<Service> {
        let service = |data: &RData| match data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                host: srv.target.to_ascii().trim_end_matches('.').to_owned(),
            }),
            _ => None,
        };
        self.ask(name, RecordType::SRV, answers, service).await
    }

    /// Returns the addresses of a host, those of IPv6 first (RFC 7984 §3.2, RFC 6724 §2.1).
    async fn addresses(&self, host: &str, port: u16, answers: &mut Answers) -> Vec<SocketAddr> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return vec![SocketAddr::new(ip, port)];
        }
        let mut four = Answers::default();
        let (sixes, fours) = tokio::join!(
            self.ask(host, RecordType::AAAA, answers, |data| match data {
                RData::AAAA(six) => Some(IpAddr::V6(six.0)),
                _ => None,
            }),
            self.ask(host, RecordType::A, &mut four, |data| match data {
                RData::A(four) => Some(IpAddr::V4(four.0)),
                _ => None,
            }),
        );
        answers.complete &= four.complete;
        answers.lifetime = answers.lifetime.min(four.lifetime);
        let some = |ips: Vec<IpAddr>| ips.into_iter().take(MAX_ADDRESSES);
        some(sixes).chain(some(fours)).map(|ip| SocketAddr::new(ip, port)).collect()
    }

    /// Asks one question. No records and no answer are both nothing; `answers` tells them apart.
    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        answers: &mut Answers,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Vec<T> {
        let answer = tokio::time::timeout(QUESTION, self.0.lookup(name, kind)).await;
        match answer {
            Ok(Ok(found)) => {
                answers.lifetime = answers.lifetime.min(lifetime(&found));
                found.answers().iter().filter_map(|record| read(&record.data)).collect()
            }
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => vec![],
            Ok(Err(error)) => {
                debug!(name, %kind, %error, "a question to DNS failed");
                answers.complete = false;
                vec![]
            }
            Err(_) => {
                debug!(name, %kind, "a question to DNS has no answer");
                answers.complete = false;
                vec![]
            }
        }
    }
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn plain(transport: Transport, addresses: Vec<SocketAddr>) -> Reached {
    Reached { priority: 0, weight: 0, transport, addresses }
}

fn lifetime(found: &Lookup) -> Duration {
    found.valid_until().saturating_duration_since(runtime::clock::instant())
}

#[cfg(test)]
mod tests;
