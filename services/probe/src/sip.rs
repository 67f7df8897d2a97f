//! SIP messages of the phone, read and written by rsip: a reader that is not the gateway's own.

use rsip::headers::{
    CSeq, CallId, Contact, ContentLength, ContentType, From, MaxForwards, To, UserAgent, Via,
};
use rsip::prelude::*;
use rsip::{Header, Headers, Method, Request, Response, Uri, Version};
use std::net::SocketAddr;

/// Words of a request that its dialog gives.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    /// Where it is sent from.
    pub us: SocketAddr,
    /// Branch of its Via.
    pub branch: &'a str,
    /// From, with tag.
    pub from: &'a str,
    /// To, with tag once there is one.
    pub to: &'a str,
    /// Call-ID.
    pub call_id: &'a str,
    /// Number of its CSeq.
    pub cseq: u32,
    /// User part of our Contact.
    pub user: &'a str,
}

/// Writes a request.
///
/// # Errors
/// The URI is none that rsip reads.
pub fn request(method: Method, uri: &str, words: &Words<'_>, sdp: Option<&str>) -> Result<Request, String> {
    let uri = Uri::try_from(uri).map_err(|error| format!("the URI {uri:?}: {error}"))?;
    let Words { us, branch, from, to, call_id, cseq, user } = words;
    let mut headers: Headers = Headers::default();
    headers.push(Via::new(format!("SIP/2.0/UDP {us};branch={branch};rport")).into());
    headers.push(MaxForwards::new("70").into());
    headers.push(From::new(*from).into());
    headers.push(To::new(*to).into());
    headers.push(CallId::new(*call_id).into());
    headers.push(CSeq::new(format!("{cseq} {method}")).into());
    let body = finish(&mut headers, *us, user, sdp);
    Ok(Request { method, uri, version: Version::V2, headers, body })
}

/// Writes a response.
pub fn response(
    request: &Request,
    code: u16,
    tag: &str,
    us: SocketAddr,
    user: &str,
    sdp: Option<&str>,
) -> Response {
    let mut headers = Headers::default();
    for header in request.headers.iter() {
        match header {
            Header::Via(_)
            | Header::From(_)
            | Header::CallId(_)
            | Header::CSeq(_)
            | Header::RecordRoute(_) => {
                headers.push(header.clone());
            }
            // RFC 3261 §8.2.6.2
            Header::To(to) if code > 100 && !to.value().contains(";tag=") => {
                headers.push(To::new(format!("{};tag={tag}", to.value())).into());
            }
            Header::To(_) => headers.push(header.clone()),
            _ => {}
        }
    }
    let body = finish(&mut headers, us, user, sdp);
    Response { status_code: code.into(), version: Version::V2, headers, body }
}

fn finish(headers: &mut Headers, us: SocketAddr, user: &str, sdp: Option<&str>) -> Vec<u8> {
    headers.push(Contact::new(format!("<sip:{user}@{us}>")).into());
    headers.push(UserAgent::new("tandem-probe").into());
    let body = sdp.unwrap_or_default().as_bytes().to_vec();
    if sdp.is_some() {
        headers.push(ContentType::new("application/sdp").into());
    }
    headers.push(ContentLength::new(body.len().to_string()).into());
    body
}

/// Returns the URI of an address such as that of a Contact.
pub fn uri_of(address: &str) -> &str {
    match address.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => address.split(';').next().unwrap_or(address).trim(),
    }
}

/// Returns the first header of a name that rsip has no type for.
pub fn other<'a>(message: &'a impl HasHeaders, name: &str) -> Option<&'a str> {
    message.headers().iter().find_map(|header| match header {
        Header::Other(other, value) if other.eq_ignore_ascii_case(name) => Some(value.as_str()),
        _ => None,
    })
}

/// Returns method and number of a CSeq as they stand there.
pub fn cseq(message: &impl HeadersExt) -> Option<(u32, String)> {
    let value = message.cseq_header().ok()?.value();
    let (number, method) = value.trim().split_once(char::is_whitespace)?;
    Some((number.parse().ok()?, method.trim().to_owned()))
}

/// Returns the branch of the first Via.
pub fn branch(message: &impl HeadersExt) -> Option<String> {
    let value = message.via_header().ok()?.value();
    let branch = value.split(';').find_map(|parameter| parameter.trim().strip_prefix("branch="))?;
    Some(branch.split(',').next().unwrap_or(branch).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rsip::SipMessage;

    fn words<'a>(to: &'a str) -> Words<'a> {
        Words {
            us: "192.0.2.7:5080".parse().unwrap(),
            branch: "z9hG4bK-1",
            from: "<sip:2041@192.0.2.7>;tag=a",
            to,
            call_id: "c-1",
            cseq: 1,
            user: "2041",
        }
    }

    #[test]
    fn a_request_is_read_back_and_answered_within_its_dialog() {
        let to = "<sip:rosa@im.example.net>";
        let invite = request(Method::Invite, "sip:rosa@im.example.net", &words(to), Some("v=0\r\n")).unwrap();
        let text = invite.to_string();
        assert!(text.starts_with("INVITE sip:rosa@im.example.net SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7:5080;branch=z9hG4bK-1;rport\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"), "{text}");
        let Ok(SipMessage::Request(again)) = SipMessage::try_from(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(
            (cseq(&again), branch(&again)),
            (Some((1, "INVITE".to_owned())), Some("z9hG4bK-1".to_owned()))
        );
        let ok = response(&again, 200, "b", "192.0.2.9:5060".parse().unwrap(), "rosa", None);
        assert_eq!(ok.to_header().unwrap().value(), "<sip:rosa@im.example.net>;tag=b");
        assert_eq!(ok.status_code.code(), 200);
        assert_eq!(uri_of(ok.contact_header().unwrap().value()), "sip:rosa@192.0.2.9:5060");
    }

    #[test]
    fn addresses_give_their_uri() {
        for (address, uri) in [
            ("<sip:a@b;transport=udp>;expires=3", "sip:a@b;transport=udp"),
            ("\"A\" <sip:a@b>", "sip:a@b"),
            ("sip:a@b;tag=1", "sip:a@b"),
        ] {
            assert_eq!(uri_of(address), uri);
        }
    }
}
