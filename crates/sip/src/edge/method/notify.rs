//! NOTIFY: a voicemail server tells of a box, without a subscription (RFC 3842 §3.8; interworking §9.1).
//!
//! One rule: it is answered once it is stored, so that the server tells again what nobody has noted.

use super::{NO_TRANSACTION, Request};
use crate::edge::{Edge, Output, Trunk};
use crate::message::{Message, Start};
use crate::message_summary::{self, CONTENT_TYPE, EVENT};
use crate::privacy;
use crate::uri::Uri;
use address::{Role, Way};
use signal::Time;
use signal::mailbox::{Noted, Notice};

/// Most notices without an answer.
const MAX_NOTICES: usize = 1_024;

/// Status and phrase of a refusal, with its mandatory header.
type Refusal = (u16, &'static str, Option<(&'static str, String)>);

impl Edge {
    pub(super) fn notify(&mut self, request: Request, now: Time) {
        if request.is_tagged() {
            // Nobody here has subscribed (RFC 6665 §4.1.3).
            return self.reject(&request, 481, NO_TRANSACTION);
        }
        if self.authorise(&request).is_none() {
            return;
        }
        let trunk = self.legs.protocol.trunk_at(request.flow());
        let notice = match trunk.map(|trunk| notice(request.message(), trunk)) {
            Some(Ok(notice)) => notice,
            None => return,
            Some(Err((code, phrase, header))) => {
                let headers: Vec<(&str, String)> = header.into_iter().collect();
                let (message, flow) = (request.message(), request.flow());
                return self.legs.protocol.refuse_stateless(message, flow, code, phrase, &headers);
            }
        };
        if !self.begin(&request, now) {
            return;
        }
        let ua = &mut self.legs.protocol;
        if ua.notices.len() >= MAX_NOTICES {
            return ua.busy(request.message(), request.flow(), now);
        }
        ua.tickets += 1;
        ua.notices.insert(ua.tickets, request.arrival);
        ua.out.push_back(Output::Mailbox(ua.tickets, notice));
    }

    /// Takes the answer to an [`Output::Mailbox`].
    pub fn noted(&mut self, ticket: u64, noted: Noted, now: Time) {
        let ua = &mut self.legs.protocol;
        let Some(arrival) = ua.notices.remove(&ticket) else { return };
        let (message, flow) = (&arrival.message, arrival.flow);
        match noted {
            Noted::Stored => ua.refuse(message, flow, 200, "OK", &[], now),
            Noted::Unknown => ua.refuse(message, flow, 404, "Not Found", &[], now),
            Noted::Unavailable => ua.busy(message, flow, now),
        }
        self.flush(now);
    }
}

/// Reads what a server of this trunk tells.
fn notice(message: &Message, trunk: &Trunk) -> Result<Notice, Refusal> {
    let event = message.text("Event").and_then(|event| event.split(';').next()).unwrap_or_default();
    if !event.trim().eq_ignore_ascii_case(EVENT) {
        return Err((489, "Bad Event", Some(("Allow-Events", EVENT.to_owned()))));
    }
    let kind = message.text("Content-Type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case(CONTENT_TYPE) {
        return Err((415, "Unsupported Media Type", Some(("Accept", CONTENT_TYPE.to_owned()))));
    }
    let Start::Request { uri, .. } = &message.start else { return Err((400, "Bad Request", None)) };
    let called = |address: &str| trunk.rewrites.address(Way::From, Role::Called, address);
    let to = Uri::parse(uri).map(|uri| called(&privacy::address(&uri)));
    let (Some(to), Some(summary)) = (to, message_summary::read(&message.body)) else {
        return Err((400, "No Message Summary", None));
    };
    let (counts, account) = (summary.counts(), summary.account.as_deref().map(called));
    Ok(Notice { trunk: trunk.name.clone(), to, account, counts })
}
