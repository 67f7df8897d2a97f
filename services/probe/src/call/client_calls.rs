//! Calls from XMPP: the account calls the phone.

use super::{Ends, Event, LOOK, PICK_UP, STEP, Session, Stage};
use crate::client;
use crate::jingle::{self, Remote};
use crate::media::End;
use crate::phone;
use crate::random;
use crate::report::{Failed, Fault, Report};
use tokio::time::sleep;

impl Stage<'_> {
    /// Calls, rings, answers, talks, and hangs up at the client.
    pub(super) async fn client_calls(&mut self, report: &mut Report) -> Result<(), Failed> {
        let sid = random::word::<16>().unwrap_or_default();
        let (peer, proposed) = (self.plan.jid.clone(), !self.plan.direct);
        self.session = Some(Session { peer, sid: sid.clone(), proposed, ours: true });
        let (offered, invited) = self.client_dials(report, &sid).await?;
        self.phone_rings(report, &sid).await?;
        sleep(PICK_UP).await;
        let ends = self.phone_picks_up(report, &sid, offered, &invited).await?;
        self.talk(report, ends).await?;
        self.client_hangs_up(report, &sid).await
    }

    /// Gives the end of a session that was offered at once, and the description of the INVITE.
    async fn client_dials(
        &mut self,
        report: &mut Report,
        sid: &str,
    ) -> Result<(Option<End>, String), Failed> {
        let plan = self.plan;
        let late = Fault::new(
            format!("no call to {} reached the phone", plan.jid),
            "look whether --call-jid is of a component domain, and whether its trunk's uri is --listen; `tandem trunks`",
        );
        let dialled = report.step("called", STEP, late, async {
            let mut offered = None;
            if plan.direct {
                offered = Some(self.offer(&plan.jid, sid).await?);
            } else {
                self.client.tell(jingle::propose(&plan.jid, sid)).await;
            }
            let invited = self.until(|event| match event {
                Event::Phone(phone::Heard::Invite { from, sdp }) => Some((from.clone(), sdp.clone())),
                _ => None,
            });
            Ok((offered, invited.await?))
        });
        let (offered, (from, sdp)) = dialled.await?;
        report.fact("from", from);
        Ok((offered, sdp))
    }

    async fn phone_rings(&mut self, report: &mut Report, sid: &str) -> Result<(), Failed> {
        let late = Fault::new("the client was not told that it rings", LOOK);
        let rings = report.step("rings", STEP, late, async {
            self.phone.ring().await?;
            self.until(|event| match event {
                Event::Client(client::Heard::Ringing { sid: theirs }) if theirs == sid => Some(()),
                _ => None,
            })
            .await
        });
        rings.await
    }

    async fn phone_picks_up(
        &mut self,
        report: &mut Report,
        sid: &str,
        offered: Option<End>,
        invited: &str,
    ) -> Result<Ends, Failed> {
        let late = Fault::new("the phone was picked up, and the client was not told", LOOK);
        let answered = report.step("answered", STEP, late, async {
            let phone = End::plain(self.plan.media).await?;
            let of_phone = self.answer(&phone, invited).await?;
            let client = match offered {
                Some(end) => end,
                None => self.proceeded(sid).await?,
            };
            let (peer, remote) = self.accepted(sid).await?;
            if let Some(session) = &mut self.session {
                session.peer = peer;
            }
            let of_client = remote.choose(&self.plan.client_codecs)?;
            client.remote(remote.ice.clone(), remote.dtls.clone()).await;
            Ok(Ends { phone, client, codecs: (of_phone, of_client) })
        });
        answered.await
    }

    /// Waits until the proposal is taken, and offers the session.
    async fn proceeded(&mut self, sid: &str) -> Result<End, Fault> {
        let peer = self.until(|event| match event {
            Event::Client(client::Heard::Proceeded { from, sid: theirs }) if theirs == sid => {
                Some(from.clone())
            }
            _ => None,
        });
        let peer = peer.await?;
        let end = self.offer(&peer, sid).await?;
        if let Some(session) = &mut self.session {
            session.peer = peer;
        }
        Ok(end)
    }

    async fn accepted(&mut self, sid: &str) -> Result<(String, Remote), Fault> {
        self.until(|event| match event {
            Event::Client(client::Heard::Accepted { from, sid: theirs, remote }) if theirs == sid => {
                Some((from.clone(), remote.clone()))
            }
            _ => None,
        })
        .await
    }

    async fn client_hangs_up(&mut self, report: &mut Report, sid: &str) -> Result<(), Failed> {
        self.ending = true;
        let peer = self.session.as_ref().map(|session| session.peer.clone()).unwrap_or_default();
        let late = Fault::new("the client hung up, and the phone was not told", LOOK);
        let ended = report.step("ended", STEP, late, async {
            self.client.tell(jingle::terminate(&peer, sid, "success")).await;
            self.until(|event| match event {
                Event::Phone(phone::Heard::Over { why, .. }) => Some(why.clone()),
                _ => None,
            })
            .await
        });
        let why = ended.await?;
        self.session = None;
        report.fact("by", "session-terminate");
        report.fact("reason", why);
        Ok(())
    }
}
