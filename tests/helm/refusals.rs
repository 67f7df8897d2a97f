//! Values that the chart must refuse, and the word by which the operator finds the fault.

use crate::chart::{VALUES, helm, root, template, words};

/// A change to the least values, and what the refusal must name.
const REFUSED: &[(&str, &[&str])] = &[
    // unknown keys, at every depth
    ("sipEdg={}", &["sipEdg"]),
    ("sipEdge.replica=3", &["/sipEdge", "replica"]),
    ("sipEdge.service.kind=\"NodePort\"", &["/sipEdge/service", "kind"]),
    ("sipEdge.resources.limit={}", &["/sipEdge/resources", "limit"]),
    ("xmppEdge.hostNetwork=true", &["/xmppEdge", "hostNetwork"]),
    ("rtpRelay.pool=[]", &["/rtpRelay", "pool"]),
    ("rtpRelay.autoscaling={}", &["/rtpRelay", "autoscaling"]),
    ("config.sip.domain=\"im.example.net\"", &["/config/sip", "domain"]),
    (
        "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"b\",\"source\":[]}]",
        &["/config/trunk/0", "source"],
    ),
    (
        "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"b\",\"srtp\":\"must\"}]",
        &["/config/trunk/0/srtp", "required"],
    ),
    ("secrets.nats={}", &["/secrets", "nats"]),
    // what the chart sets itself
    ("config.sip.listen=[\"udp://0.0.0.0:5060\"]", &["/config/sip", "listen"]),
    ("config.relay.advertise=\"203.0.113.7\"", &["/config/relay", "advertise"]),
    ("config.admin={}", &["/config", "admin"]),
    ("config.instance=\"a\"", &["/config", "instance"]),
    // secrets in values
    ("config.cluster={\"secret\":\"0123456789abcdef\"}", &["/config", "cluster"]),
    (
        "config.xmpp.component=[{\"domain\":\"a\",\"server\":\"b:5347\",\"secret\":\"s\",\"existingSecret\":{\"name\":\"n\",\"key\":\"k\"}}]",
        &["/config/xmpp/component/0", "secret"],
    ),
    (
        "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"b\",\"username\":\"c\",\"password\":\"d\"}]",
        &["/config/trunk/0", "password"],
    ),
    (
        "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"b\",\"username\":\"c\"}]",
        &["/config/trunk/0", "existingSecret"],
    ),
    ("config.bus.url=\"nats://user:word@nats:4222\"", &["/config/bus/url"]),
    ("config.store.url=\"redis://:word@redis:6379\"", &["/config/store/url"]),
    // wrong types and values
    ("sipEdge.replicas=\"2\"", &["/sipEdge/replicas", "integer"]),
    ("sipEdge.replicas=0", &["/sipEdge/replicas"]),
    ("sipEdge.port=80", &["/sipEdge/port"]),
    ("sipEdge.hostNetwork=\"yes\"", &["/sipEdge/hostNetwork", "boolean"]),
    ("sipEdge.service.type=\"ExternalName\"", &["/sipEdge/service/type"]),
    ("sipEdge.resources.limits.memory=\"256Mb\"", &["/sipEdge/resources/limits/memory"]),
    ("xmppEdge.terminationGracePeriodSeconds=5", &["/xmppEdge/terminationGracePeriodSeconds"]),
    ("config.call.ring_s=\"two minutes\"", &["/config/call/ring_s"]),
    ("config.telemetry.sample=2", &["/config/telemetry/sample"]),
    ("config.relay.ports=\"40000\"", &["/config/relay/ports"]),
    ("config.trunk=[{\"name\":\"a\",\"uri\":\"pbx:5060\",\"domain\":\"b\"}]", &["/config/trunk/0/uri"]),
    (
        "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:pbx;transport=ws\",\"domain\":\"b\"}]",
        &["/config/trunk/0/uri"],
    ),
    ("config.bus.url=\"http://nats:4222\"", &["/config/bus/url"]),
    ("secrets.bus={\"name\":\"nats\"}", &["/secrets/bus", "key"]),
    // what is required
    ("image.prefix=null", &["/image", "prefix"]),
    ("config.sip.advertise=null", &["/config/sip", "advertise"]),
    ("config.sip.domains=null", &["/config/sip", "domains"]),
    ("config.xmpp.component=[]", &["/config/xmpp/component"]),
    (
        "config.xmpp.component=[{\"domain\":\"sip.example.net\",\"server\":\"b:5347\"}]",
        &["/config/xmpp/component/0", "existingSecret"],
    ),
    ("secrets.cluster=null", &["/secrets", "cluster"]),
    // what cannot be together
    ("secrets.bus={\"name\":\"nats\",\"key\":\"url\"}", &["config.bus.url and secrets.bus are both given"]),
    ("rtpRelay.advertise6=\"203.0.113.7\"", &["/rtpRelay/advertise6"]),
    ("rtpRelay.advertise=\"203.0.113.7\"", &["rtpRelay.advertise", "rtpRelay.pools"]),
    (
        "orchestrator.preStopSeconds=40",
        &["orchestrator", "terminationGracePeriodSeconds 45", "preStopSeconds 40"],
    ),
    (
        "sipEdge.autoscaling={\"enabled\":true,\"minReplicas\":4,\"maxReplicas\":3}",
        &["sip-edge autoscaling", "maxReplicas 3", "minReplicas 4"],
    ),
    ("config.relay.ports=\"44999-40000\"", &["config.relay.ports", "44999-40000"]),
    (
        "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"else.example\"}]",
        &["config.trunk", "else.example"],
    ),
];

