//! Manifests against Kubernetes' schemas, and against the rules that only its server would know.

use crate::chart::{TIERS, VALUES, at, kind, list, name, named, render, root, template, text, words};
use std::collections::BTreeSet;
use std::process::Command;
use yaml::Value;

const POD: &str = "spec.template.spec";

fn deployments(objects: &[Value]) -> Vec<&Value> {
    kind(objects, "Deployment")
}

fn container(deployment: &Value) -> &Value {
    at(deployment, "spec.template.spec.containers.0")
}

/// Oldest version that Chart.yaml admits, and newer ones.
#[test]
fn manifests_follow_the_schemas_of_kubernetes() {
    let tool = root().join(".tools/helm/bin/kubernetes-validate");
    for values in VALUES {
        let output = template(values, &[]);
        assert!(output.status.success(), "{}", words(&output));
        let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(file.path(), &output.stdout).unwrap();
        for version in ["1.30", "1.34", "1.37"] {
            let checked = Command::new(&tool)
                .args(["-k", version, "--strict"])
                .arg(file.path())
                .output()
                .expect("there is no kubernetes-validate: run `cargo xtask setup`");
            let said = words(&checked);
            assert!(checked.status.success(), "{values} on {version}: {said}");
            // The one kind that is not Kubernetes' own is asked for by `full` alone.
            let unknown = said.lines().filter(|line| line.contains("WARN")).count();
            assert_eq!(unknown, usize::from(*values == "full"), "{said}");
            assert!(said.matches("passed for resource deployment/").count() >= 4, "{said}");
        }
    }
}

#[test]
fn selectors_find_the_pods() {
    for values in VALUES {
        let objects = render(values, &[]);
        let selects = |selector: &Value, deployment: &Value| {
            let labels = at(deployment, "spec.template.metadata.labels");
            let selector = selector.as_mapping().unwrap();
            assert!(!selector.is_empty());
            selector.iter().all(|(key, value)| labels.get(key) == Some(value))
        };
        for deployment in deployments(&objects) {
            let selector = at(deployment, "spec.selector.matchLabels");
            let found: Vec<_> =
                deployments(&objects).into_iter().filter(|other| selects(selector, other)).collect();
            assert_eq!(found, [deployment], "{} selects just its own pods", name(deployment));
        }
        let others = objects.iter().filter_map(|object| match text(object, "kind") {
            "Service" => Some((object, at(object, "spec.selector"))),
            "PodDisruptionBudget" => Some((object, at(object, "spec.selector.matchLabels"))),
            "NetworkPolicy" => Some((object, at(object, "spec.podSelector.matchLabels"))),
            _ => None,
        });
        let probe = |object: &Value| name(object).ends_with("-probe");
        for (object, selector) in others {
            if probe(object) {
                let pod = kind(&objects, "Pod").into_iter().find(|pod| probe(pod)).unwrap();
                let labels = at(pod, "metadata.labels");
                assert!(
                    selector.as_mapping().unwrap().iter().all(|(key, value)| labels.get(key) == Some(value))
                );
                continue;
            }
            let found: Vec<_> = deployments(&objects)
                .into_iter()
                .filter(|deployment| selects(selector, deployment))
                .collect();
            assert!(!found.is_empty(), "{} {} selects nothing", text(object, "kind"), name(object));
            for deployment in found {
                assert!(
                    name(deployment).starts_with(name(object)),
                    "{} is not {}",
                    name(deployment),
                    name(object)
                );
            }
        }
    }
}

