//! rtpengine's `ng`: a cookie and a bencoded dictionary in a datagram.

use super::{KEY, Local, Party};
use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

/// Before a request is sent again; it is the same by its cookie.
const AGAIN: Duration = Duration::from_millis(500);
/// Times that the rest of a window is asked for.
const TRIES: usize = 10;
/// Datagrams on their way at a time: both sockets hold so many.
const WINDOW: usize = 128;
const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// The way to one rtpengine.
pub struct Ng {
    socket: UdpSocket,
    next: u64,
}

impl Ng {
    pub fn connect(at: SocketAddr) -> Result<Ng> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.connect(at)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut ng = Ng { socket, next: 0 };
        let up = (0..50).any(|_| {
            let up = ng.ask(&["d7:command4:pinge".to_owned()], 1).is_ok();
            if !up {
                std::thread::sleep(Duration::from_millis(50));
            }
            up
        });
        ng.socket.set_read_timeout(Some(AGAIN))?;
        if up { Ok(ng) } else { bail!("no rtpengine answers at {at}") }
    }

    /// Sends requests and gives the replies in their order.
    fn ask(&mut self, requests: &[String], tries: usize) -> Result<Vec<String>> {
        let mut replies = Vec::with_capacity(requests.len());
        let mut buffer = vec![0; 65_536];
        for window in requests.chunks(WINDOW) {
            let first = self.next;
            self.next += window.len() as u64;
            for (cookie, request) in (first..).zip(window) {
                self.socket.send(format!("{cookie} {request}").as_bytes())?;
            }
            let mut came: HashMap<u64, String> = HashMap::new();
            let mut missed = 0;
            while came.len() < window.len() {
                let Ok(length) = self.socket.recv(&mut buffer) else {
                    missed += 1;
                    if missed >= tries {
                        bail!("rtpengine does not answer");
                    }
                    for (cookie, request) in (first..).zip(window) {
                        if !came.contains_key(&cookie) {
                            self.socket.send(format!("{cookie} {request}").as_bytes())?;
                        }
                    }
                    continue;
                };
                let text = String::from_utf8_lossy(&buffer[..length]);
                if let Some((cookie, reply)) = text.split_once(' ')
                    && let Ok(cookie) = cookie.parse::<u64>()
                    && cookie >= first
                {
                    came.insert(cookie, reply.to_owned());
                }
            }
            replies.extend((first..self.next).filter_map(|cookie| came.remove(&cookie)));
        }
        Ok(replies)
    }

    pub fn place(&mut self, first: usize, calls: &[[Party; 2]]) -> Result<Vec<[Local; 2]>> {
        let offers: Vec<String> =
            (first..).zip(calls).map(|(call, [from, to])| offer(call, from, to)).collect();
        let seconds = self.ask(&offers, TRIES)?;
        let answers: Vec<String> = (first..)
            .zip(calls)
            .zip(&seconds)
            .map(|((call, [_, to]), offered)| answer(call, to, tag(offered)))
            .collect();
        let firsts = self.ask(&answers, TRIES)?;
        firsts.iter().zip(&seconds).map(|(first, second)| Ok([local(first)?, local(second)?])).collect()
    }

    pub fn end(&mut self, first: usize, calls: usize) -> Result<()> {
        let delete = |call: usize| {
            dictionary(&[
                ("call-id", &format!("call{call}")),
                ("command", "delete"),
                ("delete-delay", "i0e"),
                ("from-tag", "a"),
            ])
        };
        let deletes: Vec<String> = (first..first + calls).map(delete).collect();
        for reply in self.ask(&deletes, TRIES)? {
            if !reply.contains("6:result2:ok") {
                bail!("rtpengine does not delete a call: {reply}");
            }
        }
        Ok(())
    }
}

/// Strings, but for integers that are written as they are.
fn dictionary(fields: &[(&str, &str)]) -> String {
    let mut text = String::from("d");
    for (key, value) in fields {
        text.push_str(&format!("{}:{key}", key.len()));
        if *key == "delete-delay" {
            text.push_str(value);
        } else {
            text.push_str(&format!("{}:{value}", value.len()));
        }
    }
    text.push('e');
    text
}

