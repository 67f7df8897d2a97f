//! Agents with more than one address each. What one address does is tested with the ends of `webrtc`.

use super::*;
use std::collections::HashSet;

const START: Time = Time(1_700_000_000_000);

fn addresses(side: usize) -> Vec<SocketAddr> {
    let host = side as u16 + 1;
    vec![
        SocketAddr::from(([192, 0, 2, host as u8], 4_000)),
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, host], 4_000)),
    ]
}

fn credentials(side: usize) -> Credentials {
    Credentials { ufrag: format!("side{side}"), pwd: format!("the-password-of-side-{side}-is-long") }
}

#[allow(clippy::disallowed_methods, reason = "a base for the standard clock; it is not looked at again")]
fn agents(controlling: [bool; 2]) -> [Agent; 2] {
    let mut agents = [0, 1].map(|side| {
        let config = Config {
            credentials: credentials(side),
            addresses: addresses(side),
            controlling: controlling[side],
            tie_breaker: side as u64,
            preference: PREFERENCE,
        };
        Agent::new(&config, Instant::now(), START).unwrap()
    });
    for (side, agent) in agents.iter_mut().enumerate() {
        let Credentials { ufrag, pwd } = credentials(1 - side);
        let candidates = addresses(1 - side).into_iter().zip(0u32..).map(|(address, place)| Candidate {
            foundation: place.to_string(),
            component: 1,
            priority: 2_130_706_431 - (place << 8),
            address,
            kind: CandidateKind::Host,
            related: None,
            generation: 0,
        });
        let ice = Ice { ufrag, pwd, candidates: candidates.collect(), lite: false, trickle: false };
        agent.remote(&ice, START).unwrap();
    }
    agents
}

/// From `now` for `ms`; nothing reaches the `dead` addresses. Tells each change of state or pair.
fn run(
    agents: &mut [Agent; 2],
    now: &mut Time,
    ms: u64,
    dead: &HashSet<SocketAddr>,
) -> Vec<(usize, State, Option<Pair>)> {
    let mut changes = vec![];
    let mut was = [0, 1].map(|side| (agents[side].state(), agents[side].pair()));
    for _ in 0..ms {
        *now = *now + 1;
        for side in [0, 1] {
            if agents[side].deadline().is_some_and(|at| at <= *now) {
                agents[side].tick(*now);
            }
            while let Some(Datagram { pair, octets }) = agents[side].poll_transmit() {
                if addresses(1 - side).contains(&pair.remote) && !dead.contains(&pair.remote) {
                    assert!(agents[1 - side].receive(&octets, pair.local, pair.remote, *now));
                }
            }
        }
        for side in [0, 1] {
            let is = (agents[side].state(), agents[side].pair());
            if was[side] != is {
                was[side] = is;
                changes.push((side, is.0, is.1));
            }
        }
    }
    changes
}

#[test]
fn the_better_pair_is_taken_and_when_it_dies_the_other() {
    for controlling in [[true, false], [false, true]] {
        let mut agents = agents(controlling);
        let mut now = START;
        run(&mut agents, &mut now, 5_000, &HashSet::new());
        let taken = agents[0].pair().expect("a pair");
        assert_eq!(agents[1].pair(), Some(Pair { local: taken.remote, remote: taken.local }), "both agree");
        // The family in use dies, both ways.
        let dead: HashSet<_> = [taken.local, taken.remote].into();
        let changes = run(&mut agents, &mut now, 60_000, &dead);
        for (side, agent) in agents.iter().enumerate() {
            let pair = agent.pair().unwrap_or_else(|| panic!("{side} has no pair: {changes:?}"));
            assert_ne!(pair.remote.is_ipv4(), taken.remote.is_ipv4(), "{changes:?}");
            assert!(agent.is_valid(pair.remote));
        }
        assert!(!changes.iter().any(|(_, state, _)| *state == State::Unreachable), "{changes:?}");
    }
}

#[test]
fn an_agent_that_has_nothing_to_do_sleeps() {
    let mut agents = agents([true, false]);
    let mut now = START;
    run(&mut agents, &mut now, 5_000, &HashSet::new());
    let mut woken = 0;
    for _ in 0..60_000 {
        now = now + 1;
        for side in [0, 1] {
            if agents[side].deadline().is_some_and(|at| at <= now) {
                woken += 1;
                agents[side].tick(now);
            }
            while let Some(Datagram { pair, octets }) = agents[side].poll_transmit() {
                agents[1 - side].receive(&octets, pair.local, pair.remote, now);
            }
        }
    }
    // Two pairs a side, a check of each every three seconds or so.
    assert!(woken < 2 * 2 * 60 / 2, "{woken} wakes in a minute");
}

/// RFC 8445 §7.1.1; interworking §12.2.
#[test]
#[allow(clippy::disallowed_methods, reason = "a base for the standard clock; it is not looked at again")]
fn checks_of_an_end_that_moved_carry_the_priority_of_its_candidate() {
    for (preference, expected) in [
        (PREFERENCE, 110 << 24 | u32::from(PREFERENCE) << 8 | 255),
        (PREFERENCE + 1, priority(PREFERENCE + 1)),
    ] {
        let config = Config {
            credentials: credentials(0),
            addresses: addresses(0),
            controlling: true,
            tie_breaker: 1,
            preference,
        };
        let mut agent = Agent::new(&config, Instant::now(), START).unwrap();
        let Credentials { ufrag, pwd } = credentials(1);
        let host = Candidate {
            foundation: "1".into(),
            component: 1,
            priority: 1,
            address: addresses(1)[0],
            kind: CandidateKind::Host,
            related: None,
            generation: 0,
        };
        agent
            .remote(&Ice { ufrag, pwd, candidates: vec![host], lite: false, trickle: false }, START)
            .unwrap();
        agent.tick(START + 100);
        let check = agent.poll_transmit().expect("a check");
        assert_eq!(check.pair.local, addresses(0)[0]);
        assert_eq!(StunMessage::parse(&check.octets).unwrap().prio(), Some(expected));
    }
}
