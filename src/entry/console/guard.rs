//! What every request of the console passes before anything else: the one origin that it is reached
//! under, no forms from other pages, and the headers of pages.
//!
//! Browsers say where a form came from (`Sec-Fetch-Site`, else `Origin`), and whatever is not this
//! very origin changes nothing here. The token in each form is the second lock ([`super::form`]).

use std::fmt;

use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, LOCATION, ORIGIN, REFERRER_POLICY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Console;
use crate::entry::http::OwnHeaders;

/// Nothing from elsewhere, nothing inline, no frames, forms only to us.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);
const REFERRER: HeaderValue = HeaderValue::from_static("same-origin");
const NOT_KEPT: HeaderValue = HeaderValue::from_static("no-store");

/// The origin under which browsers reach the console, as `https://pay.example.com`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicUrl {
    origin: String,
    authority: String,
}

impl PublicUrl {
    /// The origin of a URL. `None` unless it is plain `http` or `https` with a host.
    pub fn read(text: &str) -> Option<Self> {
        let url = url::Url::parse(text.trim()).ok()?;
        let host = url.host_str()?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        matches!(url.scheme(), "http" | "https").then(|| Self {
            origin: format!("{}://{authority}", url.scheme()),
            authority,
        })
    }

    /// `http://localhost:PORT`: what a browser on this machine takes passkeys and cookies from.
    pub fn local(port: u16) -> Self {
        let authority = format!("localhost:{port}");
        Self {
            origin: format!("http://{authority}"),
            authority,
        }
    }

    /// The origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The name alone.
    pub fn host(&self) -> &str {
        match self.authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            Some(_) | None => &self.authority,
        }
    }

    fn is(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = host.or(uri.authority().map(|authority| authority.as_str()));
        let named = host.unwrap_or_default().to_ascii_lowercase();
        let plain = |text: &str| {
            let text = text.strip_suffix(":80").or(text.strip_suffix(":443"));
            text.map(str::to_owned)
        };
        named == self.authority || plain(&named).is_some_and(|named| named == self.authority)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

/// Lets a request through to its page.
pub(super) async fn pass(State(console): State<Console>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let answer = if reads && !console.public.is(request.headers(), request.uri()) {
        elsewhere(&console.public, request.uri())
    } else if !reads && !same_origin(&console.public, request.headers()) {
        (
            StatusCode::FORBIDDEN,
            "this form came from another page; nothing was done",
        )
            .into_response()
    } else {
        next.run(request).await
    };
    with_headers(answer)
}

/// To the same page under the one origin.
fn elsewhere(public: &PublicUrl, uri: &Uri) -> Response {
    let path = uri
        .path_and_query()
        .map_or("/console", |path| path.as_str());
    let mut answer = StatusCode::TEMPORARY_REDIRECT.into_response();
    if let Ok(place) = HeaderValue::from_str(&format!("{public}{path}")) {
        answer.headers_mut().insert(LOCATION, place);
    }
    answer
}

/// Whether a form came from one of our own pages. A client that is no browser says neither.
fn same_origin(public: &PublicUrl, headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    let origin = headers.get(ORIGIN);
    let site_fits = site.is_none_or(|site| site == "same-origin");
    let origin_fits = origin.is_none_or(|origin| origin.as_bytes() == public.origin().as_bytes());
    site_fits && origin_fits && (site.is_some() || origin.is_some())
}

fn with_headers(mut answer: Response) -> Response {
    answer.extensions_mut().insert(OwnHeaders);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, REFERRER);
    headers.entry(CACHE_CONTROL).or_insert(NOT_KEPT);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect::<Vec<(axum::http::HeaderName, HeaderValue)>>()
            .into_iter()
            .collect()
    }

    #[test]
    #[rustfmt::skip]
    fn only_our_own_pages_send_forms() {
        let public = PublicUrl::read("https://pay.example.com/").unwrap();
        let cases: &[(&[(&'static str, &str)], bool)] = &[
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://pay.example.com")], true),
            (&[("sec-fetch-site", "same-origin")],                                         true),
            (&[("origin", "https://pay.example.com")],                                     true),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://pay.example.com")],   false),
            (&[("sec-fetch-site", "same-site"), ("origin", "https://x.example.com")],      false),
            (&[("sec-fetch-site", "none")],                                                false),
            (&[("origin", "http://pay.example.com")],                                      false),
            (&[("origin", "null")],                                                        false),
            (&[],                                                                          false),
        ];
        for (pairs, expected) in cases {
            assert_eq!(same_origin(&public, &headers(pairs)), *expected, "{pairs:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_public_address_is_an_origin() {
        let cases = [
            ("https://pay.example.com",       Some("https://pay.example.com")),
            ("https://Pay.Example.com:443/x", Some("https://pay.example.com")),
            ("http://localhost:8787",         Some("http://localhost:8787")),
            ("ftp://pay.example.com",         None),
            ("pay.example.com",               None),
            ("",                              None),
        ];
        for (text, expected) in cases {
            let read = PublicUrl::read(text).map(|url| url.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
        let public = PublicUrl::local(8787);
        let at = |host: &str| public.is(&headers(&[("host", host)]), &Uri::from_static("/console"));
        assert!(at("localhost:8787") && !at("127.0.0.1:8787") && !at("localhost:1"));
    }
}
