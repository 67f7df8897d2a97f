//! The four state machines, as one type with a kind: they share their timers and differ in a dozen lines.

use super::{T1, T2, T4, TIMEOUT, TIMER_D};
use signal::Time;
use smallvec::{SmallVec, smallvec};

/// Which of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 3261 §17.1.1 with RFC 6026 §7.2.
    InviteClient,
    /// §17.1.2.
    Client,
    /// §17.2.1 with RFC 6026 §7.1.
    InviteServer,
    /// §17.2.2.
    Server,
}

/// States; `Calling` is Trying where the RFC says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calling, Trying.
    Calling,
    /// A provisional response was seen or sent.
    Proceeding,
    /// A final response other than 2xx to INVITE.
    Completed,
    /// The ACK for it came.
    Confirmed,
    /// 2xx to INVITE (RFC 6026).
    Accepted,
    /// To be forgotten.
    Terminated,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Put the last request or response on the wire (again).
    Send,
    /// Send the ACK for a final response that is no 2xx.
    Acknowledge,
    /// Hand what arrived to the transaction user.
    Deliver,
    /// Tell the user that nothing came: Timer B, F or H.
    TimedOut,
}

/// Acts of one step; at most two.
pub type Acts = SmallVec<[Act; 2]>;

/// An INVITE of which nothing was heard for so long after a provisional response is nobody's any more, ms: its user has its own,
/// shorter patience, and says provisional responses again each minute.
const PATIENCE: u64 = 300_000;

/// One transaction.
#[derive(Clone, Debug)]
pub struct Machine {
    kind: Kind,
    state: State,
    reliable: bool,
    /// Timers A, E, G: when to send again, and the interval after that.
    again: Option<(Time, u64)>,
    /// Timers B, D, F, H, I, J, K, L, M: the end of the state.
    end: Option<Time>,
}

impl Machine {
    /// A client transaction whose request is to be sent now, or a server transaction whose request has just come.
    #[must_use]
    pub fn new(kind: Kind, reliable: bool, now: Time) -> (Machine, Acts) {
        let mut machine = Machine { kind, state: State::Calling, reliable, again: None, end: None };
        match kind {
            Kind::InviteClient | Kind::Client => {
                machine.repeat(now, T1);
                machine.end = Some(now + TIMEOUT);
                (machine, smallvec![Act::Send])
            }
            Kind::InviteServer => {
                machine.state = State::Proceeding;
                machine.end = Some(now + PATIENCE);
                (machine, smallvec![Act::Deliver])
            }
            Kind::Server => {
                // Whoever asked has given up by then (Timer F); an answer that never comes costs no memory for ever.
                machine.end = Some(now + TIMEOUT);
                (machine, smallvec![Act::Deliver])
            }
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Which it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The next timer.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match (self.again, self.end) {
            (Some((again, _)), Some(end)) => Some(again.min(end)),
            (again, end) => again.map(|(t, _)| t).or(end),
        }
    }

    /// Client: a response came.
    pub fn response(&mut self, code: u16, now: Time) -> Acts {
        let early = matches!(self.state, State::Calling | State::Proceeding);
        match (self.kind, code) {
            (Kind::InviteClient, 100..=199) if early => {
                // Timers A and B belong to Calling alone.
                (self.state, self.again, self.end) = (State::Proceeding, None, Some(now + PATIENCE));
                smallvec![Act::Deliver]
            }
            (Kind::InviteClient, 200..=299) if early => {
                self.settle(State::Accepted, now, TIMEOUT);
                smallvec![Act::Deliver]
            }
            // Forked and repeated 2xx all reach the user, who acknowledges each.
            (Kind::InviteClient, 200..=299) if self.state == State::Accepted => smallvec![Act::Deliver],
            (Kind::InviteClient, 300..) if early => {
                self.settle(State::Completed, now, if self.reliable { 0 } else { TIMER_D });
                smallvec![Act::Acknowledge, Act::Deliver]
            }
            (Kind::InviteClient, 300..) if self.state == State::Completed => smallvec![Act::Acknowledge],
            (Kind::Client, 100..=199) if early => {
                self.state = State::Proceeding;
                smallvec![Act::Deliver]
            }
            (Kind::Client, 200..) if early => {
                self.settle(State::Completed, now, if self.reliable { 0 } else { T4 });
                smallvec![Act::Deliver]
            }
            _ => Acts::new(),
        }
    }

    /// Server: the request came again.
    pub fn request(&mut self) -> Acts {
        match (self.kind, self.state) {
            // Nothing was answered yet, or the user repeats its 2xx by itself.
            (Kind::Server, State::Calling) | (_, State::Accepted | State::Confirmed | State::Terminated) => {
                Acts::new()
            }
            (Kind::InviteServer | Kind::Server, _) => smallvec![Act::Send],
            _ => Acts::new(),
        }
    }

    /// Server: the user answers. Nothing is sent for an answer that does not fit the state.
    pub fn respond(&mut self, code: u16, now: Time) -> Acts {
        let early = matches!(self.state, State::Calling | State::Proceeding);
        match (self.kind, code) {
            (Kind::InviteServer, 100..=199) if early => self.settle(State::Proceeding, now, PATIENCE),
            (Kind::Server, 100..=199) if early => self.state = State::Proceeding,
            (Kind::InviteServer, 200..=299) if early => self.settle(State::Accepted, now, TIMEOUT),
            // RFC 6026 §7.1: further 2xx of the user go through.
            (Kind::InviteServer, 200..=299) if self.state == State::Accepted => {}
            (Kind::InviteServer, 300..) if early => {
                self.settle(State::Completed, now, TIMEOUT);
                self.repeat(now, T1);
            }
            (Kind::Server, 200..) if early => {
                self.settle(State::Completed, now, if self.reliable { 0 } else { TIMEOUT })
            }
            _ => return Acts::new(),
        }
        smallvec![Act::Send]
    }

    /// INVITE server: the ACK came. The one for a 2xx is the dialog's.
    pub fn ack(&mut self, now: Time) -> Acts {
        match (self.kind, self.state) {
            (Kind::InviteServer, State::Completed) => {
                self.settle(State::Confirmed, now, if self.reliable { 0 } else { T4 });
                Acts::new()
            }
            (Kind::InviteServer, State::Accepted) => smallvec![Act::Deliver],
            _ => Acts::new(),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) -> Acts {
        if self.end.is_some_and(|end| end <= now) {
            let unanswered = match self.kind {
                Kind::InviteClient | Kind::Client => matches!(self.state, State::Calling | State::Proceeding),
                Kind::InviteServer => self.state == State::Completed,
                Kind::Server => false,
            };
            (self.state, self.again, self.end) = (State::Terminated, None, None);
            return if unanswered { smallvec![Act::TimedOut] } else { Acts::new() };
        }
        let Some((_, interval)) = self.again.filter(|(at, _)| *at <= now) else { return Acts::new() };
        let next = match (self.kind, self.state) {
            // Timer A doubles without limit.
            (Kind::InviteClient, _) => interval * 2,
            // Timer E is T2 once a provisional response came.
            (Kind::Client, State::Proceeding) => T2,
            _ => (interval * 2).min(T2),
        };
        self.again = Some((now + next, next));
        smallvec![Act::Send]
    }

    fn repeat(&mut self, now: Time, interval: u64) {
        self.again = (!self.reliable).then_some((now + interval, interval));
    }

    fn settle(&mut self, state: State, now: Time, lasts: u64) {
        (self.state, self.again, self.end) = (state, None, Some(now + lasts));
    }
}
