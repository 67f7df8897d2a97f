//! Configuration and outputs of the edge.

use ::edge::{Limits, Refusal};
use minidom::Element;
use signal::service::Request;
use signal::{Ask, Said};

/// Domain that we serve as a component (XEP-0114).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Domain name: `sip.example.net`.
    pub domain: String,
    /// Announce video to clients.
    pub video: bool,
    /// Domain of the users to whom phone services are open; `None`: to nobody.
    pub users: Option<String>,
}

/// Configuration of an edge.
#[derive(Clone, Debug)]
pub struct Config {
    /// Id of this instance.
    pub instance: String,
    /// Component domains.
    pub components: Vec<Component>,
    /// Most legs held; further calls are refused.
    pub max_legs: usize,
    /// Limits of calls, by component domain.
    pub limits: Vec<(String, Limits)>,
    /// Time after which a silent client of the callee is taken to ring, ms; `None` = never (interworking §2.4: 3000).
    pub presume_ringing: Option<u64>,
}

/// Task for the shell.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Send a stanza on the link of the domain of its `from`.
    Send(Element),
    /// Ask an orchestrator and bring the answer to [`super::Edge::verdict`]; no answer is `Verdict::Unavailable`.
    Ask(u64, Ask),
    /// Ask an orchestrator for a phone service and bring the answer to [`super::Edge::served`]; no answer is `Answer::Unavailable`.
    Serve(u64, Request),
    /// Count a refusal, and log it at a bounded rate.
    Refused(Refusal),
    /// The answer to a [`signal::Say`].
    Said(Said),
}
