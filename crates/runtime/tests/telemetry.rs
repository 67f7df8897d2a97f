//! Traces as a collector sees them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use tandem_runtime::config::Config;
use tandem_runtime::config::load::load;
use tandem_runtime::trace::Period;
use tandem_runtime::{clock, telemetry, trace};
use tandem_tests::collector::{Collector, Span};
use testkit::Authority;
use tracing::info_span;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

fn config(endpoint: &str) -> Config {
    let mut config = Config { instance: Some("one".into()), ..Config::default() };
    config.telemetry.otlp = Some(endpoint.to_owned());
    config
}

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {spans:#?}"))
}

/// Builds telemetry for `kind`, runs `work` under it, flushes.
async fn traced(config: Config, kind: &'static str, work: impl FnOnce() + Send + 'static) {
    let (dispatch, telemetry) = telemetry::build(&config, kind).unwrap();
    tokio::task::spawn_blocking(move || {
        tracing::dispatcher::with_default(&dispatch, work);
        drop(telemetry);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_goes_on_with_the_trace_that_it_was_given() {
    let collector = Collector::start();
    traced(config(&collector.endpoint()), "sip-edge", || {
        let span = info_span!(target: "tandem_sip_edge", "sip.invite", call.id = "c1");
        trace::adopt(&span, &format!("00-{TRACE}-{CALLER}-01"));
        let onward = trace::parent_of(&span);
        assert_eq!((onward.len(), &onward[..36], &onward[52..]), (55, &format!("00-{TRACE}-")[..], "-01"));
        // What another service does with it.
        let next = info_span!(target: "tandem_sip_edge", "next");
        trace::adopt(&next, &onward);
        // The caller chose not to trace this one; nonsense starts a trace of its own.
        trace::adopt(&info_span!(target: "tandem_sip_edge", "unsampled"), &format!("00-{TRACE}-{CALLER}-00"));
        trace::adopt(&info_span!(target: "tandem_sip_edge", "root"), "00-nonsense");
    })
    .await;
    let spans = collector.wait_for(|spans| spans.len() >= 3).await;
    let invite = named(&spans, "sip.invite");
    assert_eq!((&invite.service[..], &invite.instance[..]), ("tandem-sip-edge", "one"));
    assert_eq!((&invite.trace[..], &invite.parent[..]), (TRACE, CALLER));
    assert_eq!(invite.attributes["call.id"], "c1");
    let next = named(&spans, "next");
    assert_eq!((&next.trace, &next.parent), (&invite.trace, &invite.id));
    assert_eq!(named(&spans, "root").parent, "");
    assert_ne!(named(&spans, "root").trace, TRACE);
    assert!(spans.iter().all(|span| span.name != "unsampled"), "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_services_in_one_process_are_told_apart() {
    let collector = Collector::start();
    traced(config(&collector.endpoint()), "serve", || {
        let hear = info_span!(target: "tandem_sip_edge::shell", "hear").entered();
        let decide = info_span!(target: "tandem_orchestrator::calls", "decide").entered();
        drop(info_span!(target: "tandem_xmpp_edge", "say"));
        drop(info_span!(target: "tandem_rtp_relay::control", "allocate"));
        drop(info_span!(target: "tandem::serve", "other"));
        drop(info_span!(target: "h2::codec", "frame"));
        drop(decide);
        drop(hear);
    })
    .await;
    let spans = collector.wait_for(|spans| spans.len() >= 5).await;
    let services: Vec<(&str, &str)> = ["hear", "decide", "say", "allocate", "other"]
        .map(|name| (name, &named(&spans, name).service[..]))
        .into();
    assert_eq!(
        services,
        [
            ("hear", "tandem-sip-edge"),
            ("decide", "tandem-orchestrator"),
            ("say", "tandem-xmpp-edge"),
            ("allocate", "tandem-rtp-relay"),
            ("other", "tandem-serve"),
        ]
    );
    let (hear, decide) = (named(&spans, "hear"), named(&spans, "decide"));
    assert_eq!(hear.parent, "");
    assert_eq!(decide.parent, hear.id);
    assert_eq!(named(&spans, "say").parent, decide.id);
    assert!(spans.iter().all(|span| span.trace == hear.trace && span.name != "frame"), "{spans:#?}");
}

/// Spans of a shared crate are those of the edge that it works for, in one process too.
#[tokio::test(flavor = "multi_thread")]
async fn a20_a_span_names_the_service_that_it_is_of_its_kind_and_its_outcome() {
    let collector = Collector::start();
    traced(config(&collector.endpoint()), "serve", || {
        let hears = info_span!(
            target: "tandem_bus::edge",
            "edge.hear",
            service = "sip-edge",
            otel.kind = "client",
            otel.status_code = tracing::field::Empty,
            otel.status_description = tracing::field::Empty,
        );
        // The context is asked for before the outcome is known.
        assert!(!trace::parent_of(&hears).is_empty());
        trace::failed(&hears, "no orchestrator commits it");
        drop(info_span!(target: "tandem_bus::edge", "edge.say", service = "xmpp-edge", otel.kind = "server"));
    })
    .await;
    let spans = collector.wait_for(|spans| spans.len() >= 2).await;
    let (hears, says) = (named(&spans, "edge.hear"), named(&spans, "edge.say"));
    assert_eq!((&hears.service[..], &says.service[..]), ("tandem-sip-edge", "tandem-xmpp-edge"));
    assert_eq!((&hears.kind[..], &says.kind[..]), ("CLIENT", "SERVER"));
    assert_eq!(hears.status, ("ERROR".to_owned(), "no orchestrator commits it".to_owned()));
    assert_ne!(says.status.0, "ERROR");
}

fn period(name: &'static str, from: u64, to: u64) -> Period {
    let at = |s| UNIX_EPOCH + Duration::from_secs(1_700_000_000 + s);
    let attributes = vec![("service", "orchestrator".to_owned()), ("call.id", "c1".to_owned())];
    Period { name, from: at(from), to: at(to), attributes, failure: None }
}

/// The first span of a call stands below a root that is told when the call is over, by another process.
#[tokio::test(flavor = "multi_thread")]
async fn a20_a_call_has_a_root_span_with_ring_and_talk() {
    let collector = Collector::start();
    let first = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let heard = first.clone();
    traced(config(&collector.endpoint()), "sip-edge", move || {
        let span = info_span!(target: "tandem_sip_edge", "edge hears offer");
        trace::adopt(&span, &trace::root());
        *heard.lock().unwrap() = trace::parent_of(&span);
    })
    .await;
    traced(config(&collector.endpoint()), "serve", move || {
        let parts = vec![period("ring", 1, 4), period("talk", 4, 64)];
        trace::tell(&first.lock().unwrap(), period("call", 0, 64), parts);
    })
    .await;
    let spans = collector.wait_for(|spans| spans.len() >= 4).await;
    let call = named(&spans, "call");
    assert_eq!((&call.parent[..], &call.service[..]), ("", "tandem-orchestrator"));
    for name in ["edge hears offer", "ring", "talk"] {
        let span = named(&spans, name);
        assert_eq!((&span.trace, &span.parent), (&call.trace, &call.id), "{name}");
    }
    let seconds = |name: &str| named(&spans, name).nanoseconds / 1_000_000_000;
    assert_eq!(["call", "ring", "talk"].map(seconds), [64, 3, 60]);
    assert_eq!(call.attributes["call.id"], "c1");
}

/// All services answer alike whether a call is traced; of one that is not, a failure is told.
#[tokio::test(flavor = "multi_thread")]
async fn a20_a_share_is_of_whole_calls_and_failures_are_always_told() {
    let collector = Collector::start();
    let few = || {
        let mut few = config(&collector.endpoint());
        few.telemetry.sample = Some(0.25);
        few
    };
    let roots: Vec<String> = (0..200).map(|_| trace::root()).collect();
    let calls = roots.clone();
    traced(few(), "sip-edge", move || {
        for root in &calls {
            trace::adopt(&info_span!(target: "tandem_sip_edge", "heard"), root);
        }
        drop(info_span!(target: "tandem_sip_edge", "refused"));
    })
    .await;
    traced(few(), "orchestrator", move || {
        for (number, root) in roots.iter().enumerate() {
            let mut call = period("call", 0, 9);
            call.failure = (number == 0).then(|| "nobody answers".to_owned());
            trace::tell(root, call, vec![period("ring", 1, 9)]);
        }
    })
    .await;
    let spans = collector.wait_for(|spans| spans.iter().any(|span| span.name == "ring")).await;
    let traces = |name: &str| -> std::collections::BTreeSet<&str> {
        spans.iter().filter(|span| span.name == name).map(|span| span.trace.as_str()).collect()
    };
    let (heard, calls) = (traces("heard"), traces("call"));
    assert!((20..90).contains(&heard.len()), "{}", heard.len());
    assert!(heard.is_subset(&calls) && calls.len() <= heard.len() + 1, "{heard:?} {calls:?}");
    assert_eq!(traces("ring"), calls);
    let failed: Vec<&Span> = spans.iter().filter(|span| span.status.0 == "ERROR").collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!((&failed[0].name[..], &failed[0].status.1[..]), ("call", "nobody answers"));
    assert_eq!(traces("refused").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_calls_is_traced() {
    let collector = Collector::start();
    let mut few = config(&collector.endpoint());
    few.telemetry.sample = Some(0.25);
    traced(few, "orchestrator", || {
        for _ in 0..400 {
            let call = info_span!(target: "tandem_sip_edge", "call").entered();
            drop(info_span!(target: "tandem_sip_edge", "within"));
            drop(call);
        }
    })
    .await;
    let spans = collector.wait_for(|spans| spans.len() >= 100).await;
    let calls: Vec<&Span> = spans.iter().filter(|span| span.name == "call").collect();
    assert!((50..160).contains(&calls.len()), "{}", calls.len());
    // A call is traced whole or not at all.
    assert_eq!(spans.len(), calls.len() * 2);
    assert!(calls.iter().all(|call| spans.iter().any(|span| span.parent == call.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_keeps_nobody() {
    // A port that takes connections and never says a word, and one where nobody listens.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [silent.local_addr().unwrap(), closed] {
        let start = clock::instant();
        traced(config(&format!("http://{address}")), "serve", move || {
            for _ in 0..20_000 {
                drop(info_span!(target: "tandem_sip_edge", "call"));
            }
            assert!(start.elapsed() < Duration::from_secs(3), "spans: {:?}", start.elapsed());
        })
        .await;
        assert!(start.elapsed() < Duration::from_secs(8), "flush: {:?}", start.elapsed());
    }
}

/// A collector that wants TLS, a certificate and a header: spans come from who has all of them, and from nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn spans_go_over_tls_with_our_certificate_and_headers() {
    const SECRET: &str = "Bearer 0123456789abcdef";
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let server = ours.sign("collector", &["127.0.0.1"]).unwrap();
    let own = ours.sign("gateway", &["gateway"]).unwrap();
    let header = ("authorization", SECRET);
    let collector = Collector::secure((&server.certificate, &server.key), &ours.certificate(), header);
    let word = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(word.path(), format!("{SECRET}\n")).unwrap();
    let text = |path: &Path| Some(path.to_str().unwrap().to_owned());
    let file = format!(
        "instance = \"one\"\n[telemetry]\notlp = \"{}\"\n[[telemetry.otlp_header]]\nname = \"authorization\"\nvalue_file = {:?}\n",
        collector.endpoint(),
        word.path()
    );
    let path = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(path.path(), file).unwrap();
    let mut config = load(Some(path.path()), []).unwrap();
    config.telemetry.otlp_ca_file = text(&ours.certificate());
    config.telemetry.otlp_certificate_file = text(&own.certificate);
    config.telemetry.otlp_key_file = text(&own.key);
    assert_eq!(config.check(), []);
    assert!(!format!("{config:?}").contains("0123456789"), "{config:?}");

    let with = |change: fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        config
    };
    let mut others = with(|_| {});
    others.telemetry.otlp_ca_file = text(&theirs.certificate());
    let refused = [
        with(|config| config.telemetry.otlp_header = None),
        with(|config| config.telemetry.otlp_header.as_mut().unwrap()[0].value = Some("Bearer other".into())),
        with(|config| {
            (config.telemetry.otlp_certificate_file, config.telemetry.otlp_key_file) = (None, None);
        }),
        with(|config| {
            config.telemetry.otlp = config.telemetry.otlp.take().map(|url| url.replace("https", "http"));
        }),
        with(|config| {
            config.telemetry.otlp =
                config.telemetry.otlp.take().map(|url| url.replace("127.0.0.1", "localhost"));
        }),
        others,
    ];
    for config in refused {
        traced(config, "sip-edge", || drop(info_span!(target: "tandem_sip_edge", "refused"))).await;
    }
    traced(config, "sip-edge", || drop(info_span!(target: "tandem_sip_edge", "taken"))).await;
    let spans = collector.wait_for(|spans| !spans.is_empty()).await;
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["taken"]);
}

#[tokio::test]
async fn an_endpoint_or_filter_that_cannot_be_read_names_key_and_remedy() {
    let fault = |config: &Config| format!("{:#}", telemetry::build(config, "sip-edge").unwrap_err());
    let endpoint = fault(&config("not an endpoint"));
    assert!(endpoint.contains("[telemetry] otlp") && endpoint.contains("http://host:4317"), "{endpoint}");
    let mut unreadable = config("https://collector:4317");
    unreadable.telemetry.otlp_ca_file = Some("/nowhere/ca.pem".into());
    let file = fault(&unreadable);
    assert!(file.contains("[telemetry] otlp_ca_file: /nowhere/ca.pem cannot be read"), "{file}");
    let mut filtered = Config::default();
    filtered.telemetry.log = Some("tandem=loud".into());
    let filter = fault(&filtered);
    assert!(filter.contains("[telemetry] log") && filter.contains("tandem=loud"), "{filter}");
}
