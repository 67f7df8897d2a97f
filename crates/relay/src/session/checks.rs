//! Our connectivity checks on their way. An answer names its check and nothing else (RFC 8489 §6.3.3), and it may well be the
//! first thing that comes from an address: a peer answers while it still waits for our description.

use std::collections::{HashMap, VecDeque};

/// Checks remembered, of all ends: far more than are on their way at a time.
const CHECKS: usize = 8_192;

/// A transaction id (RFC 8489 §5).
type Transaction = [u8; 12];

/// Whose the checks are.
#[derive(Debug, Default)]
pub(super) struct Checks {
    ends: HashMap<Transaction, u32>,
    order: VecDeque<Transaction>,
}

impl Checks {
    /// A datagram of the end at `index` leaves; other things than checks are passed over.
    pub fn sent(&mut self, index: u32, datagram: &[u8]) {
        let Some(transaction) = transaction(datagram, &[[0, 1]]) else { return };
        if self.order.len() >= CHECKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ends.remove(&oldest);
        }
        if self.ends.insert(transaction, index).is_none() {
            self.order.push_back(transaction);
        }
    }

    /// Whose check this answers. Whether the answer is authentic the end finds out.
    pub fn answered(&self, datagram: &[u8]) -> Option<u32> {
        self.ends.get(&transaction(datagram, &[[1, 1], [1, 0x11]])?).copied()
    }
}

/// The transaction id of a STUN message of one of these types.
fn transaction(datagram: &[u8], types: &[[u8; 2]]) -> Option<Transaction> {
    let kind = datagram.get(..2)?;
    types.iter().any(|wanted| wanted == kind).then_some(())?;
    datagram.get(8..20)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: [u8; 2], number: u32) -> Vec<u8> {
        let mut out = kind.to_vec();
        out.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
        out.extend([0; 8]);
        out.extend(number.to_be_bytes());
        out
    }

    #[test]
    fn an_answer_finds_its_check_until_many_came_after_it() {
        let mut checks = Checks::default();
        checks.sent(7, &message([0, 1], 0));
        checks.sent(8, &message([1, 1], 9_999));
        assert_eq!(checks.answered(&message([1, 1], 0)), Some(7));
        assert_eq!(checks.answered(&message([1, 0x11], 0)), Some(7));
        assert_eq!(checks.answered(&message([0, 1], 0)), None, "a request is no answer");
        assert_eq!(checks.answered(&message([1, 1], 9_999)), None, "an answer is no check");
        for number in 0..2 * CHECKS as u32 {
            checks.sent(3, &message([0, 1], number));
        }
        assert_eq!((checks.ends.len(), checks.order.len()), (CHECKS, CHECKS));
        assert_eq!(checks.answered(&message([1, 1], 0)), None);
        assert_eq!(checks.answered(&[1, 1]), None);
    }
}
