//! Beginnings of sessions.

use super::jingle::Jingle;
use crate::session::Session;
use crate::stanza::{self, NICK};
use minidom::Element;
use signal::{LegRef, Opening, Party};

impl Jingle {
    /// Creates the session of a peer's propose or session-initiate. A propose is answered from a resource of its own, a
    /// session-initiate from the JID that it was sent to.
    pub(super) fn incoming(&self, from: &str, to: &str, sid: &str, jmi: bool, leg: LegRef) -> Session {
        let local = if jmi {
            format!("{}/{}", stanza::bare(to), self.secret.token(leg, 0).tag())
        } else {
            to.to_owned()
        };
        Session::new(local, from.to_owned(), sid.to_owned(), false)
    }

    /// Creates the session of a call of ours: by propose to a bare JID, by session-initiate to a full one (interworking §2.4,
    /// §2.5).
    pub(super) fn outgoing(&self, leg: LegRef, opening: &Opening) -> Option<Session> {
        let from = stanza::bare(&opening.from.address);
        let served = stanza::domain(from).eq_ignore_ascii_case(&opening.link) && self.serves(&opening.link);
        if !served || opening.to.address.is_empty() {
            return None;
        }
        let token = self.secret.token(leg, 0);
        let to = opening.to.address.clone();
        let jmi = stanza::resource(&to).is_none();
        let session = Session::new(format!("{from}/{}", token.tag()), to, token.uuid(), true);
        let spare_sid = jmi.then(|| self.secret.token(leg, 1).uuid());
        Some(Session {
            jmi,
            spare_sid,
            nick: opening.from.display.as_deref().and_then(stanza::display_name),
            ..session
        })
    }
}

/// Reads caller and callee; the server vouches for `from`.
pub(super) fn opening(stanza: &Element) -> Option<Opening> {
    let (from, to) = (stanza.attr("from")?, stanza.attr("to")?);
    let nick = stanza.get_child("nick", NICK).and_then(|nick| stanza::display_name(&nick.text()));
    Some(Opening {
        from: Party { display: nick.filter(|nick| !stanza::looks_like_number(nick)), ..Party::xmpp(from) },
        to: Party::xmpp(stanza::bare(to)),
        link: stanza::domain(to).to_owned(),
        hops: 70,
        diverted: None,
        referral: None,
    })
}
