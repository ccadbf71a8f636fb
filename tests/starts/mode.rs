//! A store belongs to one mode, one account and one address of the bank.

use serde_json::json;

use super::{ACCOUNT, BankProcess, Env, Place, bank_at, ended, get, live, post, unmark};
use crate::support::nodes::{AUDIT_KEY, MASTER_KEY};
use crate::support::postgres;
use crate::support::server::TOKEN_KEY;

/// Every command that opens the store, but for the server itself.
const DOORS: &[&[&str]] = &[
    &["mcp"],
    &["migrate"],
    &["migrate", "--adopt"],
    &["key", "list"],
    &["key", "create", "--role", "agent", "--name", "x"],
    &["proposal", "list"],
    &["policy", "list"],
    &["policy", "seed"],
    &["tool", "list"],
    &["audit"],
    &["audit", "export"],
    &["doctor"],
];

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_doubt_in_the_sandbox_is_never_paid_at_the_live_bank() {
    let (place, play, real) = (Place::new(), BankProcess::start(), BankProcess::start());
    let sandbox = play.url.trim_start_matches("http://").to_owned();
    let (mut server, url) = place.serve(&[("HUNDI_SANDBOX_LISTEN", &sandbox)]).unwrap();
    let boot = place.boot();
    let agent = boot["agent_key"].as_str().unwrap();
    let hang = json!({"kind": "hang", "operation": "create", "when": "before", "count": 100});
    play.arm(hang).await;
    let arguments = json!({
        "fund_account_id": "fa_00000000000001", "amount": 50_000, "currency": "INR",
        "mode": "IMPS", "purpose": "vendor",
    });
    let asked = json!({"tool": "create_payout", "arguments": arguments});
    let (_, proposed) = post(&format!("{url}/v1/proposals"), agent, asked).await;
    assert_eq!(proposed["status"], "allowed", "{proposed}");
    let id = proposed["proposal_id"].as_str().unwrap();
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
    let (status, told) = post(&format!("{url}/v1/proposals/{id}/commit"), agent, commit).await;
    assert_eq!(
        (status, &told["status"]),
        (202, &json!("in_doubt")),
        "{told}"
    );
    server.kill();

    let env = live(&real);
    let said = place
        .serve(&env)
        .err()
        .expect("a live start on a sandbox's store");
    for word in [
        "belongs to the sandbox",
        "live money",
        "HUNDI_DATA_DIR",
        "begin anew",
    ] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    for door in DOORS {
        let refused = place.run(door, &env).refused(&["belongs to the sandbox"]);
        assert!(!refused.said().contains(ACCOUNT), "{}", refused.said());
    }
    assert_eq!(real.ledger().await, Vec::<serde_json::Value>::new());
    // The sandbox goes on as before, and settles its own doubt.
    let settings = [("HUNDI_SANDBOX_LISTEN", sandbox.as_str())];
    place.serve(&settings).map(drop).unwrap();
}

#[test]
fn mode_account_and_address_stay_what_they_were() {
    const BASE: &str = "https://bank.example";
    let first = bank_at("rzp_live_1", ACCOUNT, BASE);
    type Settings = Vec<(&'static str, &'static str)>;
    #[rustfmt::skip]
    let cases: &[(Settings, Settings, Option<&str>)] = &[
        (first.clone(), bank_at("rzp_live_2", ACCOUNT, BASE),                         None),
        (first.clone(), bank_at("rzp_live_1", ACCOUNT, "https://BANK.example:443/v1/"), None),
        (first.clone(), bank_at("rzp_test_1", ACCOUNT, BASE),                         Some("another mode")),
        (first.clone(), vec![],                                                       Some("another mode")),
        (first.clone(), bank_at("rzp_live_1", "2323230041626906", BASE),              Some("another account")),
        (first.clone(), bank_at("rzp_live_1", ACCOUNT, "https://other.example"),      Some("another API base")),
        (bank_at("rzp_test_1", ACCOUNT, BASE), first.clone(),                         Some("another mode")),
        (bank_at("rzp_test_1", ACCOUNT, BASE), bank_at("rzp_test_2", ACCOUNT, BASE),  None),
        (vec![], first.clone(),                                                       Some("another mode")),
        (vec![], vec![],                                                              None),
    ];
    for (before, after, refused) in cases {
        let place = Place::new();
        place.run(&["migrate"], before).done();
        let next = place.run(&["migrate"], after);
        match refused {
            None => drop(next.done()),
            Some(way) => drop(next.refused(&[way, "begin anew"])),
        }
        place.run(&["migrate"], before).done();
    }
}

