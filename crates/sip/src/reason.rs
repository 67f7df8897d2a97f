//! The one table between SIP's endings and [`Reason`] (interworking §4.3–4.5; RFC 3398, RFC 3326).

use media::sdp::SdpError;
use signal::{End, Reason};

/// Status before the answer, phrase, and Q.850 cause of the Reason header, by reason.
///
/// Never 6xx, unless the trunk wants it: it would stop the PABX's ring groups (R-CODE-4). 503 takes the whole gateway out of a carrier's rotation (RFC 3261
/// §21.5.4): for what nobody can be served for, never for the trouble of one call (R-CODE-8).
const SAID: &[(Reason, u16, &str, u8)] = &[
    (Reason::Normal, 480, "Temporarily Unavailable", 16),
    (Reason::Cancelled, 487, "Request Terminated", 16),
    (Reason::AnsweredElsewhere, 487, "Request Terminated", 26),
    (Reason::Busy, 486, "Busy Here", 17),
    (Reason::Declined, 480, "Call Declined", 21),
    (Reason::NoAnswer, 480, "Temporarily Unavailable", 19),
    (Reason::Offline, 480, "Temporarily Unavailable", 20),
    (Reason::NotFound, 404, "Not Found", 1),
    (Reason::Gone, 410, "Gone", 22),
    (Reason::Timeout, 408, "Request Timeout", 102),
    (Reason::Forbidden, 403, "Forbidden", 57),
    (Reason::IncompatibleMedia, 488, "Not Acceptable Here", 88),
    (Reason::UnsupportedMedia, 488, "Not Acceptable Here", 79),
    (Reason::UnsupportedTransport, 488, "Not Acceptable Here", 65),
    (Reason::Security, 488, "Not Acceptable Here", 57),
    (Reason::MediaFailed, 488, "Not Acceptable Here", 88),
    (Reason::Connectivity, 480, "Temporarily Unavailable", 41),
    (Reason::Unavailable, 503, "Service Unavailable", 42),
    (Reason::Loop, 482, "Loop Detected", 41),
    (Reason::Glare, 491, "Request Pending", 41),
    (Reason::Expired, 480, "Temporarily Unavailable", 31),
    (Reason::BadRequest, 400, "Bad Request", 111),
    (Reason::NotImplemented, 501, "Not Implemented", 79),
    (Reason::General, 500, "Server Internal Error", 41),
    (Reason::Congestion, 480, "Temporarily Unavailable", 34),
    (Reason::AnonymityDisallowed, 433, "Anonymity Disallowed", 21),
];

/// Status and phrase in place of those of [`Reason::Declined`], towards a trunk that wants 6xx (`use_6xx`).
pub const DECLINE: (u16, &str) = (603, "Decline");

/// Returns the status code, reason phrase and Q.850 cause that say this reason.
#[must_use]
pub fn said(reason: Reason) -> (u16, &'static str, u8) {
    SAID.iter().find(|s| s.0 == reason).map_or((500, "Server Internal Error", 41), |s| (s.1, s.2, s.3))
}

/// Returns the reason of a final status; unknown codes fall back to x00 of their class (R-CODE-2).
#[must_use]
pub fn heard(code: u16) -> Reason {
    match code {
        486 | 600 => Reason::Busy,
        // A redirection that names nobody.
        300 | 402 | 403 | 433 | 470 | 603 | 607 | 608 => Reason::Declined,
        404 | 484 | 485 | 604 => Reason::NotFound,
        // A redirection, which is not followed: the End says where to.
        301 | 302 | 305 | 380 | 410 | 555 => Reason::Gone,
        408 | 504 => Reason::Timeout,
        401 | 407 | 428 | 436..=438 | 493 | 494 => Reason::Security,
        405 | 415 | 416 | 501 => Reason::UnsupportedMedia,
        406 | 488 | 580 | 606 => Reason::IncompatibleMedia,
        430 | 439 | 502 | 503 => Reason::Connectivity,
        480 => Reason::Offline,
        482 | 483 => Reason::Loop,
        487 => Reason::Cancelled,
        491 => Reason::Glare,
        _ if code >= 600 => Reason::Declined,
        _ => Reason::General,
    }
}

