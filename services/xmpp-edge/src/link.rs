//! One component link (XEP-0114): claimed, connected, kept alive, and made again when it is lost.

use crate::lease::Lease;
use crate::reader::{Piece, Reader};
use anyhow::{Context, Result, bail, ensure};
use minidom::Element;
use runtime::Drain;
use runtime::config::ComponentConfig;
use sha1::{Digest, Sha1};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(10);
const WRITE: Duration = Duration::from_secs(10);
/// Silence after which we ask whether the server is still there.
const QUIET: Duration = Duration::from_secs(30);
/// Silence after that question.
const DEAD: Duration = Duration::from_secs(15);
/// Stanzas that wait for a slow server.
const QUEUE: usize = 4_096;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The server may take so long to notice that the link of a dead edge is dead; until then ours is refused (R-XMPP-3).
const CONFLICT: Duration = Duration::from_secs(60);
/// Attempts in a row that fail before another edge may try.
const ATTEMPTS: u32 = 3;
/// Then the lease is left to the others for so long.
const LEFT: Duration = Duration::from_secs(4);
/// A draining edge looks this often whether another still lives; its lease is free for twice as long.
const LOOK: Duration = Duration::from_secs(1);
/// Ids of our own pings to ourselves.
const PING: &str = "tandem-link";

/// What links bring.
#[derive(Debug)]
pub enum Input {
    /// The link of a domain is there; stanzas for it go here.
    Up(String, mpsc::Sender<Element>),
    /// It is lost; true: it is still ours to make.
    Down(String, bool),
    /// A stanza came in.
    Stanza(Element),
}

/// The other edges, as far as a link is concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// One lives that takes new calls.
    pub live: bool,
    /// It shall take over now.
    pub relieve: bool,
}

/// The stream error by which a server refuses the component, in words for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refusal {
    text: String,
    /// Somebody else is linked.
    conflict: bool,
}

/// Keeps the link of one domain for as long as this edge holds its lease.
pub async fn keep(
    component: ComponentConfig,
    lease: Lease,
    inputs: mpsc::Sender<Input>,
    drain: Drain,
    mut others: watch::Receiver<Others>,
) {
    let domain = component.domain.clone();
    let part = format!("xmpp {domain}");
    let (mut pause, mut failed, mut conflict) = (FIRST_PAUSE, 0, None::<Instant>);
    loop {
        while others.borrow().relieve {
            runtime::admin::ready(&part, None);
            tokio::select! {
                () = drain.stopping() => return,
                () = async { lease.rest(2 * LOOK).await; tokio::time::sleep(LOOK).await } => {}
            }
        }
        if !lease.held() {
            // Another edge holds the link: that is how it should be.
            runtime::admin::ready(&part, None);
            tokio::select! {
                () = drain.stopping() => return,
                () = relieved(&mut others) => continue,
                () = lease.granted() => {}
            }
        }
        runtime::admin::ready(&part, Some("no link to the XMPP server"));
        let (began, mut linked) = (Instant::now(), false);
        let outcome = tokio::select! {
            () = drain.stopping() => return,
            () = lease.lost() => {
                warn!(domain, "another edge holds the lease of the link");
                Ok(())
            }
            () = relieved(&mut others) => {
                info!(domain, "another edge takes over the link");
                Ok(())
            }
            outcome = connected(&component, &inputs, &part, &mut linked) => outcome,
        };
        let ours = lease.held() && !others.borrow().relieve;
        let _ = inputs.send(Input::Down(domain.clone(), ours)).await;
        if !ours {
            (pause, failed) = (FIRST_PAUSE, 0);
            continue;
        }
        runtime::admin::ready(&part, Some("no link to the XMPP server"));
        let mut refused = false;
        if let Err(error) = outcome {
            // A link that was made and then lost to somebody else is another matter: two would throw each other out.
            refused = !linked && error.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.conflict);
            warn!(domain, server = component.server, "{error:#}");
        }
        conflict = if refused { conflict.or_else(|| Some(Instant::now())) } else { None };
        let waits = conflict.is_some_and(|since| since.elapsed() < CONFLICT);
        let lasted = began.elapsed() > LONGEST_PAUSE;
        pause = if waits || lasted { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        failed = if linked { 0 } else { failed + 1 };
        if failed >= ATTEMPTS && !waits && others.borrow().live {
            info!(domain, "no link from here: another edge may try");
            let _ = inputs.send(Input::Down(domain.clone(), false)).await;
            lease.rest(LEFT).await;
            (pause, failed) = (FIRST_PAUSE, 0);
            continue;
        }
        tokio::select! {
            () = drain.stopping() => return,
            () = tokio::time::sleep(jittered(pause / 2)) => {}
        }
    }
}

/// Waits until another edge shall take over.
async fn relieved(others: &mut watch::Receiver<Others>) {
    // Without news this edge goes on by itself.
    if others.wait_for(|others| others.relieve).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Between the given time and twice it, so that many edges do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let share = runtime::clock::now_ms() % 1_000;
    pause + pause.mul_f64(share as f64 / 1_000.0)
}

