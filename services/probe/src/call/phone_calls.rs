//! Calls from SIP: the phone calls the account.

use super::{Ends, Event, LOOK, PICK_UP, STEP, Session, Stage, described};
use crate::client;
use crate::codec::Codec;
use crate::jingle::{self, Remote};
use crate::media::End;
use crate::phone;
use crate::report::{Failed, Fault, Report};
use crate::sdp;
use tokio::time::sleep;

/// Call as it reached the client.
struct Called {
    peer: String,
    sid: String,
    /// Description of the session, if it came without a proposal.
    remote: Option<Remote>,
}

impl Stage<'_> {
    /// Calls, rings, answers, talks, and hangs up at the phone.
    pub(super) async fn phone_calls(&mut self, report: &mut Report) -> Result<(), Failed> {
        let phone = self.phone_dials(report).await?;
        let (phone, called) = phone;
        self.client_rings(report, &called).await?;
        sleep(PICK_UP).await;
        let (client, codecs) = self.client_picks_up(report, &called, &phone).await?;
        self.talk(report, Ends { phone, client, codecs }).await?;
        self.phone_hangs_up(report, &called.sid).await
    }

    async fn phone_dials(&mut self, report: &mut Report) -> Result<(End, Called), Failed> {
        let plan = self.plan;
        let late = Fault::new(
            format!("no call to {} reached {}", plan.uri, self.client.jid()),
            "look whether --call-uri leads to the account: [sip] domains, [[xmpp.component]] users, [[alias]]; `tandem calls`",
        );
        let dialled = report
            .step("called", STEP, late, async {
                let end = End::plain(plan.media).await?;
                self.phone.invite(&plan.uri, sdp::write(end.address, &plan.phone_codecs)).await?;
                let called = self.until(|event| match event {
                    Event::Client(client::Heard::Proposed { from, sid }) => {
                        Some(Called { peer: from.clone(), sid: sid.clone(), remote: None })
                    }
                    Event::Client(client::Heard::Initiated { from, sid, remote }) => {
                        Some(Called { peer: from.clone(), sid: sid.clone(), remote: Some(remote.clone()) })
                    }
                    _ => None,
                });
                Ok((end, called.await?))
            })
            .await;
        let (end, called) = dialled?;
        let (peer, sid, proposed) = (called.peer.clone(), called.sid.clone(), called.remote.is_none());
        self.session = Some(Session { peer, sid, proposed, ours: false });
        report.fact("by", if proposed { "propose" } else { "session-initiate" });
        report.fact("from", called.peer.clone());
        Ok((end, called))
    }

    async fn client_rings(&mut self, report: &mut Report, called: &Called) -> Result<(), Failed> {
        let late = Fault::new("the phone was not told that it rings", LOOK);
        let rings = report
            .step("rings", STEP, late, async {
                let proposed = called.remote.is_none();
                self.client.tell(jingle::ringing(proposed, &called.peer, &called.sid)).await;
                self.until(|event| match event {
                    Event::Phone(phone::Heard::Response { method, code, .. })
                        if method == "INVITE" && (180..=183).contains(code) =>
                    {
                        Some(*code)
                    }
                    _ => None,
                })
                .await
            })
            .await;
        report.fact("code", rings?);
        Ok(())
    }

    async fn client_picks_up(
        &mut self,
        report: &mut Report,
        called: &Called,
        phone_end: &End,
    ) -> Result<(End, (Codec, Codec)), Failed> {
        let late = Fault::new("the call was picked up, and the phone was not told", LOOK);
        let answered = report.step("answered", STEP, late, async {
            let remote = match &called.remote {
                Some(remote) => remote.clone(),
                None => self.proceed(called).await?,
            };
            let (end, codec) = self.accept(&called.peer, &called.sid, &remote).await?;
            let sdp = self.until(|event| match event {
                Event::Phone(phone::Heard::Response { method, code: 200, sdp, .. }) if method == "INVITE" => {
                    Some(sdp.clone())
                }
                _ => None,
            });
            let described = described(&sdp.await?)?;
            phone_end.peer(described.address).await;
            let of_phone = described.codecs.first().copied();
            Ok((
                end,
                (of_phone.ok_or_else(|| Fault::new("no codec in common", "give more --sip-codecs"))?, codec),
            ))
        });
        answered.await
    }

    /// Takes the proposal, and waits for the session that follows.
    async fn proceed(&mut self, called: &Called) -> Result<Remote, Fault> {
        self.client.tell(jingle::proceed(&called.peer, &called.sid)).await;
        self.until(|event| match event {
            Event::Client(client::Heard::Initiated { sid, remote, .. }) if *sid == called.sid => {
                Some(remote.clone())
            }
            _ => None,
        })
        .await
    }

    async fn phone_hangs_up(&mut self, report: &mut Report, sid: &str) -> Result<(), Failed> {
        self.ending = true;
        let late = Fault::new("the phone hung up, and the client was not told", LOOK);
        let ended = report.step("ended", STEP, late, async {
            self.phone.hang_up().await?;
            let code = self.until(|event| match event {
                Event::Phone(phone::Heard::Response { method, code, .. }) if method == "BYE" => Some(*code),
                _ => None,
            });
            let code = code.await?;
            if code != 200 {
                return Err(Fault::new(format!("BYE was answered {code}"), LOOK));
            }
            self.until(|event| match event {
                Event::Client(client::Heard::Terminated { sid: theirs, why }) if theirs == sid => {
                    Some(why.clone())
                }
                _ => None,
            })
            .await
        });
        let why = ended.await?;
        self.session = None;
        report.fact("by", "BYE");
        report.fact("reason", why);
        Ok(())
    }
}
