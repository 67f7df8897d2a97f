//! Metrics of the edge. Each handle is made once, since looking one up costs as much as reading a small stanza does.

use metrics::{Counter, Gauge};
use runtime::metrics::{counter, gauge};
use std::sync::LazyLock;

/// Stanzas received.
pub(crate) static STANZAS_IN: LazyLock<Counter> =
    LazyLock::new(|| counter("tandem_xmpp_stanzas_in_total", "Stanzas received", &[]));
/// Stanzas sent.
pub(crate) static STANZAS_OUT: LazyLock<Counter> =
    LazyLock::new(|| counter("tandem_xmpp_stanzas_out_total", "Stanzas sent", &[]));
/// Stanzas that could not be read.
pub(crate) static STANZAS_SPOILED: LazyLock<Counter> = LazyLock::new(|| {
    counter(
        "tandem_xmpp_stanzas_spoiled_total",
        "Stanzas refused unread: too large, too deep, or no XML",
        &[],
    )
});
/// Legs held.
pub(crate) static LEGS: LazyLock<Gauge> =
    LazyLock::new(|| gauge("tandem_xmpp_legs", "Legs that the XMPP edge holds", &[]));

/// Returns the gauge of the link of a component domain.
pub(crate) fn link_up(domain: &str) -> Gauge {
    let help = "1 while this edge holds the link of the component domain; one edge of all does";
    gauge("tandem_xmpp_link_up", help, &[("domain", domain)])
}

/// Makes all metrics, at zero.
pub(crate) fn begin<'a>(domains: impl Iterator<Item = &'a str>) {
    for counter in [&STANZAS_IN, &STANZAS_OUT, &STANZAS_SPOILED] {
        LazyLock::force(counter);
    }
    LazyLock::force(&LEGS);
    domains.for_each(|domain| link_up(domain).set(0.0));
}
