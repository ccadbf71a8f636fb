//! Who is paid is the registry's word where there is one, and never the agent's alone.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use hundi::broker::pay::payees::NewPayee;
use hundi::broker::{CommitRequest, Committed, ProposeRequest, Trouble};
use hundi::domain::facts::{Entity, EntityRecord, Fact, FreezeScope, Reputation};
use hundi::domain::principal::{Principal, Role};
use hundi::domain::proposal::{Proposal, State};
use hundi::domain::reason::{Reason, Refusal};
use hundi::store::RecordFilter;
use hundi::wire::{EntitySource, ReputationSource, UpstreamHealth};
use serde_json::{Value, json};

use crate::support::house::{House, Plan, agent_of, person};

const ACME: &str = "fa_00000000000001";
const ACME_TOO: &str = "fa_00000000000002";
const NOBODYS: &str = "fa_00000000000009";
const LEI: &str = "529900T8BM49AURSDO55";

/// Threat lists and a register that say what they are told to, and remember what they were asked.
#[derive(Default)]
pub struct Vendors {
    urls: Mutex<Vec<String>>,
    names: Mutex<Vec<String>>,
    answer: Mutex<Option<Fact<Reputation>>>,
    records: Mutex<Vec<EntityRecord>>,
}

impl Vendors {
    pub fn answers(&self, answer: Fact<Reputation>) {
        *self.answer.lock().unwrap() = Some(answer);
    }

    pub fn asked(&self) -> Vec<String> {
        self.urls.lock().unwrap().clone()
    }

    fn registers(&self, legal_name: &str) {
        *self.records.lock().unwrap() = vec![EntityRecord {
            lei: LEI.to_owned(),
            legal_name: legal_name.to_owned(),
            entity_status: "ACTIVE".to_owned(),
            registration_status: "ISSUED".to_owned(),
            country: "IN".to_owned(),
        }];
    }
}

fn well() -> UpstreamHealth {
    UpstreamHealth {
        name: "vendors".to_owned(),
        ok: true,
        detail: String::new(),
    }
}

#[async_trait]
impl ReputationSource for Vendors {
    async fn reputation(&self, url: &str) -> Fact<Reputation> {
        self.urls.lock().unwrap().push(url.to_owned());
        let answer = self.answer.lock().unwrap().clone();
        answer.unwrap_or(Fact::Known(Reputation::Safe))
    }

    fn health(&self) -> UpstreamHealth {
        well()
    }
}

#[async_trait]
impl EntitySource for Vendors {
    async fn records(&self, name: &str) -> Fact<Vec<EntityRecord>> {
        self.names.lock().unwrap().push(name.to_owned());
        Fact::Known(self.records.lock().unwrap().clone())
    }

    fn health(&self) -> UpstreamHealth {
        well()
    }
}

/// A house whose agent `a` has this policy, and no rate limit.
pub async fn house(plan: Plan, mut policy: Value) -> House {
    policy["rate_limit"] = json!({"max": 0});
    let house = House::with(plan).await;
    set_policy(&house, policy).await;
    house
}

/// What is left out is none, and the same may be paid again and again.
async fn set_policy(house: &House, mut policy: Value) {
    for limit in ["daily_limit", "per_txn_limit", "require_approval_above"] {
        let map = policy.as_object_mut().unwrap();
        map.entry(limit).or_insert(Value::Null);
    }
    policy["duplicates"] = json!({"then": "off"});
    let (who, a) = (person(Role::Operator), "a".parse().unwrap());
    let set = house.broker.pay.set_policy(&who, &a, &policy, None).await;
    set.unwrap();
}

/// A payout to this account, with these notes.
pub fn payout(account: &str, notes: Value) -> Value {
    json!({
        "fund_account_id": account, "amount": 10_000, "currency": "INR", "mode": "IMPS",
        "purpose": "payout", "notes": notes,
    })
}

/// What was decided, and the first words of why.
pub struct Decided {
    pub reason: Reason,
    pub detail: String,
    pub proposal: Proposal,
    token: Option<String>,
}

pub async fn propose(house: &House, arguments: Value) -> Decided {
    propose_as(house, &agent_of("a"), arguments).await
}

