//! Who may talk to the admin listener: the token, the Host and Origin checks, and the headers that keep
//! a browser from being turned against it.
//!
//! The listener is on loopback, but a web page that the owner visits can send requests to loopback too. A
//! page under a foreign name that resolves to this machine (DNS rebinding) is caught by the Host header, which
//! must be an address or `localhost`; any other page is caught by Origin and `Sec-Fetch-Site`.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::{AdminError, ErrorCode};

/// The secret that opens the admin API. Only its hash is kept, so that it cannot be logged and
/// the comparison takes the same time for every guess, whatever its length.
#[derive(Clone)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// Takes the token as it stands in the token file; white space around it does not count.
    pub fn new(token: &str) -> Self {
        Self(Sha256::digest(token.trim()).into())
    }

    /// Whether `guess` is the token.
    pub fn matches(&self, guess: &str) -> bool {
        let guess: [u8; 32] = Sha256::digest(guess).into();
        self.0.ct_eq(&guess).into()
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

/// Headers of every answer. Scripts, styles, fonts and connections come from this listener alone; there is
/// no inline script or style, no frame around or inside the page, no form that posts anywhere.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; \
             connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
];

/// Middleware around the whole listener: refuses foreign hosts and origins, adds the security headers.
pub(super) async fn protect(request: Request, next: Next) -> Response {
    let mut response = match check_source(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, value);
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Middleware around the API (not the page): wants `Authorization: Bearer TOKEN`.
pub(super) async fn authenticate(State(token): State<AdminToken>, request: Request, next: Next) -> Response {
    let guess = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer);
    match guess {
        Some(guess) if token.matches(guess) => next.run(request).await,
        _ => {
            let error = AdminError::new(ErrorCode::Unauthorized, "The admin token is missing or wrong.");
            let mut response = error.into_response();
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            response
        }
    }
}

/// The token of an `Authorization` header; the scheme's name is case-insensitive (RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn check_source(uri: &Uri, headers: &HeaderMap) -> Result<(), AdminError> {
    let host = match (uri.authority(), headers.get(header::HOST)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        (None, None) => "",
    };
    if !is_local_host(host) {
        let message = "This address answers only to localhost or to a plain IP address.";
        return Err(AdminError::new(ErrorCode::Forbidden, message));
    }
    let foreign_origin = headers.get_all(header::ORIGIN).iter().any(|origin| !is_same_origin(origin, host));
    // `none` is the owner's own act (address bar, bookmark); old browsers send nothing, as do programs.
    let foreign_site =
        headers.get("sec-fetch-site").is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    if foreign_origin || foreign_site && !is_navigation(headers) {
        return Err(AdminError::new(ErrorCode::Forbidden, "Another site may not use the admin listener."));
    }
    Ok(())
}

/// Opening the dashboard through a link on another page is harmless: the page holds no secret.
fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
        && headers.get("sec-fetch-dest").is_some_and(|dest| dest == "document")
        && !headers.contains_key(header::AUTHORIZATION)
}

/// Whether a Host header can only mean this machine by number or by the reserved name. A name that
/// an attacker controls in the DNS never passes.
fn is_local_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) if is_port(port) => return address.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
            _ => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => name,
            Some(_) => return false,
            None => host,
        },
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::Ipv4Addr>().is_ok()
}

fn is_port(port: &str) -> bool {
    port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

fn is_same_origin(origin: &HeaderValue, host: &str) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_hosts() {
        for host in ["localhost", "LOCALHOST:8010", "127.0.0.1", "127.0.0.1:8010", "[::1]", "[::1]:8010", "10.1.2.3:1"]
        {
            assert!(is_local_host(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8010",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:8010@evil.example",
            "127.0.0.1:",
            "127.0.0.1:99999",
            "[::1",
            "[::1]x",
            "[evil]",
            "0x7f.1",
            "2130706433",
            "localhost.",
        ] {
            assert!(!is_local_host(host), "{host}");
        }
    }

    #[test]
    fn foreign_origins_and_sites_are_refused() {
        let check = |headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
                .collect::<HeaderMap>();
            check_source(&Uri::from_static("/"), &headers).is_ok()
        };
        let host = ("host", "127.0.0.1:8010");
        assert!(check(&[host]));
        assert!(check(&[host, ("origin", "http://127.0.0.1:8010")]));
        assert!(check(&[host, ("sec-fetch-site", "same-origin")]));
        assert!(check(&[host, ("sec-fetch-site", "none")]));
        let link =
            [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
        assert!(check(&link));

        assert!(!check(&[]));
        assert!(!check(&[("host", "evil.example")]));
        assert!(!check(&[host, ("origin", "null")]));
        assert!(!check(&[host, ("origin", "https://evil.example")]));
        assert!(!check(&[host, ("origin", "http://127.0.0.1:8011")]), "another port is another origin");
        assert!(!check(&[host, ("sec-fetch-site", "cross-site")]));
        assert!(!check(&[host, ("sec-fetch-site", "same-site")]));
        let frame =
            [host, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
        assert!(!check(&frame));
    }

    #[test]
    fn tokens_compare_whole() {
        let token = AdminToken::new("  secret-token\n");
        assert!(token.matches("secret-token"));
        for guess in ["", "secret-toke", "secret-tokenn", "Secret-token"] {
            assert!(!token.matches(guess), "{guess}");
        }
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn bearer_is_read_as_the_rfc_says() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        assert_eq!(bearer("Basic abc"), None);
        assert_eq!(bearer("Bearer"), None);
    }
}
