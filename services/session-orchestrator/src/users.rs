//! Settings of XMPP users: changed by operators, read when a call is placed.

use crate::records::{Perform, Performed, Records};
use crate::runner::Loaded;
use anyhow::{Result, bail};
use bus::{Bus, Message};
use session::Entry;
use session::user::{Effect, Event, Fact, MAX_ADDRESS, Settings, User};
use signal::service::{Answer, Request};
use signal::{RecordId, Secret, subjects};
use std::sync::Arc;
use tracing::warn;

/// Attempts before the operator is told to come again.
const TRIES: usize = 4;

/// Serves the settings of users; clones share everything.
#[derive(Clone)]
pub struct Users {
    records: Records<User, Announcer>,
    secret: Secret,
}

/// Performs the effects of user records: facts for those who watch settings.
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
        let user = self.records.load(self.id(jid)).await?;
        Ok(user.map(|user| user.settings).unwrap_or_default())
    }

    /// Replaces the settings of a user, by bare JID ([`bare_jid`]).
    ///
    /// # Errors
    /// The store does not answer, or the record is of a newer version.
    pub async fn set(&self, jid: &str, settings: Settings) -> Result<()> {
        let id = self.id(jid);
        // Of two orchestrators that create the record at once the second one finds it there.
        for _ in 0..TRIES {
            if self.records.event(id, Event::Set(settings.clone())).await? {
                return Ok(());
            }
            let (user, effects) = User::create(id, jid.to_owned(), settings.clone(), self.records.now());
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
            let (answer, changed) = session::service::serve(&self.settings(&jid).await?, request);
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
            let Effect::Record(Fact::Changed { jid }) = &entry.effect;
            let fact = serde_json::json!({
                "id": entry.id.to_string(), "user": jid, "at_ms": entry.since.0, "fact": "changed",
            });
            let message = Message { trace: String::new(), payload: fact.to_string().into() };
            match self.0.publish(subjects::USER_FACTS, message).await {
                Ok(()) => performed.done.push(entry.id),
                Err(error) => {
                    warn!(%error, "a fact of a user is not published yet");
                    break;
                }
            }
        }
        performed
    }
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
