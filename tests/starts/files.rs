//! Files and folders that others can look into: closed at the start, which says so, or refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Place;

/// What holds keys: nobody knows who has read them.
const REFUSED: [&str; 3] = ["token-keys.json", "audit-key", "master-key"];

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn open(path: &Path, mode: u32) {
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

/// Every file and folder of the data folder, itself included.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_owned()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(all(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn nothing_in_a_data_folder_is_for_others() {
    let place = Place::new();
    drop(place.serve(&[]).unwrap());
    let spool = place.kept("spool");
    fs::create_dir_all(&spool).unwrap();
    fs::write(spool.join("00.jsonl"), "").unwrap();
    open(&spool, 0o700);
    open(&spool.join("00.jsonl"), 0o600);
    let folder = place.path("hundi-data");
    let files = all(&folder);
    assert!(files.len() > 6, "{files:?}");
    let mut mended = 0;
    for path in &files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let closed = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(path), closed, "{name} as it was made");
        for opened in [0o044, 0o040, 0o004, 0o022] {
            open(path, closed | opened);
            let said_before = place.log().len();
            let started = place.serve(&[]);
            let said = place.log().split_off(said_before);
            if REFUSED.contains(&name) {
                let refused = started.err().expect("keys that others can read");
                assert!(
                    refused.contains(name) && refused.contains("chmod 600"),
                    "{refused}"
                );
                for door in [&["migrate"][..], &["key", "list"], &["doctor"]] {
                    place.run(door, &[]).refused(&[name, "chmod 600"]);
                }
                open(path, closed);
            } else if path.exists() {
                drop(started.unwrap());
                mended += 1;
                assert_eq!(mode(path), closed, "{name} stays open");
                assert!(
                    said.contains(name) && said.contains("open to others"),
                    "{said}"
                );
            }
            if !path.exists() {
                break;
            }
        }
    }
    assert!(mended >= 5, "only {mended} were mended");
}

#[test]
fn files_of_others_in_the_folder_are_left_alone() {
    let place = Place::new();
    place.run(&["migrate"], &[]).done();
    let theirs = place.kept("notes.txt");
    fs::write(&theirs, "not ours").unwrap();
    open(&theirs, 0o644);
    drop(place.serve(&[]).unwrap());
    assert_eq!(mode(&theirs), 0o644);
    // Nor is an open folder closed that somebody else uses.
    for shared in [0o755, 0o1777] {
        open(&place.path("hundi-data"), shared);
        let said = place.serve(&[]).err().expect("a folder that others use");
        assert!(
            said.contains("chmod 700") && said.contains("HUNDI_DATA_DIR"),
            "{said}"
        );
        assert_eq!(mode(&place.path("hundi-data")), shared & 0o777);
    }
}

#[test]
fn the_bootstrap_file_is_for_its_owner_whatever_lay_there() {
    let place = Place::new();
    // Drafts and files that somebody put there before, and an old file that was opened.
    for name in ["boot.json", "boot.new", ".boot.json.new"] {
        fs::write(place.path(name), "").unwrap();
        open(&place.path(name), 0o644);
    }
    drop(place.serve(&[]).unwrap());
    assert_eq!(mode(&place.path("boot.json")), 0o600);
    let first = place.boot()["admin_key"].clone();
    assert!(first.is_string());
    open(&place.path("boot.json"), 0o644);
    drop(place.serve(&[]).unwrap());
    assert_eq!(mode(&place.path("boot.json")), 0o600);
    assert_eq!(place.boot()["admin_key"], first, "kept over a start");
    assert_eq!(
        fs::read(place.path("boot.new")).unwrap(),
        b"",
        "not written through"
    );
}

#[test]
fn a_file_of_a_secret_that_anybody_can_read_is_told() {
    let place = Place::new();
    let secret = place.path("webhook-secret");
    fs::write(&secret, "whsec_4f9a1c7e2b8d5063").unwrap();
    let path = secret.display().to_string();
    let env = [("HUNDI_RAZORPAY_WEBHOOK_SECRET_FILE", path.as_str())];
    for (opened, told) in [(0o644, true), (0o604, true), (0o440, false), (0o600, false)] {
        open(&secret, opened);
        let shown = place.run(&["config", "--json"], &env).done().json();
        let warned = shown["warnings"].to_string().contains("webhook-secret");
        assert_eq!(warned, told, "{opened:o}: {shown}");
    }
}
