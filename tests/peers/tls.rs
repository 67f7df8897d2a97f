//! A phone that speaks SIP over TLS, with certificates on both sides.

use crate::rig::Rig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, SanType,
};
use std::path::Path;
use testkit::{Gateway, baresip, gateway, phone, ports};

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// Writes `ca.crt`, and for the gateway and the phone a certificate for 127.0.0.1 and its key, by themselves and together.
fn certificates(folder: &Path) {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, key()).unwrap();
    std::fs::write(folder.join("ca.crt"), issuer.pem()).unwrap();
    for name in ["gateway", "desk"] {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
        let key = key();
        let certificate = params.signed_by(&key, &*issuer).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem() + &key.serialize_pem()).unwrap();
    }
}

/// A call each way, with sound; neither side says anything in clear.
#[test]
fn a_desk_that_speaks_tls_does_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let desk = baresip::Options {
        codecs: "pcmu".into(),
        tls: Some(file("desk.pem")),
        ..baresip::Options::default()
    };
    let tls = gateway::Tls {
        port: ports::one(),
        certificate: file("gateway.crt"),
        key: file("gateway.key"),
        authorities: file("ca.crt"),
    };
    let gateway = gateway::Options { tls: Some(tls), ..gateway::Options::default() };
    let mut rig = Rig::with(desk, phone::Options::default(), gateway);
    rig.desk_calls(&Gateway::uri_of("rosa"));
    rig.talk("PCMU");
    rig.desk_hangs_up();
    rig.rosa_calls(true);
    rig.talk("PCMU");
    rig.rosa_hangs_up();
}