/// Values that are well formed, and by which pods would not start.
const REFUSED_BY_PODS: &[(&[&str], &[&str])] = &[
    (&["config.call.hold_music=\"hold.wav\""], &["config.call.hold_music", "config.relay.sounds"]),
    (&["config.relay.sounds=\"/sounds\""], &["config.relay.sounds", "rtpRelay.soundsVolume"]),
    (&["config.relay.ports=\"70000-70100\""], &["/config/relay/ports"]),
    (&["config.relay.ports=\"1000-2000\""], &["config.relay.ports", "1000-2000"]),
    (&["config.relay.ports=\"40000-40003\""], &["config.relay.ports", "too small"]),
    (
        &[
            "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"sip.example.net\",\"sources\":[\"192.0.2.0/40\"]}]",
        ],
        &["/config/trunk/0/sources/0"],
    ),
    (
        &[
            "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"sip.example.net\",\"sources\":[\"300.0.2.1\"]}]",
        ],
        &["/config/trunk/0/sources/0"],
    ),
    (
        &[
            "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"sip.example.net\"},{\"name\":\"a\",\"uri\":\"sip:b\",\"domain\":\"sip.example.net\"}]",
        ],
        &["config.trunk name: a stands twice"],
    ),
    (
        &[
            "config.trunk=[{\"name\":\"a\",\"uri\":\"sip:a\",\"domain\":\"sip.example.net\"},{\"name\":\"b\",\"uri\":\"sip:b\",\"domain\":\"SIP.example.net\"}]",
        ],
        &["config.trunk"],
    ),
    (
        &["config.alias=[{\"number\":\"27\",\"jid\":\"a@b\"},{\"number\":\"27\",\"jid\":\"c@b\"}]"],
        &["config.alias number: 27 stands twice"],
    ),
    (&["config.alias=[{\"number\":\"27oo\",\"jid\":\"a@b\"}]"], &["/config/alias/0/number"]),
    (&["config.sip.domains=[\"a.example\",\"A.example\"]"], &["config.sip.domains: A.example stands twice"]),
    (&["config.sip.advertise=\"2001:db8::1\""], &["config.sip.advertise", "2001:db8::1"]),
    (&["config.telemetry.log=\"verbose\""], &["/config/telemetry/log"]),
    (&["config.relay.threads=100000"], &["/config/relay/threads"]),
    (
        &[
            "rtpRelay.pools=[{\"name\":\"a\",\"advertise\":\"203.0.113.7\"},{\"name\":\"a\",\"advertise\":\"203.0.113.8\"}]",
        ],
        &["rtpRelay.pools name: a stands twice"],
    ),
    (
        &[
            "rtpRelay.pools=[{\"name\":\"a\",\"advertise\":\"203.0.113.7\"},{\"name\":\"b\",\"advertise\":\"203.0.113.7\"}]",
        ],
        &["rtpRelay.pools address: 203.0.113.7 stands twice"],
    ),
    (
        &["rtpRelay.pools=[{\"name\":\"a\",\"advertise\":\"203.0.113.7\",\"replicas\":2}]"],
        &["rtpRelay.pools a", "replicas"],
    ),
    (
        &["rtpRelay.pools=[{\"name\":\"a\",\"advertise\":\"203.0.113.700\"}]"],
        &["/rtpRelay/pools/0/advertise"],
    ),
    (
        &[
            "config.trunk=[{\"name\":\"t\",\"uri\":\"sip:a\",\"domain\":\"sip.example.net\",\"callers\":[\"@sales\"]}]",
        ],
        &["config.trunk t: callers names @sales", "config.group"],
    ),
    (
        &["config.group=[{\"name\":\"s\",\"members\":[]},{\"name\":\"s\",\"members\":[\"a\"]}]"],
        &["config.group name: s stands twice"],
    ),
    (
        &[
            "config.trunk=[{\"name\":\"t\",\"uri\":\"sip:a\",\"domain\":\"sip.example.net\",\"country\":\"XX\"}]",
        ],
        &["/config/trunk/0/country"],
    ),
    (&["sipEdge.healthPort=8080"], &["sip-edge: port 8080 is healthPort and adminPort"]),
    (&["rtpRelay.controlPort=8089"], &["rtp-relay: port 8089"]),
    (
        &["sipEdge.hostNetwork=true", "sipEdge.adminPort=8089"],
        &["the nodes' network: port 8089 is sipEdge.adminPort and rtpRelay.healthPort"],
    ),
    (
        &["sipEdge.hostNetwork=true", "sipEdge.port=40060"],
        &["config.relay.ports", "holds sipEdge.port 40060"],
    ),
    (
        &["sipEdge.service.loadBalancerSourceRanges=[\"10.0.0.0/33\"]"],
        &["/sipEdge/service/loadBalancerSourceRanges/0"],
    ),
    (
        &["networkPolicy.sipFrom=[{\"ipBlock\":{\"cidr\":\"10.0.0.300/8\"}}]"],
        &["/networkPolicy/sipFrom/0/ipBlock/cidr"],
    ),
    (
        &[
            "admin.users=[{\"name\":\"a\",\"existingSecret\":{\"name\":\"n\",\"key\":\"k\"}},{\"name\":\"a\",\"existingSecret\":{\"name\":\"n\",\"key\":\"l\"}}]",
        ],
        &["admin.users: a stands twice"],
    ),
    (
        &[
            "admin.users=[{\"name\":\"a\",\"role\":\"root\",\"existingSecret\":{\"name\":\"n\",\"key\":\"k\"}}]",
        ],
        &["/admin/users/0/role"],
    ),
    (
        &["admin.users=[{\"name\":\"a\",\"certificate_name\":\"a.example.net\"}]"],
        &["admin.users a: certificate_name is looked at by nobody; give admin.secretFiles.client_ca_file"],
    ),
];

