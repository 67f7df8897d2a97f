//! Authentication between instances of one installation on gRPC: a bearer token that follows from the cluster's secret, for one instance
//! and one minute.
//!
//! Keeps out callers that reach a control port without the secret. Without certificates of the installation the token is sent in clear: whoever
//! listens, or has it shown, can use it at this instance for a minute, and nowhere else.

use signal::Secret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const HEADER: &str = "authorization";
const SCHEME: &str = "Bearer ";
/// Difference between the time of a token and ours from which it opens nothing, ms.
const WINDOW_MS: u64 = 60_000;
/// Age from which a client makes another token, ms.
const RENEW_MS: u64 = 10_000;
/// Characters of the proof in a token.
const PROOF: usize = 51;

/// Bearer token for one instance; never printed.
#[derive(Clone)]
pub struct AuthToken {
    key: Secret,
    instance: String,
    now: fn() -> u64,
    /// Token that was made last, and when.
    made: Option<(u64, MetadataValue<Ascii>)>,
}

impl std::fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthToken")
    }
}

impl AuthToken {
    /// Derives the tokens of an instance from the installation's secret. The clock gives ms since the Unix epoch.
    #[must_use]
    pub fn new(secret: &Secret, instance: &str, now: fn() -> u64) -> AuthToken {
        AuthToken { key: secret.for_use("grpc"), instance: instance.to_owned(), now, made: None }
    }

    /// Passes a request that carries a token of this instance and this minute.
    ///
    /// # Errors
    /// UNAUTHENTICATED for any other request.
    #[allow(clippy::result_large_err, reason = "tonic's own type")]
    pub fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.metadata().get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if self.opens(shown) {
            return Ok(request);
        }
        Err(Status::unauthenticated(
            "authorization: not of this installation, instance and minute; are [cluster] secret and clocks the same?",
        ))
    }

    fn opens(&self, shown: &str) -> bool {
        let token = shown.strip_prefix(SCHEME).and_then(|token| token.split_once('.'));
        let Some((time, proof)) = token else { return false };
        let Ok(time_ms) = time.parse::<u64>() else { return false };
        let ours = self.proof(time_ms);
        // Constant time: every octet is compared, whichever differs.
        let differ = proof.bytes().zip(ours.bytes()).fold(0u8, |sum, (a, b)| sum | (a ^ b));
        proof.len() == ours.len() && differ == 0 && time_ms.abs_diff((self.now)()) <= WINDOW_MS
    }

    fn proof(&self, time_ms: u64) -> String {
        self.key.derive_text("token", &[self.instance.as_bytes(), &time_ms.to_be_bytes()], PROOF)
    }

    fn token(&mut self) -> MetadataValue<Ascii> {
        let now = (self.now)();
        if let Some((made_ms, token)) = &self.made
            && made_ms.abs_diff(now) < RENEW_MS
        {
            return token.clone();
        }
        let bearer = format!("{SCHEME}{now}.{}", self.proof(now));
        // Letters, digits and a point are always valid in a header.
        let mut token =
            MetadataValue::try_from(bearer).unwrap_or_else(|_| MetadataValue::from_static("none"));
        token.set_sensitive(true);
        self.made = Some((now, token.clone()));
        token
    }
}

impl Interceptor for AuthToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = self.token();
        request.metadata_mut().insert(HEADER, token);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn token(secret: &[u8], instance: &str, now: fn() -> u64) -> AuthToken {
        AuthToken::new(&Secret::new(secret), instance, now)
    }

    #[test]
    fn f6_a_token_opens_one_instance_for_a_minute() {
        let relay = token(b"ours", "relay-1", || NOW);
        let shown = |mut client: AuthToken| relay.check(client.call(Request::new(())).unwrap());
        assert!(shown(token(b"ours", "relay-1", || NOW)).is_ok());
        assert!(shown(token(b"ours", "relay-1", || NOW - WINDOW_MS)).is_ok(), "clocks differ");
        assert!(shown(token(b"theirs", "relay-1", || NOW)).is_err(), "another secret");
        assert!(shown(token(b"ours", "relay-2", || NOW)).is_err(), "shown to another relay");
        assert!(shown(token(b"ours", "relay-1", || NOW - WINDOW_MS - 1)).is_err(), "recorded");
        assert!(shown(token(b"ours", "relay-1", || NOW + WINDOW_MS + 1)).is_err());
        assert!(relay.check(Request::new(())).is_err());
        for bearer in ["Bearer ", "Bearer x.y", "Bearer 1790000000000.", "Bearer 1790000000000"] {
            let mut request = Request::new(());
            request.metadata_mut().insert(HEADER, bearer.parse().unwrap());
            assert!(relay.check(request).is_err(), "{bearer}");
        }
        assert_eq!(format!("{relay:?}"), "AuthToken");
    }
}
