//! Authentication between instances of one installation on gRPC: a bearer token derived from the cluster's secret.
//!
//! Keeps out callers that reach a control port without the secret. Does not protect against listeners in the cluster's network: the
//! token is sent in clear.

use signal::Secret;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const HEADER: &str = "authorization";

/// Bearer token; never printed.
#[derive(Clone)]
pub struct AuthToken(MetadataValue<Ascii>);

impl std::fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuthToken")
    }
}

impl AuthToken {
    /// Derives the token of an installation.
    #[must_use]
    pub fn new(secret: &Secret) -> AuthToken {
        let bearer = format!("Bearer {}", secret.derive_text("grpc", &[], 51));
        // Letters and digits are always valid in a header.
        let mut value =
            MetadataValue::try_from(bearer).unwrap_or_else(|_| MetadataValue::from_static("none"));
        value.set_sensitive(true);
        AuthToken(value)
    }

    /// Passes a request that carries the token.
    ///
    /// # Errors
    /// UNAUTHENTICATED for any other request.
    #[allow(clippy::result_large_err, reason = "tonic's own type")]
    pub fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let shown = request.metadata().get(HEADER).map(|value| value.as_bytes()).unwrap_or_default();
        let ours = self.0.as_bytes();
        // Constant time: every octet is compared, whichever differs.
        let differ = shown.iter().zip(ours).fold(0u8, |sum, (a, b)| sum | (a ^ b));
        if shown.len() == ours.len() && differ == 0 {
            return Ok(request);
        }
        Err(Status::unauthenticated("authorization: not of this installation; is [cluster] secret the same?"))
    }
}

impl Interceptor for AuthToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(HEADER, self.0.clone());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_secret_opens() {
        let (ours, theirs) = (AuthToken::new(&Secret::new(b"ours")), AuthToken::new(&Secret::new(b"theirs")));
        let shown = ours.clone().call(Request::new(())).unwrap();
        assert!(ours.check(shown).is_ok());
        assert!(ours.check(theirs.clone().call(Request::new(())).unwrap()).is_err());
        assert!(ours.check(Request::new(())).is_err());
        assert_eq!(format!("{ours:?}"), "AuthToken");
    }
}
