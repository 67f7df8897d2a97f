//! A2: NATS as it is run outside of trials: every kind of credentials, and TLS both ways.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use signal::Secret;
use std::time::Duration;
use tandem_bus::{Bus, Cause, Login, Message, NatsConfig, Tls};
use testkit::{Authority, Nats, ports};

#[allow(clippy::disallowed_methods, reason = "real servers know no other clock")]
fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_millis().try_into().unwrap()
}

fn config(url: &str) -> NatsConfig {
    NatsConfig::new(url, "login", &Secret::new(b"secret of these tests"), now_ms)
}

fn with(url: &str, login: Login) -> NatsConfig {
    NatsConfig { login, ..config(url) }
}

async fn cause(config: &NatsConfig) -> Cause {
    Bus::nats(config).await.expect_err("it connects").cause
}

/// Has a request answered over a connection of its own.
async fn works(config: &NatsConfig) {
    let (here, there) = (Bus::nats(config).await.unwrap(), Bus::nats(config).await.unwrap());
    let mut inbox = there.serve("tandem.test", "g").await.unwrap();
    let asked =
        tokio::spawn(
            async move { here.request("tandem.test", Message::default(), Duration::from_secs(2)).await },
        );
    inbox.next().await.unwrap().reply("yes").await.unwrap();
    assert_eq!(asked.await.unwrap().unwrap(), "yes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_user_and_password_in_the_url_and_apart() {
    let server = Nats::with(ports::one(), "authorization { user: rosa, password: \"s@f:e\" }").unwrap();
    let url = server.url();
    let host = url.strip_prefix("nats://").unwrap();
    works(&config(&format!("nats://rosa:s%40f%3Ae@{host}"))).await;
    works(&with(&url, Login::Password("rosa".into(), "s@f:e".into()))).await;
    // The first of the list is not there.
    works(&config(&format!("nats://rosa:s%40f%3Ae@127.0.0.1:1, nats://{host}"))).await;

    let wrong = Bus::nats(&with(&url, Login::Password("rosa".into(), "wrong-one".into()))).await.unwrap_err();
    assert_eq!(wrong.to_string(), format!("{url}: the server refuses us with user and password"));
    assert_eq!(cause(&config(&url)).await, Cause::Login("no credentials"));
    assert_eq!(cause(&config("nats://127.0.0.1:1")).await, Cause::Refused);
    assert!(matches!(cause(&config("nats://no-such-host.invalid")).await, Cause::Host(_)));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("nats://{}", silent.local_addr().unwrap());
    assert_eq!(cause(&config(&silent)).await, Cause::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_token_and_nkey() {
    let server = Nats::with(ports::one(), "authorization { token: \"t0ken\" }").unwrap();
    works(&with(&server.url(), Login::Token("t0ken".into()))).await;
    works(&config(&server.url().replace("nats://", "nats://t0ken@"))).await;
    assert_eq!(cause(&with(&server.url(), Login::Token("other".into()))).await, Cause::Login("token"));

    let (known, unknown) = (KeyPair::new_user(), KeyPair::new_user());
    let users = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", known.public_key());
    let server = Nats::with(ports::one(), &users).unwrap();
    let seed = |pair: &KeyPair| Login::Nkey(format!("# of a test\n{}\n", pair.seed().unwrap()));
    works(&with(&server.url(), seed(&known))).await;
    assert_eq!(cause(&with(&server.url(), seed(&unknown))).await, Cause::Login("nkey"));
    let none = cause(&with(&server.url(), Login::Nkey("nothing".into()))).await;
    assert!(matches!(none, Cause::File(_)), "{none:?}");
}

/// A JWT of NATS: claims signed with the issuer's nkey.
fn jwt(issuer: &KeyPair, claims: serde_json::Value) -> String {
    let part = |value: serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let head = serde_json::json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let text = format!("{}.{}", part(head), part(claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).unwrap());
    format!("{text}.{signature}")
}

fn claims(issuer: &KeyPair, subject: &KeyPair, nats: serde_json::Value) -> serde_json::Value {
    serde_json::json!({
        "jti": "of-a-test", "iat": 1_700_000_000, "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "test", "nats": nats,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_credentials_file() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let kind = |kind: &str| serde_json::json!({ "type": kind, "version": 2 });
    let root = jwt(&operator, claims(&operator, &operator, kind("operator")));
    let limits = serde_json::json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
    });
    let of_account = serde_json::json!({ "type": "account", "version": 2, "limits": limits });
    let of_user = serde_json::json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let middle = jwt(&operator, claims(&operator, &account, of_account));
    let lines = format!(
        "operator: \"{root}\"\nresolver: MEMORY\nresolver_preload: {{ {}: \"{middle}\" }}",
        account.public_key()
    );
    let server = Nats::with(ports::one(), &lines).unwrap();
    let file = |issuer: &KeyPair| {
        let own = jwt(issuer, claims(issuer, &user, of_user.clone()));
        Login::Credentials(format!(
            "-----BEGIN NATS USER JWT-----\n{own}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        ))
    };
    works(&with(&server.url(), file(&account))).await;
    assert_eq!(
        cause(&with(&server.url(), file(&KeyPair::new_account()))).await,
        Cause::Login("credentials file")
    );
    let none = cause(&with(&server.url(), Login::Credentials("nothing".into()))).await;
    assert!(matches!(none, Cause::File(_)), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_tls_with_an_authority_and_a_certificate_of_ours() {
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let identity = ours.sign("server", &["127.0.0.1", "localhost"]).unwrap();
    let client = ours.sign("client", &["tandem"]).unwrap();
    let lines = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        identity.certificate,
        identity.key,
        ours.certificate()
    );
    let server = Nats::with(ports::one(), &lines).unwrap();
    let tls = Tls { ca: Some(ours.certificate()), identity: Some((client.certificate, client.key)) };
    let at =
        |tls: &Tls| NatsConfig { tls: tls.clone(), ..config(&server.url().replace("nats://", "tls://")) };
    works(&at(&tls)).await;

    let refused = cause(&at(&Tls { ca: Some(theirs.certificate()), ..tls.clone() })).await;
    assert!(matches!(refused, Cause::Certificate(_)), "an authority that we do not trust: {refused:?}");
    let refused = cause(&at(&Tls { identity: None, ..tls.clone() })).await;
    assert!(matches!(refused, Cause::Certificate(_)), "no certificate of ours: {refused:?}");
    let other = theirs.sign("client", &["tandem"]).unwrap();
    let refused = cause(&at(&Tls { identity: Some((other.certificate, other.key)), ..tls.clone() })).await;
    assert!(matches!(refused, Cause::Certificate(_)), "a certificate that they do not trust: {refused:?}");
    let missing = cause(&at(&Tls { ca: Some("/nowhere/ca.pem".into()), identity: None })).await;
    assert!(matches!(missing, Cause::File(text) if text.contains("/nowhere/ca.pem")));
}

/// The password of NATS is changed while a client is connected: it logs in with the new one once it has to.
#[tokio::test(flavor = "multi_thread")]
async fn a2_a_password_that_was_replaced_counts_at_the_next_connection() {
    let port = ports::one();
    let with_password = |password: &str| format!("authorization {{ user: rosa, password: {password} }}");
    let server = Nats::with(port, &with_password("one")).unwrap();
    let login = |password: &str| Login::Password("rosa".into(), password.into());
    let bus = Bus::nats(&with(&server.url(), login("one"))).await.unwrap();
    bus.set_login(login("two"));
    bus.set_login(Login::Nobody);
    assert_eq!(bus.trouble(), None);
    drop(server);
    let _server = Nats::with(port, &with_password("two")).unwrap();
    let again = async {
        while bus.trouble().is_some() || bus.flush().await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), again).await.expect("it never comes back");
}