/// Returns the reason of a Q.850 cause (interworking §4.5); `None` if it says no more than the status.
fn cause(cause: u16) -> Option<Reason> {
    Some(match cause {
        1..=3 | 28 => Reason::NotFound,
        16 => Reason::Normal,
        17 => Reason::Busy,
        18 | 102 => Reason::Timeout,
        19 => Reason::NoAnswer,
        20 => Reason::Offline,
        21 | 55 | 57 | 87 => Reason::Declined,
        22 | 23 => Reason::Gone,
        26 => Reason::AnsweredElsewhere,
        27 | 34 | 38 | 41 | 42 => Reason::Connectivity,
        31 | 47 | 63 | 111 | 127 => Reason::General,
        29 | 79 => Reason::UnsupportedMedia,
        58 => Reason::MediaFailed,
        65 | 70 | 88 => Reason::IncompatibleMedia,
        _ => return None,
    })
}

/// Reasons that even a vague cause (31, 47, 63, 111, 127) is more exact than.
const VAGUE: &[Reason] =
    &[Reason::Normal, Reason::Offline, Reason::NoAnswer, Reason::Connectivity, Reason::General];

/// Reads the end that a final response, BYE or CANCEL with these Reason headers means. A Reason header wins over the status
/// if it is more exact (R-CODE-3); `Reason: SIP;cause=200` is "answered elsewhere" (R-CALL-14).
#[must_use]
pub fn end(fallback: Reason, code: Option<u16>, reasons: &[&str]) -> End {
    let mut reason = fallback;
    for value in reasons {
        let mut parts = value.split(';').map(str::trim);
        let protocol = parts.next().unwrap_or("");
        let number = parts.find_map(|p| p.strip_prefix("cause=")).and_then(|c| c.trim().parse::<u16>().ok());
        match (protocol.to_ascii_uppercase().as_str(), number) {
            ("SIP", Some(200)) => reason = Reason::AnsweredElsewhere,
            ("Q.850", Some(number)) if reason != Reason::AnsweredElsewhere => {
                // Normal clearing says no more than a CANCEL or an error status already does.
                reason = cause(number)
                    .filter(|r| *r != Reason::Normal || code.is_none())
                    .filter(|r| !(*r == Reason::Normal && fallback == Reason::Cancelled))
                    .filter(|r| *r != Reason::General || VAGUE.contains(&fallback))
                    .unwrap_or(reason);
            }
            _ => {}
        }
    }
    End { reason, sip: code, text: None }
}

/// Returns the Reason header's value for the end of a call before its answer.
#[must_use]
pub fn header(reason: Reason) -> String {
    match reason {
        Reason::AnsweredElsewhere => "SIP;cause=200;text=\"Call completed elsewhere\"".into(),
        _ => format!("Q.850;cause={}", said(reason).2),
    }
}

/// Returns the Warning for a refusal whose status says less than a person would know (RFC 3261 §20.43; 399: any text).
#[must_use]
pub fn warning(end: &End) -> Option<String> {
    let text = match (&end.text, end.reason) {
        (Some(text), _) => text.as_str(),
        (None, Reason::Declined) => "The call was declined",
        (None, _) => return None,
    };
    Some(format!("399 tandem \"{}\"", quoted(text)))
}

/// Returns the Warning for a description that cannot be served (RFC 3261 §20.43): 301 for its address, else 399.
#[must_use]
pub fn description_warning(fault: &SdpError) -> String {
    let code = if fault.at_fault().is_some_and(|line| line.starts_with("c=")) { 301 } else { 399 };
    format!("{code} tandem \"{}\"", quoted(&fault.to_string()))
}

/// Returns text as a quoted string holds it (RFC 3261 §25.1).
fn quoted(text: &str) -> String {
    let quoted = |c: char| matches!(c, '"' | '\\').then_some('\\').into_iter().chain([c]);
    text.chars().filter(|c| !c.is_control()).flat_map(quoted).collect()
}

