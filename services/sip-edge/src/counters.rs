//! Metrics of the edge. Each handle is looked up by its name once, since that costs as much as reading a header does.

use metrics::{Counter, Gauge};
use std::sync::LazyLock;

/// Messages received.
pub(crate) static MESSAGES_IN: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("tandem_sip_messages_in_total"));
/// Messages sent.
pub(crate) static MESSAGES_OUT: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("tandem_sip_messages_out_total"));
/// Datagrams dropped since too many waited.
pub(crate) static MESSAGES_DROPPED: LazyLock<Counter> =
    LazyLock::new(|| metrics::counter!("tandem_sip_messages_dropped_total"));
/// Legs held.
pub(crate) static LEGS: LazyLock<Gauge> = LazyLock::new(|| metrics::gauge!("tandem_sip_legs"));
