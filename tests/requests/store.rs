//! What a store promises about requests, on every backend: rows beside a document are written with it
//! or not at all, and the lists, the queue and the sums tell what was written.

use std::sync::Arc;

use hundi::ambient::Ambient;
use hundi::domain::change::{BudgetMove, Change, Pot};
use hundi::domain::document::Document;
use hundi::domain::ids::{AgentId, AttemptId, OrgId, RequestId};
use hundi::domain::money::Currency;
use hundi::domain::requests::piece::Tokens;
use hundi::domain::requests::price::Prices;
use hundi::domain::requests::request::{Attempt, Door, Open, Request, Routed, State, Wishes};
use hundi::domain::requests::rows::{Beside, Entry, Line, Part, Payer};
use hundi::domain::time::{Day, Timestamp};
use hundi::store::postgres::Postgres;
use hundi::store::requests::{By, RequestFilter, RequestStore, UsageFilter};
use hundi::store::sqlite::Sqlite;
use hundi::store::{ApplyError, Store};
use uuid::Uuid;

/// Ten points of priority.
const AGEING_MS: i64 = 60_000;
const DAY: Day = Day::from_number(20_261_201);

struct Both {
    store: Arc<dyn Store>,
    requests: Arc<dyn RequestStore>,
    _dir: Option<tempfile::TempDir>,
}

async fn each() -> Vec<Both> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hundi.db");
    let file = Arc::new(Sqlite::open(&path, &Ambient::real()).await.unwrap());
    let mut all = vec![Both {
        store: file.clone(),
        requests: file,
        _dir: Some(dir),
    }];
    if let Some(url) = crate::support::postgres::fresh_schema().await {
        let server = Arc::new(Postgres::open(&url, &Ambient::real()).await.unwrap());
        all.push(Both {
            store: server.clone(),
            requests: server,
            _dir: None,
        });
    }
    all
}

fn org(name: &str) -> OrgId {
    name.parse().unwrap()
}

fn agent() -> AgentId {
    "payer".parse().unwrap()
}

fn request(number: u128, priority: u8, at: i64) -> Request {
    Request {
        id: RequestId::from_uuid(Uuid::from_u128(number)),
        owner: agent(),
        by: "key:x".to_owned(),
        door: Door::Requests,
        state: State::Pending,
        task: "chat".to_owned(),
        priority,
        wishes: Wishes::default(),
        routed: Routed::default(),
        idempotency_key: None,
        user_hash: None,
        created_at: Timestamp::from_secs(at),
        started_at: None,
        ended_at: None,
        lease_until: None,
        estimate_nanos: 10,
        attempts: Vec::new(),
        open: None,
        last_event: 0,
        told: false,
        lost_workers: 0,
        error: None,
        erased: false,
        answer_secrets: Vec::new(),
        shadow_of: None,
        shadow: None,
    }
}

fn open(number: u128, reserved: u64) -> Open {
    Open {
        id: AttemptId::from_uuid(Uuid::from_u128(number)),
        provider: "p".to_owned(),
        model: "m".to_owned(),
        prices: Prices::default(),
        at: Timestamp::from_secs(1),
        held_at: Timestamp::from_secs(1),
        input: 1,
        reserved,
        sent: true,
    }
}

fn attempt(number: u128, nanos: u64) -> Attempt {
    Attempt {
        id: AttemptId::from_uuid(Uuid::from_u128(number)),
        provider: "p".to_owned(),
        model: "m".to_owned(),
        started_at: Timestamp::from_secs(1),
        ended_at: Timestamp::from_secs(2),
        first_ms: None,
        tokens: Tokens {
            input: 3,
            output: 4,
            ..Tokens::default()
        },
        nanos,
        estimated: nanos == 7,
        why: (nanos == 7).then(|| "cut".to_owned()),
    }
}

/// Writes a request in the place of the version it had.
fn change(org: &OrgId, request: &Request, version: u64, more: Vec<Beside>) -> Change {
    let mut besides = more;
    besides.push(Beside::Line(Box::new(Line::of(org, request, AGEING_MS))));
    let docs = vec![request.write(org, &request.id, Some(version))];
    Change::request(Vec::new(), docs, besides, None, Vec::new())
}

fn part(request: &Request, place: u64) -> Beside {
    Beside::Part(Part {
        request: request.id,
        place,
        sealed: format!("part {place}"),
    })
}