/// Returns the Reason header's value for the BYE of an answered call, where some reasons mean something else (interworking
/// §4.4).
#[must_use]
pub fn hangup(reason: Reason) -> String {
    match reason {
        // Media that stopped, not media that nobody could agree on.
        Reason::MediaFailed => "Q.850;cause=41".into(),
        other => header(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g10_a_person_reads_why() {
        let declined = End::from(Reason::Declined);
        assert_eq!(said(declined.reason), (480, "Call Declined", 21));
        assert_eq!(warning(&declined).as_deref(), Some("399 tandem \"The call was declined\""));
        let text = Some("In a \"meeting\"\r\nX: y".into());
        let told = warning(&End { text, ..declined });
        assert_eq!(told.as_deref(), Some("399 tandem \"In a \\\"meeting\\\"X: y\""));
        assert_eq!(warning(&Reason::Busy.into()), None);
    }

    /// R-CODE-2, R-CODE-4
    #[test]
    fn every_code_means_something_and_we_never_say_6xx() {
        for code in 300..700 {
            let (said, _, _) = said(heard(code));
            assert!((400..600).contains(&said), "{code} would be said as {said}");
        }
        assert_eq!(heard(499), Reason::General);
        assert_eq!(heard(699), Reason::Declined);
    }

    /// R-CODE-1: every row of interworking §4.3.
    #[test]
    fn every_status_means_what_its_row_says() {
        let rows: &[(&[u16], Reason)] = &[
            (&[300, 402, 403, 433, 470, 603, 607, 608], Reason::Declined),
            (&[404, 484, 485, 604], Reason::NotFound),
            (&[301, 302, 305, 380, 410, 555], Reason::Gone),
            (&[405, 415, 416, 501], Reason::UnsupportedMedia),
            (&[406, 488, 580, 606], Reason::IncompatibleMedia),
            (&[408, 504], Reason::Timeout),
            (&[401, 407, 428, 436, 437, 438, 493, 494], Reason::Security),
            (&[430, 439, 502, 503], Reason::Connectivity),
            (&[480], Reason::Offline),
            (&[482, 483], Reason::Loop),
            (&[486, 600], Reason::Busy),
            (&[487], Reason::Cancelled),
            (&[491], Reason::Glare),
        ];
        for code in 300..700 {
            let row = rows.iter().find(|(codes, _)| codes.contains(&code)).map(|(_, reason)| *reason);
            let class = if code >= 600 { Reason::Declined } else { Reason::General };
            assert_eq!(heard(code), row.unwrap_or(class), "{code}");
        }
    }

    /// R-CODE-1: every row of interworking §4.5, beside a status that says little.
    #[test]
    fn every_cause_means_what_its_row_says() {
        let rows: &[(&[u16], Reason)] = &[
            (&[1, 2, 3, 28], Reason::NotFound),
            (&[17], Reason::Busy),
            (&[18, 102], Reason::Timeout),
            (&[19], Reason::NoAnswer),
            (&[20], Reason::Offline),
            (&[21, 55, 57, 87], Reason::Declined),
            (&[22, 23], Reason::Gone),
            (&[26], Reason::AnsweredElsewhere),
            (&[27, 34, 38, 41, 42], Reason::Connectivity),
            (&[29, 79], Reason::UnsupportedMedia),
            (&[31, 47, 63, 111, 127], Reason::General),
            (&[58], Reason::MediaFailed),
            (&[65, 70, 88], Reason::IncompatibleMedia),
        ];
        for number in 0..=127 {
            let row = rows.iter().find(|(causes, _)| causes.contains(&number)).map(|(_, reason)| *reason);
            let text = format!("Q.850;cause={number}");
            assert_eq!(
                end(heard(480), Some(480), &[&text]).reason,
                row.unwrap_or(Reason::Offline),
                "{number}"
            );
            assert_eq!(end(Reason::Normal, None, &[&text]).reason, row.unwrap_or(Reason::Normal), "{number}");
        }
        // What the caller or a clearer status said is not blurred.
        assert_eq!(end(Reason::Cancelled, None, &["Q.850;cause=31"]).reason, Reason::Cancelled);
        assert_eq!(end(heard(486), Some(486), &["Q.850;cause=127"]).reason, Reason::Busy);
        assert_eq!(end(heard(503), Some(503), &["Q.850;cause=47"]).reason, Reason::General);
    }

    /// R-CODE-1, R-CODE-8: every row of interworking §4.4, before the answer and after it.
    #[test]
    fn every_reason_is_said_as_its_row_says() {
        for (reason, code, before, after) in [
            (Reason::Normal, 480, 16, 16),
            (Reason::Busy, 486, 17, 17),
            (Reason::Declined, 480, 21, 21),
            (Reason::NoAnswer, 480, 19, 19),
            (Reason::Timeout, 408, 102, 102),
            (Reason::Expired, 480, 31, 31),
            (Reason::Offline, 480, 20, 20),
            (Reason::Connectivity, 480, 41, 41),
            (Reason::Unavailable, 503, 42, 42),
            (Reason::General, 500, 41, 41),
            (Reason::MediaFailed, 488, 88, 41),
            (Reason::IncompatibleMedia, 488, 88, 88),
            (Reason::UnsupportedMedia, 488, 79, 79),
            (Reason::UnsupportedTransport, 488, 65, 65),
            (Reason::Security, 488, 57, 57),
            (Reason::Congestion, 480, 34, 34),
            (Reason::AnonymityDisallowed, 433, 21, 21),
        ] {
            assert_eq!((said(reason).0, said(reason).2), (code, before), "{reason:?}");
            assert_eq!(header(reason), format!("Q.850;cause={before}"), "{reason:?}");
            assert_eq!(hangup(reason), format!("Q.850;cause={after}"), "{reason:?}");
        }
        assert_eq!(header(Reason::AnsweredElsewhere), hangup(Reason::AnsweredElsewhere));
    }

    /// R-CODE-1: what is said is heard again as the same, with the cause where the status is ambiguous.
    #[test]
    fn what_is_said_is_heard() {
        for (reason, code, _, _) in SAID {
            let header = header(*reason);
            let again = end(heard(*code), Some(*code), &[&header]).reason;
            let lossy = [
                Reason::Normal,
                Reason::Expired,
                Reason::General,
                Reason::BadRequest,
                Reason::NotImplemented,
                Reason::Unavailable,
                Reason::Loop,
                Reason::Glare,
            ];
            let near = [
                (Reason::Forbidden, Reason::Declined),
                (Reason::Security, Reason::Declined),
                (Reason::UnsupportedTransport, Reason::IncompatibleMedia),
                (Reason::MediaFailed, Reason::IncompatibleMedia),
                (Reason::Congestion, Reason::Connectivity),
                (Reason::AnonymityDisallowed, Reason::Declined),
            ];
            assert!(
                again == *reason || lossy.contains(reason) || near.contains(&(*reason, again)),
                "{reason:?} came back as {again:?}"
            );
        }
    }

    /// R-CODE-3, R-CALL-14
    #[test]
    fn the_reason_header_wins_where_it_is_more_exact() {
        assert_eq!(
            end(heard(480), Some(480), &["Q.850;cause=19;text=\"no answer\""]).reason,
            Reason::NoAnswer
        );
        assert_eq!(end(heard(480), Some(480), &["Q.850;cause=16"]).reason, Reason::Offline);
        assert_eq!(
            end(Reason::Cancelled, None, &["SIP;cause=200;text=\"x\"", "Q.850;cause=16"]).reason,
            Reason::AnsweredElsewhere
        );
        assert_eq!(end(Reason::Cancelled, None, &["Q.850;cause=16"]).reason, Reason::Cancelled);
        assert_eq!(end(Reason::Normal, None, &[]).reason, Reason::Normal);
    }
}
