//! Is the vendor's host on a list?
//!
//! An agent writes the URL and may be hostile, so a host is compared in the one form that every
//! spelling of it comes to: lower case, without scheme, port, user, path, trailing dot and `www.`,
//! international names in ASCII. A block entry covers its subdomains and whatever looks like them
//! to a reader (`раураl.com` in Cyrillic, `paypa1.com`); an allow entry is that one host.
//!
//! Looking alike errs on the side of refusing: nobody gets onto an allow list by it.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use url::{Host, Url};

use super::{Request, mandate};
use crate::domain::facts::Facts;
use crate::domain::reason::{Finding, Reason};

/// `DOMAIN_BLOCKED`: on the block list, or not on the allow list, or unreadable while there is one.
pub fn listed(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let policy = mandate(facts)?;
    let (blocked, allowed) = (&policy.blocked_domains, &policy.allowed_domains);
    let block = |why: String| Some(Finding::block(Reason::DomainBlocked, why));
    if blocked.is_empty() && allowed.is_empty() {
        return None;
    }
    let Some(url) = &request.payee.url else {
        // What moves no money has no vendor to name.
        if !request.effective.moves_money() {
            return None;
        }
        if blocked.iter().any(|entry| entry.trim() == "*") {
            return block("the policy blocks every vendor".to_owned());
        }
        let missing = "the policy allows listed vendors only, and the request names no vendor URL";
        return if allowed.is_empty() {
            None
        } else {
            block(missing.to_owned())
        };
    };
    let Some(host) = host(url) else {
        return block(
            "the vendor's URL has no host that can be compared with the lists".to_owned(),
        );
    };
    if let Some(entry) = blocked.iter().find(|entry| block_covers(entry, &host)) {
        return block(format!("{host} is on the block list, as {entry}"));
    }
    let known = allowed.is_empty() || allowed.iter().any(|entry| allow_covers(entry, &host));
    if known {
        None
    } else {
        block(format!("{host} is not on the allow list"))
    }
}

/// The one spelling of the host of a URL, or of a bare host; `None` if there is no host in it.
pub fn host(text: &str) -> Option<String> {
    let direct = Url::parse(text).ok().filter(Url::is_special);
    let url = match direct {
        Some(url) => url,
        // `evil.com:443` reads as a scheme and a path, and `x://EVIL.com` has a host that is not
        // put into one form. What is meant is read as a browser's address bar would.
        None => {
            let rest = text.trim().split_once("://").map_or(text, |(_, rest)| rest);
            let rest = rest.trim().trim_start_matches(['/', '\\']);
            Url::parse(&format!("https://{rest}")).ok()?
        }
    };
    match url.host()? {
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let name = name
                .strip_prefix("www.")
                .filter(|rest| rest.contains('.'))
                .unwrap_or(name);
            (!name.is_empty()).then(|| name.to_owned())
        }
        Host::Ipv4(ip) => Some(ip.to_string()),
        Host::Ipv6(ip) => Some(ip.to_string()),
    }
}

/// The part of a host that somebody registered: `shop.example.co.in` belongs to `example.co.in`.
/// An address or a bare suffix is its own.
pub fn registrable(host: &str) -> &str {
    if host.parse::<std::net::IpAddr>().is_ok() {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

/// Whether a block entry covers a host that [`host`] has read. An entry that cannot be read covers
/// everything: somebody meant to stop something.
pub fn block_covers(entry: &str, host: &str) -> bool {
    let entry = entry.trim();
    let entry = entry.strip_prefix("*.").unwrap_or(entry);
    if entry == "*" {
        return true;
    }
    let Some(entry) = plain(entry) else {
        return true;
    };
    under(&entry, host) || under(&skeleton(&entry), &skeleton(host))
}

fn allow_covers(entry: &str, host: &str) -> bool {
    plain(entry).is_some_and(|entry| entry == host)
}

/// An entry of a list in its one spelling.
pub fn plain(entry: &str) -> Option<String> {
    let simple = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    let as_stored = entry.bytes().all(simple)
        && entry.contains(|c: char| c.is_ascii_lowercase())
        && !entry.starts_with("www.")
        && !entry.contains("xn--")
        && !entry.ends_with('.');
    // Entries are stored in their one spelling; reading each one as a URL again would cost more
    // than all other checks together.
    if as_stored && !entry.is_empty() {
        return Some(entry.to_owned());
    }
    host(entry)
}

fn under(entry: &str, host: &str) -> bool {
    host.strip_suffix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// What a reader takes a host for: letters of other scripts and with marks become the ASCII
/// letters they look like.
fn skeleton(host: &str) -> String {
    let unicode = if host.contains("xn--") {
        idna::domain_to_unicode(host).0
    } else {
        host.to_owned()
    };
    let mut seen = String::with_capacity(unicode.len());
    for c in unicode.nfkd().filter(|c| !is_combining_mark(*c)) {
        seen.push(look_alike(c));
    }
    seen.replace("rn", "m").replace("vv", "w")
}

/// The ASCII letter that a character passes for; itself if it passes for none.
fn look_alike(c: char) -> char {
    const TABLE: &[(&str, char)] = &[
        ("аɑαạ", 'a'),
        ("ЬƄʙвβ", 'b'),
        ("сϲᴄ", 'c'),
        ("ԁɗđ", 'd'),
        ("еєҽεɛ", 'e'),
        ("ƒғ", 'f'),
        ("ɡցǥ", 'g'),
        ("һհħн", 'h'),
        ("іıɩιӏ", 'i'),
        ("јϳ", 'j'),
        ("кκқ", 'k'),
        ("1lӏłɭ|", 'l'),
        ("мṃ", 'm'),
        ("ոпռη", 'n'),
        ("0оοօσøഠ", 'o'),
        ("рρþ", 'p'),
        ("ԛզ", 'q'),
        ("гᴦɾ", 'r'),
        ("ѕʂ", 's'),
        ("тτţŧ", 't'),
        ("υսцʋ", 'u'),
        ("ѵνᴠ", 'v'),
        ("ԝшѡωա", 'w'),
        ("хχ×", 'x'),
        ("уγүყ", 'y'),
        ("ᴢʐ", 'z'),
    ];
    if c.is_ascii_lowercase() {
        return c;
    }
    let found = TABLE.iter().find(|(alike, _)| alike.contains(c));
    found.map_or(c, |(_, letter)| *letter)
}
