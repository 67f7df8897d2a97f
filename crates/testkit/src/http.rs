//! One HTTP request, for admin pages and probes.

use anyhow::{Context, Result};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The largest answer that is read.
const ANSWER: u64 = 16 * 1024 * 1024;

/// Asks for a page and gives its status and body.
///
/// # Errors
/// Nobody answers within five seconds, or not in HTTP.
pub fn get(server: SocketAddr, path: &str) -> Result<(u16, String)> {
    request(server, "GET", path)
}

/// The same with another method and without a body.
///
/// # Errors
/// As [`get`].
pub fn request(server: SocketAddr, method: &str, path: &str) -> Result<(u16, String)> {
    exchange(server, method, path, "")
}

/// Posts JSON to a page and gives its status and body.
///
/// # Errors
/// As [`get`].
pub fn post(server: SocketAddr, path: &str, json: &serde_json::Value) -> Result<(u16, String)> {
    exchange(server, "POST", path, &json.to_string())
}

/// Puts JSON to a page and gives its status and body.
///
/// # Errors
/// As [`get`].
pub fn put(server: SocketAddr, path: &str, json: &serde_json::Value) -> Result<(u16, String)> {
    exchange(server, "PUT", path, &json.to_string())
}

fn exchange(server: SocketAddr, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&server, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    // HTTP/1.0: the answer ends with the connection, and comes in one piece.
    let form = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: {server}\r\n{form}Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer is not HTTP")?;
    Ok((status, body.to_owned()))
}
