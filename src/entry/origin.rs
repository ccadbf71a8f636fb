//! Which names this server answers to, and which web pages may talk to it.
//!
//! A page on a foreign site can make a browser send requests to a local server, and can point its
//! own name at 127.0.0.1 (DNS rebinding). Neither gets through, whatever key comes along: the
//! `Host` must be a name we know, and an `Origin`, where there is one, a page we trust. Programs
//! that are no browsers send no `Origin`.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use crate::domain::hostname::{Hostnames, SETTING};

/// What the operator adds to the loopback names.
#[derive(Clone, Debug, Default)]
pub struct Names {
    hosts: Hostnames,
    origins: Vec<String>,
}

/// Why a request is turned away before anybody looks at its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Foreign {
    /// No readable `Host`.
    #[error("the request names no host")]
    NoHost,
    /// A name that is not ours.
    #[error("this server does not answer to that host name; name it in {SETTING}")]
    Host,
    /// A page that is not trusted.
    #[error(
        "pages of that web origin may not call; name it in allowed_origins (HUNDI_ALLOWED_ORIGINS)"
    )]
    Origin,
}

impl Foreign {
    /// The HTTP status that says it best.
    pub fn status(self) -> StatusCode {
        match self {
            Foreign::NoHost => StatusCode::BAD_REQUEST,
            Foreign::Host | Foreign::Origin => StatusCode::FORBIDDEN,
        }
    }
}

impl Names {
    /// `hosts` are names under which the server is reached from outside (`pay.example.com`, with
    /// any port); `origins` are whole web origins (`https://console.example.com`).
    pub fn new(
        hosts: impl IntoIterator<Item = String>,
        origins: impl IntoIterator<Item = String>,
    ) -> Self {
        let plain = |text: String| text.trim().trim_end_matches('/').to_ascii_lowercase();
        Self {
            hosts: Hostnames::new(hosts),
            origins: origins.into_iter().map(plain).collect(),
        }
    }

    /// Whether a request may come in at all.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Foreign> {
        let host: Authority = match headers.get(header::HOST) {
            Some(host) => {
                let host = host.to_str().ok().and_then(|host| host.parse().ok());
                host.ok_or(Foreign::NoHost)?
            }
            None => uri.authority().cloned().ok_or(Foreign::NoHost)?,
        };
        if !self.hosts.answer_to(host.as_str()) {
            return Err(Foreign::Host);
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let trusted = origins.all(|origin| origin.to_str().is_ok_and(|text| self.trusts(text)));
        if trusted {
            Ok(())
        } else {
            Err(Foreign::Origin)
        }
    }

    fn trusts(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let rest = ["http://", "https://"]
            .into_iter()
            .find_map(|scheme| origin.strip_prefix(scheme));
        // An origin is a scheme, a name and perhaps a port; user info and paths are no part of it.
        rest.filter(|rest| !rest.contains(['@', '/']))
            .and_then(|rest| rest.parse::<Authority>().ok())
            .is_some_and(|authority| self.hosts.are_ours(authority.host()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(host: Option<&str>, origin: Option<&str>) -> Result<(), Foreign> {
        let names = Names::new(
            ["Pay.Example.com".to_owned()],
            ["https://console.example.com/".to_owned()],
        );
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        names.admit(&Uri::from_static("/mcp"), &headers)
    }

    #[test]
    #[rustfmt::skip]
    fn only_names_of_ours_and_pages_we_trust_get_in() {
        let ours = Some("127.0.0.1:8787");
        let cases = [
            (ours,                             None,                                  Ok(())),
            (Some("localhost"),                None,                                  Ok(())),
            (Some("LOCALHOST:1"),              None,                                  Ok(())),
            (Some("[::1]:8787"),               None,                                  Ok(())),
            (Some("pay.example.com"),          None,                                  Ok(())),
            (Some("pay.example.com:443"),      None,                                  Ok(())),
            (Some("10.0.3.7:8787"),            None,                                  Ok(())),
            (ours,                             Some("http://10.0.3.7"),               Err(Foreign::Origin)),
            (Some("evil.example"),             None,                                  Err(Foreign::Host)),
            (Some("evil.pay.example.com"),     None,                                  Err(Foreign::Host)),
            (Some("localhost.evil.example"),   None,                                  Err(Foreign::Host)),
            (Some("127.0.0.1.evil.example"),   None,                                  Err(Foreign::Host)),
            (Some("a b"),                      None,                                  Err(Foreign::NoHost)),
            (None,                             None,                                  Err(Foreign::NoHost)),
            (ours,                             Some("http://localhost:3000"),         Ok(())),
            (ours,                             Some("http://127.0.0.1"),              Ok(())),
            (ours,                             Some("https://[::1]:9"),               Ok(())),
            (ours,                             Some("https://pay.example.com"),       Ok(())),
            (ours,                             Some("https://console.example.com"),   Ok(())),
            (ours,                             Some("http://console.example.com"),    Err(Foreign::Origin)),
            (ours,                             Some("https://evil.example"),          Err(Foreign::Origin)),
            (ours,                             Some("https://localhost.evil.example"), Err(Foreign::Origin)),
            (ours,                             Some("https://localhost@evil.example"), Err(Foreign::Origin)),
            (ours,                             Some("https://evil.example/localhost"), Err(Foreign::Origin)),
            (ours,                             Some("null"),                          Err(Foreign::Origin)),
            (ours,                             Some(""),                              Err(Foreign::Origin)),
            (ours,                             Some("file://"),                       Err(Foreign::Origin)),
        ];
        for (host, origin, expected) in cases {
            assert_eq!(admit(host, origin), expected, "{host:?} {origin:?}");
        }
    }
}
