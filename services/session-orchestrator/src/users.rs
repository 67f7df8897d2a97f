//! Settings of XMPP users: changed by operators, read when a call is placed. What voicemail servers tell of their boxes.

use crate::records::{Perform, Performed, Records};
use crate::runner::Loaded;
use anyhow::{Result, bail};
use bus::{Bus, BusError, Message};
use session::Entry;
use session::call::{Call, Leg, Phase};
use session::mailbox::{Announcement, Mailbox};
use session::user::{Effect, Event, Fact, MAX_ADDRESS, Settings, User};
use signal::mailbox::{Headline, Noted};
use signal::service::{Answer, Request};
use signal::{RecordId, Secret, stored, subjects};
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// Attempts before the operator is told to come again.
const TRIES: usize = 4;
/// Longest wait for the edge that takes a message to a user.
const ANNOUNCE: Duration = Duration::from_secs(3);
/// Time after which a message to a user is not sent any more, ms.
const ANNOUNCED_MS: u64 = 3_600_000;

/// Serves the settings of users; clones share everything.
#[derive(Clone)]
pub struct Users {
    records: Records<User, Announcer>,
    secret: Secret,
}

/// Performs the effects of user records: facts for those who watch settings, messages to users.
pub struct Announcer(pub Bus);

impl Users {
    /// Serves these records; `secret` names them.
    #[must_use]
    pub fn new(records: Records<User, Announcer>, secret: Secret) -> Users {
        Users { records, secret }
    }

    /// Returns the records, for deadlines.
    #[must_use]
    pub fn records(&self) -> &Records<User, Announcer> {
        &self.records
    }

    /// Returns the settings of a user, the default ones if nobody has set any.
    ///
    /// # Errors
    /// The store does not answer, or the record is of a newer version.
    pub async fn settings(&self, jid: &str) -> Result<Settings> {
        Ok(self.user(jid).await?.0)
    }

    /// Returns the settings of a user, and what is known of the voicemail box.
    async fn user(&self, jid: &str) -> Result<(Settings, Mailbox)> {
        let user = self.records.load(self.id(jid)).await?;
        Ok(user.map(|user| (user.settings, user.mailbox)).unwrap_or_default())
    }

    /// Replaces the settings of a user, by bare JID ([`bare_jid`]).
    ///
    /// # Errors
    /// The store does not answer, or the record is of a newer version.
    pub async fn set(&self, jid: &str, settings: Settings) -> Result<()> {
        self.decide(jid, Event::Set(settings)).await
    }

    /// Notes that a user, by bare JID, takes part in a call.
    ///
    /// # Errors
    /// The store does not answer, or the record is of a newer version.
    pub async fn engage(&self, jid: &str, call: RecordId) -> Result<()> {
        self.decide(jid, Event::Engaged(call)).await
    }

