//! Cost for the relay until media may flow to a WebRTC peer: ICE checks and the DTLS handshake.

use crate::control::{Control, Party};
use crate::web::Peers;
use crate::{Key, now, process};
use anyhow::{Result, ensure};
use mio::{Events, Poll};
use std::net::SocketAddr;
use std::time::Duration;

/// Runs `calls` handshakes, `in_flight` at a time; only the time between description and keys is counted. Who is done is released
/// before the next begin: what an association costs while it lasts (consent) is no part of a handshake.
///
/// # Errors
/// A call cannot be set up, or gets no keys.
pub fn run(
    control: &mut Control,
    pid: u32,
    calls: usize,
    in_flight: usize,
    key: Key,
) -> Result<serde_json::Value> {
    ensure!(matches!(control, Control::Grpc(_)), "rtpengine is not asked for ICE and DTLS");
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1_024);
    let mut peers = Peers::new(calls, key, poll.registry(), 0)?;
    let phone = Party::Plain(SocketAddr::from(([127, 0, 0, 1], 9)));
    let (mut cpu, mut took) = (Duration::ZERO, Duration::ZERO);
    let mut first = 0;
    while first < calls {
        let last = (first + in_flight).min(calls);
        let parties: Vec<[Party; 2]> = (first..last).map(|call| [phone.clone(), peers.party(call)]).collect();
        let locals = control.place(first, &parties)?;
        let (before, began) = (process::cpu(pid), now());
        for (call, locals) in (first..).zip(&locals) {
            peers.meet(call, &locals[1])?;
        }
        peers.run(&mut poll, &mut events, last)?;
        cpu += process::cpu(pid) - before;
        took += began.elapsed();
        control.end(first, last - first)?;
        first = last;
    }
    let memory = process::memory(pid);
    let cpu_us = cpu.as_secs_f64() * 1e6 / calls as f64;
    Ok(serde_json::json!({
        "calls": calls,
        "in_flight": in_flight,
        "cpu_us": cpu_us,
        "per_core_second": 1e6 / cpu_us,
        "per_second": calls as f64 / took.as_secs_f64(),
        "resident_kib": memory.resident_kib,
    }))
}
