//! Is the vendor's host on a list?
//!
//! An agent writes the URL and may be hostile, so a host is compared in the one form that every
//! spelling of it comes to: lower case, without scheme, port, user, path, trailing dot and `www.`,
//! international names in ASCII. A block entry covers its subdomains and whatever looks like them
//! to a reader (`раураl.com` in Cyrillic, `paypa1.com`); an allow entry is that one host.
//!
//! Looking alike errs on the side of refusing: nobody gets onto an allow list by it.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use url::{Host, Url};

use super::{Request, policy_of};
use crate::domain::facts::Facts;
use crate::domain::reason::{Finding, Reason};

/// Longest URL of a vendor, in bytes: no browser is sent to a longer one.
const MAX_URL: usize = 2_048;
/// Suffixes under which nobody can register a name: this machine's, this network's, nobody's.
const PRIVATE: [&str; 5] = ["localhost", "local", "internal", "invalid", "arpa"];

/// `DOMAIN_BLOCKED`: the URL is none that a vendor could have, whatever the policy lists.
pub fn plausible(request: &Request<'_>, _facts: &Facts) -> Option<Finding> {
    let why = implausible(request.payee.url.as_deref()?)?;
    let why = format!("no vendor has such a URL: {why}");
    Some(Finding::block(Reason::DomainBlocked, why))
}

/// Why a text is the URL of no vendor; `None` if it may be one. A bare host will do.
pub fn implausible(url: &str) -> Option<&'static str> {
    if url.len() > MAX_URL {
        return Some("it is longer than 2,048 bytes");
    }
    let url = url.trim();
    if !is_web(url) {
        return Some("it is neither http nor https");
    }
    let Some(host) = host(url) else {
        return Some("there is no host in it");
    };
    if !matches!(Host::parse(&host), Ok(Host::Domain(_))) {
        return Some("its host is an address, not a name");
    }
    let mut labels = host.rsplit('.');
    let top = labels.next().unwrap_or_default();
    if PRIVATE.contains(&top) {
        return Some("its host is a name that nobody can register");
    }
    if labels.next().is_none() {
        return Some("its host has one label only");
    }
    let public =
        psl::suffix(host.as_bytes()).filter(|suffix| suffix.typ() == Some(psl::Type::Icann));
    if public.is_some() && psl::domain_str(&host).is_none() {
        return Some("its host is what many names end in, and nobody's own");
    }
    if !is_plain(url, &host) || host.split('.').any(str::is_empty) {
        return Some("its host can be read in more than one way");
    }
    None
}

/// Whether the scheme is one of the web's, or there is none. `evil.com:443` has none: no scheme has
/// a dot.
fn is_web(url: &str) -> bool {
    let end = url.find([':', '/', '\\', '?', '#']).unwrap_or(url.len());
    let (first, rest) = url.split_at(end);
    let is_scheme = rest.starts_with("://") || (rest.starts_with(':') && !first.contains('.'));
    !is_scheme
        || ["http", "https"]
            .iter()
            .any(|web| first.eq_ignore_ascii_case(web))
}

/// `DOMAIN_BLOCKED`: on the block list, or not on the allow list, or unreadable while there is one.
pub fn listed(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let policy = policy_of(facts)?;
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
    let Some(host) = host(url).filter(|host| is_plain(url, host)) else {
        return block(
            "the vendor's URL has no host that can be compared with the lists".to_owned(),
        );
    };
    let seen = skeleton(&host);
    let hit = blocked
        .iter()
        .find_map(|entry| block_covers(entry, &host, &seen).map(|how| (entry, how)));
    if let Some((entry, how)) = hit {
        return block(format!("{host} {} {entry} on the block list", how.words()));
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
            let rest = match text.split_once("://") {
                // A real scheme has no dot: in `evil.com/?to=http://good.com`, and in
                // `evil.com://good.com`, the host comes first.
                Some((scheme, rest))
                    if scheme.trim().bytes().all(|b| b.is_ascii_alphanumeric()) =>
                {
                    rest
                }
                Some(_) | None => text,
            };
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
        // The same machine in its other spelling.
        Host::Ipv6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => Some(ip.to_string()),
            None => Some(ip.to_string()),
        },
    }
}

