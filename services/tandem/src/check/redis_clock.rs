//! The time of a Redis server: AUTH and TIME in its protocol (RESP), in clear alone.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Longest line of an answer.
const LINE: usize = 256;

/// Returns the server's time, ms since the Unix epoch; `None`: it was not told.
pub(super) async fn read(url: &str) -> Option<u64> {
    let rest = url.strip_prefix("redis://")?.split(['/', '?', ',']).next()?;
    let (credentials, host) = match rest.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, rest),
    };
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:6379") };
    let mut stream = BufReader::new(TcpStream::connect(host).await.ok()?);
    if let Some((user, password)) = credentials.map(|both| both.split_once(':').unwrap_or(("", both))) {
        let words: Vec<&str> = ["AUTH", user, password].into_iter().filter(|word| !word.is_empty()).collect();
        stream.write_all(command(&words).as_bytes()).await.ok()?;
        line(&mut stream).await.filter(|answer| answer == "+OK")?;
    }
    stream.write_all(command(&["TIME"]).as_bytes()).await.ok()?;
    line(&mut stream).await.filter(|answer| answer == "*2")?;
    line(&mut stream).await?;
    let seconds: u64 = line(&mut stream).await?.parse().ok()?;
    line(&mut stream).await?;
    let micros: u64 = line(&mut stream).await?.parse().ok()?;
    seconds.checked_mul(1_000)?.checked_add(micros / 1_000)
}

fn command(words: &[&str]) -> String {
    let number = words.len();
    let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{number}\r\n{words}")
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut octets = vec![];
    loop {
        let read = stream.fill_buf().await.ok()?;
        let end = read.iter().position(|octet| *octet == b'\n');
        let taken = end.map_or(read.len(), |end| end + 1);
        if taken == 0 || octets.len() + taken > LINE {
            return None;
        }
        octets.extend_from_slice(&read[..taken]);
        stream.consume(taken);
        if end.is_some() {
            return String::from_utf8(octets).ok().map(|line| line.trim_end().to_owned());
        }
    }
}
