//! Certificates, fingerprints, keys; the engine's own times.

use super::certificate::matches;
use super::*;
use ::openssl::hash::MessageDigest;
use ::openssl::pkey::PKey;
use ::openssl::rsa::Rsa;
use ::openssl::x509::X509;
use signal::media::Fingerprint;

const NOW: Time = Time(1_700_000_000_000);

fn certificate() -> Certificate {
    Certificate::generate(NOW).unwrap()
}

fn x509(certificate: &Certificate) -> X509 {
    X509::from_pem(&certificate.to_pem().unwrap()).unwrap()
}

#[test]
fn a_certificate_is_written_and_read_and_keeps_its_fingerprint() {
    let made = certificate();
    let read = Certificate::from_pem(&made.to_pem().unwrap()).unwrap();
    assert_eq!(read.fingerprint(), made.fingerprint());
    assert_eq!(made.fingerprint().digest, *x509(&made).digest(MessageDigest::sha256()).unwrap());
    assert_ne!(made.fingerprint(), certificate().fingerprint());
    assert!(!format!("{made:?}").contains("PRIVATE"));
}

#[test]
fn a_certificate_that_would_not_do_is_refused_with_the_reason() {
    let (one, other) = (certificate().to_pem().unwrap(), certificate().to_pem().unwrap());
    let split = |pem: &[u8]| {
        let text = String::from_utf8(pem.to_vec()).unwrap();
        let at = text.find("-----BEGIN PRIVATE").unwrap();
        (text[..at].to_owned(), text[at..].to_owned())
    };
    let rsa = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap().private_key_to_pem_pkcs8().unwrap();
    for (pem, reason) in [
        (split(&one).1, "no certificate"),
        (split(&one).0, "no private key"),
        (split(&one).0 + &split(&other).1, "not the certificate's"),
        (split(&one).0 + &String::from_utf8(rsa).unwrap(), "another kind"),
    ] {
        let told = Certificate::from_pem(pem.as_bytes()).unwrap_err().to_string();
        assert!(told.contains(reason), "{told}");
    }
}

#[test]
fn fingerprints_count_by_name_and_the_weak_ones_only_alone() {
    let x509 = x509(&certificate());
    let of = |name: &str, hash: MessageDigest| Fingerprint {
        hash: name.into(),
        digest: x509.digest(hash).unwrap().to_vec(),
    };
    let sha1 = of("sha-1", MessageDigest::sha1());
    for good in [
        of("SHA-256", MessageDigest::sha256()),
        of("sha-384", MessageDigest::sha384()),
        of("sha-512", MessageDigest::sha512()),
        sha1.clone(),
    ] {
        assert!(matches(&x509, std::slice::from_ref(&good)), "{good:?}");
        let mut wrong = good.clone();
        wrong.digest[0] ^= 1;
        assert!(!matches(&x509, std::slice::from_ref(&wrong)));
        assert!(matches(&x509, &[of("sha-256", MessageDigest::sha256()), wrong]), "any match is enough");
    }
    let other = certificate().fingerprint();
    assert!(!matches(&x509, &[sha1.clone(), other]), "a weak one does not count beside a strong one");
    let unknown = Fingerprint { hash: "sha-999".into(), digest: vec![1] };
    assert!(matches(&x509, &[sha1.clone(), unknown]), "one that nobody can compute is as if not there");
    let short = Fingerprint { hash: "sha-256".into(), digest: vec![] };
    let md5 = of("md5", MessageDigest::md5());
    for none in [&[][..], &[md5], &[short], &[Fingerprint { hash: "sha-256".into(), ..sha1 }]] {
        assert!(!matches(&x509, none));
    }
}

#[test]
fn material_is_cut_as_the_rfc_says() {
    let material: Vec<u8> = (0..60).collect();
    let keys = Keys::of(Suite::AesCm128Sha1_80, &material, Role::Server).unwrap();
    assert_eq!(keys.remote.key, material[..16], "the client's key");
    assert_eq!(keys.local.key, material[16..32]);
    assert_eq!(keys.remote.salt, material[32..46]);
    assert_eq!(keys.local.salt, material[46..60]);
    let mirrored = Keys::of(Suite::AesCm128Sha1_80, &material, Role::Client).unwrap();
    assert!(mirrored.local == keys.remote && mirrored.remote == keys.local);
    assert_eq!(Keys::of(Suite::AesCm128Sha1_80, &material[1..], Role::Client), None);
    assert!(Keys::of(Suite::AeadAes256Gcm, &[0; 88], Role::Client).unwrap().contexts().is_ok());
}

