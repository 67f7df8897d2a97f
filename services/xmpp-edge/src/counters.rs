//! Metrics of the edge. Each handle is looked up by its name once, since that costs as much as reading a small stanza does.

use metrics::{Counter, Gauge};
use std::sync::LazyLock;

/// Stanzas received.
pub(crate) static STANZAS_IN: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("tandem_xmpp_stanzas_in_total"));
/// Stanzas sent.
pub(crate) static STANZAS_OUT: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("tandem_xmpp_stanzas_out_total"));
/// Stanzas that could not be read.
pub(crate) static STANZAS_SPOILED: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("tandem_xmpp_stanzas_spoiled_total"));
/// Legs held.
pub(crate) static LEGS: LazyLock<Gauge> = LazyLock::new(|| metrics::gauge!("tandem_xmpp_legs"));