/// A limit or a time of zero would refuse or end every call.
const ZEROES: &[(&str, &str)] = &[
    ("config.sip.max_legs=0", "/config/sip/max_legs"),
    ("config.call.ring_s=0", "/config/call/ring_s"),
    ("config.relay.media_timeout_s=0", "/config/relay/media_timeout_s"),
    ("config.relay.threads=0", "/config/relay/threads"),
    ("config.store.timeout_ms=0", "/config/store/timeout_ms"),
];

#[test]
fn a16_what_pods_would_refuse_is_refused_by_name() {
    let mut wrong = vec![];
    for (changes, named) in REFUSED_BY_PODS {
        let output = template("minimal", changes);
        let said = words(&output);
        if output.status.success() {
            wrong.push(format!("{changes:?}: not refused"));
        } else if let Some(missing) = named.iter().find(|word| !said.contains(**word)) {
            wrong.push(format!("{changes:?}: the refusal does not name {missing}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a13_zeroes_are_refused_by_the_chart() {
    for (change, named) in ZEROES {
        let output = template("minimal", &[change]);
        assert!(!output.status.success() && words(&output).contains(named), "{change}: {}", words(&output));
    }
}

/// On the nodes' network a media port may be that of a Service, and media went there.
#[test]
fn a17_media_ports_are_not_those_of_services() {
    for ports in ["30000-34999", "32767-33000", "29000-30000", "20000-40000"] {
        let change = format!("config.relay.ports=\"{ports}\"");
        let said = words(&template("minimal", &[&change]));
        assert!(said.contains("config.relay.ports") && said.contains("30000-32767"), "{ports}: {said}");
        // Pods with addresses of their own meet no Service.
        assert!(template("pods", &[&change]).status.success(), "{ports}");
    }
    let values = std::fs::read_to_string(root().join("helm/tandem/values.yaml")).unwrap();
    assert!(values.contains("ports: 40000-49999"));
    assert_eq!(runtime::config::RelayConfig::default().ports, "40000-49999");
    let page = std::fs::read_to_string(root().join("docs/install.md")).unwrap();
    assert!(page.contains("40000-49999") && !page.contains("30000-34999"));
    // What programs of the nodes are given meets them, unless it is reserved: the operator is told.
    let install =
        ["install", "voice", "helm/tandem", "--dry-run=client", "--values", "helm/tandem/ci/minimal.yaml"];
    let said = words(&helm(&install));
    assert!(said.contains("net.ipv4.ip_local_reserved_ports=40000-49999"), "{said}");
}

/// Whose users may call through a trunk is said, or follows from its component.
#[test]
fn a_trunk_that_nobody_may_call_through_is_refused() {
    let nobody = [
        "config.xmpp.component=[{\"domain\":\"a\",\"server\":\"b:5347\",\"existingSecret\":{\"name\":\"n\",\"key\":\"k\"}}]",
        "config.trunk=[{\"name\":\"t\",\"uri\":\"sip:a\",\"domain\":\"a\"}]",
    ];
    let output = template("minimal", &nobody);
    assert!(
        !output.status.success() && words(&output).contains("nobody may call through it"),
        "{}",
        words(&output)
    );
    let said = nobody[1].replace("}]", ",\"callers\":[]}]");
    assert!(template("minimal", &[nobody[0], &said]).status.success());
}

#[test]
fn bad_values_are_refused_by_name() {
    let mut wrong = vec![];
    for (change, named) in REFUSED {
        let output = template("minimal", &[change]);
        let said = words(&output);
        if output.status.success() {
            wrong.push(format!("{change}: not refused"));
        } else if let Some(missing) = named.iter().find(|word| !said.contains(**word)) {
            wrong.push(format!("{change}: the refusal does not name {missing}: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// NATS and Redis are named in one of two places; the refusal names both.
#[test]
fn a_missing_url_is_refused_with_the_remedy() {
    let least = std::fs::read_to_string(root().join("helm/tandem/ci/minimal.yaml")).unwrap();
    for section in ["bus", "store"] {
        let without = least.lines().filter(|line| !line.trim().starts_with(&format!("{section}: ")));
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(file.path(), without.collect::<Vec<_>>().join("\n")).unwrap();
        let output = helm(&["template", "voice", "helm/tandem", "--values", file.path().to_str().unwrap()]);
        let said = words(&output);
        assert!(!output.status.success());
        for named in [format!("config.{section}.url is missing"), format!("secrets.{section}")] {
            assert!(said.contains(&named), "{named} is not named: {said}");
        }
    }
}

/// The defaults alone are no installation: every required value is named at once.
#[test]
fn the_defaults_name_what_is_missing() {
    let output = helm(&["template", "voice", "helm/tandem"]);
    let said = words(&output);
    assert!(!output.status.success());
    for named in ["prefix", "advertise", "domains", "/config/xmpp/component", "cluster"] {
        assert!(said.contains(named), "{named} is not named: {said}");
    }
}

#[test]
fn lint_is_content() {
    for values in VALUES {
        let output =
            helm(&["lint", "--strict", "helm/tandem", "--values", &format!("helm/tandem/ci/{values}.yaml")]);
        assert!(output.status.success(), "{values}: {}", words(&output));
    }
}

#[test]
fn it_can_be_packaged() {
    let place = tempfile::tempdir().unwrap();
    let output = helm(&["package", "helm/tandem", "--destination", place.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", words(&output));
    assert!(place.path().join("tandem-0.1.0.tgz").exists());
}