#[tokio::test]
async fn rows_are_written_with_their_document_or_not_at_all() {
    for both in each().await {
        let (org, one) = (org("default"), request(1, 50, 100));
        let first = change(&org, &one, 0, vec![part(&one, 0)]);
        both.store.apply(first).await.unwrap();
        let stale = change(&org, &one, 7, vec![part(&one, 1), Beside::Erase(one.id)]);
        let refused = both.store.apply(stale).await;
        assert!(matches!(refused, Err(ApplyError::Conflict(_))));
        let parts = both.requests.parts(one.id, 0, 10).await.unwrap();
        assert_eq!(parts.len(), 1, "a refused change leaves no trace");
        let more = vec![part(&one, 1), part(&one, 5), part(&one, 9)];
        both.store.apply(change(&org, &one, 1, more)).await.unwrap();
        let places = async |event: u64| {
            let parts = both.requests.parts_after(one.id, event, 10).await.unwrap();
            parts.iter().map(|part| part.place).collect::<Vec<_>>()
        };
        assert_eq!(places(0).await, [1, 5, 9]);
        assert_eq!(places(3).await, [1, 5, 9], "the part that has event 4");
        assert_eq!(places(4).await, [5, 9]);
        assert_eq!(places(20).await, [9]);
        let erased = change(&org, &one, 2, vec![Beside::Erase(one.id)]);
        both.store.apply(erased).await.unwrap();
        assert!(both.requests.parts(one.id, 0, 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_queue_goes_by_priority_and_age_within_each_organisation() {
    for both in each().await {
        let (ours, theirs) = (org("default"), org("other"));
        // A minute of waiting is worth ten points.
        for (org, request) in [
            (&ours, request(1, 50, 1_000)),
            (&ours, request(2, 61, 1_061)),
            (&ours, request(3, 59, 1_061)),
            (&theirs, request(4, 0, 1_000)),
        ] {
            let first = change(org, &request, 0, Vec::new());
            both.store.apply(first).await.unwrap();
        }
        let order = both.requests.first_waiting(&ours, 10).await.unwrap();
        let order: Vec<String> = order.into_iter().map(|(_, doc)| doc.key.id).collect();
        let ids = [2_u128, 1, 3].map(|number| request(number, 0, 0).id.to_string());
        assert_eq!(order, ids);
        let waiting = both.requests.waiting_orgs().await.unwrap();
        assert_eq!(waiting, [(ours.clone(), 0), (theirs.clone(), 0)]);
        let mut running = request(2, 61, 1_061);
        running.state = State::Running;
        running.lease_until = Some(Timestamp::from_secs(2_000));
        both.store
            .apply(change(&ours, &running, 1, Vec::new()))
            .await
            .unwrap();
        assert_eq!(both.requests.waiting_orgs().await.unwrap()[0].1, 1);
        assert_eq!(both.requests.in_hand().await.unwrap(), 1);
        let overdue = async |at: i64| {
            let at = Timestamp::from_secs(at);
            both.requests.overdue(at, 10).await.unwrap().len()
        };
        assert_eq!((overdue(1_999).await, overdue(2_000).await), (0, 1));
        let depths = both.requests.depths(None).await.unwrap();
        let depths: Vec<(u8, u64)> = depths
            .iter()
            .map(|one| (one.priority, one.pending))
            .collect();
        assert_eq!(depths, [(59, 1), (50, 1), (0, 1)]);
        let listed = async |state: Option<&'static str>| {
            let filter = RequestFilter {
                org: ours.clone(),
                owner: Some(agent()),
                state,
                before: None,
                limit: 10,
            };
            both.requests.requests(&filter).await.unwrap().len()
        };
        assert_eq!((listed(None).await, listed(Some("pending")).await), (3, 2));
    }
}

#[tokio::test]
async fn fifty_attempts_share_a_pot_for_ten_and_the_sum_of_rows_is_the_bill() {
    for both in each().await {
        let org = org("default");
        let held = (1..=50_u128).map(|number| {
            let request = request(number, 50, 100);
            let open = open(number, 10);
            let pot = Pot {
                org: org.clone(),
                agent: agent(),
                day: DAY,
                currency: Currency::NANO_USD,
            };
            let reserve = BudgetMove::Reserve {
                pot,
                amount: 10,
                limit: Some(100),
            };
            let docs = vec![request.write(&org, &request.id, Some(0))];
            let money = Some((open.id, reserve));
            both.store.apply(Change::request(
                Vec::new(),
                docs,
                Vec::new(),
                money,
                Vec::new(),
            ))
        });
        let held = futures_util::future::join_all(held).await;
        assert_eq!(held.iter().filter(|fate| fate.is_ok()).count(), 10);
        let one = request(99, 50, 100);
        let payer = Payer {
            org: &org,
            request: &one,
            day: DAY,
        };
        let entries = [(1, 5), (2, 7), (3, 11)].map(|(number, nanos)| {
            Beside::Entry(Box::new(Entry::settled(&payer, &attempt(number, nanos))))
        });
        let written = change(&org, &one, 0, entries.to_vec());
        both.store.apply(written).await.unwrap();
        let pending = Beside::Entry(Box::new(Entry::open(&payer, &open(4, 1_000))));
        both.store
            .apply(change(&org, &one, 1, vec![pending]))
            .await
            .unwrap();
        for by in By::ALL {
            let filter = UsageFilter {
                org: org.clone(),
                agent: Some(agent()),
                since: Some(Timestamp::from_secs(0)),
                until: None,
                day: Some(DAY),
            };
            let sums = both.requests.usage(by, &filter).await.unwrap();
            assert_eq!(sums.len(), 1, "{by:?}");
            let sum = &sums[0];
            assert_eq!((sum.nanos, sum.estimated_nanos, sum.attempts), (23, 7, 3));
            assert_eq!(
                (sum.failed, sum.requests, sum.input, sum.output),
                (1, 1, 9, 12)
            );
        }
    }
}
