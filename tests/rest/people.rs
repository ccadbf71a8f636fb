//! People: made, changed, removed, and the programs that act for them.

use std::sync::Arc;
use std::time::Duration;

use hundi::broker::Broker;
use hundi::domain::ids::OrgId;
use hundi::domain::person::PersonId;
use hundi::domain::principal::Role;
use serde_json::{Value, json};

use super::door::{Answer, Door};
use crate::support::fixture::{Fixture, Provider, admin, broker};

/// A door, an admin's key, and what is asked most.
struct Office {
    door: Door,
    boss: String,
}

impl Office {
    async fn new() -> Self {
        let door = Door::new().await;
        let boss = door.fixture.key(Role::Admin, "boss").await;
        Self { door, boss }
    }

    async fn make(&self, body: Value) -> Value {
        let made = self.door.post("/v1/people", &self.boss, body).await;
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()
    }

    async fn change(&self, id: &str, body: Value) -> Answer {
        let path = format!("/v1/people/{id}");
        let body = Some(body.to_string());
        self.door.ask("PATCH", &path, &self.boss, body).await
    }

    async fn remove(&self, id: &str) -> Answer {
        let path = format!("/v1/people/{id}");
        self.door.ask("DELETE", &path, &self.boss, None).await
    }

    async fn key(&self, body: Value) -> Answer {
        self.door.post("/v1/keys", &self.boss, body).await
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn a_person_is_made_read_changed_and_removed_and_each_is_in_the_audit() {
    let office = Office::new().await;
    let made = office
        .make(json!({"name": "Asha Rao", "email": "asha@acme.example", "roles": ["approver"], "slack_user": "U0ASHA"}))
        .await;
    assert_eq!(made["roles"], json!(["approver"]));
    let id = text(&made["id"]).to_owned();
    for named in [&id, "asha%20%20RAO"] {
        let read = office
            .door
            .get(&format!("/v1/people/{named}"), &office.boss)
            .await;
        assert_eq!(read.json(), made, "{named}");
    }
    let listed = office.door.get("/v1/people", &office.boss).await.json();
    assert_eq!(listed["people"], json!([made]));

    let changed = office
        .change(
            &id,
            json!({"email": null, "roles": ["approver", "steward"]}),
        )
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let changed = changed.json();
    assert_eq!(changed["email"], Value::Null);
    assert_eq!(
        (&changed["name"], &changed["slack_user"]),
        (&made["name"], &made["slack_user"])
    );
    assert_eq!(changed["roles"], json!(["approver", "steward"]));
    assert_eq!(changed["version"], 2);
    let stale = office.change(&id, json!({"name": "A", "version": 1})).await;
    assert_eq!(
        (stale.status, stale.code()),
        (409, "changed_meanwhile".to_owned())
    );

    let gone = office.remove(&id).await;
    assert_eq!(
        gone.json(),
        json!({"id": id, "name": "Asha Rao", "deleted": true})
    );
    assert_eq!(office.remove(&id).await.status, 404);
    assert_eq!(
        office
            .door
            .get(&format!("/v1/people/{id}"), &office.boss)
            .await
            .status,
        404
    );

    let records = office.door.get("/v1/audit", &office.boss).await;
    for kind in ["person_created", "person_changed", "person_deleted"] {
        assert!(records.text().contains(kind), "{kind}");
    }
    assert!(
        !records.text().contains("asha@acme.example"),
        "an address is not kept for good"
    );
}

#[tokio::test]
#[rustfmt::skip]
async fn what_a_person_must_be() {
    let office = Office::new().await;
    let cases = [
        (json!({"name": "A", "roles": ["approver"]}),                                   201, ""),
        (json!({"name": "B", "roles": "approver"}),                                     400, "`roles`"),
        (json!({"name": "B", "roles": []}),                                             400, "`roles`"),
        (json!({"name": "B"}),                                                          400, "`roles`"),
        (json!({"name": "B", "roles": ["king"]}),                                       400, "`roles[0]`"),
        (json!({"name": "B", "roles": ["auditor", "auditor"]}),                         400, "`roles`"),
        (json!({"name": "B", "roles": ["agent"]}),                                      400, "`roles`"),
        (json!({"name": "B", "roles": ["agent", "approver"]}),                          400, "`roles`"),
        (json!({"roles": ["approver"]}),                                                400, "`name`"),
        (json!({"name": "", "roles": ["approver"]}),                                    400, "`name`"),
        (json!({"name": "x".repeat(101), "roles": ["approver"]}),                       400, "`name`"),
        (json!({"name": "be\u{200b}rt", "roles": ["approver"]}),                        400, "name"),
        (json!({"name": "pn_0123456789abcdef", "roles": ["approver"]}),                 400, "`name`"),
        (json!({"name": "B", "roles": ["approver"], "email": "nowhere"}),               400, "`email`"),
        (json!({"name": "B", "roles": ["approver"], "email": "a@b@c"}),                 400, "`email`"),
        (json!({"name": "B", "roles": ["approver"], "email": "a b@c"}),                 400, "`email`"),
        (json!({"name": "B", "roles": ["approver"], "email": "a\r\n@c"}),               400, "`email`"),
        (json!({"name": "B", "roles": ["approver"], "slack_user": "@asha"}),            400, "`slack_user`"),
        (json!({"name": "B", "roles": ["approver"], "org": "other"}),                   400, "`org`"),
        (json!({"name": "B", "roles": ["approver"], "id": "pn_0123456789abcdef"}),      400, "`id`"),
        (json!({"name": "C", "roles": ["auditor"], "slack_user": "U0ASHA"}),            201, ""),
        (json!({"name": "D", "roles": ["approver"], "slack_user": "U0ASHA"}),           400, "Slack"),
        (json!({"name": "E", "roles": ["approver"], "email": null, "slack_user": null}), 201, ""),
    ];
    for (request, status, words) in cases {
        let answer = office.door.post("/v1/people", &office.boss, request.clone()).await;
        assert_eq!(answer.status, status, "{request} {}", answer.text());
        assert!(answer.text().contains(words), "{request} {}", answer.text());
    }
}

#[tokio::test]
async fn a_name_is_one_persons_however_it_is_spelt_and_is_free_again() {
    let office = Office::new().await;
    let asha = office
        .make(json!({"name": "Asha Rao", "roles": ["approver"]}))
        .await;
    let bob = office
        .make(json!({"name": "Bob", "roles": ["approver"]}))
        .await;
    for name in ["Asha Rao", "ASHA  rao", "Ａｓｈａ Rao", " asha rao"] {
        let body = json!({"name": name, "roles": ["auditor"]});
        let taken = office.door.post("/v1/people", &office.boss, body).await;
        assert_eq!(
            (taken.status, taken.code()),
            (409, "name_taken".to_owned()),
            "{name}"
        );
        let taken = office.change(text(&bob["id"]), json!({"name": name})).await;
        assert_eq!(
            (taken.status, taken.code()),
            (409, "name_taken".to_owned()),
            "{name}"
        );
    }
    let own = office
        .change(text(&asha["id"]), json!({"name": "ASHA RAO"}))
        .await;
    assert_eq!(own.status, 200, "one's own name in another spelling");
    let other = office
        .change(text(&asha["id"]), json!({"name": "Asha R."}))
        .await;
    assert_eq!(other.status, 200);
    office
        .make(json!({"name": "Asha Rao", "roles": ["auditor"]}))
        .await;
    office.remove(text(&bob["id"])).await;
    let again = office
        .make(json!({"name": "bob", "roles": ["auditor"]}))
        .await;
    assert_ne!(again["id"], bob["id"], "somebody new");
}

#[tokio::test]
async fn of_many_who_take_a_name_at_once_one_has_it() {
    let office = Office::new().await;
    let body = |_| {
        office.door.post(
            "/v1/people",
            &office.boss,
            json!({"name": "Asha", "roles": ["auditor"]}),
        )
    };
    let told = futures_util::future::join_all((0..8).map(body)).await;
    let made = told.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    let listed = office.door.get("/v1/people", &office.boss).await.json();
    assert_eq!(listed["people"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_program_may_at_most_what_its_person_may() {
    let office = Office::new().await;
    let asha = office
        .make(json!({"name": "Asha", "roles": ["approver", "auditor"]}))
        .await;
    #[rustfmt::skip]
    let cases = [
        (json!({"name": "p", "role": "approver", "person": "asha"}),                   201),
        (json!({"name": "p", "roles": ["auditor"], "person": asha["id"]}),             201),
        (json!({"name": "p", "roles": ["approver", "auditor"], "person": asha["id"]}), 201),
        (json!({"name": "p", "role": "admin", "person": "Asha"}),                      400),
        (json!({"name": "p", "roles": ["approver", "steward"], "person": "Asha"}),     400),
        (json!({"name": "p", "role": "approver", "person": "Bob"}),                    400),
        (json!({"name": "p", "role": "approver", "person": "pn_0000000000000000"}),    400),
        (json!({"name": "p", "role": "approver", "person": ""}),                       400),
        // Nobody is an agent, and anybody may run one.
        (json!({"name": "p", "role": "agent", "person": "Asha"}),                      201),
        (json!({"name": "p", "roles": ["agent", "approver"], "person": "Asha"}),       400),
    ];
    for (request, status) in cases {
        let answer = office.key(request.clone()).await;
        assert_eq!(answer.status, status, "{request} {}", answer.text());
        if status == 201 {
            assert_eq!(answer.json()["person"], "Asha");
            assert_eq!(answer.json()["person_id"], asha["id"]);
        } else {
            assert!(answer.text().contains("`person`") || answer.text().contains("`roles`"));
        }
    }
    // Operators make agents' keys, whoever runs them, and nobody else's.
    let operator = office.door.fixture.key(Role::Operator, "ops").await;
    let agent = json!({"name": "p", "role": "agent", "person": "Asha"});
    assert_eq!(
        office.door.post("/v1/keys", &operator, agent).await.status,
        201
    );
    let approver = json!({"name": "p", "role": "approver", "person": "Asha"});
    assert_eq!(
        office
            .door
            .post("/v1/keys", &operator, approver)
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn whoever_may_less_may_less_by_every_key_and_whoever_is_gone_nothing() {
    let office = Office::new().await;
    let asha = office
        .make(json!({"name": "Asha", "roles": ["approver", "operator"]}))
        .await;
    let id = text(&asha["id"]);
    let made = office
        .key(json!({"name": "p", "roles": ["approver", "operator"], "person": id}))
        .await
        .json();
    let key = text(&made["key"]);
    let agent = office
        .key(json!({"name": "payer", "role": "agent", "person": id}))
        .await
        .json();
    let freeze = || {
        office
            .door
            .post("/v1/unfreeze", key, json!({"scope": "all"}))
    };
    assert_eq!(
        freeze().await.status,
        404,
        "an operator may, and nothing is frozen"
    );

    assert_eq!(
        office
            .change(id, json!({"roles": ["approver"]}))
            .await
            .status,
        200
    );
    assert_eq!(freeze().await.status, 403, "at once");
    assert_eq!(office.door.get("/v1/keys", key).await.status, 200);
    assert_eq!(
        office
            .change(id, json!({"roles": ["steward"]}))
            .await
            .status,
        200
    );
    assert_eq!(
        office.door.get("/v1/keys", key).await.status,
        403,
        "nothing in common"
    );
    // What a key was not made for it does not get.
    assert_eq!(
        office.change(id, json!({"roles": ["admin"]})).await.status,
        200
    );
    assert_eq!(office.door.get("/v1/keys", key).await.status, 403);
    assert_eq!(
        office
            .change(id, json!({"roles": ["approver", "operator"]}))
            .await
            .status,
        200
    );
    assert_eq!(freeze().await.status, 404);

    assert_eq!(office.remove(id).await.status, 200);
    assert_eq!(office.door.get("/v1/keys", key).await.status, 401);
    assert_eq!(
        office
            .door
            .get("/v1/proposals", text(&agent["key"]))
            .await
            .status,
        401,
        "and what they ran"
    );
    let keys = office.door.get("/v1/keys", &office.boss).await.json();
    let theirs = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|key| key["person"] == "Asha");
    assert!(theirs.clone().count() == 2 && theirs.clone().all(|key| key["revoked_at"].is_string()));
    // Another of the same name gets none of it back.
    office
        .make(json!({"name": "Asha", "roles": ["approver", "operator"]}))
        .await;
    assert_eq!(office.door.get("/v1/keys", key).await.status, 401);
}

/// Another process on the same store.
async fn elsewhere(here: &Fixture) -> Broker {
    broker(
        Fixture::store(&here.folder).await,
        Arc::new(Provider::default()),
    )
}

#[tokio::test]
async fn whoever_is_removed_or_changed_elsewhere_is_so_here_within_a_second() {
    let office = Office::new().await;
    let elsewhere = elsewhere(&office.door.fixture).await;
    let boss = admin(&OrgId::default());
    let made = office
        .make(json!({"name": "Asha", "roles": ["approver"]}))
        .await;
    let id: PersonId = text(&made["id"]).parse().unwrap();
    let key = office
        .key(json!({"name": "p", "role": "approver", "person": "Asha"}))
        .await
        .json();
    let (key, here) = (
        text(&key["key"]).to_owned(),
        &office.door.fixture.broker.access,
    );
    let org = OrgId::default();
    assert!(here.person_now(&org, &id).await.unwrap().is_some());

    let fewer = hundi::broker::access::people::PersonChanges {
        roles: Some(Role::Auditor.into()),
        ..Default::default()
    };
    elsewhere
        .access
        .change_person(&boss, "Asha", fewer)
        .await
        .unwrap();
    let changed = async {
        loop {
            let person = here.person_now(&org, &id).await.unwrap().unwrap();
            let program = here.authenticate(&key).await.unwrap();
            if person.roles == Role::Auditor.into() && program.roles.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    let within = Duration::from_secs(1);
    assert!(tokio::time::timeout(within, changed).await.is_ok());

    elsewhere.access.remove_person(&boss, "Asha").await.unwrap();
    let gone = async {
        while here.person_now(&org, &id).await.unwrap().is_some()
            || here.authenticate(&key).await.is_ok()
        {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(within, gone).await.is_ok());
}

#[tokio::test]
async fn a_slack_user_is_one_person_or_one_key() {
    let office = Office::new().await;
    let access = &office.door.fixture.broker.access;
    let asha = office
        .make(json!({"name": "Asha", "roles": ["approver"], "slack_user": "U1"}))
        .await;
    let pressing = access
        .slack_principal(&OrgId::default(), "U1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        pressing.person.as_ref().unwrap().as_str(),
        text(&asha["id"])
    );
    assert!(pressing.roles.has(Role::Approver));
    let taken = office
        .key(json!({"name": "k", "role": "approver", "slack_user": "U1"}))
        .await;
    assert_eq!(taken.status, 400);
    let id = text(&asha["id"]);
    assert_eq!(
        office.change(id, json!({"slack_user": "U2"})).await.status,
        200
    );
    assert_eq!(
        access
            .slack_principal(&OrgId::default(), "U1")
            .await
            .unwrap(),
        None
    );
    assert!(
        access
            .slack_principal(&OrgId::default(), "U2")
            .await
            .unwrap()
            .is_some()
    );
    let free = office
        .key(json!({"name": "k", "role": "approver", "slack_user": "U1"}))
        .await;
    assert_eq!(free.status, 201, "{}", free.text());
    let taken = office.change(id, json!({"slack_user": "U1"})).await;
    assert_eq!(taken.status, 400);
    assert_eq!(office.remove(id).await.status, 200);
    assert_eq!(
        access
            .slack_principal(&OrgId::default(), "U2")
            .await
            .unwrap(),
        None
    );
    office
        .make(json!({"name": "Bob", "roles": ["approver"], "slack_user": "U2"}))
        .await;
}

#[tokio::test]
async fn the_people_of_another_organisation_are_unknown() {
    let office = Office::new().await;
    let there: OrgId = "elsewhere".parse().unwrap();
    let stranger = office
        .door
        .fixture
        .key_in(&there, Role::Admin, "boss")
        .await;
    let asha = office
        .make(json!({"name": "Asha", "roles": ["approver"], "slack_user": "U1"}))
        .await;
    let id = text(&asha["id"]);
    for (method, body) in [
        ("GET", None),
        ("PATCH", Some(json!({"roles": ["auditor"]}).to_string())),
        ("DELETE", None),
    ] {
        let mut told = Vec::new();
        for named in [id, "Asha", "pn_0000000000000000", "Nobody"] {
            let answer = office
                .door
                .ask(
                    method,
                    &format!("/v1/people/{named}"),
                    &stranger,
                    body.clone(),
                )
                .await;
            assert_eq!(answer.status, 404, "{method} {named}");
            told.push(answer.bytes);
        }
        assert!(told.iter().all(|bytes| *bytes == told[0]), "{method}");
    }
    let key = |person: &str| json!({"name": "k", "role": "approver", "person": person});
    let theirs = office.door.post("/v1/keys", &stranger, key(id)).await;
    let never = office
        .door
        .post("/v1/keys", &stranger, key("pn_0000000000000000"))
        .await;
    assert_eq!((theirs.status, theirs.bytes), (400, never.bytes));
    let listed = office.door.get("/v1/people", &stranger).await.json();
    assert_eq!(listed["people"], json!([]));
    // A name is an organisation's own.
    let body = json!({"name": "Asha", "roles": ["auditor"]});
    assert_eq!(
        office.door.post("/v1/people", &stranger, body).await.status,
        201
    );
}

#[tokio::test]
async fn the_first_start_makes_the_admin_a_person() {
    let fixture = Fixture::new().await;
    let access = &fixture.broker.access;
    let made = access.bootstrap_keys().await.unwrap().unwrap();
    let boss = access.authenticate(&made.admin_key).await.unwrap();
    assert_eq!(boss.person, Some(made.admin.clone()));
    let people = access.people(&boss).await.unwrap();
    assert_eq!(people.len(), 1);
    assert_eq!(
        (&people[0].id, people[0].person.name.as_str()),
        (&made.admin, "admin")
    );
    // Where somebody has the name, the start goes on.
    let other = Fixture::new().await;
    let owner = admin(&OrgId::default());
    let body = hundi::broker::access::people::NewPerson {
        name: "Admin".to_owned(),
        email: None,
        roles: Role::Auditor.into(),
        slack_user: None,
    };
    other
        .broker
        .access
        .create_person(&owner, body)
        .await
        .unwrap();
    let made = other.broker.access.bootstrap_keys().await.unwrap().unwrap();
    let boss = other
        .broker
        .access
        .authenticate(&made.admin_key)
        .await
        .unwrap();
    assert!(boss.roles.has(Role::Admin));
}
