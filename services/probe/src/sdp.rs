//! Descriptions of the SIP side: one line of sound over RTP in the clear (RFC 8866, RFC 3264).

use crate::codec::Codec;
use std::net::{IpAddr, SocketAddr};

/// Place and codecs of a peer that described itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Where it wants its RTP.
    pub address: SocketAddr,
    /// Codecs that we know, in its order.
    pub codecs: Vec<Codec>,
}

/// Writes a description of an end at an address.
pub fn write(at: SocketAddr, codecs: &[Codec]) -> String {
    let family = if at.is_ipv6() { "IP6" } else { "IP4" };
    let ip = at.ip();
    let numbers: Vec<String> = codecs.iter().map(|codec| codec.pt.to_string()).collect();
    // The clock of G.722 is 8,000 whatever its rate (RFC 3551 §4.5.2).
    let maps: String = codecs
        .iter()
        .map(|codec| format!("a=rtpmap:{} {}/{}\r\n", codec.pt, codec.name(), codec.kind.clock()))
        .collect();
    format!(
        "v=0\r\no=probe 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP {}\r\n{maps}a=ptime:20\r\n\
         a=sendrecv\r\n",
        at.port(),
        numbers.join(" ")
    )
}

/// Reads a description.
///
/// # Errors
/// Cause in words: no sound that we can exchange.
pub fn read(text: &str) -> Result<Described, String> {
    let mut ip: Option<IpAddr> = None;
    let mut audio: Option<(u16, Vec<u8>)> = None;
    for line in text.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            if audio.is_some() {
                break;
            }
            let words: Vec<&str> = media.split_whitespace().collect();
            let ["audio", port, profile, numbers @ ..] = words.as_slice() else { continue };
            if *profile != "RTP/AVP" {
                return Err(format!("sound over {profile}, and the probe's phone speaks RTP/AVP alone"));
            }
            let port = port.parse().map_err(|_| format!("port {port:?}"))?;
            audio = Some((port, numbers.iter().filter_map(|number| number.parse().ok()).collect()));
        } else if let Some(connection) = line.strip_prefix("c=") {
            // That of the line of sound stands behind that of the session, and counts (RFC 8866 §5.7).
            ip = connection.split_whitespace().nth(2).and_then(|ip| ip.parse().ok()).or(ip);
        }
    }
    let (port, numbers) = audio.ok_or("no line of sound")?;
    let ip = ip.ok_or("no numeric address in a c= line")?;
    if port == 0 {
        return Err("sound is refused (port 0)".into());
    }
    let codecs: Vec<Codec> = numbers.into_iter().filter_map(Codec::of_number).collect();
    if codecs.is_empty() {
        return Err("no codec in common".into());
    }
    Ok(Described { address: SocketAddr::new(ip, port), codecs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let at: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let codecs: Vec<Codec> = ["PCMA", "PCMU"].into_iter().filter_map(Codec::named).collect();
        let text = write(at, &codecs);
        assert!(text.contains("m=audio 4000 RTP/AVP 8 0\r\na=rtpmap:8 PCMA/8000\r\n"), "{text}");
        assert_eq!(read(&text), Ok(Described { address: at, codecs }));
    }

    #[test]
    fn the_line_of_sound_counts() {
        let text = "v=0\nc=IN IP4 192.0.2.1\nm=image 5 udptl t38\nm=audio 6000 RTP/AVP 18 8 101\nc=IN IP4 192.0.2.2\nm=audio 9 RTP/AVP 0\n";
        let read = read(text).unwrap();
        assert_eq!(
            (read.address.to_string().as_str(), read.codecs.as_slice()),
            ("192.0.2.2:6000", &[Codec::of_number(8).unwrap()][..])
        );
    }

    #[test]
    fn a_refusal_has_words() {
        for (text, cause) in [
            ("c=IN IP4 192.0.2.1\nm=audio 0 RTP/AVP 0", "port 0"),
            ("c=IN IP4 192.0.2.1\nm=audio 9 RTP/SAVP 0", "RTP/SAVP"),
            ("c=IN IP4 192.0.2.1\nm=audio 9 RTP/AVP 18", "codec"),
            ("c=IN IP4 host.example\nm=audio 9 RTP/AVP 0", "address"),
            ("v=0", "no line"),
        ] {
            assert!(read(text).unwrap_err().contains(cause), "{text}");
        }
    }
}