async fn propose_as(house: &House, who: &Principal, arguments: Value) -> Decided {
    let request = ProposeRequest {
        tool: "create_payout".to_owned(),
        arguments,
        ..ProposeRequest::default()
    };
    let proposed = house.broker.pay.propose(who, request).await.unwrap();
    let fixed = &proposed.proposal.fixed;
    let found = fixed.findings.iter().find(|f| f.reason == fixed.reason);
    Decided {
        reason: fixed.reason,
        detail: found.map(|f| f.detail.clone()).unwrap_or_default(),
        token: proposed.token.map(|token| token.text),
        proposal: proposed.proposal,
    }
}

pub async fn commit(house: &House, decided: &Decided) -> Committed {
    let request = CommitRequest {
        proposal_id: decided.proposal.id().to_string(),
        commit_token: decided.token.clone().unwrap(),
        tool: None,
        arguments: decided.proposal.fixed.args.value(),
    };
    house
        .broker
        .pay
        .commit(&agent_of("a"), request)
        .await
        .unwrap()
}

fn acme() -> NewPayee {
    NewPayee {
        name: "Acme Ltd".to_owned(),
        vendor_url: Some("https://acme.example".to_owned()),
        fund_accounts: vec![ACME.to_owned(), ACME_TOO.to_owned()],
        ..NewPayee::default()
    }
}

pub async fn register(house: &House, new: NewPayee) {
    let who = person(Role::Operator);
    house.broker.pay.register_payee(&who, new).await.unwrap();
}

async fn kinds(house: &House) -> Vec<String> {
    let filter = RecordFilter {
        limit: 100,
        ..RecordFilter::default()
    };
    let who = person(Role::Auditor);
    let records = house.broker.audit.records(&who, filter).await.unwrap();
    let kinds = records
        .rows
        .into_iter()
        .map(|stored| stored.record.kind.name().to_owned());
    kinds.filter(|kind| kind.starts_with("payee")).collect()
}

#[tokio::test]
async fn only_operators_register_and_every_change_is_in_the_audit() {
    let house = house(Plan::default(), json!({})).await;
    let broker = &house.broker;
    for who in [person(Role::Approver), person(Role::Auditor), agent_of("a")] {
        let forbidden = Err(Trouble::Forbidden { roles: who.roles });
        assert_eq!(
            broker.pay.register_payee(&who, acme()).await.map(drop),
            forbidden
        );
        assert_eq!(
            broker.pay.remove_payee(&who, "Acme Ltd").await.map(drop),
            forbidden
        );
    }
    assert!(broker.pay.payees(&agent_of("a")).await.is_err());

    let who = person(Role::Operator);
    let (made, new) = broker.pay.register_payee(&who, acme()).await.unwrap();
    assert!(new && made.id.as_str().starts_with("py_"));
    let (same, new) = broker.pay.register_payee(&who, acme()).await.unwrap();
    assert_eq!(
        (&same, new),
        (&made, false),
        "the same again changes nothing"
    );
    let moved = NewPayee {
        name: " ACME  ltd".to_owned(),
        fund_accounts: vec![ACME.to_owned()],
        ..acme()
    };
    let (changed, new) = broker.pay.register_payee(&who, moved).await.unwrap();
    assert_eq!(
        (&changed.id, new),
        (&made.id, false),
        "one name is one payee"
    );
    assert_eq!(
        broker.pay.payees(&person(Role::Auditor)).await.unwrap(),
        [changed]
    );

    let other = NewPayee {
        name: "Other".to_owned(),
        ..acme()
    };
    let taken = broker
        .pay
        .register_payee(&who, other.clone())
        .await
        .unwrap_err();
    assert_eq!((taken.code(), taken.status()), ("account_taken", 409));
    let free = NewPayee {
        fund_accounts: vec![ACME_TOO.to_owned()],
        ..other
    };
    broker.pay.register_payee(&who, free).await.unwrap();

    for named in ["acme ltd", ACME_TOO] {
        broker.pay.remove_payee(&who, named).await.unwrap();
        let gone = broker.pay.remove_payee(&who, named).await;
        assert_eq!(gone, Err(Trouble::NotFound("payee")));
    }
    assert_eq!(broker.pay.payees(&who).await.unwrap(), []);
    let expected = [
        "payee_removed",
        "payee_removed",
        "payee_added",
        "payee_changed",
        "payee_added",
    ];
    assert_eq!(kinds(&house).await, expected);
}

