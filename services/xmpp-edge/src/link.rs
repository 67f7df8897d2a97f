//! Component link (XEP-0114): claimed, connected, kept alive, and connected again when lost.

use crate::counters;
use crate::lease::{Lease, Standing};
use crate::reader::{Reader, StreamEvent};
use crate::server::Server;
use anyhow::{Context, Result, bail, ensure};
use bus::Request;
use minidom::Element;
use runtime::Drain;
use runtime::config::ComponentConfig;
use sha1::{Digest, Sha1};
use signal::LegRef;
use signal::mailbox::Headline;
use signal::service::Answer;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

const LOG_IN: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(10);
/// Silence after which the server is pinged.
const PING_AFTER: Duration = Duration::from_secs(30);
/// Silence after the ping that ends the link.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Most stanzas that wait for a slow server.
const QUEUE: usize = 4_096;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Time that a server may take to notice the dead link of a dead edge; until then it refuses ours (R-XMPP-3).
const CONFLICT_PATIENCE: Duration = Duration::from_secs(60);
/// Failed attempts in a row after which another edge may try.
const ATTEMPTS: u32 = 3;
/// Time that the lease is then left to the others.
const RELEASE_AFTER_FAILURES: Duration = Duration::from_secs(4);
/// Interval at which a draining edge looks for another live one; its lease is free for twice as long.
const POLL: Duration = Duration::from_secs(1);
/// Id of our pings to ourselves.
const PING: &str = "tandem-link";

/// Event of a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// The link of a domain is up; its stanzas go to this sender.
    Up(String, mpsc::Sender<Element>),
    /// The link is lost; true: still ours to make again.
    Down(String, bool),
    /// A stanza was received.
    Stanza(Element),
    /// Legs of standing calls of a domain whose link has come to us: each with our address and the user's.
    Legs(Vec<(LegRef, String, String)>),
    /// The orchestrators have answered the request for a phone service with this ticket.
    Served(u64, Answer),
    /// A user of a domain is to be told something.
    Headline(Headline, Request),
}

/// Other edges, as far as a link is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OtherEdges {
    /// Another edge lives and takes new calls.
    pub live: bool,
    /// Another edge shall take over now.
    pub take_over: bool,
}

/// Stream error by which a server refuses the component, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refusal {
    text: String,
    /// Another component is linked under this name.
    conflict: bool,
}

/// Keeps the link of one domain for as long as this edge holds its lease. Server and secret are those of the moment of each login.
pub async fn keep_linked(
    mut component: watch::Receiver<ComponentConfig>,
    lease: Lease,
    events: mpsc::Sender<LinkEvent>,
    drain: Drain,
    mut others: watch::Receiver<OtherEdges>,
) {
    let domain = component.borrow().domain.clone();
    let part = format!("xmpp {domain}");
    let (mut pause, mut failed, mut conflict) = (FIRST_PAUSE, 0, None::<Instant>);
    loop {
        while others.borrow().take_over {
            runtime::admin::ready(&part, None);
            tokio::select! {
                () = drain.stopping() => return,
                () = async { lease.release_for(2 * POLL).await; tokio::time::sleep(POLL).await } => {}
            }
        }
        let standing = lease.standing();
        if standing != Standing::Ours {
            match &standing {
                Standing::Undecided(cause) => runtime::admin::ready(&part, Some(&undecided(cause))),
                // Another edge holds the link, as it should.
                _ => runtime::admin::ready(&part, None),
            }
            tokio::select! {
                () = drain.stopping() => return,
                () = handed_over(&mut others) => {}
                () = lease.changed_from(&standing) => {}
            }
            continue;
        }
        runtime::admin::ready(&part, Some("no link to the XMPP server"));
        if lease.leave_to_link().await {
            info!(domain, "another edge has the link, and goes on with it");
            continue;
        }
        let (began, mut linked) = (Instant::now(), false);
        let present = component.borrow_and_update().clone();
        let outcome = tokio::select! {
            () = drain.stopping() => return,
            () = lease.lost() => {
                match lease.standing() {
                    Standing::Undecided(cause) => warn!(domain, "the link is given up: {}", undecided(&cause)),
                    _ => warn!(domain, "another edge holds the lease of the link"),
                }
                Ok(())
            }
            () = handed_over(&mut others) => {
                info!(domain, "another edge takes over the link");
                Ok(())
            }
            outcome = async {
                let server = Server::new(&present)?;
                let up = || {
                    runtime::admin::ready(&part, None);
                    lease.set_in_use(true);
                    linked = true;
                };
                connected(&present, &server, &events, up).await
            } => outcome,
        };
        lease.set_in_use(false);
        let ours = lease.held() && !others.borrow().take_over;
        let _ = events.send(LinkEvent::Down(domain.clone(), ours)).await;
        if !ours {
            (pause, failed) = (FIRST_PAUSE, 0);
            continue;
        }
        runtime::admin::ready(&part, Some("no link to the XMPP server"));
        let mut refused = false;
        if let Err(error) = outcome {
            // Not so for a link that was made and then lost to somebody else: two would throw each other out.
            refused = !linked && error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.conflict);
            warn!(domain, server = present.server, "{error:#}");
        }
        conflict = if refused { conflict.or_else(|| Some(Instant::now())) } else { None };
        let waits = conflict.is_some_and(|since| since.elapsed() < CONFLICT_PATIENCE);
        let lasted = began.elapsed() > LONGEST_PAUSE;
        pause = if waits || lasted { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        failed = if linked { 0 } else { failed + 1 };
        if failed >= ATTEMPTS && !waits && others.borrow().live {
            info!(domain, "no link from here: another edge may try");
            let _ = events.send(LinkEvent::Down(domain.clone(), false)).await;
            lease.release_for(RELEASE_AFTER_FAILURES).await;
            (pause, failed) = (FIRST_PAUSE, 0);
            continue;
        }
        tokio::select! {
            () = drain.stopping() => return,
            () = tokio::time::sleep(jittered(pause / 2)) => {}
            Ok(()) = component.changed() => pause = FIRST_PAUSE,
        }
    }
}

