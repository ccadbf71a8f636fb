//! A store is opened with the keys that it was written with, or not at all.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Ended, Env, Place, get, post};
use crate::support::nodes::{Cluster, MASTER_KEY};
use crate::support::server::{Server, TOKEN_KEY};

/// A key like the others, and nobody's.
const OTHER: &str = "e47d02b95c18f36a7f4be0912d68a5c3b1960e7fd423c85a3907be16f2d84a5c";
/// The key files of a data folder, and how each is called.
const FILES: [(&str, &str); 3] = [
    ("token-keys.json", "token key"),
    ("audit-key", "audit key"),
    ("master-key", "master key"),
];
/// Ways to open a store.
const DOORS: [&[&str]; 5] = [
    &["mcp"],
    &["migrate"],
    &["key", "list"],
    &["proposal", "list"],
    &["doctor"],
];

fn in_the_folder() -> Place {
    let place = Place::new();
    place.run(&["migrate"], &[]).done();
    place
}

fn everywhere(place: &Place, env: Env<'_>, words: &[&str]) {
    for door in DOORS {
        place.run(door, env).refused(words);
    }
    let said = place.serve(env).err().expect("a start without its keys");
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn only_an_empty_store_makes_keys() {
    let place = in_the_folder();
    for (file, name) in FILES {
        let path = place.kept(file);
        let kept = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        everywhere(&place, &[], &[name, "missing", file]);
        assert!(!path.exists(), "{file} was made anew");
        restore(&place, file, &kept);
        assert_eq!(place.run(&["doctor"], &[]).done().code, 0);
    }
}

#[test]
fn keys_of_another_store_are_refused_and_named() {
    let (place, other) = (in_the_folder(), in_the_folder());
    for (file, name) in FILES {
        let kept = std::fs::read(place.kept(file)).unwrap();
        let foreign = std::fs::read(other.kept(file)).unwrap();
        restore(&place, file, &foreign);
        everywhere(&place, &[], &[name, "is here"]);
        restore(&place, file, &kept);
        place.run(&["migrate"], &[]).done();
    }
    // Given from outside instead of kept, each alone.
    for variable in ["HUNDI_TOKEN_KEY", "HUNDI_AUDIT_KEY", "HUNDI_MASTER_KEY"] {
        everywhere(&place, &[(variable, OTHER)], &[variable, "is here"]);
    }
    place.run(&["migrate"], &[]).done();
}

#[test]
fn a_lost_token_or_master_key_is_given_up_by_word_and_an_audit_key_never() {
    for (file, name) in FILES {
        let place = in_the_folder();
        std::fs::remove_file(place.kept(file)).unwrap();
        let told = place.run(&["migrate", "--adopt"], &[]);
        if file == "audit-key" {
            told.refused(&[name, "begin anew"]);
            assert!(!place.kept(file).exists());
        } else {
            told.done();
            place.run(&["migrate"], &[]).done();
        }
    }
    let place = in_the_folder();
    let env = [("HUNDI_AUDIT_KEY", OTHER)];
    place
        .run(&["migrate", "--adopt"], &env)
        .refused(&["audit key", "begin anew"]);
}

#[test]
fn a_rotated_ring_is_the_same_ring() {
    let place = in_the_folder();
    let kids = |ended: Ended| -> Vec<String> {
        let keys = ended.done().json();
        let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
        keys["keys"].as_array().unwrap().iter().map(kid).collect()
    };
    let before = std::fs::read(place.kept("token-keys.json")).unwrap();
    let first = kids(place.run(&["keyring", "list", "--json"], &[])).remove(0);
    place.run(&["keyring", "rotate"], &[]).done();
    place.run(&["keyring", "retire", &first], &[]).done();
    place.run(&["doctor"], &[]).done();
    // A copy from before the rotation lacks the key that seals now.
    restore(&place, "token-keys.json", &before);
    place
        .run(&["migrate"], &[])
        .refused(&["token key", "is here"]);
}

#[test]
fn config_names_the_keys_and_tells_those_that_are_not_the_stores() {
    let place = in_the_folder();
    let ours = place.run(&["config", "--json"], &[]).done().json();
    for kind in ["token key", "audit key", "master key"] {
        assert!(ours["keys"][kind].as_str().unwrap().len() > 8, "{ours}");
    }
    assert_eq!(ours["warnings"], json!([]), "{ours}");
    let env = [("HUNDI_MASTER_KEY", OTHER)];
    let theirs = place.run(&["config", "--json"], &env).done().json();
    assert_ne!(ours["keys"]["master key"], theirs["keys"]["master key"]);
    let told = theirs["warnings"].to_string();
    assert!(
        told.contains("master key") && !told.contains(&OTHER[..12]),
        "{told}"
    );
    // Looking makes nothing.
    let empty = Place::new();
    empty.run(&["config"], &[]).done();
    assert!(!empty.path("hundi-data").exists());
}

#[test]
fn the_master_key_is_a_list_newest_first_and_may_come_from_a_file() {
    let place = Place::new();
    let file = place.path("master");
    std::fs::write(&file, format!("{MASTER_KEY}\n")).unwrap();
    let from_file = file.display().to_string();
    place
        .run(&["migrate"], &[("HUNDI_MASTER_KEY_FILE", &from_file)])
        .done();
    assert!(!place.kept("master-key").exists());
    let both = |newest: &str, older: &str| format!("{newest},{older}");
    let (old_new, new_old) = (both(MASTER_KEY, OTHER), both(OTHER, MASTER_KEY));
    for list in [old_new.as_str(), &new_old, &old_new, &new_old, OTHER] {
        place
            .run(&["migrate"], &[("HUNDI_MASTER_KEY", list)])
            .done();
    }
    let old = [("HUNDI_MASTER_KEY", MASTER_KEY)];
    place
        .run(&["migrate"], &old)
        .refused(&["master key", "HUNDI_MASTER_KEY"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_other_keys_than_its_peers_does_not_start() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let first = cluster.node("a", &[]);
    for (variable, name) in [
        ("HUNDI_TOKEN_KEY", "token key"),
        ("HUNDI_AUDIT_KEY", "audit key"),
        ("HUNDI_MASTER_KEY", "master key"),
    ] {
        let said = cluster.try_node("b", &[(variable, OTHER)]).err().unwrap();
        assert!(said.contains(name) && said.contains(variable), "{said}");
        assert!(!said.contains(&OTHER[..12]), "{said}");
    }
    let second = cluster.node("b", &[]);
    // What one seals the other takes.
    let transfer = first.transfer(100).await;
    assert_eq!(second.commit(&transfer).await.unwrap().0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_a_rotation_left_out_says_so() {
    let Some(cluster) = Cluster::fresh().await else {
        return;
    };
    let left_out = cluster.node("a", &[]);
    assert!(keys_agree(&left_out).await.is_ok());
    let rotated = format!("{OTHER},{TOKEN_KEY}");
    let ahead = cluster.node("b", &[("HUNDI_TOKEN_KEY", &rotated)]);
    assert!(keys_agree(&ahead).await.is_ok());
    // Without a word it would refuse what the other seals.
    let told = async {
        let mut turns = tokio::time::interval(Duration::from_millis(100));
        loop {
            turns.tick().await;
            if let Err(detail) = keys_agree(&left_out).await {
                return detail;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(20), told).await;
    assert!(told.unwrap().contains("token key"));
    let log = cluster.folder("a").path().join("stderr.log");
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("not those of its peers"), "{log}");
    // It does not start again as it is; with the list it does, and is well.
    drop(left_out);
    let said = cluster.try_node("a", &[]).err().unwrap();
    assert!(said.contains("token key"), "{said}");
    let back = cluster.node("a", &[("HUNDI_TOKEN_KEY", &rotated)]);
    let transfer = ahead.transfer(100).await;
    assert_eq!(back.commit(&transfer).await.unwrap().0, 200);
}

/// What `/readyz` says of the keys; `Err` is how they differ.
async fn keys_agree(node: &Server) -> Result<(), String> {
    let told = node.get(&node.admin_key, "/readyz").await;
    let checks = told["checks"].as_array().unwrap();
    let keys = checks.iter().find(|check| check["name"] == "keys").unwrap();
    match keys["ok"].as_bool().unwrap() {
        true => Ok(()),
        false => {
            assert_eq!(told["status"], "degraded", "{told}");
            Err(keys["detail"].as_str().unwrap().to_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_folders_over_one_store_need_the_same_keys() {
    let place = in_the_folder();
    let store = format!("sqlite://{}", place.kept("hundi.db").display());
    let other = Place::new();
    let env = [("HUNDI_DATABASE_URL", store.as_str())];
    other.run(&["migrate"], &env).refused(&["key", "missing"]);
    for (file, _) in FILES {
        let kept = std::fs::read(place.kept(file)).unwrap();
        restore(&other, file, &kept);
    }
    let (_server, url) = other.serve(&env).unwrap();
    let agent = other.boot()["agent_key"].as_str().unwrap().to_owned();
    let asked = json!({"tool": "noop", "arguments": {}});
    let (status, told) = post(&format!("{url}/v1/proposals"), &agent, asked).await;
    assert_eq!(status, 200, "{told}");
    let (status, _) = get(&format!("{url}/v1/proposals"), &agent).await;
    assert_eq!(status, 200);
}

fn restore(place: &Place, file: &str, bytes: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    let path = place.kept(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
}
