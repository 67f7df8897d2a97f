//! Trunks: each has its name looked up by itself, in the background, and again when the answer is over.
//!
//! One rule: a name that nobody knows takes nothing away: the trunk calls in by its `sources`, and keeps its last good answer.

use crate::Input;
use crate::dns::{Found, Names};
use crate::local::Locals;
use crate::screen::Ways;
use anyhow::Result;
use runtime::Config;
use runtime::config::{NextHop, TrunkConfig};
use sip::digest::Credentials;
use sip::edge::{Edge, Flow, Rewrites, Target, Trunk};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

/// Shortest and longest time for which an answer is believed, whatever its lifetime.
const SHORTEST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// Pause after a first failure, which doubles up to the longest one.
const AGAIN: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest wait for first answers before calls are taken.
const FIRST: Duration = Duration::from_secs(1);

/// Trunks of the configuration, and what looks for their targets.
pub(crate) struct Trunks {
    names: Names,
    locals: Locals,
    ways: Ways,
    /// URIs that are looked for, by trunk.
    looking: HashMap<String, Looking>,
    first: mpsc::Receiver<()>,
}

/// URI whose host is looked up by a task, which ends with it.
struct Looking {
    uri: String,
    task: JoinHandle<()>,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Trunks {
    /// Reads the trunks, and begins to look for their targets. Returns them without.
    ///
    /// # Errors
    /// A fault of the configuration.
    pub(crate) fn start(
        config: &Config,
        names: Names,
        locals: Locals,
        ways: Ways,
    ) -> Result<(Trunks, Vec<Trunk>)> {
        let all = all(config)?;
        ways.set_trunks(&all);
        let (found, first) = mpsc::channel(1);
        let mut trunks = Trunks { names, locals, ways, looking: HashMap::new(), first };
        for trunk in &config.trunk {
            trunks.look(trunk, &found)?;
        }
        Ok((trunks, all))
    }

    /// Looks for the targets of a trunk, and no longer for those that it had by another URI. `first` is dropped after the first answer.
    fn look(&mut self, trunk: &TrunkConfig, first: &mpsc::Sender<()>) -> Result<()> {
        let look = Look {
            name: trunk.name.clone(),
            uri: trunk.uri.clone(),
            hop: trunk.next_hop()?,
            names: self.names.clone(),
            locals: self.locals.clone(),
            ways: self.ways.clone(),
        };
        let task = tokio::spawn(look.keep(first.clone()));
        self.looking.insert(trunk.name.clone(), Looking { uri: trunk.uri.clone(), task });
        Ok(())
    }

    /// Takes the trunks of another configuration to the edge: one that goes by the URI that it had keeps its targets, and the others
    /// are looked for.
    ///
    /// # Errors
    /// A fault of the configuration; nothing has changed then.
    pub(crate) fn replace(&mut self, config: &Config, edge: &mut Edge) -> Result<()> {
        let mut all = all(config)?;
        let mut others = vec![];
        for (trunk, config) in all.iter_mut().zip(&config.trunk) {
            let known = edge.trunks().iter().find(|known| known.name == trunk.name);
            match known.filter(|_| self.looks_for(&config.name, &config.uri)) {
                Some(known) => trunk.targets.clone_from(&known.targets),
                None => others.push(config),
            }
        }
        self.looking.retain(|name, _| config.trunk.iter().any(|trunk| trunk.name == *name));
        self.ways.set_trunks(&all);
        edge.set_trunks(all);
        let (found, _) = mpsc::channel(1);
        others.into_iter().try_for_each(|trunk| self.look(trunk, &found))
    }

    /// Tells the edge what was found, unless another URI is looked for by now.
    pub(crate) fn found(&self, trunk: &str, uri: &str, targets: Vec<Target>, edge: &mut Edge) {
        if self.looks_for(trunk, uri) {
            edge.set_targets(trunk, targets);
        }
    }

    fn looks_for(&self, trunk: &str, uri: &str) -> bool {
        self.looking.get(trunk).is_some_and(|looking| looking.uri == uri)
    }

    /// Waits for the first answers, not long: calls to a name that is known then are served at once.
    pub(crate) async fn first(&mut self) {
        let all = async { while self.first.recv().await.is_some() {} };
        let _ = tokio::time::timeout(FIRST, all).await;
    }
}

/// Returns the trunks of a configuration, without targets.
fn all(config: &Config) -> Result<Vec<Trunk>> {
    config.trunk.iter().map(|one| trunk(one, config.rewrites(&one.name)?)).collect()
}

fn trunk(config: &TrunkConfig, rewrites: Rewrites) -> Result<Trunk> {
    let credentials = |name: &Option<String>, password: &Option<String>| {
        let both = name.clone().zip(password.clone());
        both.map(|(username, password)| Credentials { username, password })
    };
    Ok(Trunk {
        name: config.name.clone(),
        targets: vec![],
        sources: config.networks()?,
        networks: config.further_networks()?,
        certified: config.tls_client_name.is_some(),
        roaming: config.roaming,
        credentials: credentials(&config.username, &config.password),
        inbound: credentials(&config.inbound_username, &config.inbound_password),
        rewrites,
        trusted: config.trusted,
        use_6xx: config.use_6xx,
        session_expires: config.session_interval()?,
    })
}

/// Task that looks for the targets of one trunk.
struct Look {
    name: String,
    uri: String,
    hop: NextHop,
    names: Names,
    locals: Locals,
    ways: Ways,
}

impl Look {
    /// Looks, again and again. `first` is dropped after the first answer.
    async fn keep(self, first: mpsc::Sender<()>) {
        let mut first = Some(first);
        let mut known = Known::default();
        loop {
            let found = self.names.locate(&self.hop).await;
            if let Err(error) = &found {
                self.warn(error, known.targets.is_some());
            }
            let found = found.ok().map(|found| (targets(&self.hop, &found, &self.locals), found));
            if found.as_ref().is_some_and(|(targets, _)| targets.is_empty()) {
                warn!(trunk = self.name, uri = self.uri, "no address in [sip] listen reaches this trunk");
            }
            let again = known.targets.is_some();
            let (news, wait) = known.take(found);
            if let Some(targets) = news {
                self.tell(&targets, again).await;
            }
            drop(first.take());
            tokio::time::sleep(wait).await;
        }
    }

