//! The control API over TLS: who shows no certificate of the installation is nobody, and relays prove their name.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

mod common;

use bus::directory::{Directory, InstanceInfo};
use proto::auth::AuthToken;
use proto::v1::StatisticsRequest;
use proto::v1::relay_client::RelayClient;
use runtime::{Config, Drain};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::Authority;
use testkit::authority::Identity;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

const SOON: Duration = Duration::from_secs(10);

fn with(mut config: Config, authority: &Authority, own: &Identity) -> Config {
    let text = |path: &std::path::Path| Some(path.to_str().unwrap().to_owned());
    config.cluster.ca_file = text(&authority.certificate());
    config.cluster.certificate_file = text(&own.certificate);
    config.cluster.key_file = text(&own.key);
    config
}

struct Relay {
    card: InstanceInfo,
    drain: Drain,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
}

async fn relay(config: Config) -> Relay {
    let (bus, drain) = (bus::Bus::in_process(), Drain::default());
    let directory = Directory::watch(&bus, "rtp-relay").await.unwrap();
    let running =
        tokio::spawn(tandem_rtp_relay::run(config, bus, tandem_rtp_relay::Control::Tcp, drain.clone()));
    let card = tokio::time::timeout(SOON, async {
        loop {
            if let Some(card) = directory.list().pop() {
                return card;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    Relay { card: card.await.unwrap(), drain, running }
}

impl Relay {
    /// Asks as an orchestrator of this configuration does.
    async fn ask(&self, config: &Config) -> Result<(), Status> {
        let link = runtime::tls::control_link(config).unwrap().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", self.card.address)).unwrap();
        self.ask_over(link.channel(&endpoint, &self.card.address)).await
    }

    async fn ask_over(&self, channel: Channel) -> Result<(), Status> {
        let secret = signal::Secret::new(b"a secret of these tests");
        let pass = AuthToken::new(&secret, &self.card.instance, runtime::clock::now_ms);
        let mut client = RelayClient::with_interceptor(channel, pass);
        let asked = client.statistics(StatisticsRequest::default());
        tokio::time::timeout(SOON, asked).await.unwrap().map(drop)
    }

    async fn stop(self) {
        self.drain.stop();
        tokio::time::timeout(SOON, self.running).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_the_control_api_takes_certificates_of_the_installation_alone() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let own = ours.sign("relay", &["rtp-relay"]).unwrap();
    let orchestrator = ours.sign("orchestrator", &["orchestrator"]).unwrap();
    let stranger = theirs.sign("orchestrator", &["orchestrator"]).unwrap();
    let config = common::config("23600-23619");
    let relay = relay(with(config.clone(), &ours, &own)).await;

    relay.ask(&with(config.clone(), &ours, &orchestrator)).await.unwrap();
    let refused = relay.ask(&with(config.clone(), &ours, &stranger)).await.unwrap_err();
    assert_ne!(refused.code(), Code::Unauthenticated, "the secret alone is looked at: {refused}");

    // In the clear nobody gets as far as the bearer.
    let endpoint = Endpoint::from_shared(format!("http://{}", relay.card.address)).unwrap();
    let clear = relay.ask_over(endpoint.connect_lazy()).await.unwrap_err();
    assert_ne!(clear.code(), Code::Unauthenticated, "{clear}");

    // Another program's TLS: it speaks HTTP/2, has the name, and ends the connection of who shows no certificate.
    let address = relay.card.address.clone();
    let ca = ours.certificate();
    let openssl = move |own: Option<Identity>| {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &address, "-alpn", "h2", "-verify_return_error"]);
        command.args(["-verify_hostname", "rtp-relay", "-CAfile"]).arg(&ca);
        match own {
            Some(own) => command.arg("-cert").arg(own.certificate).arg("-key").arg(own.key),
            // In TLS 1.3 the refusal comes after the client's part of the handshake: it is waited for.
            None => command.arg("-ign_eof"),
        };
        let output = command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let (known, nobody) =
        tokio::task::spawn_blocking(move || (openssl(Some(orchestrator)), openssl(None))).await.unwrap();
    assert!(known.contains("ALPN protocol: h2") && known.contains("Verify return code: 0"), "{known}");
    assert!(nobody.contains("certificate required"), "{nobody}");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f6_a_relay_proves_its_name_at_whatever_address() {
    let ours = Authority::new().unwrap();
    let other = ours.sign("other", &["127.0.0.1", "localhost", "nats"]).unwrap();
    let config = common::config("23620-23639");
    let relay = relay(with(config.clone(), &ours, &other)).await;
    let mut orchestrator = with(config, &ours, &other);
    let refused = relay.ask(&orchestrator).await.unwrap_err();
    assert_eq!(
        refused.code(),
        Code::Unavailable,
        "a certificate of the authority is no relay's yet: {refused}"
    );
    orchestrator.cluster.tls_name = Some("nats".into());
    relay.ask(&orchestrator).await.unwrap();
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_the_control_api_are_read_again() {
    let ours = Authority::new().unwrap();
    let expired = ours.sign_for("relay", &["rtp-relay"], (2020, 2021)).unwrap();
    let orchestrator = ours.sign("orchestrator", &["orchestrator"]).unwrap();
    let config = common::config("23640-23659");
    let relay = relay(with(config.clone(), &ours, &expired)).await;
    let orchestrator = with(config, &ours, &orchestrator);
    assert_eq!(relay.ask(&orchestrator).await.unwrap_err().code(), Code::Unavailable, "it has expired");
    let renewed = ours.sign("relay", &["rtp-relay"]).unwrap();
    assert_eq!(renewed.certificate, expired.certificate);
    let renewed = async {
        while relay.ask(&orchestrator).await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, renewed).await.expect("the old certificate stays");
    relay.stop().await;
}

/// A handshake that is begun and not ended keeps nobody else waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_handshake_holds_up_nobody() {
    let ours = Authority::new().unwrap();
    let own = ours.sign("own", &["rtp-relay"]).unwrap();
    let config = with(common::config("23660-23679"), &ours, &own);
    let relay = relay(config.clone()).await;
    let mut stalled = vec![];
    for _ in 0..8 {
        stalled.push(tokio::net::TcpStream::connect(&relay.card.address).await.unwrap());
    }
    let asked = tokio::time::timeout(Duration::from_secs(3), relay.ask(&config)).await;
    asked.expect("it waits for the others").unwrap();
    relay.stop().await;
}