/// Of many that start at once in two modes, those of one mode start, and none of the other.
fn agree(started: Vec<(bool, super::Ended)>) {
    let (won, lost): (Vec<_>, Vec<_>) = started.into_iter().partition(|(_, end)| end.code == 0);
    assert!(!won.is_empty() && !lost.is_empty());
    let mode = won[0].0;
    for (sandbox, end) in won {
        assert_eq!(sandbox, mode, "both modes started: {}", end.said());
    }
    for (sandbox, end) in lost {
        assert_ne!(sandbox, mode, "{}", end.said());
        end.refused(&["another mode"]);
    }
}

#[test]
fn of_two_modes_that_start_at_once_one_is_refused() {
    let place = Place::new();
    let live = bank_at("rzp_live_1", ACCOUNT, "https://bank.example");
    let started = (0..8).map(|turn| {
        let env: Env<'_> = if turn % 2 == 0 { &[] } else { &live };
        (
            turn % 2 == 0,
            place.command(&["migrate"], env).spawn().unwrap(),
        )
    });
    let started: Vec<_> = started.collect();
    let ends = started.into_iter();
    agree(
        ends.map(|(mode, child)| (mode, ended(child.wait_with_output().unwrap())))
            .collect(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_modes_that_start_at_once_on_postgres_one_is_refused() {
    let Some(database) = postgres::fresh_schema().await else {
        return;
    };
    let keys = [
        ("HUNDI_DATABASE_URL", database.as_str()),
        ("HUNDI_TOKEN_KEY", TOKEN_KEY),
        ("HUNDI_AUDIT_KEY", AUDIT_KEY),
        ("HUNDI_MASTER_KEY", MASTER_KEY),
    ];
    let bank = bank_at("rzp_live_1", ACCOUNT, "https://bank.example");
    let live: Vec<_> = keys.into_iter().chain(bank).collect();
    let places: Vec<Place> = (0..6).map(|_| Place::new()).collect();
    let started = places.iter().enumerate().map(|(turn, place)| {
        let env: Env<'_> = if turn % 2 == 0 { &keys } else { &live };
        (
            turn % 2 == 0,
            place.command(&["migrate"], env).spawn().unwrap(),
        )
    });
    let started: Vec<_> = started.collect();
    let ends = started.into_iter();
    agree(
        ends.map(|(mode, child)| (mode, ended(child.wait_with_output().unwrap())))
            .collect(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_start_makes_no_policy_and_pays_nothing_without_one() {
    let (place, bank) = (Place::new(), BankProcess::start());
    let (_server, url) = place.serve(&live(&bank)).unwrap();
    let boot = place.boot();
    assert_eq!(boot["sandbox_url"], json!(null));
    let key = |name: &str| boot[name].as_str().unwrap().to_owned();
    let shown = place
        .run(&["policy", "list", "--json"], &live(&bank))
        .done();
    assert!(!shown.out.contains("daily_limit"), "{}", shown.out);
    for tool in ["create_payout", "approve_payout"] {
        let arguments = match tool {
            "create_payout" => json!({
                "fund_account_id": "fa_00000000000001", "amount": 100, "currency": "INR",
                "mode": "IMPS", "purpose": "vendor",
            }),
            _ => json!({"payout_id": "pout_00000000000001", "amount": 100}),
        };
        let asked = json!({"tool": tool, "arguments": arguments});
        let (_, told) = post(&format!("{url}/v1/proposals"), &key("agent_key"), asked).await;
        assert_ne!(told["status"], "allowed", "{told}");
        assert!(told.get("commit_token").is_none(), "{told}");
    }
    let asked = json!({"tool": "transfer_funds", "arguments": {"amount": 1, "to": "acct_1"}});
    let (status, _) = post(&format!("{url}/v1/proposals"), &key("agent_key"), asked).await;
    assert_eq!(status, 404, "the sandbox's own tools are not there");
    assert_eq!(bank.ledger().await, Vec::<serde_json::Value>::new());
    assert!(!place.kept("sandbox-webhook-secret").exists());
}

#[test]
fn a_folder_that_the_sandbox_used_is_refused_to_a_new_live_store() {
    let place = Place::new();
    place.run(&["migrate"], &[]).done();
    assert!(place.kept("sandbox-webhook-secret").exists());
    let mut env = bank_at("rzp_live_1", ACCOUNT, "https://bank.example");
    env.push(("HUNDI_DATABASE_URL", "sqlite://./other.db"));
    let refused = place.run(&["migrate"], &env);
    refused.refused(&["sandbox-webhook-secret", "HUNDI_DATA_DIR"]);
    // And the simulator of webhooks leaves no such trace where a live server lives.
    let live = Place::new();
    live.run(&["migrate"], &env[..4]).done();
    let simulated = live.run(&["webhook", "simulate", "--url", "http://127.0.0.1:1"], &[]);
    assert_eq!(simulated.code, 1, "{}", simulated.said());
    live.run(&["migrate"], &env[..4]).done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_filled_before_there_were_marks_is_what_its_records_show() {
    let sandbox = Place::new();
    drop(sandbox.serve(&[]).unwrap());
    unmark(&sandbox.kept("hundi.db")).await;
    let env = bank_at("rzp_live_1", ACCOUNT, "https://bank.example");
    for adopt in [&["migrate"][..], &["migrate", "--adopt"]] {
        let refused = sandbox.run(adopt, &env);
        refused.refused(&["belongs to the sandbox", "begin anew"]);
    }
    // As itself it goes on without a word, and is marked from then on.
    sandbox.run(&["migrate"], &[]).done();
    sandbox.run(&["migrate"], &env).refused(&["another mode"]);

    // One that shows nothing: nobody may guess.
    let bank = BankProcess::start();
    let unclear = Place::new();
    drop(unclear.serve(&live(&bank)).unwrap());
    unmark(&unclear.kept("hundi.db")).await;
    for asked in [
        live(&bank),
        vec![],
        bank_at("rzp_test_1", ACCOUNT, &bank.url),
    ] {
        let refused = unclear.run(&["migrate"], &asked);
        refused.refused(&["hundi migrate --adopt", "begin anew"]);
    }
    unclear.run(&["migrate", "--adopt"], &live(&bank)).done();
    unclear.run(&["migrate"], &live(&bank)).done();
    unclear
        .run(&["migrate", "--adopt"], &[])
        .refused(&["another mode"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn going_live_the_doctor_says_what_is_held_and_what_to_set() {
    let (place, bank) = (Place::new(), BankProcess::start());
    let mut env = live(&bank);
    place.run(&["migrate"], &env).done();
    let told = place.run(&["doctor"], &env).said();
    for word in [
        "on_missing",
        "HUNDI_INTEGRITY_ON_MISSING",
        "hundi policy set",
        "live money",
    ] {
        assert!(told.contains(word), "no {word:?} in: {told}");
    }
    env.push(("HUNDI_INTEGRITY_ON_MISSING", "allow"));
    let told = place.run(&["doctor"], &env).said();
    assert!(!told.contains("INTEGRITY_UNKNOWN"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_acts_as_the_agent_of_payouts_of_others() {
    let place = Place::new();
    let env = [("HUNDI_RAZORPAY_EXTERNAL_AGENT", "treasury")];
    // Made before the setting was there.
    let create = [
        "key", "create", "--role", "agent", "--name", "treasury", "--json",
    ];
    let made = place.run(&create, &[]).done().json();
    let id = made["id"].as_str().unwrap();
    let said = place.serve(&env).err().expect("its agent has a key");
    assert!(
        said.contains(id) && said.contains("hundi key revoke"),
        "{said}"
    );
    place
        .run(&["doctor"], &env)
        .refused(&["external agent", id]);
    place.run(&["key", "revoke", id], &env).done();
    let (_server, url) = place.serve(&env).unwrap();
    // Made by somebody who has other settings, while the server runs, and who does not ask it.
    std::fs::remove_file(place.kept("server.json")).unwrap();
    let made = place.run(&create, &[]).done().json();
    let (status, _) = get(
        &format!("{url}/v1/proposals"),
        made["key"].as_str().unwrap(),
    )
    .await;
    assert_eq!(status, 401);
    // Here, at every door.
    place.run(&create, &env).refused(&["name_reserved"]);
    let admin = place.boot()["admin_key"].as_str().unwrap().to_owned();
    for name in ["treasury", "Treasury", "external"] {
        let asked = json!({"role": "agent", "name": name});
        let (status, told) = post(&format!("{url}/v1/keys"), &admin, asked).await;
        assert_eq!((status, &told["code"]), (400, &json!("name_reserved")));
    }
    // The agent that the first start makes, and the broker itself, are taken in any case.
    for name in ["agent-1", "Agent-1", "hundi"] {
        let env = [("HUNDI_RAZORPAY_EXTERNAL_AGENT", name)];
        let refused = Place::new().run(&["config"], &env);
        refused.refused(&["HUNDI_RAZORPAY_EXTERNAL_AGENT"]);
    }
}