#[tokio::test]
async fn a_payee_of_another_organisation_is_nobodys_here() {
    let house = house(Plan::default(), json!({"payees": "registered"})).await;
    let elsewhere = Principal {
        org: "other".parse().unwrap(),
        ..person(Role::Operator)
    };
    house
        .broker
        .pay
        .register_payee(&elsewhere, acme())
        .await
        .unwrap();
    assert_eq!(
        house
            .broker
            .pay
            .payees(&person(Role::Operator))
            .await
            .unwrap(),
        []
    );
    let unknown = propose(&house, payout(ACME, json!({}))).await;
    assert_eq!(unknown.reason, Reason::PayeeUnknown);
    let gone = house
        .broker
        .pay
        .remove_payee(&person(Role::Operator), ACME)
        .await;
    assert_eq!(gone, Err(Trouble::NotFound("payee")));
}

#[tokio::test]
async fn what_could_be_no_payee_is_refused_by_name() {
    let house = house(Plan::default(), json!({})).await;
    let cases = [
        (
            NewPayee {
                name: " ".to_owned(),
                ..acme()
            },
            "name",
        ),
        (
            NewPayee {
                name: "x".repeat(201),
                ..acme()
            },
            "name",
        ),
        (
            NewPayee {
                vendor_url: Some("http://10.0.0.1/".to_owned()),
                ..acme()
            },
            "vendor_url",
        ),
        (
            NewPayee {
                vendor_url: Some("localhost".to_owned()),
                ..acme()
            },
            "vendor_url",
        ),
        (
            NewPayee {
                lei: Some("529900".to_owned()),
                ..acme()
            },
            "lei",
        ),
        (
            NewPayee {
                fund_accounts: vec![],
                ..acme()
            },
            "fund_accounts",
        ),
        (
            NewPayee {
                fund_accounts: vec!["a b".to_owned()],
                ..acme()
            },
            "fund_accounts[0]",
        ),
        (
            NewPayee {
                labels: vec![String::new()],
                ..acme()
            },
            "labels",
        ),
    ];
    for (new, named) in cases {
        let refused = house
            .broker
            .pay
            .register_payee(&person(Role::Operator), new)
            .await;
        let Err(Trouble::InvalidRequest(detail)) = refused else {
            panic!("{named}: {refused:?}");
        };
        assert!(detail.contains(named), "{detail}");
    }
}

#[tokio::test]
async fn a_policy_can_pay_registered_payees_only() {
    let house = house(
        Plan::default(),
        json!({"payees": "registered", "per_txn_limit": 1}),
    )
    .await;
    let unknown = propose(&house, payout(ACME, json!({"vendor_name": "Acme Ltd"}))).await;
    assert_eq!(unknown.proposal.state, State::Blocked);
    // Before the limit on one transaction, as the order of checks says.
    assert_eq!(unknown.reason, Reason::PayeeUnknown);
    register(&house, acme()).await;
    let known = propose(&house, payout(ACME, json!({}))).await;
    assert_eq!(known.reason, Reason::TxnLimitExceeded);
    let policy = json!({"payees": "registered", "per_txn_limit": null, "daily_limit": null,
        "require_approval_above": null, "rate_limit": {"max": 0}});
    set_policy(&house, policy).await;
    assert_eq!(
        propose(&house, payout(ACME_TOO, json!({}))).await.reason,
        Reason::PolicyOk
    );
    assert_eq!(
        propose(&house, payout(NOBODYS, json!({}))).await.reason,
        Reason::PayeeUnknown
    );
}

#[tokio::test]
async fn who_left_the_registry_after_the_proposal_is_not_paid() {
    let house = house(Plan::default(), json!({"payees": "registered"})).await;
    register(&house, acme()).await;
    let allowed = propose(&house, payout(ACME, json!({}))).await;
    let who = person(Role::Operator);
    house.broker.pay.remove_payee(&who, ACME).await.unwrap();
    let Committed::Refused {
        refusal, detail, ..
    } = commit(&house, &allowed).await
    else {
        panic!("it was paid");
    };
    assert_eq!(refusal, Refusal::PolicyChanged);
    assert!(detail.unwrap().contains("PAYEE_UNKNOWN"));
    assert!(house.bank.calls("create_payout").is_empty());
}

