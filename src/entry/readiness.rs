//! Whether the broker can work: every dependency and every breaker, in one spelling for `/readyz`
//! and `health_check`.
//!
//! Without the store nothing can be decided, so that is `down`. Without anything else, only what
//! needs it waits, and without Redis limits are stricter: `degraded`, and still worth sending
//! requests to. So is a node whose keys are not its peers' (in a rotation all are, for a while).

use schemars::JsonSchema;
use serde::Serialize;

use crate::broker::Broker;
use crate::domain::ids::OrgId;

/// How it stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Ready")]
pub struct Readiness {
    status: Status,
    checks: Vec<Check>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Status {
    Ready,
    Degraded,
    Down,
}

#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Check {
    name: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// How it stands; `store` says whether it answered just now. What exactly is wrong is in it
/// only for those who may see `detail`.
pub fn told(broker: &Broker, store: bool, detail: bool) -> Readiness {
    let ports = broker.ports();
    let breakers = [
        ports.reputation.as_ref().map(|source| source.health()),
        ports.entities.as_ref().map(|source| source.health()),
    ];
    let upstreams = ports.wire.health().into_iter();
    let upstreams = upstreams.map(|health| (format!("upstream {}", health.name), health));
    let breakers = breakers.into_iter().flatten();
    let breakers = ports.wire.breakers().into_iter().chain(breakers);
    let breakers = breakers.map(|health| (format!("breaker {}", health.name), health));
    let channels = broker.pay.channels().into_iter();
    let channels = channels.map(|health| {
        let name = match detail {
            true => health.name.as_str(),
            false => health.name.split(" (").next().unwrap_or_default(),
        };
        (format!("channel {name}"), health)
    });
    let complaints = broker.tools.catalogue().complaints();
    let tools = broker.settings().upstreams.keys().map(|upstream| {
        let wrong = complaints.get(upstream);
        let seen = wrong.map_or_else(|| "listed".to_owned(), |what| what.join("; "));
        (format!("tools {upstream}"), wrong.is_none(), seen)
    });
    let mut checks = vec![Check {
        name: "store".to_owned(),
        ok: store,
        detail: None,
    }];
    let mut all = store;
    let others = upstreams.chain(breakers).chain(channels);
    let others = others.map(|(name, health)| (name, health.ok, health.detail));
    let redis = ports.ephemeral.health().into_iter();
    let redis = redis.map(|health| ("redis".to_owned(), health.ok, health.detail));
    let lacks = broker.access.lacking_keys();
    let (agree, seen) = (
        lacks.is_none(),
        lacks.unwrap_or("those of its peers".to_owned()),
    );
    let keys = ("keys".to_owned(), agree, seen);
    // What the first organisation calls its own is for those who may know.
    let sources = match detail {
        true => sources(broker),
        false => in_sum(sources(broker)),
    };
    for (name, ok, seen) in redis
        .chain([keys])
        .chain(others)
        .chain(tools)
        .chain(sources)
    {
        all &= ok;
        let detail = detail.then_some(seen);
        checks.push(Check { name, ok, detail });
    }
    let status = match (store, all) {
        (false, _) => Status::Down,
        (true, false) => Status::Degraded,
        (true, true) => Status::Ready,
    };
    Readiness { status, checks }
}

/// Sources without their names.
fn in_sum(sources: Vec<(String, bool, String)>) -> Vec<(String, bool, String)> {
    if sources.is_empty() {
        return sources;
    }
    let all = sources.iter().all(|(_, ok, _)| *ok);
    vec![("sources".to_owned(), all, String::new())]
}

/// The sources of registered tools: those of the first organisation by name, those of others, whose
/// names are theirs to know, in one sum.
fn sources(broker: &Broker) -> Vec<(String, bool, String)> {
    let all = broker.ports().sources.as_ref();
    let all = all.map_or_else(Vec::new, |sources| sources.health());
    let (ours, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|(org, _)| *org == OrgId::default());
    let mut told: Vec<(String, bool, String)> = ours
        .into_iter()
        .map(|(_, health)| {
            let name = health.name.split_once('/').map_or("", |(_, name)| name);
            (format!("source {name}"), health.ok, health.detail)
        })
        .collect();
    told.sort();
    if !others.is_empty() {
        let away = others.iter().filter(|(_, health)| !health.ok).count();
        let seen = format!("{away} of {} do not answer", others.len());
        told.push(("sources of other organisations".to_owned(), away == 0, seen));
    }
    told
}
