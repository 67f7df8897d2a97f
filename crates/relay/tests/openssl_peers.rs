//! The DTLS engine against `openssl s_client` and `s_server` over loopback: both sides must export the same keys.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use boring::hash::MessageDigest;
use boring::x509::X509;
use signal::Time;
use signal::media::Fingerprint;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tandem_relay::dtls::{Certificate, Engine, Keys, Outcome, Role};
use tandem_relay::packet::{Class, classify};
use tandem_relay::srtp::Suite;

const LIMIT: Duration = Duration::from_secs(15);

/// The program of the other side; ends with the test.
struct Peer {
    program: Child,
    said: PathBuf,
    fingerprint: Fingerprint,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// How the command is told to make a key.
fn key(kind: &str) -> Vec<&str> {
    match kind {
        "rsa" => vec!["rsa:2048"],
        "ed25519" => vec!["ed25519"],
        "p384" => vec!["ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"],
        "p521" => vec!["ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"],
        _ => vec!["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    }
}

impl Peer {
    fn new(name: &str, kind: &str, directory: &Path, arguments: &[String]) -> Peer {
        let (cert_file, key_file) = (directory.join("cert.pem"), directory.join("key.pem"));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-subj", "/CN=peer", "-newkey"])
            .args(key(kind))
            .arg("-keyout")
            .arg(&key_file)
            .arg("-out")
            .arg(&cert_file)
            .output()
            .expect("the openssl command is needed for this test");
        assert!(made.status.success(), "{kind}: {}", String::from_utf8_lossy(&made.stderr));
        let certificate = X509::from_pem(&std::fs::read(&cert_file).unwrap()).unwrap();
        let said = directory.join("said.txt");
        let out = std::fs::File::create(&said).unwrap();
        let program = Command::new("openssl")
            .args([name, "-dtls1_2", "-cert"])
            .arg(cert_file)
            .arg("-key")
            .arg(key_file)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .expect("the openssl command is needed for this test");
        let digest = certificate.digest(MessageDigest::sha256()).unwrap().to_vec();
        Peer { program, said, fingerprint: Fingerprint { hash: "sha-256".into(), digest } }
    }

    /// The material that it exported, once it says so.
    fn material(&self) -> Vec<u8> {
        let begun = Instant::now();
        loop {
            let mut text = String::new();
            std::fs::File::open(&self.said).unwrap().read_to_string(&mut text).unwrap();
            if let Some(hex) = text.lines().find_map(|line| line.trim().strip_prefix("Keying material: ")) {
                return (0..hex.len() / 2)
                    .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                    .collect();
            }
            assert!(begun.elapsed() < LIMIT, "no keying material: {text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn use_srtp(profile: &str, length: usize) -> Vec<String> {
    ["-use_srtp", profile, "-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", &length.to_string()]
        .map(str::to_owned)
        .to_vec()
}

/// Runs the engine on a socket until something comes of it.
fn run(engine: &mut Engine, socket: &UdpSocket, mut peer: Option<SocketAddr>) -> Outcome {
    socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let begun = Instant::now();
    let mut buffer = [0; 2_048];
    loop {
        let now = Time(1_000_000 + begun.elapsed().as_millis() as u64);
        assert!(begun.elapsed() < LIMIT, "nothing came of it");
        let mut outcome = None;
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            peer = Some(from);
            assert_eq!(classify(&buffer[..length]), Class::Dtls);
            outcome = engine.receive(&buffer[..length], now);
        }
        if outcome.is_none() && engine.deadline().is_some_and(|at| at <= now) {
            outcome = engine.tick(now);
        }
        while let (Some(datagram), Some(peer)) = (engine.poll(), peer) {
            // Nobody may be there yet: the flight is repeated.
            let _ = socket.send_to(&datagram, peer);
        }
        if let Some(outcome) = outcome {
            return outcome;
        }
    }
}

fn against_server(kind: &str, arguments: &[String]) -> (Outcome, Peer, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = ["-accept".to_owned(), format!("127.0.0.1:{port}"), "-verify".into(), "1".into()];
    let peer = Peer::new("s_server", kind, directory.path(), &[&listen[..], arguments].concat());
    let ours = Certificate::generate(Time(1_700_000_000_000)).unwrap();
    let mut engine =
        Engine::new(&ours, Role::Client, std::slice::from_ref(&peer.fingerprint), Time(1_000_000)).unwrap();
    let outcome = run(&mut engine, &socket, Some(SocketAddr::from(([127, 0, 0, 1], port))));
    (outcome, peer, directory)
}

fn against_client(kind: &str, arguments: &[String], wrong: bool) -> (Outcome, Peer, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let connect = ["-connect".to_owned(), socket.local_addr().unwrap().to_string()];
    let peer = Peer::new("s_client", kind, directory.path(), &[&connect[..], arguments].concat());
    let ours = Certificate::generate(Time(1_700_000_000_000)).unwrap();
    let mut fingerprint = peer.fingerprint.clone();
    fingerprint.digest[31] ^= u8::from(wrong);
    let mut engine = Engine::new(&ours, Role::Server, &[fingerprint], Time(1_000_000)).unwrap();
    let outcome = run(&mut engine, &socket, None);
    (outcome, peer, directory)
}

const PROFILES: [(&str, Suite); 3] = [
    ("SRTP_AES128_CM_SHA1_80", Suite::AesCm128Sha1_80),
    ("SRTP_AEAD_AES_128_GCM", Suite::AeadAes128Gcm),
    ("SRTP_AEAD_AES_256_GCM", Suite::AeadAes256Gcm),
];

#[test]
fn servers_of_every_kind_of_certificate_and_profile_share_our_keys() {
    for (kind, (profile, suite)) in
        ["p256", "rsa", "p384", "p521"].into_iter().zip(PROFILES.into_iter().cycle())
    {
        let length = 2 * (suite.lengths().0 + suite.lengths().1);
        let (outcome, peer, _directory) = against_server(kind, &use_srtp(profile, length));
        let wanted = Keys::of(suite, &peer.material(), Role::Client).unwrap();
        assert_eq!(outcome, Outcome::Keys(wanted), "{kind} {profile}");
    }
}

#[test]
fn clients_of_every_kind_of_certificate_and_profile_share_our_keys() {
    for (kind, (profile, suite)) in
        ["rsa", "ed25519", "p256", "p521"].into_iter().zip(PROFILES.into_iter().cycle())
    {
        let length = 2 * (suite.lengths().0 + suite.lengths().1);
        let (outcome, peer, _directory) = against_client(kind, &use_srtp(profile, length), false);
        let wanted = Keys::of(suite, &peer.material(), Role::Server).unwrap();
        assert_eq!(outcome, Outcome::Keys(wanted), "{kind} {profile}");
    }
}

#[test]
fn peers_that_are_not_who_was_signalled_or_agree_on_no_profile_get_no_keys() {
    let (outcome, ..) = against_client("p256", &use_srtp("SRTP_AES128_CM_SHA1_80", 60), true);
    assert_eq!(outcome, Outcome::Insecure);
    let (outcome, ..) = against_client("p256", &[], false);
    assert_eq!(outcome, Outcome::Failed);
    let (outcome, ..) = against_server("p256", &use_srtp("SRTP_AES128_CM_SHA1_32", 60));
    assert_eq!(outcome, Outcome::Failed);
}
