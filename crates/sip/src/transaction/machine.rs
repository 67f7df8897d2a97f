//! The four state machines, as one type with a kind: they share their timers and differ in a dozen lines.

use super::{T1, T2, T4, TIMEOUT, TIMER_D};
use signal::Time;
use smallvec::{SmallVec, smallvec};

/// Kind of transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// INVITE client (RFC 3261 §17.1.1, RFC 6026 §7.2).
    InviteClient,
    /// Non-INVITE client (§17.1.2).
    Client,
    /// INVITE server (§17.2.1, RFC 6026 §7.1).
    InviteServer,
    /// Non-INVITE server (§17.2.2).
    Server,
}

/// State of a transaction; `Calling` is also the RFC's Trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Calling, Trying.
    Calling,
    /// A provisional response was seen or sent.
    Proceeding,
    /// A final response other than 2xx to INVITE.
    Completed,
    /// The ACK for that response came.
    Confirmed,
    /// 2xx to INVITE (RFC 6026).
    Accepted,
    /// Over.
    Terminated,
}

/// Action to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Put the last request or response on the wire (again).
    Send,
    /// Send the ACK for a final response that is no 2xx.
    Acknowledge,
    /// Give the message to the transaction user.
    Deliver,
    /// Tell the user that nothing came: Timer B, F or H.
    TimedOut,
}

/// Acts of one step; at most two.
pub type Acts = SmallVec<[Act; 2]>;

/// Longest silence of an INVITE after a provisional response, ms. Its user gives up earlier, and sends provisional responses
/// each minute.
const PATIENCE: u64 = 300_000;

/// One transaction.
#[derive(Clone, Debug)]
pub struct Machine {
    kind: Kind,
    state: State,
    reliable: bool,
    /// Timers A, E, G: time of the next retransmission, and its interval.
    again: Option<(Time, u64)>,
    /// Timers B, D, F, H, I, J, K, L, M: the end of the state.
    end: Option<Time>,
}

impl Machine {
    /// Starts a client transaction, whose request is to be sent now, or a server transaction, whose request has just come.
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
                // The client has given up by then (Timer F); a missing answer holds no memory for ever.
                machine.end = Some(now + TIMEOUT);
                (machine, smallvec![Act::Deliver])
            }
        }
    }

    /// Returns the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the time of the next timer.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        match (self.again, self.end) {
            (Some((again, _)), Some(end)) => Some(again.min(end)),
            (again, end) => again.map(|(t, _)| t).or(end),
        }
    }

    /// Handles a response to a client transaction.
    pub fn response(&mut self, code: u16, now: Time) -> Acts {
        let early = matches!(self.state, State::Calling | State::Proceeding);
        match (self.kind, code) {
            (Kind::InviteClient, 100..=199) if early => {
                // Timers A and B belong to Calling alone.
                (self.state, self.again, self.end) = (State::Proceeding, None, Some(now + PATIENCE));
                smallvec![Act::Deliver]
            }
            (Kind::InviteClient, 200..=299) if early => {
                self.enter(State::Accepted, now, TIMEOUT);
                smallvec![Act::Deliver]
            }
            // Forked and repeated 2xx all reach the user, who acknowledges each.
            (Kind::InviteClient, 200..=299) if self.state == State::Accepted => smallvec![Act::Deliver],
            (Kind::InviteClient, 300..) if early => {
                self.enter(State::Completed, now, if self.reliable { 0 } else { TIMER_D });
                smallvec![Act::Acknowledge, Act::Deliver]
            }
            (Kind::InviteClient, 300..) if self.state == State::Completed => smallvec![Act::Acknowledge],
            (Kind::Client, 100..=199) if early => {
                self.state = State::Proceeding;
                smallvec![Act::Deliver]
            }
            (Kind::Client, 200..) if early => {
                self.enter(State::Completed, now, if self.reliable { 0 } else { T4 });
                smallvec![Act::Deliver]
            }
            _ => Acts::new(),
        }
    }

    /// Handles a retransmission of the request of a server transaction.
    pub fn request(&mut self) -> Acts {
        match (self.kind, self.state) {
            // No answer yet, or the user repeats its 2xx by itself.
            (Kind::Server, State::Calling) | (_, State::Accepted | State::Confirmed | State::Terminated) => {
                Acts::new()
            }
            (Kind::InviteServer | Kind::Server, _) => smallvec![Act::Send],
            _ => Acts::new(),
        }
    }

    /// Handles the user's answer in a server transaction; one that does not fit the state is not sent.
    pub fn respond(&mut self, code: u16, now: Time) -> Acts {
        let early = matches!(self.state, State::Calling | State::Proceeding);
        match (self.kind, code) {
            (Kind::InviteServer, 100..=199) if early => self.enter(State::Proceeding, now, PATIENCE),
            (Kind::Server, 100..=199) if early => self.state = State::Proceeding,
            (Kind::InviteServer, 200..=299) if early => self.enter(State::Accepted, now, TIMEOUT),
            // RFC 6026 §7.1: further 2xx of the user go through.
            (Kind::InviteServer, 200..=299) if self.state == State::Accepted => {}
            (Kind::InviteServer, 300..) if early => {
                self.enter(State::Completed, now, TIMEOUT);
                self.repeat(now, T1);
            }
            (Kind::Server, 200..) if early => {
                self.enter(State::Completed, now, if self.reliable { 0 } else { TIMEOUT })
            }
            _ => return Acts::new(),
        }
        smallvec![Act::Send]
    }

    /// Handles the ACK in an INVITE server transaction. The ACK for a 2xx is the dialog's.
    pub fn ack(&mut self, now: Time) -> Acts {
        match (self.kind, self.state) {
            (Kind::InviteServer, State::Completed) => {
                self.enter(State::Confirmed, now, if self.reliable { 0 } else { T4 });
                Acts::new()
            }
            (Kind::InviteServer, State::Accepted) => smallvec![Act::Deliver],
            _ => Acts::new(),
        }
    }

    /// Handles the timers that are due.
    pub fn tick(&mut self, now: Time) -> Acts {
        if self.end.is_some_and(|end| end <= now) {
            let unanswered = self.times_out();
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

    /// Returns true if the user is told when the state ends. Else the end is that of a wait for repetitions (timers D, I, J, K, L, M).
    #[must_use]
    pub fn times_out(&self) -> bool {
        match self.kind {
            Kind::InviteClient | Kind::Client => matches!(self.state, State::Calling | State::Proceeding),
            Kind::InviteServer => self.state == State::Completed,
            Kind::Server => false,
        }
    }

    fn repeat(&mut self, now: Time, interval: u64) {
        self.again = (!self.reliable).then_some((now + interval, interval));
    }

    fn enter(&mut self, state: State, now: Time, lasts: u64) {
        (self.state, self.again, self.end) = (state, None, Some(now + lasts));
    }
}
