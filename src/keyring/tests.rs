//! The ring on disk, as two processes of one data folder see it.

use super::*;
use crate::domain::ids::{AgentId, ArgsHash, Nonce, ProposalId, TokenId};
use crate::domain::reason::Refusal;
use crate::domain::token::Claims;
use std::os::unix::fs::PermissionsExt;

fn open(folder: &Path) -> FileKeys {
    FileKeys::open(folder, Ambient::real()).unwrap()
}

fn claims(now: Timestamp) -> Claims {
    Claims {
        agent_id: "agent".parse::<AgentId>().unwrap(),
        audience: "here".into(),
        composite_score: None,
        effect_state: None,
        expires_at: now.secs() + 60,
        issued_at: now.secs(),
        nonce: Nonce::from_bits([1; 16]),
        proposal_id: ProposalId::at(now, [1; 10]),
        token_id: TokenId::at(now, [2; 10]),
        tool_args_hash: ArgsHash::from_digest([3; 32]),
        tool_name: "noop".parse().unwrap(),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_first_start_makes_a_key_that_the_next_start_finds() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data");
    let first = open(&folder).list().unwrap();
    assert_eq!(open(&folder).list().unwrap(), first);
    assert_eq!(first.len(), 1);
    assert!(first[0].sealing);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join(RING_FILE)), 0o600);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().collect();
    assert_eq!(left.len(), 2, "the ring and its lock, no drafts");
}

#[test]
fn a_key_retired_elsewhere_is_refused_by_the_next_request() {
    let folder = tempfile::tempdir().unwrap();
    let (server, cli) = (open(folder.path()), open(folder.path()));
    let now = Ambient::real().now();
    let token = server.ring().seal(&claims(now), None).unwrap();
    assert!(server.ring().open(&token, "here", now).is_ok());

    let rotated = cli.rotate(60).unwrap();
    assert!(
        server.ring().open(&token, "here", now).is_ok(),
        "verifies until it expires"
    );
    assert_eq!(server.ring().sealing().unwrap().kid(), rotated.kid);
    let over = now.plus_secs(60 + ACCEPTED_SKEW_SECS + 1);
    assert!(server.ring().verify(&token, over).is_none());

    let old = token.split('.').nth(1).unwrap();
    cli.retire(old).unwrap();
    assert_eq!(
        server.ring().open(&token, "here", now),
        Err(Refusal::BadSignature)
    );
    assert!(server.ring().seal(&claims(now), Some(old)).is_none());
    let text = fs::read_to_string(folder.path().join(RING_FILE)).unwrap();
    assert_eq!(
        text.matches("\"secret\": null").count(),
        1,
        "a retired key is destroyed"
    );
}

#[test]
fn retiring_the_sealing_key_puts_a_new_one_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let keys = open(folder.path());
    let kid = keys.list().unwrap()[0].kid.clone();
    let after = keys.retire(&kid).unwrap();
    assert_eq!(after.len(), 2);
    assert_eq!(after[0].state, KeyState::Retired);
    assert!(after[1].sealing && after[1].state == KeyState::Active);
    assert_eq!(
        keys.retire(&kid).unwrap(),
        after,
        "once more changes nothing"
    );
    assert!(matches!(keys.retire("k0"), Err(KeyringError::Unknown(_))));
}

#[test]
fn many_rotate_at_once_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| open(folder.path()).rotate(60).unwrap());
        }
    });
    let keys = open(folder.path()).list().unwrap();
    assert_eq!(keys.len(), 9);
    let active = keys.iter().filter(|key| key.state == KeyState::Active);
    assert_eq!(active.count(), 1);
}

#[test]
fn without_a_readable_ring_every_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let keys = open(folder.path());
    let now = Ambient::real().now();
    let token = keys.ring().seal(&claims(now), None).unwrap();
    let path = folder.path().join(RING_FILE);
    let good = fs::read(&path).unwrap();

    fs::remove_file(&path).unwrap();
    assert!(keys.ring().verify(&token, now).is_none());
    fs::write(&path, "{\"version\":1,\"keys\":[{\"secret\":\"4711").unwrap();
    assert!(keys.ring().verify(&token, now).is_none());
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    let error = FileKeys::open(folder.path(), Ambient::real())
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("is not a file of keys") && !error.contains("4711"),
        "{error}"
    );
    fs::write(&path, good).unwrap();
    assert!(keys.ring().verify(&token, now).is_some());
}

#[test]
fn keys_that_others_can_read_are_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let path = folder.path().join(RING_FILE);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let refused = FileKeys::open(folder.path(), Ambient::real());
    assert!(matches!(refused, Err(KeyringError::Open(_))));
}

#[test]
fn keys_from_outside_have_the_same_name_everywhere_and_the_first_seals() {
    let key = |fill: u8| {
        let text: String = (0..32).map(|i| format!("{:02x}", i ^ fill)).collect();
        KeyBytes::from_hex(&text).unwrap()
    };
    let now = Ambient::real().now();
    let before = given(&[key(1)]).unwrap();
    let after = given(&[key(2), key(1)]).unwrap();
    let token = before.seal(&claims(now), None).unwrap();
    assert!(after.verify(&token, now).is_some());
    assert_ne!(
        after.sealing().unwrap().kid(),
        before.sealing().unwrap().kid()
    );
    let keyring = Keyring::Given(Arc::new(after));
    assert!(matches!(keyring.rotate(60), Err(KeyringError::Outside)));
    assert!(matches!(keyring.retire("x"), Err(KeyringError::Outside)));
    let listed = keyring.list().unwrap();
    assert!(listed[1].sealing && !listed[0].sealing);
}

#[test]
fn a_single_key_is_made_once_whoever_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit-key");
    assert_eq!(kept::read(&path).unwrap(), None, "looking makes nothing");
    let made = || kept::read_or_make(&path, &Ambient::real()).unwrap();
    let all: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(made)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    assert!(all.iter().all(|keys| *keys == all[0] && keys.len() == 1));
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_of_keys_is_read_newest_first_and_refused_where_it_is_not_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master-key");
    let write = |text: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        kept::read(&path)
    };
    let (old, new) = ("3f".to_owned() + KEY, "a0".to_owned() + KEY);
    let keys = write(&format!("{new}\n{old}\n")).unwrap().unwrap();
    assert_eq!(keys.len(), 2);
    assert_ne!(master_name(&keys[0]), master_name(&keys[1]));
    assert_eq!(write(&new).unwrap().unwrap()[0], keys[0]);
    for broken in ["", "\n", "c0ffee", "not hex"] {
        let refused = write(broken).unwrap_err().to_string();
        assert!(refused.contains("restore it"), "{broken:?}: {refused}");
    }
    write(&new).unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o604)).unwrap();
    assert!(matches!(kept::read(&path), Err(KeyringError::Open(_))));
}

const KEY: &str = "5b1e77c0a94d2f6683e1d07c45ba9f3210d8e6b7245c91fa3e68072bd4159c";

#[test]
fn an_envelope_names_its_master_key_as_the_keyring_does() {
    let key = |fill: u8| {
        let text: String = (0..32).map(|i| format!("{:02x}", i ^ fill)).collect();
        KeyBytes::from_hex(&text).unwrap()
    };
    let keys = [key(2), key(1)];
    let held = masters(&keys);
    let names: Vec<_> = held.names().map(str::to_owned).collect();
    assert_eq!(names, keys.each_ref().map(master_name));
}
