use crate::message::{Message, Start};

/// Key of a transaction: branch, sent-by and method; an ACK has that of its INVITE (RFC 3261 §17.1.3, §17.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Client transaction.
    pub client: bool,
    /// Branch, or for an RFC 2543 peer everything that its transactions are matched by.
    pub branch: String,
    /// Host and port of the top Via; empty for clients.
    pub sent_by: String,
    /// Method; `INVITE` for ACK.
    pub method: String,
}

impl Key {
    /// Returns the key of the server transaction that a request belongs to.
    #[must_use]
    pub fn of_request(message: &Message) -> Option<Key> {
        let Start::Request { method, uri } = &message.start else { return None };
        let method = if method == "ACK" { "INVITE" } else { method }.to_owned();
        let via = message.via()?;
        let sent_by = format!("{}:{}", via.host, via.port.map_or(0, u32::from));
        let branch = match via.branch() {
            Some(branch) => branch.to_owned(),
            // No cookie: Request-URI, From-tag, Call-ID, CSeq and the top Via name it (§17.2.3).
            None => {
                let from = message.from()?;
                format!(
                    "{uri} {} {} {} {via}",
                    from.tag().unwrap_or(""),
                    message.call_id()?,
                    message.cseq()?.number
                )
            }
        };
        Some(Key { client: false, branch, sent_by, method })
    }

    /// Returns the key of the INVITE transaction that a CANCEL names (§9.2).
    #[must_use]
    pub fn cancelled_by(message: &Message) -> Option<Key> {
        Some(Key { method: "INVITE".into(), ..Key::of_request(message)? })
    }

    /// Returns the key of the client transaction that a response belongs to.
    #[must_use]
    pub fn of_response(message: &Message) -> Option<Key> {
        let branch = message.via()?.branch()?.to_owned();
        Some(Key { client: true, branch, sent_by: String::new(), method: message.cseq()?.method })
    }
}
