use super::{Message, Start};
use bytes::{BufMut, Bytes, BytesMut};

impl Message {
    /// Writes the octets for the wire: headers in order, one Content-Length at the end.
    #[must_use]
    pub fn write(&self) -> Bytes {
        let size: usize = self.headers.iter().map(|h| h.name.as_str().len() + h.value.len() + 4).sum();
        let mut out = BytesMut::with_capacity(size + self.body.len() + 128);
        match &self.start {
            Start::Request { method, uri } => out.put_slice(format!("{method} {uri} SIP/2.0\r\n").as_bytes()),
            Start::Response { code, phrase } => {
                out.put_slice(format!("SIP/2.0 {code} {phrase}\r\n").as_bytes())
            }
        }
        for header in self.headers.iter().filter(|h| h.name.as_str() != "Content-Length") {
            out.put_slice(header.name.as_str().as_bytes());
            out.put_slice(if header.value.is_empty() { &b":"[..] } else { b": " });
            // A value never brings a line of its own.
            out.extend(header.value.iter().map(|b| if b"\r\n".contains(b) { b' ' } else { *b }));
            out.put_slice(b"\r\n");
        }
        out.put_slice(format!("Content-Length: {}\r\n\r\n", self.body.len()).as_bytes());
        out.put_slice(&self.body);
        out.freeze()
    }
}
