//! Secrets that come back: a provider that answers "incorrect key: sk-..." or an API that shows the
//! headers it got repeats what it was sent. What it repeats is replaced where calls come back, before
//! anybody reads it, so that no answer, error or stored result shows a credential to an agent.
//!
//! It finds a secret as it was sent, and in the spellings that honest services repeat it in (base64,
//! percent-encoded, escaped in JSON). Who has a secret and means to tell it can always do so in a
//! spelling of their own.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use zeroize::Zeroizing;

use super::call::Reply;
use super::secret::Secret;

/// Shorter ones would be found by chance in what has nothing to do with them.
const MIN_BYTES: usize = 8;
/// What stands in their place.
const HIDDEN: &str = "[secret]";
/// Parts of the names that secrets are given under, in headers and in variables of an environment.
const NAMED: [&str; 10] = [
    "auth",
    "cookie",
    "cred",
    "key",
    "pass",
    "private",
    "pwd",
    "secret",
    "signature",
    "token",
];

/// The spellings of the secrets that a call carries.
#[derive(Clone, Default)]
pub struct Echo(Vec<Zeroizing<String>>);

impl Echo {
    /// Of these secrets.
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut echo = Self::default();
        for secret in secrets {
            echo.add(secret.expose());
        }
        echo
    }

    /// Of a header's value: the whole of it, and what follows its scheme.
    pub fn of_header(value: &Secret) -> Self {
        let mut echo = Self::of([value]);
        if let Some((_, credential)) = value.expose().split_once(' ') {
            echo.add(credential);
        }
        echo
    }

    /// Of what is given under names, such as headers or an environment, where the name says that it is
    /// a secret; and of a password within an address, whatever its name.
    pub fn of_named<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut echo = Self::default();
        for (name, value) in given {
            let name = name.to_ascii_lowercase();
            if NAMED.iter().any(|part| name.contains(part)) {
                echo.add(value);
                if let Some((_, credential)) = value.split_once(' ') {
                    echo.add(credential);
                }
            } else if let Some(password) = url::Url::parse(value)
                .ok()
                .and_then(|url| url.password().map(str::to_owned))
            {
                echo.add(value);
                echo.add(&password);
            }
        }
        echo
    }

    /// With a name and password as basic authentication sends them.
    pub fn and_basic(mut self, username: &Secret, password: &Secret) -> Self {
        let pair = Zeroizing::new(format!("{}:{}", username.expose(), password.expose()));
        self.put(STANDARD.encode(pair.as_bytes()));
        self
    }

    fn add(&mut self, secret: &str) {
        if secret.len() < MIN_BYTES {
            return;
        }
        let json = Value::from(secret).to_string();
        let json = json.trim_matches('"').to_owned();
        let percent: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for spelling in [secret.to_owned(), json, percent, STANDARD.encode(secret)] {
            self.put(spelling);
        }
    }

    fn put(&mut self, spelling: String) {
        let spelling = Zeroizing::new(spelling);
        if spelling.len() >= MIN_BYTES && !self.0.contains(&spelling) {
            self.0.push(spelling);
            // The longest first: none is left half hidden by a shorter one inside it.
            self.0
                .sort_by_key(|spelling| std::cmp::Reverse(spelling.len()));
        }
    }

    /// A text without them.
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut shown = Cow::Borrowed(text);
        for spelling in &self.0 {
            if shown.contains(spelling.as_str()) {
                shown = Cow::Owned(shown.replace(spelling.as_str(), HIDDEN));
            }
        }
        shown
    }

    /// A document without them, in its names as in its texts.
    pub fn hide_in(&self, value: &mut Value) {
        if self.0.is_empty() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(hidden) = self.hide(text) {
                    *text = hidden;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide_in(item)),
            Value::Object(fields) => {
                fields.values_mut().for_each(|field| self.hide_in(field));
                if fields
                    .keys()
                    .any(|name| matches!(self.hide(name), Cow::Owned(_)))
                {
                    let named = std::mem::take(fields).into_iter();
                    *fields = named
                        .map(|(name, value)| (self.hide(&name).into_owned(), value))
                        .collect();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A reply without them.
    pub fn hide_in_reply(&self, reply: &mut Reply) {
        match reply {
            Reply::Result { content, .. } => self.hide_in(content),
            Reply::RpcError { message: words, .. }
            | Reply::TurnedAway { words, .. }
            | Reply::NotSent(words)
            | Reply::Lost(words) => {
                if let Cow::Owned(hidden) = self.hide(words) {
                    *words = hidden;
                }
            }
            Reply::TooLarge { .. } => {}
        }
    }

    /// For bytes that arrive in pieces.
    pub fn arriving(self) -> Arriving {
        Arriving {
            echo: self,
            held: Vec::new(),
        }
    }
}

/// Hides secrets in bytes that arrive in pieces, wherever they are cut. Nothing is held back but what
/// may be the beginning of a secret.
pub struct Arriving {
    echo: Echo,
    held: Vec<u8>,
}

impl Arriving {
    /// What may be told of it now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let mut told = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let spellings = || self.echo.0.iter().map(|spelling| spelling.as_bytes());
            // Nearly all bytes begin no secret, and are passed on as they are.
            let begins = |byte: &u8| spellings().any(|spelling| spelling.first() == Some(byte));
            let free = rest.iter().position(begins).unwrap_or(rest.len());
            let (plain, rest) = rest.split_at(free);
            told.extend_from_slice(plain);
            at += free;
            if rest.is_empty() {
                break;
            }
            if let Some(found) = spellings().find(|spelling| rest.starts_with(spelling)) {
                told.extend_from_slice(HIDDEN.as_bytes());
                at += found.len();
            } else if spellings().any(|spelling| spelling.starts_with(rest)) {
                self.held = rest.to_vec();
                return told;
            } else {
                told.extend_from_slice(rest.get(..1).unwrap_or_default());
                at += 1;
            }
        }
        told
    }

    /// What was held back, when no more comes.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn echo() -> Echo {
        let basic = (Secret::new("ann"), Secret::new("pass\"word/1"));
        Echo::of([&Secret::new("sk-canary-0123"), &basic.1]).and_basic(&basic.0, &basic.1)
    }

    #[test]
    fn each_spelling_is_hidden_in_texts_and_documents() {
        for said in [
            "Incorrect key: sk-canary-0123.",
            "c2stY2FuYXJ5LTAxMjM=",
            r#"{"password":"pass\"word/1"}"#,
            "q=pass%22word%2F1&x",
            "Basic YW5uOnBhc3Mid29yZC8x",
        ] {
            let shown = echo().hide(said).into_owned();
            assert!(
                shown.contains(HIDDEN) && !shown.contains("canary"),
                "{shown}"
            );
        }
        let mut told = json!({"headers": [{"sk-canary-0123": "Bearer sk-canary-0123"}], "n": 1});
        echo().hide_in(&mut told);
        assert_eq!(
            told,
            json!({"headers": [{"[secret]": "Bearer [secret]"}], "n": 1})
        );
    }

    #[test]
    fn short_ones_and_none_hide_nothing() {
        let echo = Echo::of([&Secret::new("1234567"), &Secret::new("")]);
        assert_eq!(echo.hide("1234567"), "1234567");
        assert_eq!(Echo::default().arriving().push(b"anything"), b"anything");
    }

    #[test]
    fn what_is_given_under_the_name_of_a_secret_is_hidden_and_nothing_else() {
        let echo = Echo::of_named([
            ("GITHUB_TOKEN", "ghp_canary_0123"),
            ("authorization", "Bearer sk-canary-0123"),
            ("DATABASE_URL", "postgres://ann:canary-0123@db/shop"),
            ("PATH", "/usr/local/bin:/usr/bin"),
            ("LANGUAGE", "en_GB.UTF-8"),
        ]);
        let told = "/usr/local/bin:/usr/bin en_GB.UTF-8 ghp_canary_0123 sk-canary-0123 canary-0123";
        let shown = "/usr/local/bin:/usr/bin en_GB.UTF-8 [secret] [secret] [secret]";
        assert_eq!(echo.hide(told), shown);
    }

    #[test]
    fn a_header_is_hidden_without_its_scheme_too() {
        let echo = Echo::of_header(&Secret::new("Bearer sk-canary-0123"));
        assert_eq!(echo.hide("got sk-canary-0123"), "got [secret]");
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_arriving_bytes_are_cut(
            words in prop::collection::vec(
                prop::sample::select(vec!["sk-canary-0123", "sk-canary", "sk-", "a", "[secret]"]),
                0..8,
            ),
            cuts in prop::collection::vec(0..40usize, 0..6),
        ) {
            let text = words.concat();
            let mut arriving = echo().arriving();
            let (mut told, mut from) = (Vec::new(), 0);
            let mut cuts = cuts;
            cuts.sort_unstable();
            for cut in cuts.into_iter().map(|cut| cut.min(text.len())) {
                told.extend(arriving.push(&text.as_bytes()[from..cut]));
                from = cut;
            }
            told.extend(arriving.push(&text.as_bytes()[from..]));
            told.extend(arriving.end());
            prop_assert_eq!(String::from_utf8(told).unwrap(), echo().hide(&text).into_owned());
        }
    }
}
