//! Orders that the edge is executing, with the requests that wait for the answer.
//!
//! One rule: an order is issued to the edge once, and again only when it must have been lost there.

use crate::Request;
use signal::EffectId;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;
use tokio::time::Instant;
use tracing::Span;

/// Number of open orders; a further one removes the oldest.
const MAX_ORDERS: usize = 4_096;
/// Number of requests that wait for the answer to one order; a further one removes the oldest.
const MAX_REQUESTS: usize = 8;
/// Time that an orchestrator waits for an answer. An order that is repeated later was lost in the edge (the leg's queue
/// was full).
const SAY_TIMEOUT: Duration = Duration::from_secs(2);

struct Order {
    requests: Vec<Request>,
    span: Span,
    issued: Instant,
    serial: u64,
}

#[derive(Default)]
pub(super) struct Orders {
    open: HashMap<EffectId, Order>,
    /// Orders by arrival, with their serial number; may still hold answered ones.
    arrivals: VecDeque<(EffectId, u64)>,
    serial: u64,
}

impl Orders {
    /// Registers a request for an order. Returns true if the edge must execute it; false if it is executing it already, and the answer
    /// will go to all its requests.
    pub(super) fn register(
        &mut self,
        id: EffectId,
        request: Request,
        span: impl FnOnce(&Request) -> Span,
        now: Instant,
    ) -> bool {
        if let Some(order) = self.open.get_mut(&id) {
            if order.requests.len() >= MAX_REQUESTS {
                order.requests.remove(0);
            }
            order.requests.push(request);
            let lost = now.duration_since(order.issued) >= SAY_TIMEOUT;
            if lost {
                order.issued = now;
            }
            return lost;
        }
        while self.open.len() >= MAX_ORDERS
            && let Some((oldest, serial)) = self.arrivals.pop_front()
        {
            if self.is_open(oldest, serial) {
                self.open.remove(&oldest);
            }
        }
        // Amortised: once every `MAX_ORDERS` orders.
        if self.arrivals.len() >= 2 * MAX_ORDERS {
            let mut arrivals = std::mem::take(&mut self.arrivals);
            arrivals.retain(|(id, serial)| self.is_open(*id, *serial));
            self.arrivals = arrivals;
        }
        self.serial += 1;
        let (span, serial) = (span(&request), self.serial);
        self.arrivals.push_back((id, serial));
        self.open.insert(id, Order { requests: vec![request], span, issued: now, serial });
        true
    }

    /// Removes an order that was executed and returns the requests that wait for its answer.
    pub(super) fn finish(&mut self, id: EffectId) -> Option<(Vec<Request>, Span)> {
        self.open.remove(&id).map(|order| (order.requests, order.span))
    }

    fn is_open(&self, id: EffectId, serial: u64) -> bool {
        self.open.get(&id).is_some_and(|order| order.serial == serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;
    use signal::RecordId;

    fn id(number: u64) -> EffectId {
        EffectId { record: RecordId::call([7; 10]), version: number, index: 0 }
    }

    fn register(orders: &mut Orders, number: u64, now: Instant) -> bool {
        let request = Request {
            message: Message::default(),
            reply: crate::Reply::Local(tokio::sync::oneshot::channel().0),
        };
        orders.register(id(number), request, |_| Span::none(), now)
    }

    #[test]
    fn an_order_is_given_once_and_again_when_it_must_have_been_lost() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        assert!(register(&mut orders, 1, now));
        assert!(!register(&mut orders, 1, now + SAY_TIMEOUT / 2), "it is being said");
        assert!(register(&mut orders, 1, now + SAY_TIMEOUT), "nobody said it");
        assert!(!register(&mut orders, 1, now + SAY_TIMEOUT * 3 / 2), "it is being said again");
        assert_eq!(
            orders.finish(id(1)).map(|(requests, _)| requests.len()),
            Some(4),
            "all who asked hear of it"
        );
        assert!(register(&mut orders, 1, now + SAY_TIMEOUT), "an answered order is forgotten");
    }

    #[test]
    fn what_is_remembered_has_a_limit_and_an_answer_costs_the_same_however_much_is_open() {
        let (mut orders, now) = (Orders::default(), Instant::now());
        for number in 0..=MAX_ORDERS as u64 {
            assert!(register(&mut orders, number, now));
        }
        assert_eq!(orders.open.len(), MAX_ORDERS);
        assert!(orders.finish(id(0)).is_none() && orders.finish(id(1)).is_some(), "the oldest went");
        assert!(orders.arrivals.len() > orders.open.len(), "an answer does not look through the others");
        for number in 0..10 * MAX_ORDERS as u64 {
            register(&mut orders, 1_000_000 + number, now);
            orders.finish(id(1_000_000 + number));
        }
        assert!(orders.arrivals.len() <= 2 * MAX_ORDERS, "{}", orders.arrivals.len());
        assert_eq!(orders.open.len(), MAX_ORDERS - 1, "those that wait are still there");
    }
}
