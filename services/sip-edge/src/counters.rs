//! Metrics of the edge. Each handle is made once, since looking one up costs as much as reading a header does.

use metrics::{Counter, Gauge};
use runtime::metrics::{counter, gauge};
use std::sync::LazyLock;

/// Messages received.
pub(crate) static MESSAGES_IN: LazyLock<Counter> =
    LazyLock::new(|| counter("tandem_sip_messages_in_total", "SIP messages received", &[]));
/// Messages sent.
pub(crate) static MESSAGES_OUT: LazyLock<Counter> =
    LazyLock::new(|| counter("tandem_sip_messages_out_total", "SIP messages sent", &[]));
/// Datagrams dropped since too many waited.
pub(crate) static MESSAGES_DROPPED: LazyLock<Counter> = LazyLock::new(|| {
    counter("tandem_sip_messages_dropped_total", "SIP messages dropped unread since too many waited", &[])
});
/// Legs held.
pub(crate) static LEGS: LazyLock<Gauge> =
    LazyLock::new(|| gauge("tandem_sip_legs", "Legs that the SIP edge holds", &[]));

/// Makes all metrics, at zero.
pub(crate) fn begin() {
    for counter in [&MESSAGES_IN, &MESSAGES_OUT, &MESSAGES_DROPPED] {
        LazyLock::force(counter);
    }
    LazyLock::force(&LEGS);
}
