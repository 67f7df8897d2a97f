//! Guard of the admin API: who may ask it, by name of the host, by origin, by token or certificate; and a line of the log for every change.
//!
//! One rule: a web page is nobody. It can make a browser ask 127.0.0.1, so a request names the host that it is for (RFC 9110 §7.2), and
//! one with an `Origin` (RFC 6454 §7) must come from that very host.

use super::connections::Caller;
use crate::config::{AdminConfig, Role};
use anyhow::Result;
use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tracing::{info, warn};

/// Time that the handling of a request may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// Guard of the configuration in force.
#[derive(Debug)]
pub(super) struct Gate(RwLock<Arc<Guard>>);

impl Gate {
    /// Takes the users.
    ///
    /// # Errors
    /// One has no token, or there is none where others reach the port.
    pub(super) fn new(config: &AdminConfig) -> Result<Arc<Gate>> {
        Ok(Arc::new(Gate(RwLock::new(Arc::new(Guard::new(config)?)))))
    }

    /// Replaces the users, and the names by which they may ask.
    ///
    /// # Errors
    /// As [`Gate::new`]; the users before stay then.
    pub(super) fn replace(&self, config: &AdminConfig) -> Result<()> {
        let guard = Arc::new(Guard::new(config)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = guard;
        Ok(())
    }

    fn guard(&self) -> Arc<Guard> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Users, and names by which they may ask.
#[derive(Debug)]
struct Guard {
    users: Vec<User>,
    hosts: Vec<String>,
}

struct User {
    name: String,
    role: Role,
    token: Option<String>,
    /// Name of the certificate.
    certificate: Option<String>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

impl Guard {
    fn new(config: &AdminConfig) -> Result<Guard> {
        let mut users = vec![];
        if let Some(fault) = config.check_users().into_iter().next() {
            return Err(fault.into());
        }
        for user in config.user.iter().flatten() {
            // DNS names have no case, and URIs of people are written in lower case.
            let certificate = user.certificate_name.as_ref().map(|name| match name.contains(':') {
                true => name.clone(),
                false => name.to_ascii_lowercase(),
            });
            users.push(User {
                name: user.name.clone(),
                role: user.role,
                token: user.token.clone(),
                certificate,
            });
        }
        let hosts = config.hosts.iter().map(|host| host.to_lowercase()).collect();
        Ok(Guard { users, hosts })
    }

    /// Returns the name of the user who may do this; without users it is anybody. `shown` are the names of the certificate that was
    /// shown; who shows a token is the user of that token.
    fn admit(
        &self,
        headers: &HeaderMap,
        shown: &[String],
        uri_host: Option<&str>,
        method: &Method,
    ) -> Result<&str, Refusal> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.ok_or(Refusal::Host("none".to_owned()))?;
        let authority: Authority = host.parse().map_err(|_| Refusal::Host(format!("{host:?}")))?;
        for name in [Some(authority.host()), uri_host].into_iter().flatten() {
            if !self.knows(name) {
                return Err(Refusal::Host(format!("{name:?}")));
            }
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let from = origin.split_once("://").map_or(origin, |(_, from)| from);
            if !from.eq_ignore_ascii_case(host) {
                return Err(Refusal::Origin(format!("{origin:?}")));
            }
        }
        if self.users.is_empty() {
            return Ok("anybody");
        }
        let user = match headers.get(header::AUTHORIZATION) {
            Some(_) => bearer(headers).and_then(|token| {
                // All are compared: the time tells nothing of their order.
                let has = |user: &&User| user.token.as_ref().is_some_and(|known| equal(known, token));
                self.users.iter().filter(has).fold(None, |_, user| Some(user))
            }),
            None => self
                .users
                .iter()
                .find(|user| user.certificate.as_ref().is_some_and(|name| shown.contains(name))),
        };
        match user {
            None => Err(Refusal::Token),
            Some(user) if user.role == Role::View && is_change(method) => {
                Err(Refusal::Role(user.name.clone()))
            }
            Some(user) => Ok(&user.name),
        }
    }

    /// Returns true for an address, which no page can have in its name, and for the names that the operator gave.
    fn knows(&self, host: &str) -> bool {
        let host = host.to_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse::<IpAddr>().is_ok() || host == "localhost" || self.hosts.contains(&host)
    }
}

/// Lets a request pass, and tells of a change that it makes.
pub(super) async fn pass(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let peer = caller.peer;
    let user = match gate.guard().admit(request.headers(), &caller.names, request.uri().host(), &method) {
        Ok(user) => user.to_owned(),
        Err(refusal) => {
            if is_told() {
                warn!(%peer, %method, path, "the admin API refuses a request: {}", refusal.words());
            }
            return refusal.into_response();
        }
    };
    let answer = tokio::time::timeout(DEADLINE, next.run(request)).await;
    let answer = answer.unwrap_or_else(|_| {
        let error = json!({ "error": "no answer in time: see the log of the service" });
        (StatusCode::GATEWAY_TIMEOUT, Json(error)).into_response()
    });
    if is_change(&method) {
        info!(user, %peer, %method, path, status = answer.status().as_u16(), "audit: a change by the admin API");
    }
    answer
}

/// Returns true if a refusal may have its line in the log: one a second.
fn is_told() -> bool {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let second = crate::clock::now_ms() / 1_000;
    LAST.swap(second, Ordering::AcqRel) != second
}

/// Returns true for what a user of the role `view` may not do (RFC 9110 §9.2.1).
fn is_change(method: &Method) -> bool {
    !method.is_safe()
}

/// Returns the token of a request (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that tells no place of a difference.
fn equal(one: &str, other: &str) -> bool {
    let differences = one.bytes().zip(other.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differences) == 0
}

/// Reason not to answer.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Host(String),
    Origin(String),
    Token,
    Role(String),
}

impl Refusal {
    fn words(&self) -> String {
        match self {
            Refusal::Host(host) => {
                format!(
                    "Host: {host} is no name of this gateway; ask by address, or name it in [admin] hosts"
                )
            }
            Refusal::Origin(origin) => format!("Origin: {origin} is another place; web pages are not served"),
            Refusal::Token => {
                "Authorization: no known token; give that of an [[admin.user]] (tandem --token-file), or over TLS its certificate \
                 (--certificate-file)"
                    .into()
            }
            Refusal::Role(name) => {
                format!("{name} may only look; use the token or certificate of a user with role = \"operate\"")
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.words() }));
        match self {
            Refusal::Host(_) => (StatusCode::MISDIRECTED_REQUEST, body).into_response(),
            Refusal::Origin(_) | Refusal::Role(_) => (StatusCode::FORBIDDEN, body).into_response(),
            // RFC 6750 §3
            Refusal::Token => {
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(users: &[(&str, Role)]) -> Guard {
        let user = |(name, role): &(&str, Role)| User {
            name: (*name).to_owned(),
            role: *role,
            token: Some(format!("token-of-{name}-0123")),
            certificate: Some(format!("{name}.example.net")),
        };
        Guard { users: users.iter().map(user).collect(), hosts: vec!["gw.example.net".to_owned()] }
    }

    fn admit(guard: &Guard, method: &Method, headers: &[(&'static str, &str)]) -> Result<String, Refusal> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        guard.admit(&headers, &[], None, method).map(str::to_owned)
    }

    #[test]
    fn f7_a_request_names_a_host_of_ours() {
        let guard = guard(&[]);
        for host in ["127.0.0.1:8080", "localhost", "[::1]:8080", "10.1.2.3:8080", "GW.example.net:8080"] {
            assert_eq!(admit(&guard, &Method::POST, &[("host", host)]).as_deref(), Ok("anybody"), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil.example", "x@y", ""] {
            let refused = admit(&guard, &Method::GET, &[("host", host)]);
            assert!(matches!(refused, Err(Refusal::Host(_))), "{host}: {refused:?}");
        }
        assert!(matches!(admit(&guard, &Method::GET, &[]), Err(Refusal::Host(_))));
        let headers: HeaderMap = [(header::HOST, "127.0.0.1".parse().unwrap())].into_iter().collect();
        assert!(
            guard.admit(&headers, &[], Some("evil.example"), &Method::GET).is_err(),
            "the absolute form counts, too"
        );
    }

    #[test]
    fn f7_a_page_of_another_origin_is_refused() {
        let guard = guard(&[]);
        let from =
            |origin: &str| admit(&guard, &Method::POST, &[("host", "127.0.0.1:8080"), ("origin", origin)]);
        assert!(from("http://127.0.0.1:8080").is_ok());
        for origin in
            ["http://evil.example", "http://127.0.0.1:9999", "null", "http://127.0.0.1:8080.evil.example"]
        {
            assert!(matches!(from(origin), Err(Refusal::Origin(_))), "{origin}");
        }
    }

    #[test]
    fn f7_a_user_may_do_what_the_role_allows() {
        let guard = guard(&[("eye", Role::View), ("hand", Role::Operate)]);
        let by = |token: &str, method: &Method| {
            admit(&guard, method, &[("host", "127.0.0.1"), ("authorization", token)])
        };
        assert_eq!(by("Bearer token-of-eye-0123", &Method::GET).as_deref(), Ok("eye"));
        assert_eq!(by("Bearer token-of-eye-0123", &Method::DELETE), Err(Refusal::Role("eye".into())));
        assert_eq!(by("bearer token-of-hand-0123", &Method::DELETE).as_deref(), Ok("hand"));
        for token in ["Bearer token-of-eye-012", "Bearer ", "Basic token-of-eye-0123", "token-of-eye-0123"] {
            assert_eq!(by(token, &Method::GET), Err(Refusal::Token), "{token}");
        }
        assert_eq!(admit(&guard, &Method::GET, &[("host", "127.0.0.1")]), Err(Refusal::Token));
    }

    #[test]
    fn f7_a_certificate_names_a_user_and_a_token_goes_before() {
        let guard = guard(&[("eye", Role::View), ("hand", Role::Operate)]);
        let by = |name: &str, token: Option<&str>, method: &Method| {
            let mut headers: HeaderMap = [(header::HOST, "127.0.0.1".parse().unwrap())].into_iter().collect();
            headers.extend(token.map(|token| (header::AUTHORIZATION, token.parse().unwrap())));
            guard.admit(&headers, &[name.to_owned()], None, method).map(str::to_owned)
        };
        assert_eq!(by("eye.example.net", None, &Method::GET).as_deref(), Ok("eye"));
        assert_eq!(by("eye.example.net", None, &Method::POST), Err(Refusal::Role("eye".into())));
        assert_eq!(by("hand.example.net", None, &Method::POST).as_deref(), Ok("hand"));
        for name in ["example.net", "x.hand.example.net", "hand", ""] {
            assert_eq!(by(name, None, &Method::GET), Err(Refusal::Token), "{name}");
        }
        let token = Some("Bearer token-of-eye-0123");
        assert_eq!(by("hand.example.net", token, &Method::POST), Err(Refusal::Role("eye".into())));
        assert_eq!(by("hand.example.net", Some("Bearer x"), &Method::GET), Err(Refusal::Token));
    }
}
