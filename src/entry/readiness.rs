//! Whether the broker can work: every dependency and every breaker, in one spelling for `/readyz`
//! and `health_check`.
//!
//! Without the store nothing can be decided, so that is `down`. Without anything else, only what
//! needs it waits: `degraded`, and still worth sending requests to.

use serde_json::{Value, json};

use crate::broker::Broker;

/// `{status, checks}`; `store` says whether it answered just now. What exactly is wrong is in it
/// only for those who may see `detail`.
pub fn told(broker: &Broker, store: bool, detail: bool) -> Value {
    let ports = broker.ports();
    let breakers = [
        ports.reputation.as_ref().map(|source| source.health()),
        ports.entities.as_ref().map(|source| source.health()),
    ];
    let upstreams = ports.wire.health().into_iter();
    let upstreams = upstreams.map(|health| (format!("upstream {}", health.name), health));
    let breakers = breakers.into_iter().flatten();
    let breakers = breakers.map(|health| (format!("breaker {}", health.name), health));
    let channels = broker.channels().into_iter();
    let channels = channels.map(|health| (format!("channel {}", health.name), health));
    let mut checks = vec![json!({"name": "store", "ok": store})];
    let mut all = store;
    for (name, health) in upstreams.chain(breakers).chain(channels) {
        all &= health.ok;
        let mut check = json!({"name": name, "ok": health.ok});
        if detail {
            check["detail"] = json!(health.detail);
        }
        checks.push(check);
    }
    let status = match (store, all) {
        (false, _) => "down",
        (true, false) => "degraded",
        (true, true) => "ready",
    };
    json!({"status": status, "checks": checks})
}
