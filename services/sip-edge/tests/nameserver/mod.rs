//! A DNS server on a port of the loopback: what it was told, silence, or "there is no such name".

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

type Records = Arc<Mutex<Vec<Record>>>;

pub struct NameServer {
    pub address: SocketAddr,
    records: Records,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).unwrap()
}

impl NameServer {
    /// Names below `silent.example` get no answer; names without records do not exist.
    pub async fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (records, asked) = (Records::default(), Arc::new(Mutex::new(vec![])));
        let serving = tokio::spawn(serve(socket, records.clone(), asked.clone()));
        NameServer { address, records, asked, serving }
    }

    pub fn naptr(&self, at: &str, (order, preference): (u16, u16), service: &str, to: &str) {
        let (flags, services) =
            (b"s".to_vec().into_boxed_slice(), service.as_bytes().to_vec().into_boxed_slice());
        let naptr = NAPTR::new(order, preference, flags, services, Box::default(), name(to));
        self.add(at, 300, RData::NAPTR(naptr));
    }

    pub fn srv(&self, at: &str, (priority, weight): (u16, u16), port: u16, to: &str) {
        self.add(at, 300, RData::SRV(SRV::new(priority, weight, port, name(to))));
    }

    pub fn address(&self, at: &str, ip: &str) {
        self.add(
            at,
            60,
            match ip.parse().unwrap() {
                IpAddr::V4(ip) => RData::A(A(ip)),
                IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
            },
        );
    }

    fn add(&self, at: &str, ttl: u32, data: RData) {
        self.records.lock().unwrap().push(Record::from_rdata(name(at), ttl, data));
    }

    /// Questions that came, as "SRV _sip._udp.pbx.example".
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(socket: UdpSocket, records: Records, asked: Arc<Mutex<Vec<String>>>) {
    let mut buffer = [0; 4_096];
    loop {
        let Ok((length, peer)) = socket.recv_from(&mut buffer).await else { continue };
        let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
        let Some(query) = question.queries.first() else { continue };
        let text = query.name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        asked.lock().unwrap().push(format!("{} {text}", query.query_type));
        if text.ends_with("silent.example") {
            continue;
        }
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_desired = true;
        answer.metadata.recursion_available = true;
        answer.add_query(query.clone());
        let all = records.lock().unwrap().clone();
        let named =
            all.iter().filter(|record| record.name.to_ascii().to_ascii_lowercase() == format!("{text}."));
        let named: Vec<&Record> = named.collect();
        if named.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        for record in named.into_iter().filter(|record| record.record_type() == query.query_type) {
            answer.add_answer(record.clone());
        }
        let _ = socket.send_to(&answer.to_vec().unwrap(), peer).await;
    }
}
