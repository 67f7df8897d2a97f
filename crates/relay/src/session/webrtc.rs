//! WebRTC state of an endpoint: ICE, DTLS and SRTP, with what the worker must know of them.

use super::types::{Host, Inherited, Refusal};
use crate::ice::{Config, Credentials};
use crate::network::Denied;
use crate::srtp::Suite;
use crate::webrtc;
use signal::Time;
use signal::media::{Candidate, CandidateKind, Dtls, Ice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// ICE, DTLS and SRTP of an endpoint.
pub(super) struct WebRtc {
    pub transport: webrtc::Transport,
    pub suite: Option<Suite>,
    /// The connection was reported.
    pub announced: bool,
    /// Another relay had the keys.
    pub resumed: bool,
    /// Another relay has them now: it checks and nominates, not we.
    pub leaving: bool,
    pub closed: Option<Time>,
    /// The peer's.
    pub ufrag: String,
    /// The peer's before its last restart: what comes of those is late.
    pub past: Option<String>,
    /// Ours of before, while it still leads here.
    pub parting: Option<String>,
    pub dtls: Dtls,
    /// Addresses that lead here.
    pub addresses: Vec<SocketAddr>,
    /// Its entry among the timers of the worker.
    pub timer: Option<Time>,
}

impl std::fmt::Debug for WebRtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebRtc")
            .field("suite", &self.suite)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl WebRtc {
    /// Number of datagrams dropped, of any kind.
    pub fn dropped(&self) -> u64 {
        let webrtc::Dropped { malformed, stranger, early, forged, replayed } = self.transport.dropped();
        malformed + stranger + early + forged + replayed
    }

    pub fn new(
        local: &Credentials,
        (tie_breaker, preference): (u64, u16),
        remote: (&Ice, &Dtls, bool),
        inherited: Option<&Inherited>,
        (host, other, denied): (&Host, Option<SocketAddr>, &Arc<Denied>),
        now: Time,
    ) -> Result<WebRtc, Refusal> {
        let (ice, dtls, ours) = remote;
        let association = inherited.and_then(|inherited| inherited.association.clone());
        let resumed = association.is_some();
        let config = Config {
            credentials: local.clone(),
            addresses: std::iter::once(host.address).chain(other).collect(),
            // A lite peer never controls (RFC 8445 §6.1.1). Whoever goes on for another relay must: a peer that has nominated
            // does not do so again, and gives way to the greater tie-breaker (§7.3.1.1).
            controlling: ours || ice.lite || resumed,
            tie_breaker: if resumed { u64::MAX } else { tie_breaker },
            preference,
        };
        let base = host.base.checked_add(Duration::from_millis(now.since(host.epoch))).unwrap_or(host.base);
        let end = webrtc::Transport::new(&config, &host.certificate, base, now).map_err(refusal)?;
        let mut end = end.with_denied(denied);
        if let Some(association) = association {
            end.resume(association).map_err(refusal)?;
        }
        end.remote(ice, dtls, now).map_err(refusal)?;
        if let Some(path) = inherited.and_then(|inherited| inherited.path) {
            end.candidate(&known(path), now);
        }
        Ok(WebRtc {
            transport: end,
            suite: None,
            announced: false,
            resumed,
            leaving: false,
            closed: None,
            ufrag: ice.ufrag.clone(),
            past: None,
            parting: None,
            dtls: dtls.clone(),
            addresses: vec![],
            timer: None,
        })
    }

    /// The peer's ufrag.
    pub fn theirs(&self) -> &str {
        &self.ufrag
    }

    /// The peer described itself again; other credentials mean a restart (RFC 8445 §9), for which ours are `local`. True: it was one.
    pub fn describe(
        &mut self,
        local: &Credentials,
        ice: &Ice,
        dtls: &Dtls,
        now: Time,
    ) -> Result<bool, Refusal> {
        let restarts = ice.ufrag != self.ufrag;
        if restarts {
            let theirs = Credentials { ufrag: ice.ufrag.clone(), pwd: ice.pwd.clone() };
            theirs.checked().map_err(|error| Refusal::Ice(error.to_string()))?;
            self.transport.restart(local, now).map_err(refusal)?;
            self.past = Some(std::mem::replace(&mut self.ufrag, theirs.ufrag));
        }
        self.transport.remote(ice, dtls, now).map_err(refusal)?;
        self.dtls = dtls.clone();
        Ok(restarts)
    }
}

/// Where the peer was for another relay: found by its checks, perhaps, and in no description.
fn known(address: SocketAddr) -> Candidate {
    Candidate {
        foundation: "known".into(),
        component: 1,
        // RFC 8445 §5.1.2.1: as one that a NAT shows.
        priority: 100 << 24 | 65_535 << 8 | 255,
        address,
        kind: CandidateKind::ServerReflexive,
        related: None,
        generation: 0,
    }
}

fn refusal(error: webrtc::TransportError) -> Refusal {
    match error {
        webrtc::TransportError::Ice(error) => Refusal::Ice(error.to_string()),
        webrtc::TransportError::Dtls(error) => Refusal::Dtls(error.to_string()),
        webrtc::TransportError::Srtp(error) => Refusal::Dtls(error.to_string()),
    }
}