#[test]
fn roles_follow_the_peer() {
    let roles = [Setup::ActPass, Setup::Passive, Setup::Active].map(Role::facing);
    assert_eq!(roles, [Role::Client, Role::Client, Role::Server]);
}

/// Passes datagrams both ways until both are silent; what came of it, for the first and the second.
fn converse(one: &mut dyn Engine, two: &mut dyn Engine) -> (Vec<Outcome>, Vec<Outcome>) {
    let (mut first, mut second) = (vec![], vec![]);
    loop {
        let (there, back) = (one.poll(), two.poll());
        if there.is_none() && back.is_none() {
            return (first, second);
        }
        second.extend(there.and_then(|datagram| two.receive(&datagram, NOW)));
        first.extend(back.and_then(|datagram| one.receive(&datagram, NOW)));
    }
}

#[test]
fn both_ends_have_the_same_keys_and_a_goodbye_ends_it() {
    let (ours, theirs) = (certificate(), certificate());
    let mut client = OpenSsl::new(&ours, Role::Client, &[theirs.fingerprint()], NOW).unwrap();
    let mut server = OpenSsl::new(&theirs, Role::Server, &[ours.fingerprint()], NOW).unwrap();
    let (there, here) = converse(&mut client, &mut server);
    let ([Outcome::Keys(client_keys)], [Outcome::Keys(server_keys)]) = (&there[..], &here[..]) else {
        panic!("{there:?} {here:?}")
    };
    assert_eq!(
        (&client_keys.local.key, &client_keys.remote.salt),
        (&server_keys.remote.key, &server_keys.local.salt)
    );
    assert_ne!(client_keys.local.key, client_keys.remote.key);
    assert_eq!(client.deadline(), None);
    for junk in [&[22, 254, 253][..], &[23; 1_500], &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40], &[]]
    {
        assert_eq!(server.receive(junk, NOW), None, "{junk:?}");
    }
    client.close();
    assert_eq!(converse(&mut client, &mut server).1, [Outcome::Closed]);
    assert_eq!(server.receive(&[23; 60], NOW), None);
}

#[test]
fn silence_ends_at_the_deadline() {
    for role in [Role::Client, Role::Server] {
        let mut engine = OpenSsl::new(&certificate(), role, &[certificate().fingerprint()], NOW).unwrap();
        assert_eq!(engine.poll().is_some(), role == Role::Client);
        let mut now = NOW;
        let outcome = loop {
            now = engine.deadline().expect("it waits for something").max(now + 1);
            match engine.tick(now) {
                None => assert!(now.since(NOW) < DEADLINE, "{}", now.since(NOW)),
                Some(outcome) => break outcome,
            }
        };
        assert_eq!((outcome, engine.deadline()), (Outcome::Failed, None));
        assert!((DEADLINE..DEADLINE + 100).contains(&now.since(NOW)));
    }
}

/// The hello of a client that hears nothing goes out again after 200 ms, by OpenSSL's own clock.
#[test]
#[allow(clippy::disallowed_methods, reason = "OpenSSL's clock is the system's")]
fn a_flight_is_repeated_after_a_fifth_of_a_second() {
    let certificate = certificate();
    let begun = std::time::Instant::now();
    let mut engine = OpenSsl::new(&certificate, Role::Client, &[], NOW).unwrap();
    let first = engine.poll().unwrap();
    assert!(first.len() <= MTU as usize);
    engine.tick(NOW + 50);
    let early = engine.poll();
    assert!(early.is_none() || begun.elapsed().as_millis() >= 200, "repeated too early");
    std::thread::sleep(std::time::Duration::from_millis(230));
    engine.tick(NOW + 100);
    assert_eq!(engine.poll().map(|again| again.len()), Some(first.len()));
}