/// Whether every reader of this text comes to this host. Where there is a list, what needs a guess
/// is refused: a space of no width before it, a bracket around it, two hosts with a comma, or a
/// backslash that some take for the end of the host and others for a part of it.
fn is_plain(text: &str, host: &str) -> bool {
    let text = text.trim();
    let rest = match text.split_once("://") {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => rest,
        Some(_) | None => text,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let belongs =
        |c: char| c.is_alphanumeric() || is_combining_mark(c) || ".。．｡-_:@[]".contains(c);
    // A name without a dot is nobody's: it is left over of a text such as `http//evil.com`.
    let named = host.contains(['.', ':']);
    named && !authority.is_empty() && authority.chars().all(belongs)
}

/// The part of a host that somebody registered: `shop.example.co.in` belongs to `example.co.in`.
/// An address or a bare suffix is its own.
pub fn registrable(host: &str) -> &str {
    if !matches!(Host::parse(host), Ok(Host::Domain(_))) {
        return host;
    }
    psl::domain_str(host).unwrap_or(host)
}

/// How a block entry covers a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Covers {
    Is,
    LooksLike,
    All,
}

impl Covers {
    fn words(self) -> &'static str {
        match self {
            Covers::Is => "is, or is under,",
            Covers::LooksLike => "looks like",
            Covers::All => "is covered by",
        }
    }
}

/// Whether a block entry covers a host that [`host`] has read, or what it looks like. An entry that
/// cannot be read covers everything: somebody meant to stop something.
fn block_covers(entry: &str, host: &str, seen: &str) -> Option<Covers> {
    let entry = upper(entry.trim());
    if entry == "*" {
        return Some(Covers::All);
    }
    let Some(entry) = plain(entry) else {
        return Some(Covers::All);
    };
    if covers(&entry, host) {
        return Some(Covers::Is);
    }
    looks_like(&entry, seen).then_some(Covers::LooksLike)
}

/// Whether what a reader takes an entry for covers what they take a host for: `seen`.
fn looks_like(entry: &str, seen: &str) -> bool {
    let double = |pair: &[u8]| pair == b"rn" || pair == b"vv";
    let letter_by_letter =
        entry.is_ascii() && !is_international(entry) && !entry.as_bytes().windows(2).any(double);
    if !letter_by_letter {
        return covers(&skeleton(entry), seen);
    }
    // Nearly every entry is of this kind, and of nearly every one the first glance says no.
    let Some(start) = seen.len().checked_sub(entry.len()) else {
        return false;
    };
    let (rest, end) = seen.as_bytes().split_at(start);
    let alike = |(seen, letter): (&u8, u8)| char::from(*seen) == look_alike(char::from(letter));
    (rest.is_empty() || rest.ends_with(b".")) && end.iter().zip(entry.bytes()).all(alike)
}

/// A block entry without the signs for "and everything under it", which it means anyway:
/// `*.evil.com` and `.evil.com` are `evil.com`.
pub fn upper(entry: &str) -> &str {
    let entry = entry
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(entry);
    entry.trim_start_matches('.')
}

/// Whether a host, in the one spelling, is another or one of its subdomains.
pub fn covers(upper: &str, host: &str) -> bool {
    host.strip_suffix(upper)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn allow_covers(entry: &str, host: &str) -> bool {
    plain(entry).is_some_and(|entry| entry == host)
}

/// An entry of a list in its one spelling.
pub fn plain(entry: &str) -> Option<Cow<'_, str>> {
    let simple = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
    let as_stored = entry.bytes().all(simple)
        && entry.contains(|c: char| c.is_ascii_lowercase())
        && !entry.starts_with("www.")
        && !is_international(entry)
        && !entry.ends_with('.');
    // Entries are stored in their one spelling; reading each one as a URL again would cost more
    // than all other checks together.
    if as_stored && !entry.is_empty() {
        return Some(Cow::Borrowed(entry));
    }
    host(entry).map(Cow::Owned)
}

/// Whether a label of it may be an international name in ASCII.
fn is_international(name: &str) -> bool {
    name.as_bytes().contains(&b'-') && name.contains("xn--")
}

