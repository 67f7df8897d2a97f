//! The admin API over TLS, as the operator's own command asks it: users are known by certificate or token.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;
use testkit::authority::Identity;
use testkit::clock::poll;
use testkit::prosody::{COMPONENT, DOMAIN, SECRET};
use testkit::{Authority, Program, Prosody, http, ports};

const TOKEN: &str = "0123456789abcdef-of-hand";

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The command, for an admin API at this place.
struct Operator<'a> {
    admin: &'a str,
    authority: &'a Path,
}

impl Operator<'_> {
    fn asks(&self, task: &[&str], own: Option<&Identity>, more: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(task).args(["--admin", self.admin, "--ca-file"]).arg(self.authority).args(more);
        if let Some(own) = own {
            command.arg("--certificate-file").arg(&own.certificate).arg("--key-file").arg(&own.key);
        }
        let output = command.output().unwrap();
        (output.status.code(), text(&output))
    }
}

#[test]
fn f7_users_of_the_admin_api_are_known_by_certificate_or_token() {
    let server = Prosody::start(&[]).unwrap();
    let (ours, theirs) = (Authority::new().unwrap(), Authority::new().unwrap());
    let own = ours.sign("admin", &["localhost", "127.0.0.1"]).unwrap();
    let people = Authority::new().unwrap();
    let (eye, hand) = (people.sign("eye", &["eye.example.net"]), people.sign("hand", &["Hand.example.net"]));
    let (eye, hand) = (eye.unwrap(), hand.unwrap());
    let forged = theirs.sign("hand", &["hand.example.net"]).unwrap();
    let nobody = people.sign("nobody", &["nobody.example.net"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let [listen, health, sip] = [(); 3].map(|()| SocketAddr::from(([127, 0, 0, 1], ports::one())));
    let media = ports::block(40);
    let config = format!(
        "[admin]\nlisten = \"{listen}\"\nhealth = \"{health}\"\ncertificate_file = {:?}\nkey_file = {:?}\nclient_ca_file = {:?}\n\
         [[admin.user]]\nname = \"eye\"\ncertificate_name = \"eye.example.net\"\n\
         [[admin.user]]\nname = \"hand\"\nrole = \"operate\"\ncertificate_name = \"hand.example.net\"\ntoken_file = {token:?}\n\
         [sip]\nlisten = [\"udp://{sip}\"]\n\
         [[xmpp.component]]\ndomain = \"{COMPONENT}\"\nserver = \"127.0.0.1:{}\"\nsecret = \"{SECRET}\"\nusers = \"{DOMAIN}\"\n\
         [relay]\nports = \"{media}-{}\"\n",
        own.certificate,
        own.key,
        people.certificate(),
        server.component_port,
        media + 39,
    );
    let file = folder.path().join("tandem.toml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.arg("serve").arg("--config").arg(&file);
    let mut gateway = Program::start("tandem", command).unwrap();
    let ready = || matches!(http::get(health, "/readyz"), Ok((200, _))).then_some(());
    assert!(poll(Duration::from_secs(20), ready).is_some(), "{:#}", gateway.failure("is not ready"));

    let (admin, ca, token) = (format!("https://{listen}"), ours.certificate(), token.to_str().unwrap());
    let operator = Operator { admin: &admin, authority: &ca };
    let (looks, changes) = (&["calls"][..], &["call", "0123456789abcdef", "--hang-up"][..]);
    assert_eq!(operator.asks(looks, Some(&eye), &[]), (Some(0), "none\n".to_owned()));
    let (code, said) = operator.asks(changes, Some(&eye), &[]);
    assert!(code == Some(1) && said.contains("eye may only look"), "{said}");
    assert_eq!(operator.asks(looks, Some(&hand), &[]).0, Some(0));
    let (code, said) = operator.asks(changes, Some(&hand), &[]);
    assert_eq!(code, Some(3), "there is no such call, and hand might have ended it: {said}");
    assert_eq!(
        operator.asks(looks, None, &["--token-file", token]).0,
        Some(0),
        "a token needs no certificate"
    );
    for stranger in [None, Some(&nobody)] {
        let (code, said) = operator.asks(looks, stranger, &[]);
        assert!(code == Some(1) && said.contains("no known token"), "{said}");
    }
    // A certificate of another authority is nobody's, whatever name it has.
    assert_eq!(operator.asks(looks, Some(&forged), &[]).0, Some(4));
    // Nor does the command speak to a server that another authority vouches for, or in the clear.
    let (code, said) = Operator { authority: &theirs.certificate(), ..operator }.asks(
        looks,
        Some(&eye),
        &["--token-file", token],
    );
    assert!(code == Some(4) && said.contains("--ca-file"), "{said}");
    let clear = format!("http://{listen}");
    let (code, said) = Operator { admin: &clear, authority: &ca }.asks(looks, None, &["--token-file", token]);
    assert_eq!(code, Some(4), "{said}");

    // The probes' own port stays as it is, and the file has no fault; a gateway that runs is seen over TLS, too.
    assert_eq!(http::get(health, "/healthz").unwrap().0, 200);
    let checked = Command::new(env!("CARGO_BIN_EXE_tandem")).arg("check").arg("--config").arg(&file).output();
    let said = text(&checked.unwrap());
    assert!(said.contains("not tested: [[xmpp.component]]: the gateway runs here"), "{said}");

    let lines = gateway.log().since(0);
    let audit = lines.iter().find(|line| line.text.contains("audit")).expect("no line of the change");
    assert!(audit.text.contains("user=\"hand\"") && audit.text.contains("DELETE"), "{}", audit.text);
    assert!(lines.iter().all(|line| !line.text.contains(TOKEN)));
    gateway.signal(15);
}