fn offer(call: usize, from: &Party, to: &Party) -> String {
    let (call, description) = (format!("call{call}"), sdp(from, 1));
    let mut fields = vec![
        ("call-id", call.as_str()),
        ("command", "offer"),
        ("from-tag", "a"),
        ("sdp", description.as_str()),
    ];
    if matches!(to, Party::Sdes(..)) {
        fields.push(("transport-protocol", "RTP/SAVP"));
    }
    dictionary(&fields)
}

/// The tag that an answer must name (RFC 4568 §5.1.2): of the offered line of our suite.
fn tag(offered: &str) -> u32 {
    let line =
        offered.lines().find(|line| line.starts_with("a=crypto:") && line.contains(&format!(" {SUITE} ")));
    let tag = line.and_then(|line| line.strip_prefix("a=crypto:")?.split(' ').next()?.parse().ok());
    tag.unwrap_or(1)
}

fn answer(call: usize, from: &Party, tag: u32) -> String {
    dictionary(&[
        ("call-id", &format!("call{call}")),
        ("command", "answer"),
        ("from-tag", "a"),
        ("sdp", &sdp(from, tag)),
        ("to-tag", "b"),
    ])
}

fn sdp(party: &Party, tag: u32) -> String {
    let (address, profile, more) = match party {
        Party::Sdes(address, key) => {
            let line = format!("a=crypto:{tag} {SUITE} inline:{}\r\n", BASE64.encode(key));
            (*address, "RTP/SAVP", line)
        }
        Party::Plain(address) => (*address, "RTP/AVP", String::new()),
        Party::Web { .. } => (SocketAddr::from(([127, 0, 0, 1], 9)), "UDP/TLS/RTP/SAVPF", String::new()),
    };
    let (ip, port) = (address.ip(), address.port());
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} {profile} 0\r\n{more}"
    )
}

/// The end in a reply: its port, and its key of our suite.
fn local(reply: &str) -> Result<Local> {
    let cut = |from: &str, to: &[char]| Some(reply.split_once(from)?.1.split(to).next()?.trim().to_owned());
    let port = cut("m=audio ", &[' ']).with_context(|| format!("rtpengine refuses: {reply}"))?;
    let ip = cut("c=IN IP4 ", &['\r', '\n']).context("no address in rtpengine's reply")?;
    let line =
        reply.lines().find(|line| line.starts_with("a=crypto:") && line.contains(&format!(" {SUITE} ")));
    let key = match line.and_then(|line| line.split_once("inline:")) {
        Some((_, rest)) => {
            let text = rest.split(['|', ' ', '\r']).next().unwrap_or_default();
            // Written without padding at times.
            let text = format!("{text}{}", "=".repeat((4 - text.len() % 4) % 4));
            let octets = BASE64.decode(&text)?;
            Some(<[u8; KEY]>::try_from(octets).map_err(|_| anyhow::anyhow!("a key of another length"))?)
        }
        None => None,
    };
    Ok(Local { address: Some(format!("{ip}:{port}").parse()?), key, ice: None, fingerprint: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_give_address_and_key_of_our_suite() {
        let key = BASE64.encode([7; KEY]);
        let sdp = format!(
            "c=IN IP4 127.0.0.2\r\nm=audio 31006 RTP/SAVP 0\r\na=crypto:1 AEAD_AES_256_GCM inline:AAAA\r\na=crypto:5 {SUITE} inline:{}\r\n",
            key.trim_end_matches('=')
        );
        let local = local(&sdp).unwrap();
        assert_eq!((local.address, local.key), ("127.0.0.2:31006".parse().ok(), Some([7; KEY])));
        assert_eq!(tag(&sdp), 5);
        assert!(super::local("d6:result5:errore").is_err());
    }

    #[test]
    fn requests_are_bencoded() {
        assert_eq!(dictionary(&[("command", "ping")]), "d7:command4:pinge");
        let party = Party::Sdes("127.0.0.1:4000".parse().unwrap(), [1; KEY]);
        assert!(
            sdp(&party, 1).contains("m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:")
        );
    }
}
