//! Where a source reaches and as whom, in a few digits: what a proposal is bound to, and what is
//! compared before a secret is shown to a source that has changed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use url::Url;

use super::source::{Source, SourceConfig};
use crate::domain::canonical::Canonical;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

impl Source {
    /// Whether what opens `other` may be shown to this one: it is the same place, spoken to in the
    /// same way.
    pub fn reaches_as(&self, other: &Source) -> bool {
        let guarded = |source: &Source| match &source.config {
            SourceConfig::Postgres(db) => Some(db.tls),
            SourceConfig::Sqlite(_)
            | SourceConfig::Rest(_)
            | SourceConfig::Mcp(_)
            | SourceConfig::Program(_) => None,
        };
        let same = guarded(self) == guarded(other) && self.spoken_to() == other.spoken_to();
        self.kind() == other.kind() && same
    }

    /// Names where this source reaches and as whom, and nothing of what opens it: 16 hex digits for
    /// where ([`reach_of`]), and 16 more for all of its configuration but its limits, and for when
    /// each secret was `set`. What was proposed or begun at another place is not done here; what
    /// was begun where this one reaches can be asked about, with whatever opens it now.
    pub fn place(
        &self,
        secrets: &BTreeMap<String, Secret>,
        set: &BTreeMap<String, Timestamp>,
    ) -> String {
        let set: BTreeMap<&str, i64> = set
            .iter()
            .map(|(name, at)| (name.as_str(), at.millis()))
            .collect();
        let whole = digits(&json!([self.kind().code(), self.config, set]));
        format!("{}.{whole}", self.reached(secrets))
    }

    fn reached(&self, secrets: &BTreeMap<String, Secret>) -> String {
        let url = secrets
            .get("url")
            .and_then(|url| Url::parse(url.expose()).ok());
        let of_url = url.map(|url| {
            let host = url.host_str().map(str::to_owned);
            json!([host, url.port(), url.path(), url.username()])
        });
        let all = json!([self.kind().code(), self.spoken_to(), of_url]);
        digits(&all)
    }

    fn spoken_to(&self) -> Value {
        match &self.config {
            SourceConfig::Postgres(db) => json!([db.host, db.port, db.database, db.user]),
            SourceConfig::Sqlite(db) => json!([db.path]),
            SourceConfig::Rest(api) => {
                json!([api.base_url, api.auth, api.header, api.query, api.token_url])
            }
            SourceConfig::Mcp(server) => json!([server.url]),
            SourceConfig::Program(program) => json!([program.program]),
        }
    }
}

/// The part of a [`place`](Source::place) that says where it is.
pub fn reach_of(place: &str) -> &str {
    place.split_once('.').map_or(place, |(reach, _)| reach)
}

fn digits(of: &Value) -> String {
    let hash = Canonical::of(of).hash().to_string();
    hash.chars().take(16).collect()
}
