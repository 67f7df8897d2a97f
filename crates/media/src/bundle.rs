//! Contents that share one transport (BUNDLE, RFC 9143, XEP-0338): groups of offers and answers, and which content carries which.
//!
//! One rule: only contents with ICE and DTLS share a transport, only those that both sides have grouped, and the first live content of
//! the answer's group carries the others (RFC 9143 §7.3).

use signal::media::{Content, Media, Transport};

/// Makes an offer of these contents and groups those that can share a transport, even a single one (clients on max-bundle need the
/// group).
pub(crate) fn offered(contents: Vec<Content>) -> Media {
    let bundle =
        contents.iter().filter(|content| can_share(content)).map(|content| content.name.clone()).collect();
    Media { contents, bundle }
}

/// Makes the answer of these contents to `offer`. Contents that the offer had grouped and that can share stay grouped, on the transport
/// of the first live one.
pub(crate) fn answered(offer: &Media, contents: Vec<Content>) -> Media {
    let kept = |name: &&String| contents.iter().any(|content| content.name == **name && can_share(content));
    let bundle = offer.bundle.iter().filter(kept).cloned().collect();
    let mut answer = Media { contents, bundle };
    for index in 0..answer.contents.len() {
        let carrier = carrier(offer, &answer, index).and_then(|carrier| answer.contents.get(carrier));
        let shared = carrier.map(|carrier| carrier.transport.clone());
        if let (Some(shared), Some(content)) = (shared, answer.contents.get_mut(index)) {
            // The transport is shared, the source is not.
            content.transport = Transport { ssrc: content.transport.ssrc, ..shared };
        }
    }
    answer
}

/// Returns the index of the content whose transport carries the content at `index`; `None` = it has its own transport.
#[must_use]
pub fn carrier(offer: &Media, answer: &Media, index: usize) -> Option<usize> {
    let index_of = |name: &String| answer.contents.iter().position(|content| content.name == *name);
    let is_live = |index: &usize| {
        let taken = answer.contents.get(*index).is_some_and(|content| !content.rejected);
        taken && offer.contents.get(*index).is_some_and(|content| offer.bundle.contains(&content.name))
    };
    let mut group = answer.bundle.iter().filter_map(index_of).filter(is_live);
    let first = group.next()?;
    group.any(|member| member == index).then_some(first)
}

fn can_share(content: &Content) -> bool {
    content.transport.ice.is_some() && content.transport.dtls.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signal::media::{Direction, Dtls, Ice, Kind, Setup};

    fn content(name: &str, ufrag: &str) -> Content {
        Content {
            name: name.into(),
            kind: if name == "a" { Kind::Audio } else { Kind::Video },
            direction: Direction::Both,
            rejected: false,
            codecs: vec![],
            transport: Transport {
                ice: Some(Ice { ufrag: ufrag.into(), ..Ice::default() }),
                dtls: Some(Dtls { fingerprints: vec![], setup: Setup::Active }),
                ..Transport::default()
            },
        }
    }

    fn group(names: &[&str]) -> Media {
        let contents = [content("a", "one"), content("b", "two"), content("c", "three")];
        Media { contents: contents.into(), bundle: names.iter().map(|name| (*name).into()).collect() }
    }

    #[test]
    fn the_first_of_the_answer_that_lives_carries_the_others() {
        let of = |offer: &Media, answer: &Media| [0, 1, 2].map(|index| carrier(offer, answer, index));
        let all = group(&["a", "b", "c"]);
        assert_eq!(of(&all, &all), [None, Some(0), Some(0)]);
        assert_eq!(
            of(&all, &group(&["c", "a", "b"])),
            [Some(2), Some(2), None],
            "in the order of the answer"
        );
        assert_eq!(of(&all, &group(&["a", "c"])), [None, None, Some(0)]);
        assert_eq!(of(&group(&["b", "c"]), &all), [None, None, Some(1)]);
        assert_eq!(of(&all, &group(&[])), [None; 3], "Dino: a transport for each");
        assert_eq!(of(&group(&[]), &all), [None; 3]);
        let mut refused = all.clone();
        refused.contents[0].rejected = true;
        assert_eq!(of(&all, &refused), [None, None, Some(1)], "R-SDP: what is rejected carries nobody");
        assert_eq!(of(&all, &group(&["a", "stranger", "b"])), [None, Some(0), None]);
    }

    #[test]
    fn g3_contents_that_share_a_transport_have_sources_of_their_own() {
        let ssrc = |id| Some(signal::media::Ssrc { id, cname: 1 });
        let mut contents = group(&[]).contents;
        contents.iter_mut().zip(1..).for_each(|(content, id)| content.transport.ssrc = ssrc(id));
        let said = answered(&group(&["a", "b"]), contents);
        let sources: Vec<_> = said.contents.iter().map(|content| content.transport.ssrc).collect();
        assert_eq!(sources, [ssrc(1), ssrc(2), ssrc(3)]);
    }

    #[test]
    fn an_answer_groups_what_was_grouped_and_says_one_transport() {
        let ufrags = |media: &Media| -> Vec<String> {
            media
                .contents
                .iter()
                .map(|c| c.transport.ice.as_ref().map(|ice| ice.ufrag.clone()).unwrap_or_default())
                .collect()
        };
        let said = answered(&group(&["a", "b"]), group(&[]).contents);
        assert_eq!(
            (said.bundle.as_slice(), ufrags(&said)),
            (&["a".into(), "b".into()][..], vec!["one".into(), "one".into(), "three".into()])
        );
        let apart = answered(&group(&[]), group(&[]).contents);
        assert_eq!(
            (apart.bundle.len(), ufrags(&apart)),
            (0, vec!["one".into(), "two".into(), "three".into()])
        );
        let mut plain = group(&[]).contents;
        plain[1].transport = Transport::default();
        assert_eq!(answered(&group(&["a", "b", "c"]), plain.clone()).bundle, ["a", "c"]);
        assert_eq!(offered(plain).bundle, ["a", "c"], "ports of their own are never shared");
    }
}