    /// Returns true if a user, by bare JID, is in another call than this one: of those that were noted, the records of calls tell, so that
    /// nothing is left of one that has ended in whatever way.
    ///
    /// # Errors
    /// The store does not answer, or a record is of a newer version.
    pub async fn is_engaged(&self, jid: &str, call: RecordId) -> Result<bool> {
        let user = self.records.load(self.id(jid)).await?;
        let calls = user.map(|user| user.calls).unwrap_or_default();
        for other in calls.into_iter().filter(|other| *other != call) {
            let other = self.records.runner().load::<Call>(other).await?;
            if other.is_some_and(|other| takes_part(&other.machine, jid)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Notes what a voicemail server tells of the box of a user, by bare JID.
    pub async fn notified(&self, jid: &str, announcement: Announcement) -> Noted {
        match self.decide(jid, Event::Notified(announcement)).await {
            Ok(()) => Noted::Stored,
            Err(error) => {
                warn!(error = format!("{error:#}"), "what a voicemail server says cannot be stored now");
                Noted::Unavailable
            }
        }
    }

    async fn decide(&self, jid: &str, event: Event) -> Result<()> {
        let id = self.id(jid);
        // Of two orchestrators that create the record at once the second one finds it there.
        for _ in 0..TRIES {
            if self.records.event(id, event.clone()).await? {
                return Ok(());
            }
            let (user, effects) = User::create(id, jid.to_owned(), event.clone(), self.records.now());
            if self.records.create(id, user, effects).await? {
                return Ok(());
            }
        }
        bail!("the settings of {jid} are created and cleared by others all the time")
    }

    /// Answers a user's request for a phone service, and stores the settings that it changes.
    pub async fn serve(&self, request: &Request) -> Answer {
        let Some(jid) = bare_jid(&request.user) else { return Answer::Unavailable };
        let served = async {
            let (settings, mailbox) = self.user(&jid).await?;
            let (answer, changed) = session::service::serve(&settings, &mailbox, request);
            if let Some(settings) = changed {
                self.set(&jid, settings).await?;
            }
            anyhow::Ok(answer)
        };
        served.await.unwrap_or_else(|error| {
            warn!(error = format!("{error:#}"), "a user's settings cannot be read or stored now");
            Answer::Unavailable
        })
    }

    fn id(&self, jid: &str) -> RecordId {
        self.secret.user(jid)
    }
}

impl Perform<User> for Announcer {
    async fn perform(&self, _: &Arc<Loaded<User>>, batch: Vec<Entry<Effect>>) -> Performed<Event> {
        let mut performed = Performed::default();
        for entry in batch {
            let done = match &entry.effect {
                Effect::Record(fact) => self.publish(&entry, fact).await,
                Effect::Announce { jid, announcement } => self.announce(&entry, jid, announcement).await,
            };
            match done {
                Ok(()) => performed.done.push(entry.id),
                Err(error) => {
                    warn!(%error, "what follows from a change of a user's is not done yet");
                    break;
                }
            }
        }
        performed
    }
}

impl Announcer {
    async fn publish(&self, entry: &Entry<Effect>, fact: &Fact) -> Result<(), BusError> {
        let Fact::Changed { jid } = fact;
        let fact = serde_json::json!({
            "id": entry.id.to_string(), "user": jid, "at_ms": entry.since.0, "fact": "changed",
        });
        let message = Message { trace: String::new(), payload: fact.to_string().into() };
        self.0.publish(subjects::USER_FACTS, message).await
    }

    /// Gives a message to the edge that holds the link of the box's domain. One that no edge has taken for long is no news any more.
    async fn announce(
        &self,
        entry: &Entry<Effect>,
        jid: &str,
        announcement: &Announcement,
    ) -> Result<(), BusError> {
        let Some((_, domain)) = announcement.mailbox.split_once('@') else { return Ok(()) };
        if runtime::clock::now_ms().saturating_sub(entry.since.0) > ANNOUNCED_MS {
            return Ok(());
        }
        let headline = Headline {
            from: announcement.mailbox.clone(),
            to: jid.to_owned(),
            id: entry.id.to_string(),
            text: announcement.text(),
        };
        let message = Message { trace: String::new(), payload: stored::encode(&headline).into() };
        self.0.request(&subjects::headline(domain), message, ANNOUNCE).await.map(drop)
    }
}

/// Returns true if a user has a leg of a call that is not over.
fn takes_part(call: &Call, jid: &str) -> bool {
    let own = |leg: &&Leg| leg.phase != Phase::Over && bare_jid(&leg.party().address).as_deref() == Some(jid);
    call.ended.is_none() && call.legs.iter().any(|leg| own(&leg))
}

/// Returns the bare JID in the form that names a record: without resource, in lower case. `None`: no JID of a user.
#[must_use]
pub fn bare_jid(text: &str) -> Option<String> {
    let bare = text.split_once('/').map_or(text, |(bare, _)| bare);
    let (local, domain) = bare.split_once('@')?;
    let fits = |part: &str| {
        !part.is_empty() && !part.contains('@') && !part.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    (bare.len() <= MAX_ADDRESS && fits(local) && fits(domain)).then(|| bare.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::bare_jid;

    #[test]
    fn a_user_is_named_by_the_bare_jid() {
        assert_eq!(bare_jid("Rosa@Example.net/phone").as_deref(), Some("rosa@example.net"));
        for text in ["example.net", "@example.net", "rosa@", "a@b@c", "ro sa@example.net", ""] {
            assert_eq!(bare_jid(text), None, "{text}");
        }
    }
}