#[tokio::test]
async fn a_name_or_site_that_is_not_the_registrys_is_held() {
    let house = house(Plan::default(), json!({})).await;
    register(&house, acme()).await;
    let cases = [
        // The name of a registered payee on an account that is none of its own.
        (
            NOBODYS,
            json!({"vendor_name": "acme LTD"}),
            Reason::PromptContradicted,
        ),
        (ACME, json!({}), Reason::PolicyOk),
        (
            ACME,
            json!({"vendor_name": "ACME ltd", "vendor_url": "https://acme.example/x"}),
            Reason::PolicyOk,
        ),
        (
            ACME,
            json!({"vendor_name": "Acme Evil Ltd"}),
            Reason::PromptContradicted,
        ),
        (
            ACME,
            json!({"vendor_url": "https://evil.example"}),
            Reason::PromptContradicted,
        ),
        (
            NOBODYS,
            json!({"vendor_name": "Somebody"}),
            Reason::PolicyOk,
        ),
    ];
    for (account, notes, reason) in cases {
        let decided = propose(&house, payout(account, notes.clone())).await;
        assert_eq!(
            decided.reason, reason,
            "{account} {notes}: {}",
            decided.detail
        );
    }
    // People are shown who is paid, not what the agent called them.
    let called = json!({"vendor_name": "Acme Evil Ltd", "vendor_url": "https://evil.example"});
    let held = propose(&house, payout(ACME, called)).await;
    let payee = &held.proposal.fixed.payee;
    assert_eq!(payee.name.as_deref(), Some("Acme Ltd"));
    assert_eq!(payee.url.as_deref(), Some("https://acme.example"));
}

#[tokio::test]
async fn saying_nothing_about_a_registered_payee_skips_neither_lists_nor_reputation() {
    let vendors = Arc::new(Vendors::default());
    let plan = Plan {
        reputation: Some(vendors.clone()),
        ..Plan::default()
    };
    let house = house(plan, json!({})).await;
    register(&house, acme()).await;
    vendors.answers(Fact::Known(Reputation::Unsafe(vec!["MALWARE".to_owned()])));
    for notes in [json!({}), json!({"vendor_url": "https://fine.example"})] {
        let decided = propose(&house, payout(ACME, notes)).await;
        assert_eq!(decided.reason, Reason::RiskHigh);
    }
    assert_eq!(vendors.asked(), ["https://acme.example"; 2]);

    vendors.answers(Fact::Known(Reputation::Safe));
    let lists = [
        (
            json!({"blocked_domains": ["acme.example"]}),
            Reason::DomainBlocked,
        ),
        (
            json!({"blocked_domains": ["evil.example"]}),
            Reason::PolicyOk,
        ),
        (
            json!({"allowed_domains": ["good.example"]}),
            Reason::DomainBlocked,
        ),
        (
            json!({"allowed_domains": ["acme.example"]}),
            Reason::PolicyOk,
        ),
    ];
    for (mut policy, reason) in lists {
        policy["rate_limit"] = json!({"max": 0});
        set_policy(&house, policy.clone()).await;
        let decided = propose(&house, payout(ACME, json!({}))).await;
        assert_eq!(decided.reason, reason, "{policy}: {}", decided.detail);
    }
}

#[tokio::test]
async fn a_stranger_without_a_site_waits_for_a_person_where_the_policy_blocks_sites() {
    let cases = [
        (json!({}), Reason::PolicyOk),
        (
            json!({"blocked_domains": ["evil.example"]}),
            Reason::ReputationUnavailable,
        ),
    ];
    for (policy, reason) in cases {
        let house = house(Plan::default(), policy.clone()).await;
        let decided = propose(&house, payout(NOBODYS, json!({}))).await;
        assert_eq!(decided.reason, reason, "{policy}");
        let held = decided.proposal.state == State::Held;
        assert_eq!(held, reason != Reason::PolicyOk);
        let named = json!({"vendor_url": "https://acme.example"});
        let named = propose(&house, payout(NOBODYS, named)).await;
        assert_eq!(named.reason, Reason::PolicyOk, "{}", named.detail);
        // Who is registered is known, with a site or without.
        let bare = NewPayee {
            vendor_url: None,
            ..acme()
        };
        register(&house, bare).await;
        let known = propose(&house, payout(ACME, json!({}))).await;
        assert_eq!(known.reason, Reason::PolicyOk, "{}", known.detail);
    }
}