    fn warn(&self, error: &anyhow::Error, known: bool) {
        let (trunk, uri) = (&self.name, &self.uri);
        if known {
            warn!(trunk, uri, %error, "[[trunk]] uri: its host is not known any more; its last addresses are kept");
        } else {
            warn!(trunk, uri, %error, "[[trunk]] uri: its host is not known now; it can call in, and is looked up again");
        }
    }

    async fn tell(&self, targets: &[Target], again: bool) {
        let flows = || targets.iter().flat_map(|target| &target.flows).map(Flow::to_string);
        let trunk = &self.name;
        if again {
            info!(trunk, targets = ?flows().collect::<Vec<_>>(), "the addresses of a trunk have changed");
        } else {
            debug!(trunk, targets = ?flows().collect::<Vec<_>>(), "the addresses of a trunk are known");
        }
        self.ways.set_targets(&self.name, targets);
        self.ways.tell(Input::Targets(self.name.clone(), self.uri.clone(), targets.to_vec())).await;
    }
}

/// Last good answer, and the pause after the next failure.
struct Known {
    targets: Option<Vec<Target>>,
    pause: Duration,
}

impl Default for Known {
    fn default() -> Known {
        Known { targets: None, pause: AGAIN }
    }
}

impl Known {
    /// Takes an answer, `None` if the name is not known now. Returns the targets if they have changed, and the time until the name is
    /// looked up again.
    fn take(&mut self, found: Option<(Vec<Target>, Found)>) -> (Option<Vec<Target>>, Duration) {
        let Some((targets, found)) = found else {
            let wait = self.pause;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return (None, wait);
        };
        self.pause = AGAIN;
        let wait = if found.complete { found.lifetime.clamp(SHORTEST, LONGEST) } else { SHORTEST };
        // What one question left open is no news about the others.
        let news = (found.complete || self.targets.is_none()) && self.targets.as_ref() != Some(&targets);
        if news {
            self.targets = Some(targets.clone());
        }
        (news.then_some(targets), wait)
    }
}

/// Returns the targets that a listener of ours reaches, each with the flows to its addresses.
fn targets(hop: &NextHop, found: &Found, locals: &Locals) -> Vec<Target> {
    let target = |service: &crate::dns::Reached| {
        let mut flows: Vec<Flow> = vec![];
        for peer in &service.addresses {
            let flow = locals.outgoing(Flow::new(service.transport, *peer));
            if let Some(flow) = flow.filter(|flow| !flows.iter().any(|known| known.reaches(flow))) {
                flows.push(flow);
            }
        }
        let (priority, weight) = (service.priority, service.weight);
        Target { priority, weight, ..Target::new(hop.to_string(), flows) }
    };
    found.services.iter().map(target).filter(|target| !target.flows.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Reached;
    use runtime::config::{Listener, SipConfig, Transport};

    /// Only what a listener reaches is tried, each address once.
    #[test]
    fn b3_a_target_has_every_address_that_a_listener_reaches_once() {
        let hop = NextHop::parse("sip:pbx.example:5070;transport=tcp").unwrap();
        let addresses =
            ["[2001:db8::9]:5070", "192.0.2.9:5070", "[::ffff:192.0.2.9]:5070", "198.51.100.9:5070"];
        let addresses: Vec<_> = addresses.iter().map(|peer| peer.parse().unwrap()).collect();
        let found = Found {
            services: vec![Reached { priority: 7, weight: 3, transport: Transport::Tcp, addresses }],
            lifetime: SHORTEST,
            complete: true,
        };
        for (listen, expected) in [
            (vec!["tcp://192.0.2.1:5060"], vec!["tcp://192.0.2.9:5070", "tcp://198.51.100.9:5070"]),
            (vec!["udp://192.0.2.1:5060"], vec!["tcp://192.0.2.9:5070", "tcp://198.51.100.9:5070"]),
            (
                vec!["udp://192.0.2.1:5060", "tcp://[2001:db8::1]:5060"],
                vec!["tcp://[2001:db8::9]:5070", "tcp://192.0.2.9:5070", "tcp://198.51.100.9:5070"],
            ),
        ] {
            let listeners: Vec<Listener> = listen.iter().map(|text| Listener::parse(text).unwrap()).collect();
            let targets = targets(&hop, &found, &Locals::new(&SipConfig::default(), &listeners));
            let [target] = &targets[..] else { panic!("{targets:?}") };
            assert_eq!((target.priority, target.weight, &*target.host), (7, 3, "pbx.example:5070"));
            assert_eq!(target.flows.iter().map(Flow::to_string).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn b2_the_last_good_answer_is_kept() {
        let target = |peer: &str| vec![Target::new("pbx.example", vec![Flow::udp(peer.parse().unwrap())])];
        let (first, second) = (target("192.0.2.1:5060"), target("192.0.2.2:5060"));
        let found = |targets: &Vec<Target>, seconds, complete| {
            let lifetime = Duration::from_secs(seconds);
            Some((targets.clone(), Found { services: vec![], lifetime, complete }))
        };
        let mut known = Known::default();
        let mut news = |found| {
            let (news, wait) = known.take(found);
            (news, wait.as_secs())
        };
        assert_eq!(news(None), (None, 2));
        assert_eq!(news(None), (None, 4));
        assert_eq!(
            news(found(&first, 60, false)),
            (Some(first.clone()), 10),
            "half an answer is better than none"
        );
        assert_eq!(news(found(&first, 60, true)), (None, 60));
        assert_eq!(news(found(&second, 60, false)), (None, 10), "but worse than a whole one");
        assert_eq!((0..7).map(|_| news(None).1).collect::<Vec<_>>(), [2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(news(found(&second, 0, true)), (Some(second), 10));
        assert_eq!(news(found(&first, 86_400, true)), (Some(first), 600));
    }
}
