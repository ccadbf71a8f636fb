//! Low-risk tools of upstream servers: under the same rules, masks and records as everybody's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hundi::broker::{Broker, Ports, Settings, Trouble};
use hundi::connector::registry;
use hundi::domain::call::{Call, Reply};
use hundi::domain::principal::Role;
use hundi::domain::upstream::UpstreamRules;
use hundi::store::RecordFilter;
use hundi::wire::{Heard, Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::rule;
use crate::support::fragile::Fragile;
use crate::support::house::{House, Plan, agent_of, person};

const MAIL: &str = "a@acme.example";

/// An upstream that answers with a mail address in every part of its answer, or fails with one.
#[derive(Default)]
struct Telling {
    calls: AtomicUsize,
}

#[async_trait]
impl Wire for Telling {
    async fn send(&self, call: &Call, deadline: Duration) -> Reply {
        self.relay(call, deadline).await.reply
    }

    async fn relay(&self, call: &Call, _: Duration) -> Heard {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let args: Value = serde_json::from_str(&call.arguments).unwrap();
        match args["how"].as_str() {
            Some("lost") => Reply::Lost(format!("no row for {MAIL}")).into(),
            Some("refused") => Reply::Result {
                content: json!(format!("no row for {MAIL}")),
                is_error: true,
            }
            .into(),
            _ => {
                let content = json!({"id": 7, "email": MAIL});
                let text = json!({"type": "text", "text": content.to_string()});
                let said = json!({"type": "text", "text": format!("the mail is {MAIL}")});
                Heard {
                    reply: Reply::Result {
                        content,
                        is_error: false,
                    },
                    blocks: json!([text, said]),
                }
            }
        }
    }

    async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
        let properties = json!({"how": {"type": "string"}});
        Ok(vec![Offered {
            name: "look".into(),
            description: "Looks something up.".into(),
            input_schema: json!({"type": "object", "properties": properties}),
            output_schema: None,
            annotations: json!({"readOnlyHint": true}),
            odd: None,
        }])
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        broadcast::channel(1).1
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }
}

async fn open(wire: Arc<Telling>) -> House {
    let rules = json!({"tools": {"look": {"risk": "low"}}});
    let rules: UpstreamRules = serde_json::from_value(rules).unwrap();
    let house = House::with(Plan {
        wire: Some(wire),
        settings: Settings {
            upstreams: BTreeMap::from([("shop".to_owned(), rules)]),
            ..Settings::default()
        },
        ..Plan::default()
    })
    .await;
    house.broker.tools.tend_tools().await.unwrap();
    let admin = person(Role::Admin);
    house
        .broker
        .tools
        .accept_tool(&admin, "look")
        .await
        .unwrap();
    house
}

async fn make(broker: &Broker, document: Value) {
    let made = broker
        .access
        .create_rule(&person(Role::Admin), &document)
        .await;
    assert!(made.is_ok(), "{made:?}");
}

#[tokio::test]
async fn no_part_of_an_answer_tells_what_a_rule_hides() {
    let wire = Arc::new(Telling::default());
    let house = open(wire).await;
    let agent = agent_of("payer");
    let masks = json!([{"path": "$.email", "do": "redact"}]);
    make(
        &house.broker,
        rule("hide", "allow", json!({"masks": masks})),
    )
    .await;
    let tools = &house.broker.tools;
    let told = tools.invoke(&agent, "look", &json!({})).await.unwrap();
    assert_eq!(told.content, json!({"id": 7, "email": "(hidden)"}));
    assert!(!told.blocks.to_string().contains(MAIL), "{}", told.blocks);
    let refused = tools
        .invoke(&agent, "look", &json!({"how": "refused"}))
        .await;
    let refused = refused.unwrap();
    assert!(
        refused.is_error && !refused.content.to_string().contains(MAIL),
        "{refused:?}"
    );
    let lost = tools.invoke(&agent, "look", &json!({"how": "lost"})).await;
    let lost = lost.unwrap_err();
    assert!(
        matches!(lost, Trouble::Upstream(_)) && !lost.to_string().contains(MAIL),
        "{lost}"
    );

    let filter = RecordFilter {
        limit: 10,
        ..RecordFilter::default()
    };
    let records = house.store.records(&filter).await.unwrap();
    let calls = records
        .iter()
        .filter(|it| it.record.kind == *"tool_invoked");
    let calls: Vec<_> = calls.map(|it| &it.record.detail).collect();
    assert_eq!(
        calls.len(),
        3,
        "every call is on record, whatever came of it"
    );
    let rules = json!([{"id": "hide", "version": 1}]);
    assert!(
        calls
            .iter()
            .all(|detail| detail["access"]["rules"] == rules),
        "{calls:?}"
    );
    assert!(!json!(calls).to_string().contains(MAIL));
}

#[tokio::test]
async fn a_rule_stands_before_the_upstream_is_asked() {
    let wire = Arc::new(Telling::default());
    let house = open(wire.clone()).await;
    let agent = agent_of("payer");
    let by_source = json!({"what": {"sources": ["shop"], "kinds": ["mcp"]}});
    make(&house.broker, rule("shut", "deny", by_source)).await;
    let refused = house.broker.tools.invoke(&agent, "look", &json!({})).await;
    assert_eq!(refused.unwrap_err().code(), "access_denied");
    assert_eq!(wire.calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn without_a_store_that_takes_the_record_nothing_is_called() {
    let wire = Arc::new(Telling::default());
    let house = open(wire.clone()).await;
    let fragile = Fragile::over(house.store.clone());
    let ports = Ports {
        store: fragile.clone(),
        ..house.broker.ports().clone()
    };
    let settings = house.broker.settings().clone();
    let broker = Broker::new(ports, settings, registry::tools(true));
    broker.tools.tend_tools().await.unwrap();
    let agent = agent_of("payer");
    broker
        .tools
        .invoke(&agent, "look", &json!({}))
        .await
        .unwrap();
    let calls = wire.calls.load(Ordering::SeqCst);
    fragile.set_down(true);
    let refused = broker.tools.invoke(&agent, "look", &json!({})).await;
    assert_eq!(refused.unwrap_err(), Trouble::StoreUnavailable);
    assert_eq!(
        wire.calls.load(Ordering::SeqCst),
        calls,
        "no audit, no execution"
    );
}

#[tokio::test]
async fn one_rule_that_does_not_read_back_lets_nobody_through() {
    let wire = Arc::new(Telling::default());
    let house = open(wire.clone()).await;
    let odd = json!({
        "value": {"name": "x", "effect": "perhaps"}, "changed_by": "x", "changed_at": 0,
    });
    let write = hundi::domain::change::DocWrite {
        key: hundi::domain::change::DocKey::new(
            "access_rule",
            &hundi::domain::ids::OrgId::default(),
            "x",
        ),
        expect: Some(0),
        body: Some(odd),
    };
    let change = hundi::domain::change::Change::documents(vec![write], vec![], vec![], vec![]);
    house.store.apply(change).await.unwrap();
    let agent = agent_of("payer");
    let other = house.again(Plan::default()).await;
    let listed = other.broker.tools.usable_by(&agent).await;
    assert_eq!(listed.err(), Some(Trouble::StoreUnavailable));
}
