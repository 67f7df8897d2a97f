//! A relay in this process, asked over gRPC, with real sockets.
#![allow(dead_code, reason = "each test file uses its part")]

use bus::Bus;
use proto::v1::relay_client::RelayClient;
use proto::v1::{AllocateRequest, Codec, ConnectRequest, LocalEnd};
use runtime::{Config, Drain};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;
use tandem_rtp_relay::Control;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// The trace of the calls.
pub const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub struct Relay {
    pub client: RelayClient<Channel>,
    pub bus: Bus,
    pub drain: Drain,
    pub running: JoinHandle<anyhow::Result<()>>,
}

pub fn config(ports: &str) -> Config {
    let mut config = Config::default();
    config.relay.ports = ports.into();
    config.cluster.secret = Some("a secret of these tests".into());
    config.instance = Some("relay-1".into());
    config
}

pub fn start(config: Config) -> Relay {
    let (bus, drain) = (Bus::in_process(), Drain::default());
    let (dialer, listener) = proto::pipe::pipe();
    let running =
        tokio::spawn(tandem_rtp_relay::run(config, bus.clone(), Control::Pipe(listener), drain.clone()));
    Relay { client: RelayClient::new(dialer.channel()), bus, drain, running }
}

impl Relay {
    pub async fn allocate(&mut self, session: &str) -> Vec<LocalEnd> {
        let request = AllocateRequest { trace: TRACE.into(), ..AllocateRequest::of_two(session, 1) };
        self.client.allocate(request).await.unwrap().into_inner().ends
    }

    pub async fn stop(self) {
        self.drain.stop();
        tokio::time::timeout(Duration::from_secs(10), self.running).await.unwrap().unwrap().unwrap();
    }
}

pub fn codecs() -> Vec<Codec> {
    let codec =
        |pt, name: &str, clock, channels| Codec { pt, name: name.into(), clock, channels, feedback: vec![] };
    vec![codec(0, "PCMU", 8_000, 1), codec(101, "telephone-event", 8_000, 1)]
}

pub fn plain(session: &str, leg: u32, address: SocketAddr) -> ConnectRequest {
    ConnectRequest {
        session: session.into(),
        leg,
        address: address.to_string(),
        codecs: codecs(),
        sends: true,
        receives: true,
        ours: leg == 1,
        ..ConnectRequest::default()
    }
}

/// A phone: RTP and, one port above, RTCP.
pub struct Phone {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
}

impl Phone {
    pub fn new() -> Phone {
        Phone::at("127.0.0.1")
    }

    pub fn at(ip: &str) -> Phone {
        loop {
            let rtp = UdpSocket::bind((ip, 0)).unwrap();
            let port = rtp.local_addr().unwrap().port();
            let Ok(rtcp) = UdpSocket::bind((ip, port.saturating_add(1))) else { continue };
            for socket in [&rtp, &rtcp] {
                socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            }
            return Phone { rtp, rtcp };
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.rtp.local_addr().unwrap()
    }
}

pub fn rtp_port(end: &LocalEnd) -> SocketAddr {
    format!("{}:{}", end.address, end.rtp_port).parse().unwrap()
}

pub fn rtcp_port(end: &LocalEnd) -> SocketAddr {
    format!("{}:{}", end.address, end.rtcp_port).parse().unwrap()
}

pub fn hear(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2_048];
    let (length, from) = socket.recv_from(&mut buffer).expect("nothing came");
    (buffer[..length].to_vec(), from)
}

pub fn rtp(pt: u8, seq: u16, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, pt];
    packet.extend(seq.to_be_bytes());
    packet.extend((u32::from(seq) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..160).map(|n| n as u8 ^ seq as u8));
    packet
}

/// Whose stream a report is of, and whose it tells of.
pub fn told(compound: &[u8]) -> (u32, u32) {
    use relay::rtcp::Item;
    let (mut sender, mut heard) = (0, 0);
    assert!(relay::rtcp::valid(compound));
    relay::rtcp::read(compound, |item| match item {
        Item::Sender(of) => sender = of.ssrc,
        Item::Block(block) => {
            assert_eq!((block.lost, block.fraction), (0, 0));
            heard = block.ssrc;
        }
        other => panic!("{other:?}"),
    });
    (sender, heard)
}
