//! The secret scanner: finds what must not leave, and says what it is and where, never what it
//! reads.
//!
//! It knows the formats of keys that providers publish ([`formats`]), secrets with a structure of
//! their own (tokens, private keys, passwords in URLs), numbers that vouch for themselves (cards,
//! IBAN, Aadhaar, PAN), and values that are given away by their names. Where a format has a
//! checksum, a text with a wrong one is no key. A hash, a UUID, the base64 of a picture and prose
//! are none either.
//!
//! One pass looks for everything at once that could open a secret ([`openings`]); what stands there
//! is then read by hand, and never further than a bound, so that the time is linear in the text. What a
//! find means (refuse, replace, only count) is [`judge`]'s; replacing and putting back is
//! [`redact`]'s; JSON is walked in [`walk`].

mod assigned;
mod chance;
mod checksum;
mod formats;
pub mod judge;
mod numbers;
mod openings;
pub mod redact;
mod structured;
mod text;
pub mod walk;

use std::sync::LazyLock;

use formats::FORMATS;
use openings::Openings;
use structured::{ANCHORS, COMPANIONS, DISCORD, Hit};

/// One find. It has no text: whoever has the text can look, and nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Find {
    /// What it is. Never changes once released.
    pub rule: &'static str,
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
}

/// Every find of a text, in order; none touches another.
///
/// Places are bytes. In a text that is UTF-8 they are always between two characters.
pub fn find(text: &[u8]) -> Vec<Find> {
    let mut hits = Vec::new();
    OPENINGS.each(text, |number, start, end| {
        hits.extend(opens(number, text, start, end))
    });
    numbers::each(text, &mut hits);
    beside(text, &mut hits);
    apart(hits)
}

/// The names of all rules, sorted.
pub fn rules() -> Vec<&'static str> {
    let companions = COMPANIONS.iter().map(|companion| companion.rule);
    let formats = FORMATS.iter().map(|format| format.rule);
    let mut rules: Vec<_> = formats
        .chain(companions)
        .chain(OTHER_RULES.iter().copied())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    rules
}

/// Rules of what no table row finds.
const OTHER_RULES: &[&str] = &[
    "aadhaar",
    "azure_client_secret",
    "azure_devops_token",
    "azure_resource_key",
    "azure_sas",
    "basic_credentials",
    "bearer_token",
    "card_number",
    "database_password",
    "discord_bot_token",
    "gcp_service_account",
    "generic_secret",
    "hundi_commit_token",
    "iban",
    "jwt",
    "mailchimp_key",
    "pan",
    "password",
    "private_key",
    "teams_webhook",
    "telegram_bot_token",
    "terraform_token",
    "twilio_secret",
    "url_password",
];

/// Rules that only guess from a name or a neighbour: what another rule knows, it knows better.
const GUESSES: &[&str] = &["bearer_token", "generic_secret", "password", "url_password"];

/// Formats first, then anchors, tokens of Discord, words: the number of an opening says which it is.
static OPENINGS: LazyLock<Openings> = LazyLock::new(|| {
    let formats = FORMATS.iter().map(|format| (format.prefix, format.next()));
    let anchors = ANCHORS.iter().map(|(anchor, _)| (*anchor, None));
    let others = DISCORD
        .iter()
        .chain(assigned::WORDS)
        .map(|other| (*other, None));
    Openings::new(formats.chain(anchors).chain(others))
});

fn opens(number: usize, text: &[u8], start: usize, end: usize) -> Option<Hit> {
    if let Some(format) = FORMATS.get(number) {
        let (start, end) = format.at(text, start)?;
        return Some((format.rule, start, end));
    }
    let number = number - FORMATS.len();
    match ANCHORS.get(number) {
        Some((_, look)) => look(text, start),
        None if number < ANCHORS.len() + DISCORD.len() => structured::discord_token(text, start),
        None => assigned::at(text, start, end),
    }
}

/// Adds the secrets that only a neighbour gives away.
fn beside(text: &[u8], hits: &mut Vec<Hit>) {
    let near = |(rule, _, end): &Hit| {
        let companion = COMPANIONS.iter().find(|companion| companion.of == *rule)?;
        companion.after(text, *end)
    };
    let found: Vec<Hit> = hits.iter().filter_map(near).collect();
    hits.extend(found);
}

/// Finds that touch become one, which is called what is known best of it.
fn apart(mut hits: Vec<Hit>) -> Vec<Find> {
    hits.sort_unstable_by_key(|(rule, start, end)| (*start, std::cmp::Reverse(*end), *rule));
    let mut finds: Vec<Find> = Vec::with_capacity(hits.len());
    for (rule, start, end) in hits {
        match finds.last_mut() {
            Some(last) if start < last.end => {
                if GUESSES.contains(&last.rule) && !GUESSES.contains(&rule) {
                    last.rule = rule;
                }
                last.end = last.end.max(end);
            }
            _ => finds.push(Find { rule, start, end }),
        }
    }
    finds
}

#[cfg(test)]
mod tests;
