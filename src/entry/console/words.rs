//! The words of the pages, in English and in Persian. English is what the templates say; the table
//! beside this file says the same in Persian, and a test finds what it lacks.

mod persian;

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::http::header::ACCEPT_LANGUAGE;

use super::door::{LANGUAGE, cookie};

/// A language of the pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lang {
    English,
    Persian,
}

static TABLE: LazyLock<HashMap<&str, &str>> =
    LazyLock::new(|| persian::WORDS.iter().copied().collect());

impl Lang {
    /// What the reader chose, else what the browser asks for first.
    pub fn of(headers: &HeaderMap) -> Self {
        let chosen = cookie(headers, LANGUAGE);
        if let Some(lang) = chosen.as_deref().and_then(Self::read) {
            return lang;
        }
        let asked = headers.get(ACCEPT_LANGUAGE);
        let asked = asked
            .and_then(|asked| asked.to_str().ok())
            .unwrap_or_default();
        let mut asked = asked.split(',').filter_map(|part| {
            let tag = part.split([';', '-']).next()?.trim();
            Self::read(tag)
        });
        asked.next().unwrap_or(Lang::English)
    }

    /// Reads a language's code.
    pub fn read(code: &str) -> Option<Self> {
        match code.to_ascii_lowercase().as_str() {
            "en" => Some(Lang::English),
            "fa" => Some(Lang::Persian),
            _ => None,
        }
    }

    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Lang::English => "en",
            Lang::Persian => "fa",
        }
    }

    /// The direction it is written in.
    pub fn direction(self) -> &'static str {
        match self {
            Lang::English => "ltr",
            Lang::Persian => "rtl",
        }
    }

    /// In this language; English where the table has nothing.
    pub fn t(self, english: &str) -> &str {
        match self {
            Lang::English => english,
            Lang::Persian => self.known(english).unwrap_or(english),
        }
    }

    /// What the table has for it.
    pub fn known(self, english: &str) -> Option<&'static str> {
        TABLE.get(english).copied()
    }
}

/// What was done, in words; nothing for what is no operation of a form.
pub(super) fn done(op: &str) -> Option<&'static str> {
    Some(match op {
        "approve_proposal" => "Approved.",
        "reject_proposal" => "Rejected.",
        "cancel_proposal" => "Withdrawn.",
        "settle_proposal" => "Settled.",
        "freeze" => "Frozen. Nothing in this scope goes through until it is lifted.",
        "unfreeze" => "Unfrozen.",
        "set_policy" | "change_policy" | "change_person" | "replace_source" | "replace_tool" => {
            "Saved."
        }
        "create_rule" | "create_source" | "create_tool" | "create_person" | "create_server" => {
            "Created."
        }
        "replace_server" => "Saved. Whoever is connected hears of it within a second.",
        "create_provider" => "Created.",
        "reset_provider" => "Reset. It may be asked again at once.",
        "create_request" => "Taken on. It waits its turn.",
        "cancel_request" => "Taken back.",
        "delete_request" => "Forgotten. What it cost stays in the ledger.",
        "add_passkey" => "The passkey is added.",
        "remove_passkey" => "The passkey is taken away.",
        "revoke_key" => "The key is ended.",
        "accept_tool" => "Accepted.",
        "delete_policy" | "delete_rule" | "delete_source" | "delete_tool" | "delete_person"
        | "delete_server" | "delete_provider" => "Deleted.",
        "delete_server_key" => "The key is ended.",
        other if crate::entry::operations::named(other).is_some() => "Done.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// Every text that a page or a template asks to be translated.
    fn asked() -> BTreeSet<String> {
        let call = regex::Regex::new(r#"(?:\bt|lang\.t)\(\s*"([^"]+)"\s*\)"#).unwrap();
        let done = regex::Regex::new(r#"=> "([A-Z][^"]*\.)""#).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/entry/console");
        let folders = [root.clone(), root.join("templates")];
        let files = folders
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).unwrap());
        let mut found = BTreeSet::new();
        for file in files
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file())
        {
            let text = std::fs::read_to_string(&file).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            found.extend(call.captures_iter(text).map(|one| one[1].to_owned()));
            if file.ends_with("words.rs") {
                found.extend(done.captures_iter(text).map(|one| one[1].to_owned()));
            }
        }
        found
    }

    #[test]
    fn every_word_of_the_pages_is_there_in_persian() {
        let asked = asked();
        assert!(asked.len() > 50, "the pages ask in another way: {asked:?}");
        let missing: Vec<_> = asked
            .iter()
            .filter(|text| Lang::Persian.known(text).is_none())
            .collect();
        assert!(missing.is_empty(), "{missing:#?}");
    }

    #[test]
    fn the_reader_chooses_before_the_browser_does() {
        let of = |asked: &str, chosen: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_LANGUAGE, asked.parse().unwrap());
            headers.insert("cookie", format!("{LANGUAGE}={chosen}").parse().unwrap());
            Lang::of(&headers)
        };
        assert_eq!(of("fa-IR,fa;q=0.9,en;q=0.8", ""), Lang::Persian);
        assert_eq!(of("de,en;q=0.8,fa;q=0.5", ""), Lang::English);
        assert_eq!(of("fa", "en"), Lang::English);
        assert_eq!(of("de", "fa"), Lang::Persian);
        assert_eq!(of("", "xx"), Lang::English);
    }
}
