//! What a leg's peer said, on its way to the record and back.

use super::Edge;
use super::leg::{Job, MAX_TRIES, Pending};
use super::link::within;
use super::open::{event, opening};
use crate::dialog::{Dialog, State};
use crate::message::Start;
use crate::reason;
use crate::signal::{Hearing, hear, say};
use signal::{Ask, End, EventId, Heard, LegRef, Reason, Signal, Time, Verdict};

impl Edge {
    pub(super) fn run(&mut self, name: LegRef, job: Job, tries: u8, now: Time) {
        if let Job::Say(order) = job {
            return self.run_say(name, order, now);
        }
        let Some(leg) = self.legs.get_mut(&name) else { return };
        let Some(mut dialog) = leg.dialog.clone() else {
            return self.ask(name, Ask::Recall(name), job, None, vec![], tries);
        };
        let (base, fresh) = (leg.revision, leg.opening);
        let (hearing, event, flow) = match &job {
            Job::Hear(message, flow) => {
                let branch = self
                    .branch(&[name.to_string().as_bytes(), message.text("CSeq").unwrap_or("").as_bytes()]);
                let hearing = hear(&mut dialog, message, &branch);
                (hearing, event(message), Some(*flow))
            }
            _ => (self.silence(name, &mut dialog), EventId::of(&[&name.to_string(), "silence"]), None),
        };
        if tries == 0 {
            self.perform(name, hearing.now, flow, now);
        }
        if hearing.signals.is_empty() {
            // Nothing for the call: the change stays here until the next commit takes it along.
            if let Some(leg) = self.legs.get_mut(&name) {
                leg.dialog = Some(dialog);
            }
            self.perform(name, hearing.after, flow, now);
            return;
        }
        let opening = match &job {
            Job::Hear(message, flow) if fresh => {
                let link =
                    self.config.trunks.iter().find(|t| t.sources.iter().any(|s| within(flow.peer.ip(), *s)));
                let uri = if let Start::Request { uri, .. } = &message.start { uri.as_str() } else { "" };
                link.and_then(|t| opening(message, uri, t.name.clone()))
            }
            _ => None,
        };
        let heard = Heard {
            leg: name,
            base,
            event,
            signals: hearing.signals,
            dialog: dialog.to_bytes(),
            edge: self.config.instance.clone(),
            opening,
        };
        self.ask(name, Ask::Heard(heard), job, Some(dialog), hearing.after, tries);
    }

    pub(super) fn silence(&self, name: LegRef, dialog: &mut Dialog) -> Hearing {
        let mut hearing = Hearing::default();
        let end = End::from(Reason::Timeout);
        match dialog.state {
            State::Outgoing => hearing.signals.push(Signal::End(end)),
            State::Active => {
                hearing.now = say(
                    dialog,
                    &Signal::End(end.clone()),
                    &self.branch(&[name.to_string().as_bytes(), b"bye"]),
                );
                hearing.signals.push(Signal::End(end));
            }
            _ => {}
        }
        dialog.state = State::Ended;
        hearing
    }

    /// The answer to an [`Output::Ask`].
    pub fn verdict(&mut self, ticket: u64, verdict: Verdict, now: Time) {
        let Some(pending) = self.pending.remove(&ticket) else { return };
        let Pending { leg: name, job, dialog, after, tries } = pending;
        let Some(leg) = self.legs.get_mut(&name) else { return };
        leg.busy = false;
        match verdict {
            Verdict::Committed { revision, .. } => {
                leg.revision = revision;
                leg.opening = false;
                leg.dialog = dialog.or(leg.dialog.take());
                let flow = if let Job::Hear(_, flow) = &job { Some(*flow) } else { None };
                self.perform(name, after, flow, now);
            }
            Verdict::Stale(state) | Verdict::Leg(state) if tries < MAX_TRIES => {
                leg.dialog = Dialog::from_bytes(&state.dialog);
                leg.revision = state.revision;
                leg.opening = false;
                if leg.dialog.is_some() {
                    self.run(name, job, tries + 1, now);
                } else {
                    self.fail(name, &job, Reason::NotFound.into(), now);
                }
            }
            Verdict::Stale(_) | Verdict::Leg(_) | Verdict::Unavailable => {
                self.fail(name, &job, Reason::Unavailable.into(), now);
            }
            Verdict::Gone => {
                self.fail(name, &job, Reason::NotFound.into(), now);
                self.forget(name, now);
            }
            Verdict::Refused(end) => self.fail(name, &job, end, now),
        }
        self.next(name, now);
        self.flush(now);
    }

    /// Answers a request that came to nothing.
    pub(super) fn fail(&mut self, name: LegRef, job: &Job, end: End, now: Time) {
        let Some(opening) = self.legs.get(&name).map(|l| l.opening) else { return };
        if let Job::Hear(message, flow) = job
            && message.code().is_none()
        {
            let (code, phrase, _) = match end.reason {
                Reason::NotFound if !opening => (481, "Call/Transaction Does Not Exist", 0),
                other => reason::said(other),
            };
            let retry = (code == 503).then(|| ("Retry-After", "5".to_owned()));
            self.refuse(message, *flow, code, phrase, retry, now);
        }
        if opening {
            self.forget(name, now);
        }
    }
}
