//! The life of a service as its operator sees it: a process of its own, signals, the admin port, exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test says what is wrong by failing"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tandem_runtime::config::load::load;
use tandem_runtime::{admin, service};

/// Set in the process that plays the service.
const ROLE: &str = "LIFE_ROLE";

/// A service that has one call, which ends when a file of its name appears.
fn play(role: &str) -> ! {
    let config = load(None, std::env::vars()).unwrap();
    let call = std::env::var("LIFE_CALL").unwrap_or_default();
    let role = role.to_owned();
    let code = service::run("sip-edge", None, config, async move |_config, drain| {
        if role == "fails" {
            anyhow::bail!("[sip] listen: taken; free it");
        }
        if role == "panics" {
            let _ = tokio::spawn(async { panic!("a task fell over") }).await;
            return Ok(());
        }
        let routes = axum::Router::new().route("/calls", axum::routing::get(async || "one"));
        let echo = axum::routing::post(async |axum::Json(said): axum::Json<String>| said);
        admin::mount(routes.route("/echo", echo));
        admin::ready("link", Some("not yet"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        admin::ready("link", None);
        drain.draining().await;
        while !std::path::Path::new(&call).exists() {
            tokio::select! {
                () = drain.stopping() => return Ok(()),
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        Ok(())
    });
    std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
}

struct Service {
    child: Child,
    admin: SocketAddr,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(test: &str, role: &str, admin: SocketAddr, call: &str) -> Service {
    start_with(test, role, admin, call, &[])
}

fn start_with(test: &str, role: &str, admin: SocketAddr, call: &str, more: &[(&str, &str)]) -> Service {
    let child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ROLE, role)
        .env("LIFE_CALL", call)
        .env("TANDEM_ADMIN__LISTEN", admin.to_string())
        .envs(more.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Service { child, admin }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Service {
    fn ask(&self, request: &str) -> Option<String> {
        self.ask_as(request, &format!("host: {}\r\n", self.admin), "")
    }

    /// Asks with these headers and this body.
    fn ask_as(&self, request: &str, headers: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let length = body.len();
        write!(
            stream,
            "{request} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn eventually(&self, request: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut last = None;
        for _ in 0..500 {
            last = self.ask(request);
            if let Some(answer) = last.as_ref().filter(|answer| holds(answer)) {
                return answer.clone();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{request}: {last:?}")
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(told.unwrap().success());
    }

    /// How it ended, and what it said.
    fn end(mut self) -> (ExitStatus, String) {
        for _ in 0..500 {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                return (status, said);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not end")
    }
}

#[test]
fn a_drained_service_ends_with_its_last_call() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let files = tempfile::tempdir().unwrap();
    let call = files.path().join("over");
    let service =
        start("a_drained_service_ends_with_its_last_call", "serves", free(), call.to_str().unwrap());
    let waiting = service.eventually("GET /readyz", |answer| answer.contains("not yet"));
    assert!(waiting.starts_with("HTTP/1.1 503") && waiting.contains(r#""link":"not yet""#), "{waiting}");
    service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    assert!(service.ask("GET /healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(service.ask("GET /metrics").unwrap().starts_with("HTTP/1.1 200"));
    assert!(service.ask("GET /calls").unwrap().ends_with("one"));
    assert!(service.ask("GET /nothing").unwrap().starts_with("HTTP/1.1 404"));

    // A14: a lost terminal, or somebody who expects a reload, does not kill it.
    service.signal("HUP");
    std::thread::sleep(Duration::from_millis(200));
    assert!(service.ask("GET /readyz").unwrap().starts_with("HTTP/1.1 200"));

    service.signal("TERM");
    let draining = service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 503"));
    assert!(draining.contains(r#""draining":true"#), "{draining}");
    assert!(service.ask("GET /healthz").unwrap().starts_with("HTTP/1.1 200"), "alive while it drains");
    std::fs::write(&call, "").unwrap();
    let (status, said) = service.end();
    assert!(status.success() && said.contains("draining") && said.contains("ends"), "{status} {said}");
    assert!(said.contains("SIGHUP: the configuration was loaded again"), "{said}");
}

#[test]
fn a_drain_is_asked_for_over_the_admin_port_and_a_second_signal_ends_it() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let name = "a_drain_is_asked_for_over_the_admin_port_and_a_second_signal_ends_it";
    let service = start(name, "serves", free(), "never");
    service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    assert!(service.ask("GET /drain").unwrap().starts_with("HTTP/1.1 405"), "asking is not doing");
    assert!(service.ask("POST /drain").unwrap().contains(r#""draining":true"#));
    service.eventually("GET /readyz", |answer| answer.contains(r#""draining":true"#));
    service.signal("TERM");
    // The first is answered by a line of the log; both at once would be one.
    std::thread::sleep(Duration::from_millis(200));
    service.signal("INT");
    let (status, said) = service.end();
    assert!(status.success(), "{status} {said}");
}

#[test]
fn faults_end_it_with_one_line_and_code_one() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let name = "faults_end_it_with_one_line_and_code_one";
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (status, said) = start(name, "serves", taken.local_addr().unwrap(), "").end();
    assert_eq!(status.code(), Some(1), "{said}");
    let line = said.lines().find(|line| line.contains("[admin] listen")).unwrap_or_else(|| panic!("{said}"));
    assert!(
        line.contains(&taken.local_addr().unwrap().to_string()) && line.contains("name another"),
        "{line}"
    );

    let (status, said) = start(name, "fails", free(), "").end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("tandem-sip-edge: [sip] listen: taken; free it"), "{said}");

    let (status, said) = start(name, "panics", free(), "").end();
    assert!(status.success(), "{said}");
    let line =
        said.lines().find(|line| line.contains("a task fell over")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("ERROR") && line.contains("service.rs"), "{line}");
}

/// A page in a browser of this host can make it ask 127.0.0.1, by its own name or from its own place: neither drains the gateway.
#[test]
fn f7_pages_of_other_places_are_refused() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let service = start("f7_pages_of_other_places_are_refused", "serves", free(), "never");
    service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    let rebound = service.ask_as("POST /drain", "host: evil.example:8080\r\n", "").unwrap();
    assert!(rebound.starts_with("HTTP/1.1 421") && rebound.contains("[admin] hosts"), "{rebound}");
    let host = format!("host: {}\r\n", service.admin);
    for request in ["POST /drain", "GET /calls", "GET /metrics"] {
        let foreign = service.ask_as(request, &format!("{host}origin: http://evil.example\r\n"), "").unwrap();
        assert!(foreign.starts_with("HTTP/1.1 403"), "{request}: {foreign}");
    }
    // Nobody has drained it; and without users whoever is on this host may.
    assert!(service.ask("GET /readyz").unwrap().starts_with("HTTP/1.1 200"));
    let own = format!("{host}origin: http://{}\r\n", service.admin);
    assert!(service.ask_as("POST /drain", &own, "").unwrap().starts_with("HTTP/1.1 200"));
    service.signal("TERM");
    std::thread::sleep(Duration::from_millis(200));
    service.signal("TERM");
    service.end();
}

#[test]
fn f7_elsewhere_a_token_is_demanded_at_the_start() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let everywhere = SocketAddr::from(([0, 0, 0, 0], free().port()));
    let (status, said) =
        start("f7_elsewhere_a_token_is_demanded_at_the_start", "serves", everywhere, "").end();
    assert_eq!(status.code(), Some(1), "{said}");
    let line =
        said.lines().find(|line| line.contains("[admin] user: absent")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(&everywhere.to_string()) && line.contains("token"), "{line}");
}

/// Two roles, by token; probes and Prometheus need none, at a place of their own; every change has its line.
#[test]
fn f7_users_do_what_their_role_allows_and_changes_are_told() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let files = tempfile::tempdir().unwrap();
    let (eye, hand) = (files.path().join("eye"), files.path().join("hand"));
    std::fs::write(&eye, "eye-0123456789abcdef\n").unwrap();
    std::fs::write(&hand, "hand-0123456789abcdef\n").unwrap();
    let health = free();
    let name = "f7_users_do_what_their_role_allows_and_changes_are_told";
    let service = start_with(
        name,
        "serves",
        free(),
        "never",
        &[
            ("TANDEM_ADMIN__HEALTH", &health.to_string()),
            ("TANDEM_ADMIN__USER__0__NAME", "eye"),
            ("TANDEM_ADMIN__USER__0__TOKEN_FILE", eye.to_str().unwrap()),
            ("TANDEM_ADMIN__USER__1__NAME", "hand"),
            ("TANDEM_ADMIN__USER__1__ROLE", "operate"),
            ("TANDEM_ADMIN__USER__1__TOKEN_FILE", hand.to_str().unwrap()),
        ],
    );
    service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    let by = |request: &str, token: &str| {
        let headers = format!("host: {}\r\nauthorization: Bearer {token}\r\n", service.admin);
        service.ask_as(request, &headers, "").unwrap()
    };
    for request in ["GET /calls", "GET /metrics", "POST /drain"] {
        assert!(service.ask(request).unwrap().starts_with("HTTP/1.1 401"), "{request}");
        assert!(by(request, "eye-0123456789abcde").starts_with("HTTP/1.1 401"), "{request}");
    }
    assert!(by("GET /calls", "eye-0123456789abcdef").starts_with("HTTP/1.1 200"));
    let looked = by("POST /drain", "eye-0123456789abcdef");
    assert!(looked.starts_with("HTTP/1.1 403") && looked.contains("operate"), "{looked}");

    let probes = TcpStream::connect(health).map(|_| ()).map(|()| health).unwrap();
    let at = |path: &str| testkit_get(probes, path);
    assert!(at("/readyz").starts_with("HTTP/1.1 200") && at("/healthz").starts_with("HTTP/1.1 200"));
    assert!(at("/metrics").contains("# TYPE tandem_build_info gauge"));
    assert!(at("/calls").starts_with("HTTP/1.1 404") && at("/drain").starts_with("HTTP/1.1 404"));

    assert!(by("POST /drain", "hand-0123456789abcdef").starts_with("HTTP/1.1 200"));
    service.signal("TERM");
    std::thread::sleep(Duration::from_millis(200));
    service.signal("TERM");
    let (_, said) = service.end();
    let line = said.lines().find(|line| line.contains("audit")).unwrap_or_else(|| panic!("{said}"));
    for word in ["user=\"hand\"", "peer=127.0.0.1:", "method=POST", "path=\"/drain\"", "status=200"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    assert!(!said.contains("0123456789abcdef"), "a token in the log: {said}");
}

/// A Secret that is replaced takes effect by itself, and so does what it took away.
#[test]
fn a14_a_token_that_changes_counts_without_a_signal() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let files = tempfile::tempdir().unwrap();
    let token = files.path().join("token");
    std::fs::write(&token, "first-0123456789abcdef\n").unwrap();
    let name = "a14_a_token_that_changes_counts_without_a_signal";
    let users = [
        ("TANDEM_ADMIN__USER__0__NAME", "ops"),
        ("TANDEM_ADMIN__USER__0__TOKEN_FILE", token.to_str().unwrap()),
    ];
    let service = start_with(name, "serves", free(), "never", &users);
    service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    let by = |token: &str| {
        let headers = format!("host: {}\r\nauthorization: Bearer {token}\r\n", service.admin);
        service.ask_as("GET /metrics", &headers, "").unwrap()
    };
    assert!(by("first-0123456789abcdef").contains("tandem_config_reloads_total{outcome=\"applied\"} 0"));
    // One that is too short is none: the one before stays.
    std::fs::write(&token, "briefly\n").unwrap();
    let refused = "tandem_config_reloads_total{outcome=\"refused\"} 1";
    let counted = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        by("first-0123456789abcdef").contains(refused)
    });
    assert!(counted && by("briefly").starts_with("HTTP/1.1 401"));
    std::fs::write(&token, "second-0123456789abcdef\n").unwrap();
    let counts = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        by("second-0123456789abcdef").starts_with("HTTP/1.1 200")
    });
    assert!(counts && by("first-0123456789abcdef").starts_with("HTTP/1.1 401"));
    service.signal("TERM");
    std::thread::sleep(Duration::from_millis(200));
    service.signal("TERM");
    let (_, said) = service.end();
    assert!(said.contains("[[admin.user]] token: too short"), "{said}");
    assert!(!said.contains("0123456789abcdef") && !said.contains("briefly"), "a token in the log: {said}");
}

/// The answer of the health port, which nobody names in particular.
fn testkit_get(at: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: relay.voice.svc\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Connections are held open in a bounded number, and not for long; a body has its limit.
#[test]
fn f7_connections_and_bodies_are_bounded() {
    if let Ok(role) = std::env::var(ROLE) {
        play(&role);
    }
    let service = start("f7_connections_and_bodies_are_bounded", "serves", free(), "never");
    service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 200"));
    let json = format!("host: {}\r\ncontent-type: application/json\r\n", service.admin);
    let small = format!("\"{}\"", "x".repeat(10_000));
    assert!(service.ask_as("POST /echo", &json, &small).unwrap().starts_with("HTTP/1.1 200"));
    let large = format!("\"{}\"", "x".repeat(70_000));
    assert!(service.ask_as("POST /echo", &json, &large).unwrap().starts_with("HTTP/1.1 413"));

    let mut idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(service.admin).unwrap()).collect();
    let is_closed = |stream: &mut TcpStream, within: Duration| {
        stream.set_read_timeout(Some(within)).unwrap();
        matches!(stream.read(&mut [0; 1]), Ok(0)) || stream.take_error().unwrap().is_some()
    };
    let closed = idle
        .iter_mut()
        .filter_map(|stream| is_closed(stream, Duration::from_millis(20)).then_some(()))
        .count();
    assert!((30..=40).contains(&closed), "{closed} of 100 are closed at once");
    // The others stand still, and are closed too.
    let deadline = std::time::Duration::from_secs(20);
    assert!(is_closed(&mut idle[0], deadline), "an idle connection stays open");
    service.eventually("GET /readyz", |answer| answer.starts_with("HTTP/1.1 200"));
}
