//! Asking around: is this vendor safe, is that company real, is the broker well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Call, Nothing, Operation};
use crate::broker::Trouble;
use crate::broker::pay::payees;
use crate::domain::facts::{self, Fact};
use crate::domain::principal::Right;
use crate::entry::readiness::{self, Readiness};
use crate::telemetry;

/// Why nothing is known: asked and not answered, or not asked because it failed before.
const SILENT: &str = "the reputation service did not answer properly";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("check_vendor_reputation", reputation)
            .says(
                "Check a vendor's URL",
                "Asks whether a vendor's URL is listed as a threat. `safe` is null when the \
                 service did not answer: that is not safety.",
            )
            .needs(&[Right::Propose, Right::ReadAll])
            .mcp(),
        Operation::new("verify_vendor_entity", entity)
            .says(
                "Verify a vendor's legal entity",
                "Asks GLEIF whether an active legal entity bears this very name, and has this LEI \
                 if one is given. Spellings of the legal form do not matter.",
            )
            .needs(&[Right::Propose, Right::ReadAll])
            .mcp(),
        Operation::new("health_check", health)
            .says(
                "Check health",
                "Whether the store, the upstreams and the services behind breakers answer.",
            )
            .needs(&[Right::ReadAll])
            .mcp(),
        Operation::new("get_metrics", metrics)
            .says(
                "Read the metrics",
                "Every metric as JSON, and as the Prometheus text of /metrics.",
            )
            .needs(&[Right::ReadAll])
            .mcp(),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct VendorUrl {
    /// The vendor's URL.
    #[schemars(length(max = 4096))]
    url: String,
}

#[derive(Serialize, JsonSchema)]
struct Reputation {
    url: String,
    safe: Option<bool>,
    threats: Vec<String>,
    match_count: usize,
    error: Option<String>,
}

async fn reputation(call: Call, asked: VendorUrl) -> Result<Reputation, Trouble> {
    let source = call.broker.ports().reputation.as_ref().ok_or_else(|| {
        let text = "no reputation service is configured (HUNDI_SAFE_BROWSING_KEY)";
        Trouble::Off(text.to_owned())
    })?;
    let (safe, threats, error) = match payees::no_vendors(&asked.url) {
        // Refused for itself (`DOMAIN_BLOCKED`), so nobody needs to be asked.
        Some(why) => (Some(false), vec![], Some(why)),
        None => match source.reputation(&asked.url).await {
            Fact::Known(facts::Reputation::Safe | facts::Reputation::NotAsked) => {
                (Some(true), vec![], None)
            }
            Fact::Known(facts::Reputation::Unsafe(threats)) => (Some(false), threats, None),
            Fact::Missing => (None, vec![], Some(SILENT.to_owned())),
        },
    };
    Ok(Reputation {
        url: asked.url,
        safe,
        match_count: threats.len(),
        threats,
        error,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Vendor {
    /// The name, as registered.
    #[schemars(length(max = 256))]
    vendor_name: String,
    /// The legal entity identifier, if known: it is asked for instead.
    #[schemars(length(max = 256))]
    lei: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct Entities {
    query: String,
    verified: bool,
    match_count: usize,
    best_match: Option<EntityRecord>,
    all_entities: Vec<EntityRecord>,
    error: Option<String>,
}

#[derive(Clone, Serialize, JsonSchema)]
#[schemars(inline)]
struct EntityRecord {
    lei: String,
    legal_name: String,
    entity_status: String,
    registration_status: String,
    country: String,
}

impl From<&facts::EntityRecord> for EntityRecord {
    fn from(record: &facts::EntityRecord) -> Self {
        Self {
            lei: record.lei.clone(),
            legal_name: record.legal_name.clone(),
            entity_status: record.entity_status.clone(),
            registration_status: record.registration_status.clone(),
            country: record.country.clone(),
        }
    }
}

async fn entity(call: Call, asked: Vendor) -> Result<Entities, Trouble> {
    let name = asked.vendor_name;
    let query = asked.lei.filter(|lei| !lei.trim().is_empty());
    let query = query.unwrap_or_else(|| name.clone());
    let source = call.broker.ports().entities.as_ref();
    let source = source.ok_or_else(|| Trouble::Off("no register is configured".to_owned()))?;
    let (records, error) = match source.records(&query).await {
        Fact::Known(records) => (records, None),
        Fact::Missing => {
            let silent = "the register did not answer properly";
            (Vec::new(), Some(silent.to_owned()))
        }
    };
    // Whoever asks by identifier is told of the name as well: it may be another company's.
    let meant =
        |record: &&facts::EntityRecord| record.answers_to(&query) && record.answers_to(&name);
    let mut meant = records.iter().filter(meant);
    let first = meant.clone().next();
    let best = meant.find(|record| record.is_verified());
    Ok(Entities {
        verified: best.is_some(),
        match_count: records.len(),
        best_match: best.or(first).or(records.first()).map(EntityRecord::from),
        all_entities: records.iter().map(EntityRecord::from).collect(),
        query,
        error,
    })
}

#[derive(Serialize, JsonSchema)]
struct Health {
    #[serde(flatten)]
    readiness: Readiness,
    uptime_seconds: u64,
}

async fn health(call: Call, _: Nothing) -> Result<Health, Trouble> {
    let store = call.broker.ports().store.ping().await.is_ok();
    let detail = call.who.may_for_all(Right::ReadAll);
    Ok(Health {
        readiness: readiness::told(&call.broker, store, detail),
        uptime_seconds: telemetry::uptime().as_secs(),
    })
}

#[derive(Serialize, JsonSchema)]
#[serde(transparent)]
struct Metrics(#[schemars(with = "MetricsFields")] Value);

#[expect(dead_code, reason = "a shape")]
#[derive(JsonSchema)]
#[schemars(inline)]
struct MetricsFields {
    metrics: Map<String, Value>,
    prometheus_text: String,
}

async fn metrics(call: Call, _: Nothing) -> Result<Metrics, Trouble> {
    // They count what everybody does.
    if !call.who.may_for_all(Right::ReadAll) {
        let roles = call.who.roles;
        return Err(Trouble::Forbidden { roles });
    }
    call.broker.pay.fresh_gauges().await;
    Ok(Metrics(telemetry::snapshot_json()))
}
