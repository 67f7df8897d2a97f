//! Files and environment that a pod of the rendered chart would find, made here.

use crate::chart::{at, list, named, text};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;
use yaml::Value;

/// Files and environment of one pod. The files go with it.
pub struct Pod {
    /// The configuration file.
    pub config: PathBuf,
    /// The container's environment.
    pub environment: BTreeMap<String, String>,
    _place: TempDir,
}

/// Name and address that the pod is said to have.
pub const NAME: &str = "voice-tandem-0";

impl Pod {
    /// The pod of a deployment, at this address; `secret` tells what a key of a Secret holds.
    pub fn of(
        objects: &[Value],
        deployment: &Value,
        address: &str,
        secret: impl Fn(&str, &str) -> String,
    ) -> Pod {
        let place = tempfile::tempdir().unwrap();
        let volumes = list(deployment, "spec.template.spec.volumes");
        for source in volumes.iter().flat_map(|volume| list(volume, "projected.sources")) {
            for item in list(source, "secret.items") {
                let content = secret(text(source, "secret.name"), text(item, "key"));
                std::fs::write(place.path().join(text(item, "path")), content).unwrap();
            }
        }
        let map = volumes.iter().find_map(|volume| at(volume, "configMap.name").as_str()).unwrap();
        let file = at(named(objects, "ConfigMap", map), "data").get("tandem.toml").unwrap().as_str().unwrap();
        let config = place.path().join("tandem.toml");
        std::fs::write(&config, file.replace("/run/secrets/tandem", place.path().to_str().unwrap())).unwrap();

        let mut environment: BTreeMap<String, String> = BTreeMap::new();
        for entry in list(deployment, "spec.template.spec.containers.0.env") {
            let from = at(entry, "valueFrom");
            let value = match (text(from, "fieldRef.fieldPath"), text(from, "secretKeyRef.name")) {
                ("metadata.name", _) => NAME.to_owned(),
                ("status.podIP", _) => address.to_owned(),
                ("", "") => environment.iter().fold(text(entry, "value").to_owned(), |v, (name, is)| {
                    v.replace(&format!("$({name})"), is)
                }),
                ("", name) => secret(name, text(from, "secretKeyRef.key")),
                (field, _) => panic!("the chart asks for {field}"),
            };
            environment.insert(text(entry, "name").to_owned(), value);
        }
        Pod { config, environment, _place: place }
    }
}