#[test]
fn references_lead_somewhere() {
    for values in VALUES {
        let objects = render(values, &[]);
        for deployment in deployments(&objects) {
            let account = text(deployment, "spec.template.spec.serviceAccountName");
            named(&objects, "ServiceAccount", account);
            let volumes = list(deployment, "spec.template.spec.volumes");
            for volume in volumes {
                if let Some(map) = at(volume, "configMap.name").as_str() {
                    assert!(at(named(&objects, "ConfigMap", map), "data").get("tandem.toml").is_some());
                }
            }
            for mount in list(container(deployment), "volumeMounts") {
                assert!(volumes.iter().any(|volume| text(volume, "name") == text(mount, "name")));
                assert_eq!(at(mount, "readOnly").as_bool(), Some(true));
                // The file of a pod is that of its Secrets: it is not replaced while the pod lives.
                if text(mount, "name") == "config" {
                    assert_eq!(text(mount, "subPath"), "tandem.toml");
                }
            }
            let ports = list(container(deployment), "ports");
            for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
                let port = text(container(deployment), &format!("{probe}.httpGet.port"));
                assert!(ports.iter().any(|p| text(p, "name") == port), "{probe} {port}");
            }
            let unique: BTreeSet<_> =
                ports.iter().map(|p| (at(p, "containerPort").as_u64(), text(p, "protocol"))).collect();
            assert_eq!(unique.len(), ports.len(), "a port stands twice");
            for port in ports {
                let name = text(port, "name");
                assert!(
                    name.len() <= 15 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                    "{name}"
                );
            }
        }
        for service in kind(&objects, "Service") {
            let container = if name(service).ends_with("-probe") {
                at(named(&objects, "Pod", name(service)), "spec.containers.0")
            } else {
                container(named(&objects, "Deployment", name(service)))
            };
            for port in list(service, "spec.ports") {
                let target = list(container, "ports")
                    .iter()
                    .find(|p| text(p, "name") == text(port, "targetPort"))
                    .unwrap_or_else(|| panic!("{}: no port {:?}", name(service), at(port, "targetPort")));
                assert_eq!(text(target, "protocol"), text(port, "protocol"));
            }
        }
        for scaler in kind(&objects, "HorizontalPodAutoscaler") {
            let deployment = named(&objects, "Deployment", text(scaler, "spec.scaleTargetRef.name"));
            assert!(at(deployment, "spec.replicas").is_null(), "an autoscaler and replicas fight");
            assert!(at(scaler, "spec.minReplicas").as_u64() <= at(scaler, "spec.maxReplicas").as_u64());
            assert!(
                !text(container(deployment), "resources.requests.cpu").is_empty(),
                "a share of no request"
            );
        }
        for policy in kind(&objects, "NetworkPolicy") {
            for port in list(policy, "spec.ingress").iter().flat_map(|rule| list(rule, "ports")) {
                if let Some(end) = at(port, "endPort").as_u64() {
                    assert!(at(port, "port").as_u64().unwrap() <= end);
                }
            }
        }
    }
}

/// Octets, or thousandths of a processor, of a quantity.
fn quantity(text: &str) -> f64 {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..split].parse().unwrap();
    number
        * match &text[split..] {
            "" => 1.0,
            "m" => 1e-3,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "Ki" => 1024.0,
            "Mi" => 1024.0 * 1024.0,
            "Gi" => 1024.0 * 1024.0 * 1024.0,
            unit => panic!("unit {unit}"),
        }
}

