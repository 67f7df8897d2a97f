//! What the edge is told of its surroundings and what it gives back.

use minidom::Element;
use signal::{Ask, Said};

/// A domain that we serve as a component (XEP-0114).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name: `sip.example.net`.
    pub domain: String,
    /// Video is announced to clients.
    pub video: bool,
}

/// What the shell knows and the edge needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// This instance.
    pub instance: String,
    /// Component domains.
    pub components: Vec<Component>,
    /// Most legs held; further calls are refused.
    pub max_legs: usize,
    /// A callee's client that says nothing is taken to ring after this time, ms; `None` = never (interworking §2.4: 3000).
    pub presume_ringing: Option<u64>,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Put a stanza on the link of the domain of its `from`.
    Send(Element),
    /// Ask an orchestrator and bring the answer to [`super::Edge::verdict`]; no answer is `Verdict::Unavailable`.
    Ask(u64, Ask),
    /// The answer to a [`signal::Say`].
    Said(Said),
}
