//! Validation of requests: is it well formed, and is it served here? (RFC 3261 §8.2, interworking §10.6)
//!
//! One rule: checks follow the RFC's order; the first that fails gives the answer. The reader never judges, this never reads.

use crate::message::{CSeq, Message, Start};
use crate::uri::Uri;

/// Methods that the gateway serves within a dialog, in the order of its Allow header.
pub const ALLOW: &[&str] = &["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "PRACK", "UPDATE", "INFO", "REFER"];
/// Methods that are served outside dialogs alone. Allow of an INVITE and its answers tells what may be sent within (RFC 3261 §13.2.1).
const OUTSIDE: &[&str] = &["NOTIFY"];
/// Methods that exist but are not served: 405 instead of 501.
const KNOWN: &[&str] = &["REGISTER", "SUBSCRIBE", "PUBLISH", "MESSAGE"];
/// Bodies of INFO that are understood; another is 415.
pub const INFO_BODIES: &[&str] = &["application/dtmf-relay", "application/dtmf"];
/// Extensions that a peer may require of us, and that we offer: RFC 3262, RFC 4028, RFC 4488, RFC 3891.
pub const SUPPORTED: &[&str] = &["100rel", "timer", "norefersub", "replaces"];

/// Returns the value of Allow outside a dialog.
#[must_use]
pub fn allowed() -> String {
    [ALLOW, OUTSIDE].concat().join(", ")
}

/// An answer that refuses a request, with the header it must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status code.
    pub code: u16,
    /// Reason phrase; for 400 it names the fault.
    pub phrase: &'static str,
    /// Mandatory header of that answer (R-SIP-10).
    pub header: Option<(&'static str, String)>,
}

fn refuse(code: u16, phrase: &'static str) -> Result<(), Refusal> {
    Err(Refusal { code, phrase, header: None })
}

/// Validates a request.
///
/// # Errors
/// The answer to refuse it with. ACK is never answered: drop it then.
pub fn request(message: &Message) -> Result<(), Refusal> {
    let Start::Request { method, uri } = &message.start else { return Ok(()) };
    syntax(message)?;
    let unknown = ![ALLOW, OUTSIDE].iter().any(|methods| methods.contains(&method.as_str()));
    if unknown {
        let (code, phrase) = if KNOWN.contains(&method.as_str()) {
            (405, "Method Not Allowed")
        } else {
            (501, "Not Implemented")
        };
        return Err(Refusal { code, phrase, header: Some(("Allow", allowed())) });
    }
    if message.cseq().is_none_or(|c| c.method != *method) {
        return refuse(400, "CSeq names another method");
    }
    match Uri::parse(uri) {
        None => return refuse(400, "Malformed Request-URI"),
        Some(Uri::Other(_)) => return refuse(416, "Unsupported URI Scheme"),
        // Headers have no place in a Request-URI and are never honoured (RFC 4475 §3.1.2.11).
        Some(Uri::Sip(uri)) if uri.headers.is_some() => return refuse(400, "Request-URI with headers"),
        Some(_) => {}
    }
    let missing: Vec<&str> = message.list("Require").into_iter().filter(|r| !SUPPORTED.contains(r)).collect();
    if !missing.is_empty() && !matches!(method.as_str(), "ACK" | "CANCEL") {
        return Err(Refusal {
            code: 420,
            phrase: "Bad Extension",
            header: Some(("Unsupported", missing.join(", "))),
        });
    }
    content(message)
}

/// Checks that mandatory headers are present, single and well formed (RFC 3261 §8.1.1).
fn syntax(message: &Message) -> Result<(), Refusal> {
    for name in ["From", "To", "Call-ID", "CSeq", "Max-Forwards"] {
        if message.all(name).count() > 1 {
            return refuse(400, "A header stands twice that may stand once");
        }
    }
    if message.call_id().is_none() {
        return refuse(400, "Missing Call-ID");
    }
    if message.from().is_none() {
        return refuse(400, "Missing or malformed From");
    }
    if message.to().is_none() {
        return refuse(400, "Missing or malformed To");
    }
    let Some(CSeq { .. }) = message.cseq() else { return refuse(400, "Missing or malformed CSeq") };
    // The top one routes the answer; those below it are copied as they are.
    if message.via().is_none() {
        return refuse(400, "Missing or malformed Via");
    }
    if message.text("Contact") != Some("*") && !message.has_addresses("Contact") {
        return refuse(400, "Malformed Contact");
    }
    Ok(())
}

fn content(message: &Message) -> Result<(), Refusal> {
    if message.list("Content-Encoding").iter().any(|e| !e.eq_ignore_ascii_case("identity")) {
        return Err(Refusal {
            code: 415,
            phrase: "Unsupported Media Type",
            header: Some(("Accept-Encoding", "identity".into())),
        });
    }
    if message.text("Info-Package").is_some() {
        // We list no package in Recv-Info; the body's type does not matter then (RFC 6086 §4.2.2).
        return Ok(());
    }
    let Some(kind) = message.text("Content-Type").filter(|_| !message.body.is_empty()) else { return Ok(()) };
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let served: &[&str] = match message.method().as_deref() {
        Some("INVITE" | "UPDATE" | "ACK" | "PRACK") => {
            &["application/sdp", "multipart/mixed", "multipart/alternative", "multipart/related"]
        }
        Some("INFO") => INFO_BODIES,
        _ => return Ok(()),
    };
    if served.contains(&kind.as_str()) {
        return Ok(());
    }
    Err(Refusal { code: 415, phrase: "Unsupported Media Type", header: Some(("Accept", served.join(", "))) })
}
