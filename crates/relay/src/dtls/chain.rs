//! Certificates as octets. BoringSSL can do without X.509: it takes the key out of the peer's certificate and looks at little else,
//! and a fingerprint wants no more. A parsed one would take 2 KiB for the life of the association.

use boring::error::ErrorStack;
use boring::pkey::{PKeyRef, Private};
use boring::ssl::{SslContextBuilder, SslMethod, SslRef};
use boring_sys::{
    CRYPTO_BUFFER, CRYPTO_BUFFER_data, CRYPTO_BUFFER_free, CRYPTO_BUFFER_len, CRYPTO_BUFFER_new,
    DTLS_with_buffers_method, OPENSSL_sk_value, SSL_CTX_set_chain_and_key, SSL_get0_peer_certificates,
};
use foreign_types_shared::ForeignTypeRef;
use std::ptr;

/// DTLS without X.509.
pub(super) fn method() -> SslMethod {
    // SAFETY: the library's method is static. Nothing of X.509 may be asked of what is made with it: `SslMethod` knows, and nobody here does.
    unsafe { SslMethod::from_ptr(DTLS_with_buffers_method()) }
}

/// All associations of the context show this certificate (DER), whose key is `key`.
///
/// # Errors
/// They do not belong together, or the certificate is none.
pub(super) fn show(
    context: &mut SslContextBuilder,
    der: &[u8],
    key: &PKeyRef<Private>,
) -> Result<(), ErrorStack> {
    // SAFETY: the octets live for the call, which copies them; no pool shares them.
    let certificate = unsafe { CRYPTO_BUFFER_new(der.as_ptr(), der.len(), ptr::null_mut()) };
    if certificate.is_null() {
        return Err(ErrorStack::get());
    }
    // SAFETY: context, certificate and key live for the call, which takes references of its own to the last two.
    let set = unsafe {
        SSL_CTX_set_chain_and_key(context.as_ptr(), &raw const certificate, 1, key.as_ptr(), ptr::null())
    };
    // SAFETY: ours, made above, and not used any more.
    unsafe { CRYPTO_BUFFER_free(certificate) };
    if set == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// The peer's certificate (DER), once it has shown one.
pub(super) fn shown(ssl: &SslRef) -> Option<&[u8]> {
    // SAFETY: the chain belongs to the association, as does what is in it; neither changes while that is borrowed. Without a
    // certificate the chain is null, and the first of null is null.
    let first = unsafe { OPENSSL_sk_value(SSL_get0_peer_certificates(ssl.as_ptr()).cast(), 0) };
    let first: *const CRYPTO_BUFFER = first.cast();
    // SAFETY: as above; a buffer's octets live as long as itself.
    (!first.is_null())
        .then(|| unsafe { std::slice::from_raw_parts(CRYPTO_BUFFER_data(first), CRYPTO_BUFFER_len(first)) })
}