#[test]
fn every_pod_is_confined_probed_and_drained() {
    for values in VALUES {
        let objects = render(values, &[]);
        assert!(deployments(&objects).len() >= TIERS.len());
        for deployment in deployments(&objects) {
            let (pod, container) = (at(deployment, POD), container(deployment));
            assert_eq!(at(pod, "automountServiceAccountToken").as_bool(), Some(false));
            assert_eq!(
                at(pod, "enableServiceLinks").as_bool(),
                Some(false),
                "TANDEM_…_SERVICE_HOST is no key"
            );
            assert_eq!(at(pod, "securityContext.runAsNonRoot").as_bool(), Some(true));
            assert!(at(pod, "securityContext.runAsUser").as_u64() > Some(0));
            assert_eq!(text(pod, "securityContext.seccompProfile.type"), "RuntimeDefault");
            assert_eq!(at(container, "securityContext.readOnlyRootFilesystem").as_bool(), Some(true));
            assert_eq!(at(container, "securityContext.allowPrivilegeEscalation").as_bool(), Some(false));
            assert_eq!(text(container, "securityContext.capabilities.drop.0"), "ALL");
            assert_eq!(text(container, "livenessProbe.httpGet.path"), "/healthz");
            assert_eq!(text(container, "readinessProbe.httpGet.path"), "/readyz");
            let grace = at(pod, "terminationGracePeriodSeconds").as_u64().unwrap();
            let pause = at(container, "lifecycle.preStop.sleep.seconds").as_u64().unwrap_or(0);
            let drain: u64 = environment(container, "TANDEM_CALL__DRAIN_S").parse().unwrap();
            assert!(
                drain >= 5 && pause + drain < grace,
                "{}: killed before it has drained",
                name(deployment)
            );
            for what in ["cpu", "memory"] {
                let request = quantity(text(container, &format!("resources.requests.{what}")));
                if let Some(limit) = at(container, &format!("resources.limits.{what}")).as_str() {
                    assert!(request <= quantity(limit), "{}: {what}", name(deployment));
                }
            }
            // Nobody else reaches the admin API without a token; probes and Prometheus reach health, on the node's network too.
            let host = at(pod, "hostNetwork").as_bool().unwrap_or(false);
            let admin = environment(container, "TANDEM_ADMIN__LISTEN");
            let users = *values == "full" && name(deployment) == "voice-tandem-orchestrator";
            assert_eq!(admin.starts_with("127.0.0.1:"), !users, "{}: {admin}", name(deployment));
            let health = environment(container, "TANDEM_ADMIN__HEALTH");
            assert_eq!(health.starts_with("$(POD_IP):"), host, "{}: {health}", name(deployment));
            assert_eq!(health.starts_with("0.0.0.0:"), !host, "{}: {health}", name(deployment));
            assert!(at(container, "livenessProbe.httpGet.host").is_null(), "the pod's own address");
            // No two pods fit beside each other there.
            let surge = at(deployment, "spec.strategy.rollingUpdate.maxSurge").as_u64();
            assert_eq!(surge, Some(u64::from(!host)));
        }
        // Tiers that may share a node's network may not share a port.
        let hosts = deployments(&objects)
            .into_iter()
            .filter(|d| at(d, "spec.template.spec.hostNetwork").as_bool() == Some(true));
        let mut taken = BTreeSet::new();
        let mut tiers = BTreeSet::new();
        for deployment in
            hosts.filter(|d| tiers.insert(text(d, "spec.template.spec.containers.0.name").to_owned()))
        {
            for port in list(container(deployment), "ports") {
                let key = (at(port, "containerPort").as_u64(), text(port, "protocol").to_owned());
                assert!(taken.insert(key.clone()), "{key:?} is taken twice on a node");
            }
        }
    }
}

fn environment<'a>(container: &'a Value, variable: &str) -> &'a str {
    let found = list(container, "env").iter().find(|entry| text(entry, "name") == variable);
    found.map_or("", |entry| text(entry, "value"))
}

#[test]
fn tiers_have_their_replicas_images_and_ports() {
    let sets = [
        "sipEdge.replicas=3",
        "xmppEdge.replicas=4",
        "orchestrator.replicas=5",
        "rtpRelay.replicas=6",
        "sipEdge.port=5090",
    ];
    let objects = render("minimal", &sets);
    for ((tier, _), replicas) in TIERS.iter().zip([3, 4, 5, 6]) {
        let deployment = named(&objects, "Deployment", &format!("voice-tandem-{tier}"));
        assert_eq!(at(deployment, "spec.replicas").as_u64(), Some(replicas));
        assert_eq!(
            text(container(deployment), "image"),
            format!("registry.example.net/voice/tandem-{tier}:0.1.0")
        );
    }
    let service = named(&objects, "Service", "voice-tandem-sip-edge");
    assert_eq!(text(service, "spec.type"), "LoadBalancer");
    assert_eq!(text(service, "spec.externalTrafficPolicy"), "Local");
    let ports: Vec<_> = list(service, "spec.ports")
        .iter()
        .map(|p| (at(p, "port").as_u64().unwrap(), text(p, "protocol")))
        .collect();
    assert_eq!(ports, [(5090, "UDP"), (5090, "TCP")]);
}

