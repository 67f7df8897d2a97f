//! Orders that are being said, with those who wait for the answer.
//!
//! One rule: an order is given to the edge once, and again only when it must have been lost there.

use crate::Request;
use signal::EffectId;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Span;

/// Orders that wait for being said; further ones push the oldest out.
const MAX: usize = 4_096;
/// Who waits for the answer to one order.
const MAX_ASKERS: usize = 8;
/// An orchestrator waits so long for an order to be said; one that comes again later got lost in the edge (the leg's queue was full).
const SAY: Duration = Duration::from_secs(2);

struct Order {
    askers: Vec<Request>,
    span: Span,
    given: Instant,
    serial: u64,
}

#[derive(Default)]
pub(super) struct Orders {
    open: HashMap<EffectId, Order>,
    /// In the order of their coming; those that were answered meanwhile are still named.
    order_of: VecDeque<(EffectId, u64)>,
    serial: u64,
}

impl Orders {
    /// An order has come. True: the edge must say it. False: it is saying it, and both will get the answer.
    pub(super) fn take(
        &mut self,
        id: EffectId,
        asker: Request,
        span: impl FnOnce(&Request) -> Span,
        now: Instant,
    ) -> bool {
        if let Some(order) = self.open.get_mut(&id) {
            if order.askers.len() >= MAX_ASKERS {
                order.askers.remove(0);
            }
            order.askers.push(asker);
            let lost = now.duration_since(order.given) >= SAY;
            if lost {
                order.given = now;
            }
            return lost;
        }
        while self.open.len() >= MAX
            && let Some((oldest, serial)) = self.order_of.pop_front()
        {
            if self.is(oldest, serial) {
                self.open.remove(&oldest);
            }
        }
        // Once in so many orders, so each costs the same.
        if self.order_of.len() >= 2 * MAX {
            let mut order_of = std::mem::take(&mut self.order_of);
            order_of.retain(|(id, serial)| self.is(*id, *serial));
            self.order_of = order_of;
        }
        self.serial += 1;
        let (span, serial) = (span(&asker), self.serial);
        self.order_of.push_back((id, serial));
        self.open.insert(id, Order { askers: vec![asker], span, given: now, serial });
        true
    }

    /// The order is said: who waits for that.
    pub(super) fn said(&mut self, id: EffectId) -> Option<(Vec<Request>, Span)> {
        self.open.remove(&id).map(|order| (order.askers, order.span))
    }

    fn is(&self, id: EffectId, serial: u64) -> bool {
        self.open.get(&id).is_some_and(|order| order.serial == serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use signal::CallId;

    fn id(number: u64) -> EffectId {
        EffectId { call: CallId([7; 10]), version: number, index: 0 }
    }

    fn take(orders: &mut Orders, number: u64, now: Instant) -> bool {
        let asker = Request {
            message: Message::default(),
            reply: crate::Reply::Local(tokio::sync::oneshot::channel().0),
        };
        orders.take(id(number), asker, |_| Span::none(), now)
    }

    #[test]
    fn an_order_is_given_once_and_again_when_it_must_have_been_lost() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        assert!(take(&mut orders, 1, now));
        assert!(!take(&mut orders, 1, now + SAY / 2), "it is being said");
        assert!(take(&mut orders, 1, now + SAY), "nobody said it");
        assert!(!take(&mut orders, 1, now + SAY * 3 / 2), "it is being said again");
        assert_eq!(orders.said(id(1)).map(|(askers, _)| askers.len()), Some(4), "all who asked hear of it");
        assert!(take(&mut orders, 1, now + SAY), "an answered order is forgotten");
    }

    #[test]
    fn what_is_remembered_has_a_limit_and_an_answer_costs_the_same_however_much_is_open() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        for number in 0..=MAX as u64 {
            assert!(take(&mut orders, number, now));
        }
        assert_eq!(orders.open.len(), MAX);
        assert!(orders.said(id(0)).is_none() && orders.said(id(1)).is_some(), "the oldest went");
        assert!(orders.order_of.len() > orders.open.len(), "an answer does not look through the others");
        for number in 0..10 * MAX as u64 {
            take(&mut orders, 1_000_000 + number, now);
            orders.said(id(1_000_000 + number));
        }
        assert!(orders.order_of.len() <= 2 * MAX, "{}", orders.order_of.len());
        assert_eq!(orders.open.len(), MAX - 1, "those that wait are still there");
    }
}