/// Words for the time in which nobody decides which edge holds the link: without that there could be two.
fn undecided(cause: &str) -> String {
    format!("nobody decides which edge holds the link: {cause}")
}

/// Waits until another edge shall take over.
async fn handed_over(others: &mut watch::Receiver<OtherEdges>) {
    // Without news this edge keeps the link.
    if others.wait_for(|others| others.take_over).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Returns a time between `pause` and twice that, so that many edges do not return at once.
fn jittered(pause: Duration) -> Duration {
    let share = runtime::clock::now_ms() % 1_000;
    pause + pause.mul_f64(share as f64 / 1_000.0)
}

/// Runs one connection from the first octet to the last; calls `up` once it is a link.
async fn connected(
    component: &ComponentConfig,
    server: &Server,
    events: &mpsc::Sender<LinkEvent>,
    up: impl FnOnce(),
) -> Result<()> {
    let mut stream = server.connect().await?;
    let mut reader = Reader::new();
    let mut early = timeout(HANDSHAKE, handshake(&mut stream, &mut reader, component))
        .await
        .context("no answer to the handshake in time")??;
    info!(domain = component.domain, "the component is linked");
    up();
    let (sender, mut outgoing) = mpsc::channel::<Element>(QUEUE);
    events.send(LinkEvent::Up(component.domain.clone(), sender)).await?;

    let (mut from, mut to) = tokio::io::split(stream);
    let mut buffer = vec![0; 32 * 1024];
    let (mut heard, mut asked) = (Instant::now(), false);
    loop {
        for event in early.drain(..) {
            forward(event, component, events).await?;
        }
        let patience = heard + if asked { PING_AFTER + PING_TIMEOUT } else { PING_AFTER };
        tokio::select! {
            read = from.read(&mut buffer) => {
                let length = read.context("the link broke")?;
                ensure!(length > 0, "the XMPP server closed the connection");
                (heard, asked) = (Instant::now(), false);
                early = reader.push(&buffer[..length])?;
            }
            stanza = outgoing.recv() => {
                // Without the bus we would hear and could not speak.
                let mut text = written(&stanza.context("the bus does not take the link")?);
                // Everything that waits goes into the same write.
                while text.len() < 64 * 1024 && let Ok(more) = outgoing.try_recv() {
                    text.push_str(&written(&more));
                }
                write(&mut to, text.as_bytes()).await?;
            }
            () = tokio::time::sleep_until(patience) => {
                ensure!(!asked, "the XMPP server fell silent");
                asked = true;
                // A ping to ourselves: only a live server routes it back.
                let domain = &component.domain;
                let ping = format!(
                    "<iq type='get' id='{PING}' from='{domain}' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
                );
                write(&mut to, ping.as_bytes()).await?;
            }
        }
    }
}

/// Links a component for a moment, to see that the server takes it. One that is linked already is as good: the server has
/// looked at the secret first.
///
/// # Errors
/// Why the server does not take it, in words for the operator.
pub async fn log_in(component: &ComponentConfig) -> Result<()> {
    let mut stream = Server::new(component)?.connect().await?;
    let linked = timeout(LOG_IN, handshake(&mut stream, &mut Reader::new(), component)).await;
    match linked.context("no answer to the handshake in time")? {
        Ok(_) => Ok(()),
        Err(error) if error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.conflict) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Writes a stanza as text; one that is no XML is left out rather than losing the link.
fn written(stanza: &Element) -> String {
    xmpp::writer::write(stanza).unwrap_or_else(|| {
        warn!(to = stanza.attr("to"), "a stanza that is no XML is left out");
        String::new()
    })
}

async fn write(to: &mut (impl AsyncWriteExt + Unpin), octets: &[u8]) -> Result<()> {
    let writing = async {
        to.write_all(octets).await?;
        to.flush().await
    };
    timeout(WRITE, writing).await.context("the XMPP server takes nothing any more")??;
    Ok(())
}

/// Sends stream header and handshake (XEP-0114 §3); returns the events that followed in the same read.
async fn handshake(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    reader: &mut Reader,
    component: &ComponentConfig,
) -> Result<Vec<StreamEvent>> {
    let domain = &component.domain;
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
         xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
    );
    write(stream, header.as_bytes()).await?;
    let mut buffer = [0; 4_096];
    let mut proven = false;
    loop {
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "the XMPP server closed the connection at the handshake");
        let mut events = reader.push(&buffer[..length])?.into_iter();
        while let Some(event) = events.next() {
            match event {
                StreamEvent::Opened { id } => {
                    let secret = component.secret.as_deref().unwrap_or_default();
                    let digest = Sha1::digest(format!("{id}{secret}"));
                    let proof: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                    write(stream, format!("<handshake>{proof}</handshake>").as_bytes()).await?;
                    proven = true;
                }
                StreamEvent::Stanza(element) if element.name() == "handshake" && proven => {
                    return Ok(events.collect());
                }
                StreamEvent::Stanza(error) if error.name() == "error" => bail!(refusal(&error, domain)),
                StreamEvent::Closed => bail!("the XMPP server closed the stream at the handshake"),
                StreamEvent::Stanza(_) | StreamEvent::Unparsable(_) => {}
            }
        }
    }
}

