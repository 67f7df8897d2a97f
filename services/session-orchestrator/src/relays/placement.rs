//! Which relay takes a call: of the call's region, with the labels wanted, and with the least to do.
//!
//! One rule: what counts is packets and CPU, not calls: a call may be silent, or video. Cards are a second old, so relays that are
//! about equal share the calls by hash.

use bus::directory::InstanceInfo;
use signal::EventId;

/// Packets a second that make a difference: fifty calls' worth.
const STEP: u64 = 5_000;

/// Wishes of a call for its relay.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Relays of this region come first; empty = any.
    pub region: String,
    /// The relay has all of these.
    pub labels: Vec<String>,
}

/// Those that may be asked, the best first.
pub fn ranked(mut cards: Vec<InstanceInfo>, wanted: &Wanted, call: &str) -> Vec<InstanceInfo> {
    cards.retain(|card| !card.draining && wanted.labels.iter().all(|label| card.labels.contains(label)));
    cards.sort_by_cached_key(|card| {
        let elsewhere = !wanted.region.is_empty() && card.region != wanted.region;
        let full = fullness(card);
        // A full one comes last, wherever it is: it would refuse.
        (full >= 100, elsewhere, full / 10, card.packets / STEP, EventId::of(&[call, &card.instance]).0)
    });
    cards
}

/// Percent of what it can do, by CPU or by ports, whichever is scarcer.
fn fullness(card: &InstanceInfo) -> u64 {
    let cpu = if card.max_busy == 0 { 0 } else { u64::from(card.busy) * 100 / u64::from(card.max_busy) };
    let ports = card.load.saturating_mul(100) / card.capacity.max(1);
    cpu.max(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(instance: &str, busy: u32, packets: u64) -> InstanceInfo {
        InstanceInfo {
            instance: instance.into(),
            busy,
            max_busy: 850,
            packets,
            capacity: 1_000,
            ..InstanceInfo::default()
        }
    }

    fn first(cards: &[InstanceInfo], wanted: &Wanted) -> Vec<String> {
        ranked(cards.to_vec(), wanted, "call").into_iter().map(|card| card.instance).collect()
    }

    #[test]
    fn who_has_the_least_to_do_comes_first_whatever_its_number_of_calls() {
        let many_silent = InstanceInfo { load: 90, ..card("silent", 10, 200) };
        let few_loud = InstanceInfo { load: 3, ..card("loud", 600, 90_000) };
        let middle = InstanceInfo { load: 20, ..card("middle", 20, 40_000) };
        assert_eq!(first(&[few_loud, middle, many_silent], &Wanted::default()), ["silent", "middle", "loud"]);
    }

    #[test]
    fn the_region_is_preferred_until_it_is_full() {
        let near = |busy| InstanceInfo { region: "north".into(), ..card("near", busy, 50_000) };
        let far = InstanceInfo { region: "south".into(), ..card("far", 0, 0) };
        let wanted = Wanted { region: "north".into(), labels: vec![] };
        assert_eq!(first(&[far.clone(), near(700)], &wanted), ["near", "far"]);
        assert_eq!(first(&[far.clone(), near(900)], &wanted), ["far", "near"], "it would refuse");
        assert_eq!(first(&[far.clone(), near(700)], &Wanted::default()), ["far", "near"], "of no region");
        let no_ports = InstanceInfo { load: 1_000, busy: 0, packets: 0, ..near(0) };
        assert_eq!(first(&[far, no_ports], &wanted), ["far", "near"]);
    }

    #[test]
    fn labels_are_wanted_all_of_them_and_who_drains_is_not_asked() {
        let labels = |all: &[&str]| all.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        let both = InstanceInfo { labels: labels(&["video", "gold"]), ..card("both", 0, 0) };
        let one = InstanceInfo { labels: labels(&["video"]), ..card("one", 0, 0) };
        let gone =
            InstanceInfo { draining: true, ..InstanceInfo { instance: "gone".into(), ..both.clone() } };
        let wanted = Wanted { labels: labels(&["gold", "video"]), ..Wanted::default() };
        assert_eq!(first(&[one, gone, both], &wanted), ["both"]);
    }

    #[test]
    fn equal_relays_share_the_calls() {
        let cards = [card("a", 10, 10), card("b", 20, 400), card("c", 0, 0)];
        let mut taken = [0; 3];
        for call in 0..300 {
            let best = ranked(cards.to_vec(), &Wanted::default(), &call.to_string()).remove(0);
            taken[cards.iter().position(|c| c.instance == best.instance).unwrap()] += 1;
        }
        assert!(taken.iter().all(|n| *n > 60), "{taken:?}");
    }
}
