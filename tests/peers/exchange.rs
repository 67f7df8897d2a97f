//! Phones behind an exchange: Kamailio routes, redirects and leads to the voicemail box.

use crate::rig::{DESK_TONE, ROSA_TONE, SOON};
use std::net::SocketAddr;
use testkit::{Baresip, Gateway, Kamailio, Phone, Prosody, baresip, gateway, phone, ports};

/// Tone of the second phone, Hz.
const KARL_TONE: f64 = 1_000.0;
/// Tone of the box, Hz.
const BOX_TONE: f64 = 600.0;

/// Fields end in this order.
struct Exchange {
    desk: Baresip,
    karl: Baresip,
    voicemail: Baresip,
    rosa: Phone,
    _kamailio: Kamailio,
    gateway: Gateway,
    _server: Prosody,
}

fn exchange() -> Exchange {
    let [sip_port, port] = [ports::one(), ports::one()];
    let [gateway, exchange] = [sip_port, port].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let answering =
        |tone| baresip::Options { codecs: "pcmu".into(), tone, auto: true, ..baresip::Options::default() };
    let karl = Baresip::start("2042", &answering(1_000)).unwrap();
    let voicemail = Baresip::start("600", &answering(600)).unwrap();
    let proxy = Some(exchange);
    let desk = Baresip::start("2041", &baresip::Options { proxy, auto: false, ..answering(700) }).unwrap();
    // 2040 has moved; the box wants to know whose mailbox it is, and why.
    let route = format!(
        r#"
if (loose_route() || is_method("ACK|CANCEL")) {{ t_relay(); exit; }}
record_route();
if ($rd == "{domain}") {{ $du = "sip:{gateway}"; t_relay(); exit; }}
if ($rU == "2040") {{
  append_to_reply("Contact: <sip:2042@{exchange}>\r\n");
  sl_send_reply("302", "Moved Temporarily");
  exit;
}}
if ($rU == "600" && !($hdr(Diversion) =~ "2700@.*reason=user-busy" && $ru =~ "cause=486")) {{
  sl_send_reply("403", "Whose Mailbox");
  exit;
}}
if ($rU == "2041") {{ $du = "sip:{desk}"; }}
else if ($rU == "2042") {{ $du = "sip:{karl}"; }}
else if ($rU == "600") {{ $du = "sip:{voicemail}"; }}
else {{ sl_send_reply("404", "Not Found"); exit; }}
t_relay();"#,
        domain = gateway::SIP_DOMAIN,
        desk = desk.address,
        karl = karl.address,
        voicemail = voicemail.address,
    );
    let kamailio = Kamailio::start(port, &route).unwrap();
    let server = Prosody::start(&["rosa"]).unwrap();
    let options = gateway::Options {
        trunk: Some(exchange),
        aliases: vec![("2700".into(), "rosa".into())],
        sip_port,
        more: "\n[call]\nvoicemail = \"600\"\n".into(),
        ..gateway::Options::default()
    };
    let gateway = Gateway::start(&server, &options).unwrap();
    let rosa =
        Phone::start(&server, "rosa", &phone::Options { tone: ROSA_TONE, ..Default::default() }).unwrap();
    Exchange { desk, karl, voicemail, rosa, _kamailio: kamailio, gateway, _server: server }
}

impl Exchange {
    /// Does a step; a failure shows what the gateway said meanwhile.
    fn see(&mut self, what: &str, step: impl FnOnce(&mut Exchange) -> anyhow::Result<()>) {
        if let Err(error) = step(self) {
            panic!("{what}: {error:#}\n\n{:#}", self.gateway.failure("was there"));
        }
    }
}

/// R-CALL-27: 302 of the exchange.
#[test]
fn a_number_that_has_moved_is_reached_where_it_is() {
    let mut ends = exchange();
    ends.rosa.call(&Gateway::jid_of("2040"), true).unwrap();
    ends.see("the call to the second phone", |ends| {
        ends.karl.expect("CALL_ESTABLISHED", SOON)?;
        ends.rosa.hears(KARL_TONE, 1.0, SOON)?;
        ends.karl.hears(ROSA_TONE, 1.0, SOON)?;
        ends.rosa.hang_up()?;
        ends.karl.expect("CALL_CLOSED", SOON).map(drop)
    });
}

/// R-CALL-28, R-SVC-3: Diversion and RFC 4458 lead the exchange to the right mailbox.
#[test]
fn a_caller_of_somebody_busy_talks_to_the_box_of_the_exchange() {
    let mut ends = exchange();
    ends.desk.dial(&Gateway::uri_of("2700")).unwrap();
    ends.see("the call to the box", |ends| {
        ends.rosa.expect("propose", SOON)?;
        ends.rosa.reject("busy")?;
        ends.desk.expect("CALL_ESTABLISHED", SOON)?;
        ends.desk.hears(BOX_TONE, 1.0, SOON)?;
        ends.voicemail.hears(DESK_TONE, 1.0, SOON)?;
        ends.desk.hang_up()?;
        ends.voicemail.expect("CALL_CLOSED", SOON).map(drop)
    });
}

/// R-CALL-19, R-CALL-25: behind a proxy that records its route.
#[test]
fn a_phone_of_the_exchange_holds_and_transfers() {
    let mut ends = exchange();
    ends.desk.dial(&Gateway::uri_of("2700")).unwrap();
    ends.see("the call to rosa", |ends| {
        ends.rosa.expect("propose", SOON)?;
        ends.rosa.accept()?;
        ends.desk.expect("CALL_ESTABLISHED", SOON)?;
        ends.rosa.hears(DESK_TONE, 1.0, SOON)?;
        ends.desk.order("hold", "")?;
        ends.rosa.expect("hold", SOON)?;
        ends.desk.order("resume", "")?;
        ends.rosa.expect("unhold", SOON)?;
        ends.desk.hears(ROSA_TONE, 1.0, SOON).map(drop)
    });
    ends.see("the transfer", |ends| {
        ends.desk.order("transfer", "sip:2042@pbx.example.net")?;
        ends.karl.expect("CALL_ESTABLISHED", SOON)?;
        ends.desk.expect("CALL_CLOSED", SOON)?;
        ends.rosa.hears(KARL_TONE, 1.0, SOON)?;
        ends.karl.hears(ROSA_TONE, 1.0, SOON)?;
        ends.rosa.hang_up()?;
        ends.karl.expect("CALL_CLOSED", SOON).map(drop)
    });
}
