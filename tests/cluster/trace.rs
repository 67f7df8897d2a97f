//! One trace per call through all four services, told to a real OTLP receiver.

use crate::rig::{PROMPT, Rig};
use std::collections::BTreeSet;
use tandem_tests::collector::{Collector, Span};

const SERVICES: [&str; 4] =
    ["tandem-sip-edge", "tandem-orchestrator", "tandem-xmpp-edge", "tandem-rtp-relay"];

#[test]
fn a_call_is_one_trace_with_spans_of_all_four_services() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let collector = {
        let _within = runtime.enter();
        Collector::start()
    };
    let mut rig = Rig::new(&format!("\n[telemetry]\notlp = \"{}\"\n", collector.endpoint()));
    let call = rig.desk_calls();
    rig.rosa.hang_up().unwrap();
    rig.see("the end at the desk", |rig| rig.desk.expect("CALL_CLOSED", PROMPT).map(drop));
    let id = call.clone();
    let spans = runtime.block_on(collector.wait_for(move |spans| {
        let ended = |name: &str| of(spans, &id).iter().any(|span| span.name == name);
        // Each service tells in its own time: a span may come before its parent.
        services(&of(spans, &id)).len() == SERVICES.len()
            && ended("edge hears end")
            && ended("edge says end")
            && ended("call")
            && of(spans, &id).iter().all(|span| is_known(spans, span))
    }));
    let call = of(&spans, &call);
    let traces: BTreeSet<&str> = call.iter().map(|span| span.trace.as_str()).collect();
    assert_eq!(traces.len(), 1, "one call, one trace: {call:#?}");
    let roots: Vec<&&Span> = call.iter().filter(|span| span.parent.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    let root = roots[0];
    assert_eq!((&root.name[..], &root.service[..]), ("call", "tandem-orchestrator"));
    for (key, value) in [("trunk", "desk"), ("direction", "inbound"), ("call.reason", "Normal")] {
        assert_eq!(root.attributes[key], value, "{root:#?}");
    }
    let part = |name: &str| call.iter().find(|span| span.name == name && span.parent == root.id);
    let (ring, talk) = (part("ring").unwrap(), part("talk").unwrap());
    assert!(ring.nanoseconds + talk.nanoseconds <= root.nanoseconds && talk.nanoseconds > 0, "{call:#?}");
    assert!(talk.attributes.contains_key("codec.caller") && talk.attributes.contains_key("codec.callee"));
    let first = part("edge hears offer").expect("the INVITE began it");
    assert_eq!(first.service, "tandem-sip-edge");
    for span in &call {
        assert!(is_known(&spans, span), "its parent was told too: {span:#?}");
    }
    // A20: whoever asks is a client, whoever serves a server.
    let kind = |name: &str| call.iter().find(|span| span.name == name).map(|span| span.kind.as_str());
    assert_eq!((kind("edge hears offer"), kind("hear offer")), (Some("CLIENT"), Some("SERVER")));
    assert_eq!((kind("say offer"), kind("edge says offer")), (Some("CLIENT"), Some("SERVER")));
    assert_eq!((kind("connect"), kind("relay.connect")), (Some("CLIENT"), Some("SERVER")));
    let ending = call.iter().find(|span| span.name == "edge hears end").unwrap();
    assert_eq!(ending.attributes["call.reason"], "Normal");
    assert_ne!(ending.status.0, "ERROR", "hanging up is no failure");
    // The legs in their own protocols' words.
    let has = |key: &str| call.iter().any(|span| span.attributes.get(key).is_some_and(|v| !v.is_empty()));
    assert!(has("leg.id") && has("sip.call_id") && has("jingle.sid"), "{call:#?}");
}

/// Its parent was told too.
fn is_known(spans: &[Span], span: &Span) -> bool {
    span.parent.is_empty() || spans.iter().any(|other| other.id == span.parent)
}

/// Spans of one call.
fn of<'a>(spans: &'a [Span], call: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.attributes.get("call.id").is_some_and(|id| id == call)).collect()
}

fn services<'a>(spans: &[&'a Span]) -> BTreeSet<&'a str> {
    spans.iter().map(|span| span.service.as_str()).collect()
}