#[tokio::test]
async fn a_freeze_of_a_payee_covers_every_account_and_name_of_its() {
    let registered = house(Plan::default(), json!({})).await;
    register(&registered, acme()).await;
    let id = registered
        .broker
        .pay
        .payees(&person(Role::Admin))
        .await
        .unwrap()[0]
        .id
        .to_string();
    let who = person(Role::Operator);
    for frozen in [id.as_str(), ACME, ACME_TOO, "Acme Ltd", "acme.example"] {
        let freeze = (FreezeScope::Vendor, Some(frozen));
        registered
            .broker
            .pay
            .freeze(&who, freeze.0, freeze.1, "drill")
            .await
            .unwrap();
        for account in [ACME, ACME_TOO] {
            for notes in [
                json!({}),
                json!({"vendor_name": "x", "vendor_url": "https://x.example"}),
            ] {
                let decided = propose(&registered, payout(account, notes)).await;
                assert_eq!(decided.reason, Reason::Frozen, "{frozen} {account}");
            }
        }
        let other = propose(&registered, payout(NOBODYS, json!({}))).await;
        assert_eq!(other.reason, Reason::PolicyOk, "{frozen}");
        registered
            .broker
            .pay
            .unfreeze(&who, freeze.0, freeze.1, "over")
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn history_goes_by_payee_whatever_account_is_paid() {
    let house = house(Plan::default(), json!({})).await;
    let by_account = propose(&house, payout(ACME, json!({}))).await;
    assert!(matches!(
        commit(&house, &by_account).await,
        Committed::Settled(_)
    ));
    register(&house, acme()).await;
    // Paid before anybody registered the account: no new payee. Then known at every account.
    let again = propose(&house, payout(ACME, json!({}))).await;
    let news = |decided: &Decided| {
        let mut found = decided.proposal.fixed.findings.iter();
        found.any(|finding| finding.reason == Reason::NewPayee)
    };
    assert!(!news(&again));
    assert!(matches!(
        commit(&house, &again).await,
        Committed::Settled(_)
    ));
    assert!(!news(&propose(&house, payout(ACME_TOO, json!({}))).await));
    assert!(news(&propose(&house, payout(NOBODYS, json!({}))).await));
}

#[tokio::test]
async fn a_register_that_returns_somebody_else_verifies_nobody() {
    let vendors = Arc::new(Vendors::default());
    let plan = Plan {
        entities: Some(vendors.clone()),
        ..Plan::default()
    };
    let house = house(plan, json!({"require_verified_entity": true})).await;
    vendors.registers("Acme Private Limited");
    let cases = [
        ("Acme Private Limited", Reason::PolicyOk),
        ("ACME Pvt. Ltd.", Reason::PolicyOk),
        ("acme evil lookalike", Reason::EntityUnverified),
        ("Acme", Reason::EntityUnverified),
        ("Acme Inc", Reason::EntityUnverified),
    ];
    for (name, reason) in cases {
        let decided = propose(&house, payout(NOBODYS, json!({"vendor_name": name}))).await;
        assert_eq!(decided.reason, reason, "{name}: {}", decided.detail);
    }
    // The registry's identifier says which entity is meant, whatever it is called there.
    let known = NewPayee {
        lei: Some(LEI.to_lowercase()),
        ..acme()
    };
    register(&house, known).await;
    let decided = propose(&house, payout(ACME, json!({}))).await;
    assert_eq!(decided.reason, Reason::PolicyOk, "{}", decided.detail);
    assert_eq!(vendors.names.lock().unwrap().last().unwrap(), LEI);
    let foreign = NewPayee {
        lei: Some("X".repeat(20)),
        ..acme()
    };
    register(&house, foreign).await;
    let decided = propose(&house, payout(ACME, json!({}))).await;
    assert_eq!(decided.reason, Reason::EntityUnverified);
    assert_eq!(
        vendors.entity("Acme Pvt Ltd").await,
        Fact::Known(Entity::Verified)
    );
}