/// What a reader takes a host for: letters of other scripts and with marks become the ASCII
/// letters they look like.
fn skeleton(host: &str) -> String {
    let unicode = if is_international(host) {
        idna::domain_to_unicode(host).0
    } else {
        host.to_owned()
    };
    let seen: String = if unicode.is_ascii() {
        unicode.chars().map(look_alike).collect()
    } else {
        let letters = unicode.nfkd().filter(|c| !is_combining_mark(*c));
        letters.map(look_alike).collect()
    };
    if seen.contains("rn") || seen.contains("vv") {
        return seen.replace("rn", "m").replace("vv", "w");
    }
    seen
}

/// The ASCII letter that a character passes for; itself if it passes for none. `i`, `l` and `1`
/// are one letter here.
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
        ("јϳ", 'j'),
        ("кκқ", 'k'),
        ("іıɩιӏłɭ", 'l'),
        ("мṃ", 'm'),
        ("ոпռη", 'n'),
        ("оοօσøഠ", 'o'),
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
    match c {
        '1' | 'i' | '|' => return 'l',
        '0' => return 'o',
        _ if c.is_ascii() => return c,
        _ => {}
    }
    let found = TABLE.iter().find(|(alike, _)| alike.contains(c));
    found.map_or(c, |(_, letter)| *letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::facts::Fact;
    use crate::domain::money::Effective;
    use crate::domain::policy::Policy;
    use crate::domain::tool::Payee;
    use crate::governance::testing::{Sample, facts};

    #[test]
    fn what_readers_could_read_differently_is_refused_where_there_is_a_list() {
        let odd = [
            "\u{200b}http://evil.com",
            "\u{feff}http://evil.com",
            "(http://evil.com)",
            "\"http://evil.com\"",
            "http//evil.com",
            "http://http://evil.com",
            "http;//evil.com",
            "http:\u{2215}\u{2215}evil.com",
            "\u{4bb}ttp://evil.com",
            "http\u{200b}://evil.com",
            "evil.com,good.com",
            "good.com,evil.com",
            "http://good.com\\@evil.com",
            "http://good.com\\.evil.com",
            "http://good.com evil.com",
            "",
            "http://",
            "good",
        ];
        for url in odd {
            for (blocked, allowed) in [("evil.com", ""), ("", "good.com")] {
                assert!(
                    refused(blocked, allowed, Some(url)),
                    "{url:?} {blocked} {allowed}"
                );
            }
            assert!(
                !refused("", "", Some(url)),
                "without a list there is nothing to compare"
            );
        }
        assert!(refused("10.0.0.1", "", Some("http://[::ffff:10.0.0.1]/")));
        assert!(!refused("10.0.0.1", "", Some("http://[::ffff:10.0.0.2]/")));
    }

    #[test]
    #[rustfmt::skip]
    fn no_vendor_has_an_address_a_label_or_another_scheme() {
        let long = |bytes: usize| {
            let start = "https://acme.example/";
            format!("{start}{}", "x".repeat(bytes - start.len()))
        };
        let fine = [
            "https://acme.example", "http://acme.example/pay?amount=1&next=http://169.254.169.254/",
            "acme.example", "acme.example:8443/x", "https://shop.acme.co.in:8443/a,b", "HTTPS://ACME.example",
            "https://bücher.example", "https://u@acme.example", "acme.example/?to=https://good.com",
            "https://1.2.3.4.nip.example", " https://acme.example ", "https:acme.example", "https://acme.example.",
            &long(2_048),
        ];
        for url in fine {
            assert_eq!(implausible(url), None, "{url:.60}");
        }
        let odd = [
            "", " ", "http://", "not a url", "http://169.254.169.254/", "169.254.169.254", "http://2130706433/",
            "http://0x7f.1/", "http://[::1]:8080/", "[::ffff:10.0.0.1]", "http://1.2.3.4.", "http://1.2.3.4.5/",
            "localhost", "http://localhost:8787/", "http://LOCALHOST./", "http://api.localhost", "printer.local",
            "vault.internal", "http://nobody.invalid", "1.0.0.127.in-addr.arpa", "acme", "https://acme/", "https://com.",
            "ftp://acme.example", "file:///etc/passwd", "file://acme.example/x", "javascript:alert(1)",
            "mailto:x@acme.example", "data:text/html,x", "ws://acme.example", "app://acme.example",
            "acme.example://other.example", "http://http://acme.example", "http://acme.example\\@evil.example",
            "(http://acme.example)", "acme.example,evil.example", "https://ev\til.example", "https://acme..example",
            "https://.acme.example", "https://co.uk", "co.uk/pay", &long(2_049), &long(3_000),
        ];
        for url in odd {
            assert!(implausible(url).is_some(), "{url:.60}");
            let sample = Sample { payee: Payee { url: Some(url.to_owned()), ..Payee::default() }, ..Sample::default() };
            let found = plausible(&sample.request(), &facts()).map(|finding| finding.reason);
            assert_eq!(found, Some(Reason::DomainBlocked), "{url:.60}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_host_has_one_spelling() {
        let evil = Some("evil.com");
        let cases = [
            ("https://evil.com",                     evil),
            ("EVIL.com",                             evil),
            ("evil.com:443",                         evil),
            ("www.evil.com",                         evil),
            ("u@evil.com",                           evil),
            ("https://good.com@evil.com/",           evil),
            ("https://evil.com\\@good.com/",         evil),
            ("evil.com.",                            evil),
            ("https://evil.com../x",                 evil),
            ("//evil.com/x",                         evil),
            ("https:evil.com",                       evil),
            ("https:/evil.com",                      evil),
            ("  https://evil.com  ",                 evil),
            ("https://ev\til.com",                   evil),
            ("https://%65vil.com",                   evil),
            ("https://ｅｖｉｌ。com",                  evil),
            ("evil.com/?to=https://good.com",        evil),
            ("evil.com://good.com",                  evil),
            ("app://EVIL.com/x",                     evil),
            ("mailto:x@evil.com",                    evil),
            ("ftp://evil.com",                       evil),
            ("https://a.b.evil.com",                 Some("a.b.evil.com")),
            ("https://bücher.example",               Some("xn--bcher-kva.example")),
            ("https://xn--bcher-kva.example",        Some("xn--bcher-kva.example")),
            ("www.com",                              Some("www.com")),
            ("https://2130706433/",                  Some("127.0.0.1")),
            ("https://[::1]:8/",                     Some("::1")),
            ("javascript:alert(1)",                  None),
            ("https://",                             None),
            ("",                                     None),
            ("not a url",                            None),
            ("https://ex ample.com",                 None),
        ];
        for (text, expected) in cases {
            assert_eq!(host(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_was_registered_is_found_under_any_suffix() {
        let cases = [
            ("shop.example.co.in", "example.co.in"),
            ("a.b.evil.com",       "evil.com"),
            ("me.github.io",       "me.github.io"),
            ("co.in",              "co.in"),
            ("10.0.0.1",           "10.0.0.1"),
            ("localhost",          "localhost"),
        ];
        for (host, expected) in cases {
            assert_eq!(registrable(host), expected, "{host}");
        }
    }

    fn list(names: &str) -> Vec<String> {
        names.split_whitespace().map(str::to_owned).collect()
    }

    fn refused(blocked: &str, allowed: &str, url: Option<&str>) -> bool {
        let policy = Policy {
            blocked_domains: list(blocked),
            allowed_domains: list(allowed),
            ..Policy::default()
        };
        let facts = Facts {
            policy: Fact::Known(Some(policy)),
            ..facts()
        };
        let mut sample = Sample::default();
        sample.payee.url = url.map(str::to_owned);
        listed(&sample.request(), &facts).is_some()
    }

    #[test]
    #[rustfmt::skip]
    fn a_block_entry_covers_what_is_under_it_and_what_looks_like_it() {
        let cases = [
            ("evil.com",       "https://evil.com/",             true),
            ("evil.com",       "https://pay.EVIL.com:8443/",    true),
            ("evil.com",       "https://www.evil.com.",         true),
            ("WWW.Evil.com.",  "https://evil.com/",             true),
            ("*.evil.com",     "https://evil.com/",             true),
            (".evil.com",      "https://evil.com/",             true),
            (".evil.com",      "https://a.evil.com/",           true),
            ("https://evil.com/x", "https://pay.evil.com",      true),
            ("evil.com",       "https://notevil.com/",          false),
            ("evil.com",       "https://evil.com.example/",     false),
            ("pay.evil.com",   "https://evil.com/",             false),
            ("co.in",          "https://shop.example.co.in",    true),
            ("*",              "https://anything.example",      true),
            ("bücher.example", "https://xn--bcher-kva.example", true),
            ("xn--bcher-kva.example", "https://BÜCHER.example", true),
            ("paypal.com",     "https://раураl.com/",           true),  // Cyrillic
            ("paypal.com",     "https://login.pаypal.com/",     true),  // one Cyrillic letter
            ("paypal.com",     "https://paypa1.com/",           true),
            ("paypal.com",     "https://páypal.com/",           true),
            ("modern.com",     "https://modem.com/",            true),  // rn reads as m
            ("evil.com",       "https://ev1l.com/",             true),
            ("раураl.com",     "https://paypal.com/",           true),
            ("paypal.com",     "https://payroll.com/",          false),
            ("evil.com",       "not a url",                     true),
            ("<unreadable>",   "https://fine.example",          true),
            ("",               "not a url",                     false), // no list, no question
        ];
        for (blocked, url, expected) in cases {
            assert_eq!(refused(blocked, "", Some(url)), expected, "{blocked} {url}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn an_allow_entry_is_that_one_host() {
        let cases = [
            ("", "good.com",            Some("https://good.com/x"),       false),
            ("", "good.com",            Some("https://www.GOOD.com./"),   false),
            ("", "www.good.com",        Some("https://good.com"),         false),
            ("", "good.com other.com",  Some("https://other.com"),        false),
            ("", "good.com",            Some("https://pay.good.com"),     true),
            ("", "good.com",            Some("https://good.com.evil.com"), true),
            ("", "good.com",            Some("https://good.com@evil.com"), true),
            ("", "good.com",            Some("https://gооd.com"),         true),  // Cyrillic
            ("", "good.com",            Some("https://g00d.com"),         true),
            ("", "good.com",            Some("evil.com/?to=https://good.com"), true),
            ("", "good.com",            Some("not a url"),                true),
            ("", "good.com",            None,                             true),
            ("", "",                    None,                             false),
            ("evil.com", "",            None,                             false),
            ("*", "",                   None,                             true),
            ("good.com", "good.com",    Some("https://good.com"),         true),  // block wins
        ];
        for (blocked, allowed, url, expected) in cases {
            assert_eq!(refused(blocked, allowed, url), expected, "{blocked} {allowed} {url:?}");
        }
    }

    #[test]
    fn what_moves_no_money_has_no_vendor_to_name() {
        let policy = Policy {
            allowed_domains: list("good.com"),
            ..Policy::default()
        };
        let facts = Facts {
            policy: Fact::Known(Some(policy)),
            ..facts()
        };
        let mut sample = Sample {
            effective: Effective::Nothing,
            ..Sample::default()
        };
        sample.payee.url = None;
        assert_eq!(listed(&sample.request(), &facts), None);
    }

    proptest! {
        /// The quick look comes to what the thorough one does.
        #[test]
        fn looking_alike_is_one_thing(
            entry in "[a1i|rnvm0.]{1,6}",
            seen in "[a1lirnvmwo0.é]{0,8}",
        ) {
            let seen = skeleton(&seen);
            prop_assert_eq!(looks_like(&entry, &seen), covers(&skeleton(&entry), &seen));
        }

        /// However a blocked host is dressed up, it stays blocked, and never gets onto an allow list
        /// that does not name it.
        #[test]
        fn no_dress_gets_past_a_list(
            scheme in prop::sample::select(vec!["", "https://", "HTTP://", "//", "ftp://", "x://"]),
            user in prop::sample::select(vec!["", "u@", "good.com@", "good.com:x@"]),
            sub in prop::sample::select(vec!["", "www.", "WwW.", "a.b.", "good.com."]),
            name in prop::sample::select(vec!["evil.com", "EVIL.COM", "eVil。com", "ｅvil.com"]),
            tail in prop::sample::select(vec!["", ".", ":443", ":8443/", "/x", "?u=http://good.com", "#good.com"]),
        ) {
            let url = format!("{scheme}{user}{sub}{name}{tail}");
            prop_assert!(refused("evil.com", "", Some(&url)), "{url}");
            prop_assert!(refused("", "good.com", Some(&url)), "{url}");
        }

        /// Reading never panics, and what was read reads the same again.
        #[test]
        fn a_spelling_is_stable(text in "\\PC{0,60}") {
            if let Some(host) = host(&text) && !host.contains(':') {
                prop_assert_eq!(super::host(&host), Some(host));
            }
        }
    }
}
