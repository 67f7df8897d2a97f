//! A request that was challenged is said again with credentials (RFC 3261 §22.2, §22.3).

use super::{Hearing, Wire};
use crate::dialog::{Dialog, State};
use crate::digest::{Credentials, challenges};
use crate::message::{Message, Start};

/// What a 401 or 407 to `request` comes to: the request again, once it is in the record that its CSeq has risen. `None` where
/// it is a refusal like any other: nothing that we can answer, or our answer was not good enough.
pub fn challenged(
    dialog: &mut Dialog,
    request: &Message,
    response: &Message,
    who: &Credentials,
    cnonce: &str,
    branch: &str,
) -> Option<Hearing> {
    let Start::Request { method, uri } = &request.start else { return None };
    let of_a_leg = match dialog.state {
        State::Outgoing | State::Active => true,
        State::Ended => method == "BYE",
        State::Incoming | State::Cancelled => false,
    };
    let found = challenges(response);
    if found.is_empty() || !of_a_leg || method == "ACK" || method == "CANCEL" {
        return None;
    }
    let mut again = request.clone();
    for challenge in &found {
        let realm = format!("realm=\"{}\"", challenge.realm);
        let answered = |value: &[u8]| String::from_utf8_lossy(value).contains(&realm);
        if again.all(challenge.header()).any(|v| answered(v)) && !challenge.stale {
            return None;
        }
        again.headers.retain(|h| h.name.as_str() != challenge.header() || !answered(&h.value));
        let count = match &mut dialog.nonce {
            Some((nonce, count)) if *nonce == challenge.nonce => {
                *count += 1;
                *count
            }
            other => {
                *other = Some((challenge.nonce.clone(), 1));
                1
            }
        };
        let value = challenge.answer(who, method, uri, cnonce, count);
        again = again.with(challenge.header(), value);
    }
    let old = request.cseq()?.number;
    dialog.local_cseq = dialog.local_cseq.max(old) + 1;
    let (number, method) = (dialog.local_cseq, method.clone());
    let mut via = request.via()?;
    via.set("branch", branch.to_owned());
    for header in &mut again.headers {
        match header.name.as_str() {
            "Via" => header.value = via.to_string().into(),
            "CSeq" => header.value = format!("{number} {method}").into(),
            _ => {}
        }
    }
    if method == "INVITE" {
        if dialog.opened == old {
            dialog.opened = number;
            dialog.invite = again.write().to_vec();
            dialog.proceeding = false;
        }
        if dialog.asking == Some(old) {
            dialog.asking = Some(number);
        }
    }
    Some(Hearing { after: vec![Wire::Request(again)], keep: true, ..Hearing::default() })
}
