use super::*;
use nameserver::NameServer;
use tokio::time::Instant;

#[path = "../../tests/nameserver/mod.rs"]
#[allow(dead_code, reason = "tests of the shell need the rest")]
mod nameserver;

async fn located(server: &NameServer, uri: &str) -> Result<Found> {
    let names = Names::new(&[server.address])?;
    names.locate(&NextHop::parse(uri)?).await
}

/// Returns "udp 10/60 192.0.2.1:5070 [2001:db8::1]:5070" for each service.
fn shown(found: &Found) -> Vec<String> {
    let service = |one: &Reached| {
        let addresses: Vec<String> = one.addresses.iter().map(ToString::to_string).collect();
        format!("{} {}/{} {}", one.transport, one.priority, one.weight, addresses.join(" "))
    };
    found.services.iter().map(service).collect()
}

/// RFC 3263 §4.1, §4.2: NAPTR, the SRV records that it leads to, and every address of those, IPv6 first (R-SIP-6).
#[tokio::test]
async fn b3_a_name_is_followed_to_its_addresses() -> Result<()> {
    let server = NameServer::start().await;
    server.naptr("carrier.example", (20, 0), "SIP+D2U", "_sip._udp.carrier.example");
    server.naptr("carrier.example", (10, 0), "SIP+D2T", "_sip._tcp.sbc.carrier.example");
    server.srv("_sip._tcp.sbc.carrier.example", (20, 0), 5080, "b.carrier.example");
    server.srv("_sip._tcp.sbc.carrier.example", (10, 60), 5070, "a.carrier.example");
    server.srv("_sip._udp.carrier.example", (10, 0), 5060, "b.carrier.example");
    server.address("a.carrier.example", "192.0.2.1");
    server.address("a.carrier.example", "2001:db8::1");
    server.address("b.carrier.example", "192.0.2.2");
    let found = located(&server, "sip:carrier.example").await?;
    assert_eq!(shown(&found), ["tcp 10/60 [2001:db8::1]:5070 192.0.2.1:5070", "tcp 20/0 192.0.2.2:5080"]);
    assert!(found.complete && found.lifetime <= Duration::from_secs(60), "{:?}", found.lifetime);
    let found = located(&server, "sip:carrier.example;transport=udp").await?;
    assert_eq!(shown(&found), ["udp 10/0 192.0.2.2:5060"]);
    let asked = server.asked();
    assert!(asked.contains(&"NAPTR carrier.example".to_owned()), "{asked:?}");
    Ok(())
}

/// Nothing is asked for that a URI says already, and without SRV the host itself is the server.
#[tokio::test]
async fn b3_a_port_or_an_address_needs_no_services() -> Result<()> {
    let server = NameServer::start().await;
    server.address("pbx.example", "192.0.2.9");
    server.srv("_sip._udp.pbx.example", (0, 0), 5099, "pbx.example");
    for (uri, expected, questions) in [
        ("sip:192.0.2.7;transport=tcp", "tcp 0/0 192.0.2.7:5060", 0),
        ("sip:pbx.example:5070", "udp 0/0 192.0.2.9:5070", 2),
        ("sip:pbx.example;transport=tcp", "tcp 0/0 192.0.2.9:5060", 3),
        ("sip:pbx.example", "udp 0/0 192.0.2.9:5099", 4),
        ("sips:pbx.example", "tls 0/0 192.0.2.9:5061", 4),
    ] {
        let before = server.asked().len();
        assert_eq!(shown(&located(&server, uri).await?), [expected], "{uri}");
        let asked = server.asked().split_off(before);
        assert_eq!(asked.len(), questions, "{uri}: {asked:?}");
    }
    Ok(())
}

/// Silence is no "there is none": it ends, and what was known before is not given up for it.
#[tokio::test]
async fn b2_silence_and_no_such_name_are_told_apart() -> Result<()> {
    let server = NameServer::start().await;
    let began = Instant::now();
    let silent = located(&server, "sip:pbx.silent.example:5060").await.unwrap_err().to_string();
    assert!(silent.contains("no DNS server answers"), "{silent}");
    assert!(began.elapsed() < QUESTION + Duration::from_secs(2), "{:?}", began.elapsed());
    let unknown = located(&server, "sip:nowhere.example").await.unwrap_err().to_string();
    assert_eq!(unknown, "nowhere.example: it has no address");
    // SRV records lead to one host that is known and one of which nothing is heard.
    server.srv("_sip._udp.half.example", (10, 0), 5060, "a.half.example");
    server.srv("_sip._udp.half.example", (20, 0), 5060, "b.silent.example");
    server.address("a.half.example", "192.0.2.1");
    let found = located(&server, "sip:half.example;transport=udp").await?;
    assert_eq!((shown(&found).len(), found.complete), (1, false));
    // RFC 2782: "." says that there is no such service.
    server.srv("_sip._tcp.none.example", (0, 0), 0, ".");
    server.address("none.example", "192.0.2.3");
    let none = located(&server, "sip:none.example;transport=tcp").await.unwrap_err().to_string();
    assert_eq!(none, "_sip._tcp.none.example is said not to be there");
    Ok(())
}