/// One connection from the first octet to the last.
async fn connected(
    component: &ComponentConfig,
    inputs: &mpsc::Sender<Input>,
    part: &str,
    linked: &mut bool,
) -> Result<()> {
    let connecting = timeout(CONNECT, TcpStream::connect(&component.server));
    let mut stream = connecting
        .await
        .context("no connection in time; is [[xmpp.component]] server right?")?
        .context("no connection; does the XMPP server listen for components there?")?;
    stream.set_nodelay(true)?;
    let mut reader = Reader::new();
    let mut early = timeout(HANDSHAKE, handshake(&mut stream, &mut reader, component))
        .await
        .context("no answer to the handshake in time")??;
    info!(domain = component.domain, "the component is linked");
    runtime::admin::ready(part, None);
    *linked = true;
    let (sender, mut outgoing) = mpsc::channel::<Element>(QUEUE);
    inputs.send(Input::Up(component.domain.clone(), sender)).await?;

    let (mut from, mut to) = stream.into_split();
    let mut buffer = vec![0; 32 * 1024];
    let (mut heard, mut asked) = (Instant::now(), false);
    loop {
        for piece in early.drain(..) {
            pass(piece, component, inputs).await?;
        }
        let patience = heard + if asked { QUIET + DEAD } else { QUIET };
        tokio::select! {
            read = from.read(&mut buffer) => {
                let length = read.context("the link broke")?;
                ensure!(length > 0, "the XMPP server closed the connection");
                (heard, asked) = (Instant::now(), false);
                early = reader.push(&buffer[..length])?;
            }
            stanza = outgoing.recv() => {
                // Else we would hear and could not speak.
                let mut text = written(&stanza.context("the bus does not take the link")?);
                // Whatever waits already goes into the same write.
                while text.len() < 64 * 1024 && let Ok(more) = outgoing.try_recv() {
                    text.push_str(&written(&more));
                }
                write(&mut to, text.as_bytes()).await?;
            }
            () = tokio::time::sleep_until(patience) => {
                ensure!(!asked, "the XMPP server fell silent");
                asked = true;
                // To ourselves and back: the server must be alive to route it.
                let domain = &component.domain;
                let ping = format!(
                    "<iq type='get' id='{PING}' from='{domain}' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>"
                );
                write(&mut to, ping.as_bytes()).await?;
            }
        }
    }
}

/// As text; what cannot be written is no reason to lose the link.
fn written(stanza: &Element) -> String {
    xmpp::writer::write(stanza).unwrap_or_else(|| {
        warn!(to = stanza.attr("to"), "a stanza that is no XML is left out");
        String::new()
    })
}

async fn write(to: &mut (impl AsyncWriteExt + Unpin), octets: &[u8]) -> Result<()> {
    timeout(WRITE, to.write_all(octets)).await.context("the XMPP server takes nothing any more")??;
    Ok(())
}

/// Stream header and handshake (XEP-0114 §3); gives what came right behind.
async fn handshake(
    stream: &mut TcpStream,
    reader: &mut Reader,
    component: &ComponentConfig,
) -> Result<Vec<Piece>> {
    let domain = &component.domain;
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
         xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
    );
    stream.write_all(header.as_bytes()).await?;
    let mut buffer = [0; 4_096];
    let mut proven = false;
    loop {
        let length = stream.read(&mut buffer).await?;
        ensure!(length > 0, "the XMPP server closed the connection at the handshake");
        let mut pieces = reader.push(&buffer[..length])?.into_iter();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Opened { id } => {
                    let secret = component.secret.as_deref().unwrap_or_default();
                    let digest = Sha1::digest(format!("{id}{secret}"));
                    let proof: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                    stream.write_all(format!("<handshake>{proof}</handshake>").as_bytes()).await?;
                    proven = true;
                }
                Piece::Stanza(element) if element.name() == "handshake" && proven => {
                    return Ok(pieces.collect());
                }
                Piece::Stanza(error) if error.name() == "error" => bail!(refusal(&error, domain)),
                Piece::Closed => bail!("the XMPP server closed the stream at the handshake"),
                Piece::Stanza(_) | Piece::Spoiled(_) => {}
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

async fn pass(piece: Piece, component: &ComponentConfig, inputs: &mpsc::Sender<Input>) -> Result<()> {
    match piece {
        Piece::Stanza(error) if error.name() == "error" => bail!(refusal(&error, &component.domain)),
        Piece::Stanza(stanza) if is_own_ping(&stanza, &component.domain) => {}
        Piece::Stanza(stanza) => inputs.send(Input::Stanza(stanza)).await?,
        Piece::Spoiled(stanza) => {
            debug!(from = stanza.attr("from"), "a stanza that is too large, too deep or no XML");
            metrics::counter!("tandem_xmpp_stanzas_spoiled_total").increment(1);
            inputs.send(Input::Stanza(stanza)).await?;
        }
        Piece::Closed => bail!("the XMPP server closed the stream"),
        Piece::Opened { .. } => bail!("a second stream header"),
    }
    Ok(())
}

fn is_own_ping(stanza: &Element, domain: &str) -> bool {
    stanza.attr("from") == Some(domain) && stanza.attr("id") == Some(PING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn linked() -> (mpsc::Receiver<Input>, tokio::task::JoinHandle<Result<()>>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let component = ComponentConfig {
            domain: "sip.example.net".into(),
            server: listener.local_addr().unwrap().to_string(),
            secret: None,
            secret_file: None,
            users: None,
        };
        let (sender, inputs) = mpsc::channel(8);
        let link = tokio::spawn(async move { connected(&component, &sender, "test", &mut false).await });
        let (mut server, _) = listener.accept().await.unwrap();
        let welcome = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' id='1'><handshake/>";
        server.write_all(welcome.as_bytes()).await.unwrap();
        (inputs, link, server)
    }

    /// Else it would hear and could not speak.
    #[tokio::test]
    async fn a_link_that_nobody_speaks_on_ends() {
        let (mut inputs, link, _server) = linked().await;
        let Some(Input::Up(_, sender)) = inputs.recv().await else { panic!() };
        drop(sender);
        let ended = timeout(Duration::from_secs(5), link).await.unwrap().unwrap();
        assert!(ended.is_err());
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_left_out() {
        let (mut inputs, link, mut server) = linked().await;
        let Some(Input::Up(_, sender)) = inputs.recv().await else { panic!() };
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
