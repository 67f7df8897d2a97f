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
    let code = service::run("sip-edge", config, async move |_config, drain| {
        if role == "fails" {
            anyhow::bail!("[sip] listen: taken; free it");
        }
        if role == "panics" {
            let _ = tokio::spawn(async { panic!("a task fell over") }).await;
            return Ok(());
        }
        admin::mount(axum::Router::new().route("/calls", axum::routing::get(async || "one")));
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
    let child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ROLE, role)
        .env("LIFE_CALL", call)
        .env("TANDEM_ADMIN__LISTEN", admin.to_string())
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
        let mut stream = TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
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
    assert!(said.contains("SIGHUP: the configuration is read at the start alone"), "{said}");
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
