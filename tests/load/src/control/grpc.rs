//! Our control API as an orchestrator uses it: one stream, orders in batches.

use super::{Local, Party};
use anyhow::{Context, Result, bail};
use proto::auth::AuthToken;
use proto::v1;
use proto::v1::order::Order;
use proto::v1::relay_client::RelayClient;
use proto::v1::reply::Reply;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
/// Orders of one message.
const BATCH: usize = 256;
/// A relay that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The stream, with the runtime that drives it while something is asked.
pub struct Stream {
    runtime: Runtime,
    outward: mpsc::Sender<v1::Orders>,
    inward: tonic::Streaming<v1::Replies>,
    next: u64,
}

impl Stream {
    pub fn connect(at: SocketAddr, secret: &str, instance: &str) -> Result<Stream> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let secret = signal::Secret::new(secret.as_bytes());
        let pass = AuthToken::new(&secret, instance, crate::now_ms);
        let (outward, messages) = mpsc::channel::<v1::Orders>(64);
        let messages = futures::stream::unfold(messages, |mut messages| async move {
            messages.recv().await.map(|message| (message, messages))
        });
        let inward = runtime.block_on(async {
            let channel = Endpoint::from_shared(format!("http://{at}"))?.tcp_nodelay(true).connect().await?;
            let mut client = RelayClient::with_interceptor(channel, pass);
            anyhow::Ok(client.perform(messages).await?.into_inner())
        })?;
        Ok(Stream { runtime, outward, inward, next: 0 })
    }

    /// Performs orders; the replies are in their order.
    fn perform(&mut self, orders: Vec<Order>) -> Result<Vec<Reply>> {
        let Stream { runtime, outward, inward, next } = self;
        let first = *next;
        let count = orders.len();
        *next += count as u64;
        let mut numbered: Vec<v1::Order> =
            (first..).zip(orders).map(|(id, order)| v1::Order { id, order: Some(order) }).collect();
        let mut replies: HashMap<u64, Reply> = HashMap::with_capacity(count);
        runtime.block_on(async {
            while !numbered.is_empty() {
                let rest = numbered.split_off(numbered.len().min(BATCH));
                outward.send(v1::Orders { orders: std::mem::replace(&mut numbered, rest) }).await?;
            }
            while replies.len() < count {
                let message = tokio::time::timeout(PATIENCE, inward.message()).await??;
                let message = message.context("the relay ended the stream")?;
                replies.extend(message.replies.into_iter().filter_map(|r| Some((r.id, r.reply?))));
            }
            anyhow::Ok(())
        })?;
        (first..first + count as u64)
            .map(|id| replies.remove(&id).context("an order without reply"))
            .collect()
    }

    pub fn place(&mut self, first: usize, calls: &[[Party; 2]]) -> Result<Vec<[Local; 2]>> {
        let allocate = |(call, parties): (usize, &[Party; 2])| {
            let mut request = v1::AllocateRequest::of_two(&call.to_string(), 1);
            for (leg, party) in request.legs.iter_mut().zip(parties) {
                leg.webrtc = matches!(party, Party::Web { .. });
            }
            Order::Allocate(request)
        };
        let replies = self.perform((first..).zip(calls).map(allocate).collect())?;
        let locals: Vec<[Local; 2]> = replies.into_iter().map(locals).collect::<Result<_>>()?;
        let facts = (first..).zip(calls).flat_map(|(call, parties)| {
            (0..).zip(parties).map(move |(leg, party)| Order::Connect(describe(call, leg, party)))
        });
        for reply in self.perform(facts.collect())? {
            refused(&reply)?;
        }
        Ok(locals)
    }

    pub fn end(&mut self, first: usize, calls: usize) -> Result<()> {
        let release = |call: usize| {
            Order::Release(v1::ReleaseRequest { session: call.to_string(), ..v1::ReleaseRequest::default() })
        };
        for reply in self.perform((first..first + calls).map(release).collect())? {
            refused(&reply)?;
        }
        Ok(())
    }
}

fn refused(reply: &Reply) -> Result<()> {
    if let Reply::Refused(refused) = reply {
        bail!("the relay refuses: {}", refused.message);
    }
    Ok(())
}

fn locals(reply: Reply) -> Result<[Local; 2]> {
    refused(&reply)?;
    let Reply::Allocate(reply) = reply else { bail!("the reply of another order") };
    let end = |leg: u32| -> Result<Local> {
        let end = reply.ends.iter().find(|end| end.leg == leg).context("an end is missing")?;
        let port = u16::try_from(end.rtp_port)?;
        let address = format!("{}:{port}", end.address).parse()?;
        let line = end.crypto.iter().find(|line| line.suite == SUITE);
        Ok(Local {
            address: Some(address).filter(|_| port != 0),
            key: line.and_then(|line| line.key.as_slice().try_into().ok()),
            ice: end.ice.clone(),
            fingerprint: end.fingerprint.clone(),
        })
    };
    Ok([end(0)?, end(1)?])
}

fn describe(call: usize, leg: u32, party: &Party) -> v1::ConnectRequest {
    let codec = v1::Codec { name: "PCMU".into(), clock: 8_000, channels: 1, ..Default::default() };
    let plain = v1::ConnectRequest {
        session: call.to_string(),
        leg,
        codecs: vec![codec],
        sends: true,
        receives: true,
        ours: leg == 1,
        ..Default::default()
    };
    match party {
        Party::Plain(address) => v1::ConnectRequest { address: address.to_string(), ..plain },
        Party::Sdes(address, key) => v1::ConnectRequest {
            address: address.to_string(),
            crypto: vec![v1::Crypto { tag: 1, suite: SUITE.into(), key: key.to_vec(), ..Default::default() }],
            ..plain
        },
        Party::Web { ice, fingerprint, active } => {
            let setup = if *active { v1::Setup::Active } else { v1::Setup::Passive };
            let dtls = v1::Dtls { fingerprints: vec![fingerprint.clone()], setup: setup.into() };
            v1::ConnectRequest { mux: true, ice: Some(ice.clone()), dtls: Some(dtls), ..plain }
        }
    }
}
