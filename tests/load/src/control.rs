//! Setting calls up and taking them down: our control stream, and rtpengine's `ng`.

mod grpc;
mod ng;

use crate::{Form, now, process};
use anyhow::Result;
use proto::v1;
use std::net::SocketAddr;

/// Protocol of a relay's control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// `tandem.v1.Relay` over gRPC: the stream of batches.
    Grpc,
    /// rtpengine's control protocol over UDP.
    Ng,
}

/// Octets of an AES_CM_128 master key with its salt.
pub const KEY: usize = 30;

/// A party as it describes itself.
#[derive(Clone, Debug)]
pub enum Party {
    /// RTP in the clear.
    Plain(SocketAddr),
    /// SRTP with this key; AES_CM_128_HMAC_SHA1_80.
    Sdes(SocketAddr, [u8; KEY]),
    /// ICE and DTLS.
    Web {
        /// Credentials and candidates.
        ice: v1::Ice,
        /// Of its certificate.
        fingerprint: v1::Fingerprint,
        /// True for the side that sends the ClientHello.
        active: bool,
    },
}

/// The relay's end that faces a party.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Where the party sends to; `None` = its candidates tell.
    pub address: Option<SocketAddr>,
    /// Protection that the relay uses.
    pub key: Option<[u8; KEY]>,
    /// Its ICE.
    pub ice: Option<v1::Ice>,
    /// Of its certificate.
    pub fingerprint: Option<v1::Fingerprint>,
}

/// The control of one relay.
pub enum Control {
    /// Ours.
    Grpc(Box<grpc::Stream>),
    /// rtpengine's.
    Ng(ng::Ng),
}

impl Control {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers there.
    pub fn connect(way: Way, at: SocketAddr, secret: &str, instance: &str) -> Result<Control> {
        Ok(match way {
            Way::Grpc => Control::Grpc(Box::new(grpc::Stream::connect(at, secret, instance)?)),
            Way::Ng => Control::Ng(ng::Ng::connect(at)?),
        })
    }

    /// Sets calls up: parties of both sides each, the relay's ends back.
    ///
    /// # Errors
    /// The relay refuses one.
    pub fn place(&mut self, first: usize, calls: &[[Party; 2]]) -> Result<Vec<[Local; 2]>> {
        match self {
            Control::Grpc(stream) => stream.place(first, calls),
            Control::Ng(ng) => ng.place(first, calls),
        }
    }

    /// Takes them down.
    ///
    /// # Errors
    /// The relay does not answer.
    pub fn end(&mut self, first: usize, calls: usize) -> Result<()> {
        match self {
            Control::Grpc(stream) => stream.end(first, calls),
            Control::Ng(ng) => ng.end(first, calls),
        }
    }

    /// Runs what there is to run in the background.
    pub fn is_for(&self, form: Form) -> bool {
        matches!(self, Control::Grpc(_)) || form != Form::Dtls
    }
}

/// Sets up and takes down `calls` calls, `in_flight` at a time.
///
/// # Errors
/// A call is refused.
pub fn set_up(control: &mut Control, pid: u32, calls: usize, in_flight: usize) -> Result<serde_json::Value> {
    let party = |port: u16| Party::Plain(SocketAddr::from(([127, 0, 0, 1], port)));
    let parties = vec![[party(9), party(19)]; in_flight];
    let round = |control: &mut Control, first: usize, count: usize| -> Result<()> {
        control.place(first, &parties[..count])?;
        control.end(first, count)
    };
    // Warm-up, and nothing of it is counted.
    round(control, 0, in_flight)?;
    let (cpu, began) = (process::cpu(pid), now());
    let mut done = 0;
    while done < calls {
        let count = in_flight.min(calls - done);
        round(control, in_flight + done, count)?;
        done += count;
    }
    let (cpu, took) = (process::cpu(pid) - cpu, began.elapsed());
    let cpu_us = cpu.as_secs_f64() * 1e6 / calls as f64;
    Ok(serde_json::json!({
        "calls": calls,
        "in_flight": in_flight,
        "cpu_us": cpu_us,
        "per_core_second": 1e6 / cpu_us,
        "per_second": calls as f64 / took.as_secs_f64(),
    }))
}