#[test]
fn a_pool_of_relays_has_its_own_address_and_nodes() {
    let objects = render("full", &[]);
    for (pool, address) in [("a", "203.0.113.7"), ("b", "203.0.113.8")] {
        let deployment = named(&objects, "Deployment", &format!("voice-tandem-rtp-relay-{pool}"));
        assert_eq!(at(deployment, "spec.replicas").as_u64(), Some(1));
        assert_eq!(environment(container(deployment), "TANDEM_RELAY__ADVERTISE"), address);
        let nodes = at(deployment, "spec.template.spec.nodeSelector");
        assert_eq!(
            nodes.get("kubernetes.io/hostname").unwrap().as_str(),
            Some(format!("media-{pool}").as_str())
        );
        assert_eq!(nodes.get("pool").unwrap().as_str(), Some("media"), "the tier's selector holds too");
    }
    let budget = named(&objects, "PodDisruptionBudget", "voice-tandem-rtp-relay");
    assert!(at(budget, "spec.selector.matchLabels").get("tandem/pool").is_none(), "one budget for all pools");
}

/// Prometheus finds every pod at its own address, those on the nodes' network too; pools have what makes them differ.
#[test]
fn a18_relays_are_scraped_and_pools_differ() {
    let objects = render("full", &[]);
    let monitor = kind(&objects, "PodMonitor")[0];
    let scraped = text(monitor, "spec.podMetricsEndpoints.0.port");
    for deployment in deployments(&objects) {
        let port = list(container(deployment), "ports").iter().find(|port| text(port, "name") == scraped);
        let port = at(port.unwrap(), "containerPort").as_u64().unwrap();
        let health = environment(container(deployment), "TANDEM_ADMIN__HEALTH");
        assert!(health.ends_with(&format!(":{port}")) && !health.starts_with("127."), "{health}");
    }
    let south = named(&objects, "Deployment", "voice-tandem-rtp-relay-south");
    assert_eq!(at(south, "spec.replicas").as_u64(), Some(3));
    assert_eq!(environment(container(south), "TANDEM_RELAY__REGION"), "south");
    assert_eq!(environment(container(south), "TANDEM_RELAY__LABELS"), r#"["video","sound"]"#);
    assert_eq!(environment(container(south), "TANDEM_RELAY__THREADS"), "2");
    let other = named(&objects, "Deployment", "voice-tandem-rtp-relay-a");
    assert_eq!(environment(container(other), "TANDEM_RELAY__THREADS"), "");
}

/// Another configuration starts new pods; the same one does not.
#[test]
fn a_changed_configuration_changes_the_pods() {
    let sum = |sets: &[&str], tier: &str| {
        let objects = render("minimal", sets);
        let deployment = named(&objects, "Deployment", &format!("voice-tandem-{tier}"));
        let annotations = at(deployment, "spec.template.metadata.annotations");
        annotations.get("checksum/config").unwrap().as_str().unwrap().to_owned()
    };
    let changed = ["config.call.ring_s=30"];
    assert_eq!(sum(&[], "orchestrator"), sum(&[], "orchestrator"));
    assert_ne!(sum(&[], "orchestrator"), sum(&changed, "orchestrator"));
    assert_eq!(sum(&[], "rtp-relay"), sum(&changed, "rtp-relay"), "a relay has no calls to ring");
}
