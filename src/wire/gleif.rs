//! GLEIF, the register of legal entities: does an active one bear the vendor's name?
//!
//! A name of twenty letters and digits is read as an LEI and looked up by it. Answers, "nobody"
//! included, are kept for an hour; failures are not. One question at a time per name, and a breaker
//! before them all, as for Safe Browsing.

use std::time::Duration;

use async_trait::async_trait;
use moka::future::Cache;
use serde_json::Value;
use url::Url;

use super::breaker::Breaker;
use super::fetch::{self, Answer};
use super::{EntitySource, UpstreamHealth, reputation};
use crate::domain::facts::{EntityRecord, Fact};

/// How long an answer holds, and how many are kept.
const KEEP: Duration = Duration::from_secs(3_600);
const MAX_KEPT: u64 = 10_000;
/// Most records of one name that are looked at.
const PAGE: &str = "5";
/// Longest name, in characters, and the length of an LEI.
const MAX_NAME: usize = 300;
const LEI_LENGTH: usize = 20;

/// Asks GLEIF.
pub struct Gleif {
    client: reqwest::Client,
    api_base: String,
    breaker: Breaker,
    kept: Cache<String, Vec<EntityRecord>>,
}

impl Gleif {
    /// A client of the register at `api_base` (without a trailing slash).
    pub fn new(api_base: &str) -> Result<Self, reqwest::Error> {
        Ok(Self {
            client: fetch::client()?,
            api_base: api_base.trim_end_matches('/').to_owned(),
            breaker: Breaker::new("gleif"),
            kept: Cache::builder()
                .max_capacity(MAX_KEPT)
                .time_to_live(KEEP)
                .build(),
        })
    }

    async fn look_up(&self, name: &str) -> Result<Vec<EntityRecord>, String> {
        let address = self
            .address(name)
            .ok_or("its address is not configured properly")?;
        let pass = self.breaker.pass().ok_or("it is left alone for a while")?;
        let pass = pass.asking();
        let request = self.client.get(address);
        let request = request.header(reqwest::header::ACCEPT, "application/vnd.api+json");
        let answered = match fetch::ask(request).await {
            Ok(answered) => answered,
            Err(why) => {
                pass.failed();
                return Err(why);
            }
        };
        let records = match answered {
            Answer::NotFound => Vec::new(),
            Answer::Refused(status) => {
                pass.succeeded();
                return Err(format!("it answered with status {status}"));
            }
            Answer::Found(answer) => match read(&answer) {
                Some(records) => records,
                None => {
                    pass.failed();
                    return Err("its answer is not one of GLEIF".to_owned());
                }
            },
        };
        pass.succeeded();
        Ok(records)
    }

    fn address(&self, name: &str) -> Option<Url> {
        let mut url = Url::parse(&format!("{}/api/v1/lei-records", self.api_base)).ok()?;
        if is_lei(name) {
            url.path_segments_mut().ok()?.push(&name.to_uppercase());
        } else {
            url.query_pairs_mut()
                .append_pair("filter[entity.legalName]", name)
                .append_pair("page[size]", PAGE);
        }
        Some(url)
    }
}

#[async_trait]
impl EntitySource for Gleif {
    async fn records(&self, name: &str) -> Fact<Vec<EntityRecord>> {
        let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Fact::Known(Vec::new());
        }
        let asked = self
            .kept
            .try_get_with(name.to_lowercase(), self.look_up(&name));
        match asked.await {
            Ok(records) => Fact::Known(records),
            Err(error) => {
                tracing::warn!(%error, "GLEIF could not be asked");
                Fact::Missing
            }
        }
    }

    fn health(&self) -> UpstreamHealth {
        reputation::health(&self.breaker)
    }
}

fn is_lei(name: &str) -> bool {
    name.len() == LEI_LENGTH && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// The records of an answer about one LEI or about a name; `None` if it is neither.
fn read(answer: &Value) -> Option<Vec<EntityRecord>> {
    match answer.get("data")? {
        Value::Array(items) => items.iter().map(record).collect(),
        one @ Value::Object(_) => Some(vec![record(one)?]),
        Value::Null => Some(Vec::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn record(item: &Value) -> Option<EntityRecord> {
    let attributes = item.get("attributes")?;
    let text = |pointer: &str| attributes.pointer(pointer).and_then(Value::as_str);
    let owned = |pointer: &str| text(pointer).unwrap_or_default().to_owned();
    Some(EntityRecord {
        lei: text("/lei")
            .or_else(|| item.get("id")?.as_str())
            .unwrap_or_default()
            .to_owned(),
        legal_name: owned("/entity/legalName/name"),
        entity_status: text("/entity/status")?.to_owned(),
        registration_status: text("/registration/status")?.to_owned(),
        country: owned("/entity/legalAddress/country"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn item(entity: &str, registration: &str) -> Value {
        json!({"id": "529900T8BM49AURSDO55", "attributes": {
            "lei": "529900T8BM49AURSDO55",
            "entity": {"legalName": {"name": "Acme Ltd"}, "status": entity,
                       "legalAddress": {"country": "IN"}},
            "registration": {"status": registration},
        }})
    }

    #[test]
    fn active_and_issued_is_verified_and_nothing_else() {
        for (entity, registration, verified) in [
            ("ACTIVE", "ISSUED", true),
            ("ACTIVE", "LAPSED", false),
            ("INACTIVE", "ISSUED", false),
            ("active", "issued", false),
        ] {
            let answer = json!({"data": [item(entity, registration)]});
            let records = read(&answer).unwrap();
            assert_eq!(
                records[0].is_verified(),
                verified,
                "{entity} {registration}"
            );
            assert_eq!(records[0].legal_name, "Acme Ltd");
        }
    }

    #[test]
    fn only_a_clear_answer_is_one() {
        assert_eq!(read(&json!({"data": []})), Some(vec![]));
        assert_eq!(read(&json!({"data": null})), Some(vec![]));
        assert_eq!(
            read(&json!({"data": item("ACTIVE", "ISSUED")}))
                .unwrap()
                .len(),
            1
        );
        for garbage in [
            json!({}),
            json!([]),
            json!({"data": "none"}),
            json!({"data": [{}]}),
            json!({"data": [{"attributes": {"entity": {}}}]}),
            json!({"errors": [{"status": "500"}]}),
        ] {
            assert_eq!(read(&garbage), None, "{garbage}");
        }
    }

    #[test]
    fn a_name_cannot_reach_another_address() {
        let gleif = Gleif::new("http://127.0.0.1:1/").unwrap();
        let address = |name: &str| gleif.address(name).unwrap().to_string();
        assert_eq!(
            address("529900t8bm49aursdo55"),
            "http://127.0.0.1:1/api/v1/lei-records/529900T8BM49AURSDO55"
        );
        assert!(address("../../x?y#z & co").starts_with(
            "http://127.0.0.1:1/api/v1/lei-records?filter%5Bentity.legalName%5D=..%2F..%2Fx%3Fy%23z"
        ));
    }
}
