//! Providers: who answers requests, where, in which format, with which models and at what prices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ask::Format;
use super::price::Prices;

/// Most characters of a provider's name.
pub const MAX_NAME: usize = 64;

/// A provider, without its key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Provider {
    /// Its name here.
    pub name: String,
    /// How it is talked to.
    pub format: Format,
    /// Where it answers.
    pub base_url: String,
    /// The models it has.
    pub models: Vec<String>,
    /// It runs here.
    pub local: bool,
    /// How much it is wanted; 0 only if it is named.
    pub weight: u32,
    /// Requests at once.
    pub max_concurrent: Option<u32>,
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Longest that an answer may take to begin; the general setting where left out.
    pub timeout_ms: Option<u64>,
    /// Addresses of this machine and its network may be reached.
    pub allow_private: bool,
    /// What its models cost, by model; `*` is any other.
    pub prices: BTreeMap<String, Prices>,
    /// It takes `max_completion_tokens`, and not `max_tokens`.
    pub completion_tokens: bool,
    /// Its address has no version.
    pub bare: bool,
}

/// Usual weight.
pub const USUAL_WEIGHT: u32 = 100;

impl Provider {
    /// What it says of this model's price itself.
    pub fn own_price(&self, model: &str) -> Option<&Prices> {
        self.prices.get(model).or_else(|| self.prices.get("*"))
    }
}

/// Longest key, in bytes.
pub const MAX_KEY: usize = 4_096;
/// Longest name of a model, in bytes.
pub const MAX_MODEL: usize = 256;

/// Whether a text may be a key: what a header can hold.
pub fn is_key(text: &str) -> bool {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    !text.is_empty() && text.len() <= MAX_KEY && visible
}

/// Whether texts may be the models of a provider: each a name, and none there twice.
pub fn are_models(names: &[String]) -> bool {
    let plain = |name: &String| {
        let fits = !name.trim().is_empty() && name.len() <= MAX_MODEL;
        fits && !name.chars().any(char::is_control)
    };
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    names.iter().all(plain) && distinct.len() == names.len()
}

/// Whether a text may name a provider.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    !text.is_empty() && text.len() <= MAX_NAME && text.bytes().all(plain)
}