fn clock() -> crate::clock::Clock {
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    crate::clock::Clock::new(std::time::Instant::now(), NOW)
}

fn dtls13(certificate: &Certificate, role: Role, peer: &Certificate) -> Dtls13 {
    Dtls13::on(clock(), certificate, role, &[peer.fingerprint()], NOW).unwrap()
}

fn server(certificate: &Certificate, peer: &Certificate) -> AnyEngine {
    AnyEngine::new(certificate, Role::Server, &[peer.fingerprint()], clock(), NOW).unwrap()
}

#[test]
fn a_server_speaks_the_version_that_the_client_asks_for() {
    let (ours, theirs) = (certificate(), certificate());
    let mut old: Box<dyn Engine> =
        Box::new(OpenSsl::new(&theirs, Role::Client, &[ours.fingerprint()], NOW).unwrap());
    let mut new: Box<dyn Engine> = Box::new(dtls13(&theirs, Role::Client, &ours));
    for (client, offers) in [(&mut old, false), (&mut new, true)] {
        let hello = client.poll().unwrap();
        assert_eq!(association::offers_dtls13(&hello), offers);
        for cut in 0..hello.len() {
            association::offers_dtls13(&hello[..cut]);
        }
        let mut association = server(&ours, &theirs);
        assert_eq!((association.poll(), association.deadline()), (None, Some(NOW + DEADLINE)));
        let early = association.receive(&hello, NOW);
        assert_eq!(early, None);
        let (there, here) = converse(&mut **client, &mut association);
        let ([Outcome::Keys(client_keys)], [Outcome::Keys(server_keys)]) = (&there[..], &here[..]) else {
            panic!("{there:?} {here:?}")
        };
        assert!(client_keys.local == server_keys.remote && client_keys.remote == server_keys.local);
        assert_eq!(client_keys.suite, server_keys.suite);
        for junk in [&[22, 254, 253][..], &[47; 1_500], &[23; 60], &[]] {
            assert_eq!(association.receive(junk, NOW), None, "{junk:?}");
        }
        client.close();
        assert_eq!(converse(&mut **client, &mut association).1, [Outcome::Closed]);
    }
}

#[test]
fn a_stranger_gets_no_key_in_either_role() {
    let (ours, theirs, stranger) = (certificate(), certificate(), certificate());
    let mut client = dtls13(&stranger, Role::Client, &ours);
    let mut association = server(&ours, &theirs);
    let (_, here) = converse(&mut client, &mut association);
    assert_eq!(here, [Outcome::Insecure]);
    assert_eq!(association.deadline(), None);
    let mut client = dtls13(&theirs, Role::Client, &stranger);
    let (there, _) = converse(&mut client, &mut server(&ours, &theirs));
    assert_eq!(there, [Outcome::Insecure]);
}

#[test]
fn a_lost_flight_is_repeated_on_our_clock_and_silence_ends() {
    let (ours, theirs) = (certificate(), certificate());
    let mut client = dtls13(&theirs, Role::Client, &ours);
    let mut association = server(&ours, &theirs);
    while let Some(datagram) = client.poll() {
        association.receive(&datagram, NOW);
    }
    let lost: Vec<_> = std::iter::from_fn(|| association.poll()).collect();
    assert!(!lost.is_empty());
    let again = association.deadline().unwrap();
    assert!((150..=350).contains(&again.since(NOW)), "{}", again.since(NOW));
    assert_eq!(association.tick(again), None);
    assert!(std::iter::from_fn(|| association.poll()).count() >= lost.len());
    let mut now = again;
    let outcome = loop {
        now = association.deadline().expect("it waits for something").max(now + 1);
        match association.tick(now) {
            None => assert!(now.since(NOW) < DEADLINE, "{}", now.since(NOW)),
            Some(outcome) => break outcome,
        }
    };
    assert_eq!((outcome, association.deadline()), (Outcome::Failed, None));
    let mut nobody = server(&ours, &theirs);
    assert_eq!(nobody.tick(NOW + DEADLINE - 1), None);
    assert_eq!(nobody.tick(NOW + DEADLINE), Some(Outcome::Failed));
    assert_eq!((nobody.tick(NOW + 2 * DEADLINE), nobody.deadline()), (None, None));
}