fn refusal(error: &Element, domain: &str) -> Refusal {
    let condition = error.children().next().map_or("unknown", Element::name);
    let text = match condition {
        "not-authorized" => {
            format!(
                "[[xmpp.component]] secret: the XMPP server knows another one for {domain}; write the same on both sides"
            )
        }
        "host-unknown" => {
            format!(
                "[[xmpp.component]] domain: the XMPP server does not know {domain}; configure it there as a component"
            )
        }
        "conflict" => format!("somebody else is linked as {domain}; is another gateway running?"),
        other => {
            let text = error.children().find(|child| child.name() == "text").map(Element::text);
            format!("the XMPP server refuses {domain}: {other} {}", text.unwrap_or_default())
        }
    };
    Refusal { text, conflict: condition == "conflict" }
}

async fn forward(
    event: StreamEvent,
    component: &ComponentConfig,
    events: &mpsc::Sender<LinkEvent>,
) -> Result<()> {
    match event {
        StreamEvent::Stanza(error) if error.name() == "error" => bail!(refusal(&error, &component.domain)),
        StreamEvent::Stanza(stanza) if is_own_ping(&stanza, &component.domain) => {}
        StreamEvent::Stanza(stanza) => events.send(LinkEvent::Stanza(stanza)).await?,
        StreamEvent::Unparsable(stanza) => {
            debug!(from = stanza.attr("from"), "a stanza that is too large, too deep or no XML");
            counters::STANZAS_SPOILED.increment(1);
            events.send(LinkEvent::Stanza(stanza)).await?;
        }
        StreamEvent::Closed => bail!("the XMPP server closed the stream"),
        StreamEvent::Opened { .. } => bail!("a second stream header"),
    }
    Ok(())
}

fn is_own_ping(stanza: &Element, domain: &str) -> bool {
    stanza.attr("from") == Some(domain) && stanza.attr("id") == Some(PING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpStream};

    async fn linked() -> (mpsc::Receiver<LinkEvent>, tokio::task::JoinHandle<Result<()>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let component = ComponentConfig {
            domain: "sip.example.net".into(),
            server: listener.local_addr().unwrap().to_string(),
            secret: None,
            secret_file: None,
            users: None,
            ..ComponentConfig::default()
        };
        let (sender, events) = mpsc::channel(8);
        let at = Server::new(&component).unwrap();
        let link = tokio::spawn(async move { connected(&component, &at, &sender, || {}).await });
        let (mut server, _) = listener.accept().await.unwrap();
        let welcome = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='1'><handshake/>";
        server.write_all(welcome.as_bytes()).await.unwrap();
        (events, link, server)
    }

    /// Such a link would hear and could not speak.
    #[tokio::test]
    async fn a_link_that_nobody_speaks_on_ends() {
        let (mut events, link, _server) = linked().await;
        let Some(LinkEvent::Up(_, sender)) = events.recv().await else { panic!() };
        drop(sender);
        let ended = timeout(Duration::from_secs(5), link).await.unwrap().unwrap();
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_left_out() {
        let (mut events, link, mut server) = linked().await;
        let Some(LinkEvent::Up(_, sender)) = events.recv().await else { panic!() };
        for name in ["no name", "iq"] {
            sender.send(Element::bare(name, "jabber:component:accept")).await.unwrap();
        }
        let mut text = String::new();
        while !text.contains("<iq") {
            let mut buffer = [0; 1_024];
            let length = timeout(Duration::from_secs(5), server.read(&mut buffer)).await.unwrap().unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        assert!(!text.contains("no name") && !link.is_finished());
    }
}
