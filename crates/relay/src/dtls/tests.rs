//! Certificates, fingerprints, keys; the engine's own times.

use super::certificate::matches;
use super::*;
use boring::hash::MessageDigest;
use boring::pkey::PKey;
use boring::rsa::Rsa;
use boring::ssl::SslVersion;
use boring::x509::X509;
use signal::Time;
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
    let der = x509.to_der().unwrap();
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
        assert!(matches(&der, std::slice::from_ref(&good)), "{good:?}");
        let mut wrong = good.clone();
        wrong.digest[0] ^= 1;
        assert!(!matches(&der, std::slice::from_ref(&wrong)));
        assert!(matches(&der, &[of("sha-256", MessageDigest::sha256()), wrong]), "any match is enough");
    }
    let other = certificate().fingerprint();
    assert!(!matches(&der, &[sha1.clone(), other]), "a weak one does not count beside a strong one");
    let unknown = Fingerprint { hash: "sha-999".into(), digest: vec![1] };
    assert!(matches(&der, &[sha1.clone(), unknown]), "one that nobody can compute is as if not there");
    let short = Fingerprint { hash: "sha-256".into(), digest: vec![] };
    let md5 = of("md5", MessageDigest::md5());
    for none in [&[][..], &[md5], &[short], &[Fingerprint { hash: "sha-256".into(), ..sha1 }]] {
        assert!(!matches(&der, none));
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
fn converse(one: &mut Engine, two: &mut Engine) -> (Vec<Outcome>, Vec<Outcome>) {
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
    let mut client = Engine::new(&ours, Role::Client, &[theirs.fingerprint()], NOW).unwrap();
    let mut server = Engine::new(&theirs, Role::Server, &[ours.fingerprint()], NOW).unwrap();
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
        let mut engine = Engine::new(&certificate(), role, &[certificate().fingerprint()], NOW).unwrap();
        assert_eq!(engine.poll().is_some(), role == Role::Client);
        let mut now = NOW;
        let outcome = loop {
            now = engine.deadline().expect("it waits for something").max(now + 1);
            match engine.tick(now) {
                None => assert!(now.since(NOW) < DEADLINE, "{}", now.since(NOW)),
                Some(outcome) => break outcome,
            }
        };
        assert_eq!((outcome, engine.deadline(), now.since(NOW)), (Outcome::Failed, None, DEADLINE));
        assert_eq!((engine.tick(now + DEADLINE), engine.receive(&[22; 60], now)), (None, None));
    }
}

fn pair(client: &Certificate, server: &Certificate) -> (Engine, Engine) {
    (
        Engine::new(client, Role::Client, &[server.fingerprint()], NOW).unwrap(),
        Engine::new(server, Role::Server, &[client.fingerprint()], NOW).unwrap(),
    )
}

#[test]
fn either_side_may_insist_on_its_version() {
    for version in [SslVersion::DTLS1_2, SslVersion::DTLS1_3] {
        for client_insists in [true, false] {
            let (mut ours, mut theirs) = (certificate(), certificate());
            let who = if client_insists { &mut ours } else { &mut theirs };
            *who = who.clone().only(version);
            let (mut client, mut server) = pair(&ours, &theirs);
            let (there, here) = converse(&mut client, &mut server);
            let ([Outcome::Keys(client_keys)], [Outcome::Keys(server_keys)]) = (&there[..], &here[..]) else {
                panic!("{there:?} {here:?}")
            };
            assert!(client_keys.local == server_keys.remote && client_keys.remote == server_keys.local);
            assert_eq!(client_keys.suite, Suite::AeadAes128Gcm);
            assert_eq!((client.version(), server.version()), (Some(version), Some(version)));
        }
    }
}

#[test]
fn a_stranger_gets_no_key_in_either_role() {
    let (ours, theirs, stranger) = (certificate(), certificate(), certificate());
    let mut client = Engine::new(&stranger, Role::Client, &[ours.fingerprint()], NOW).unwrap();
    let mut server = Engine::new(&ours, Role::Server, &[theirs.fingerprint()], NOW).unwrap();
    assert_eq!(converse(&mut client, &mut server).1, [Outcome::Insecure]);
    assert_eq!(server.deadline(), None);
    let mut client = Engine::new(&theirs, Role::Client, &[stranger.fingerprint()], NOW).unwrap();
    let mut server = Engine::new(&ours, Role::Server, &[theirs.fingerprint()], NOW).unwrap();
    assert_eq!(converse(&mut client, &mut server).0, [Outcome::Insecure]);
}

/// A datagram that is lost once is sent again, on the time that the engine is told, and both come to the same keys.
#[test]
fn a_lost_datagram_is_repeated_on_our_clock() {
    for version in [SslVersion::DTLS1_2, SslVersion::DTLS1_3] {
        let mut lost = 0;
        loop {
            let (ours, theirs) = (certificate().only(version), certificate());
            let (mut client, mut server) = pair(&ours, &theirs);
            let (mut now, mut count, mut keys) = (NOW, 0, vec![]);
            for _ in 0..100 {
                let mut moved = false;
                while let Some(datagram) = client.poll() {
                    (moved, count) = (true, count + 1);
                    keys.extend((count != lost + 1).then(|| server.receive(&datagram, now)).flatten());
                }
                while let Some(datagram) = server.poll() {
                    (moved, count) = (true, count + 1);
                    keys.extend((count != lost + 1).then(|| client.receive(&datagram, now)).flatten());
                }
                if moved {
                    continue;
                }
                if keys.len() == 2 && count > lost {
                    break;
                }
                let next = [client.deadline(), server.deadline()].into_iter().flatten().min();
                let Some(next) = next else { break };
                assert!(next > now, "a deadline that has passed is no deadline");
                now = next;
                keys.extend(client.tick(now));
                keys.extend(server.tick(now));
            }
            let ours = keys.iter().filter(|o| matches!(o, Outcome::Keys(_))).count();
            assert_eq!((ours, keys.len()), (2, 2), "{version:?}: datagram {lost} of {count} lost: {keys:?}");
            assert!(now.since(NOW) <= 1_000, "{version:?}: datagram {lost} lost cost {} ms", now.since(NOW));
            if count <= lost {
                assert!(lost > 3, "there were some");
                break;
            }
            lost += 1;
        }
    }
}

#[test]
fn a_hello_is_repeated_after_a_fifth_of_a_second_and_twice_that() {
    let mut engine = Engine::new(&certificate(), Role::Client, &[], NOW).unwrap();
    let mut at = vec![];
    while engine.poll().is_some_and(|hello| hello.len() <= MTU as usize) {
        let next = engine.deadline().unwrap();
        assert_eq!((engine.tick(NOW.max(Time(next.0 - 1))), engine.poll()), (None, None), "too early");
        at.push(next.since(NOW));
        engine.tick(next);
    }
    assert_eq!(at, [200, 600, 1_400, 3_000, 6_200, 12_600, DEADLINE]);
}
