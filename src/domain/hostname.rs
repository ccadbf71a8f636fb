//! Under which host names a server answers.
//!
//! A page on a foreign site can point its own name at 127.0.0.1 and have a browser talk to a local
//! server under that name (DNS rebinding). So a name must be one that was configured, or mean this
//! machine. An address is always answered: no page can own one that leads here, and probes of
//! orchestrators come by address.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What to set where a name is refused.
pub const SETTING: &str = "public_hosts (HUNDI_PUBLIC_HOSTS)";

/// The names that were configured, beside those that always hold.
#[derive(Clone, Debug, Default)]
pub struct Hostnames(Vec<String>);

impl Hostnames {
    /// Names such as `pay.example.com`, in any case, without a port.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let plain = |name: String| name.trim().trim_end_matches('/').to_ascii_lowercase();
        Self(names.into_iter().map(plain).collect())
    }

    /// Whether a `Host` header, with or without a port, is answered. A text that is no host is not.
    pub fn answer_to(&self, host: &str) -> bool {
        let Some(name) = name_of(host) else {
            return false;
        };
        is_address(&name) || self.are_ours(&name)
    }

    /// Whether a name without a port means this machine or was configured. Other addresses do not
    /// count: this is also asked of the pages that may talk to us.
    pub fn are_ours(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        ["localhost", "127.0.0.1", "[::1]"].contains(&name.as_str()) || self.0.contains(&name)
    }
}

/// The name in a `Host` header, in lower case, without its port; `None` if it is malformed.
fn name_of(host: &str) -> Option<String> {
    let (name, rest) = match host.strip_prefix('[') {
        Some(rest) => {
            let (inner, rest) = rest.split_once(']')?;
            (format!("[{inner}]"), rest)
        }
        None => {
            let end = host.find(':').unwrap_or(host.len());
            (host[..end].to_owned(), &host[end..])
        }
    };
    let port = rest.is_empty()
        || rest
            .strip_prefix(':')
            .is_some_and(|port| port.bytes().all(|digit| digit.is_ascii_digit()));
    (port && !name.is_empty()).then(|| name.to_ascii_lowercase())
}

fn is_address(name: &str) -> bool {
    let inner = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn own_names_and_addresses_are_answered_and_nothing_that_looks_like_them() {
        let names = Hostnames::new(["Pay.Example.com".to_owned()]);
        let cases = [
            ("localhost", true),               ("LOCALHOST:8787", true),
            ("127.0.0.1:8787", true),          ("[::1]:8787", true),
            ("10.0.3.7:8787", true),           ("[fd00::7]", true),
            ("pay.example.com", true),         ("pay.example.com:443", true),
            ("evil.example", false),           ("evil.pay.example.com", false),
            ("127.0.0.1.evil.example", false), ("localhost.evil.example", false),
            ("127.0.0.1.nip.io:8787", false),  ("0x7f.1", false),
            ("localhost:80:80", false),        ("localhost:x", false),
            ("[::1", false),                   ("[evil]", false),
            ("localhost@evil.example", false), ("", false), (":8787", false),
        ];
        for (host, answered) in cases {
            assert_eq!(names.answer_to(host), answered, "{host:?}");
        }
    }
}
