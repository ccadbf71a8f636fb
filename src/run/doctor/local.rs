//! What can be examined without leaving this machine: settings, files, keys, the store, and
//! whether this build still spells JSON as others do.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::ambient::Ambient;
use crate::app::App;
use crate::broker::{Broker, RecordFilter};
use crate::config::{Config, environment};
use crate::domain::canonical::Canonical;
use crate::domain::facts::OnMissing;
use crate::domain::principal::Principal;
use crate::domain::time::Timestamp;
use crate::domain::tool::Standing;
use crate::entry::cli::doctor::Check;
use crate::keyring::Keyring;

use crate::broker::access::owner::owner;

/// A token key older than this should be rotated: it costs nothing.
const TOKEN_KEY_DAYS: i64 = 90;
/// An API key older than this should be replaced, or nobody knows any more who has it.
const API_KEY_DAYS: i64 = 365;
/// Doubt is promised to end within a minute of the bank being back.
const DOUBT_SECS: i64 = 60;
const DAY_SECS: i64 = 24 * 60 * 60;

/// The configuration was read; what it switches off, and what deserves a look.
pub fn settings(config: &Config) -> Vec<Check> {
    let from = config
        .file
        .as_ref()
        .map_or("no file".to_owned(), |file| file.display().to_string());
    let given = config
        .rows()
        .iter()
        .filter(|row| row.layer != "default")
        .count();
    let seen = format!("{from}; {given} settings differ from their defaults");
    let mut checks = vec![Check::ok("configuration", seen)];
    for warning in &config.warnings {
        checks.push(Check::warn("configuration", warning, "see `hundi config`"));
    }
    for off in config.off() {
        checks.push(Check::ok("feature", off));
    }
    checks
}

/// The vectors of RFC 8785, and `serde_jcs`, which was written by others. A hash that they would
/// not compute binds nothing.
pub fn canonical_form() -> Check {
    const VECTORS: [(&str, &str); 4] = [
        (
            r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#,
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}",
        ),
        (
            "[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001]",
            "[333333333.3333333,1e+30,4.5,0.002,1e-27]",
        ),
        (
            r#""\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/""#,
            r#""€$\u000f\nA'B\"\\\\\"/""#,
        ),
        (
            "[-0,1e21,5e-324,9007199254740991]",
            "[0,1e+21,5e-324,9007199254740991]",
        ),
    ];
    let agree = VECTORS.iter().all(|(text, expected)| {
        let ours = Canonical::of_text(text.as_bytes());
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let theirs = serde_jcs::to_string(&value);
        ours.is_ok_and(|ours| ours.as_str() == *expected) && theirs.is_ok_and(|t| t == *expected)
    });
    if agree {
        Check::ok("canonical form", "agrees with RFC 8785 and with serde_jcs")
    } else {
        let advice = "do not use this build: its hashes are not those of others";
        Check::fail("canonical form", "differs from RFC 8785", advice)
    }
}

/// The data folder and its files belong to their owner alone.
pub fn folder(config: &Config) -> Vec<Check> {
    let folder = &config.data_dir;
    let shown = folder.display();
    let Ok(meta) = std::fs::metadata(folder) else {
        let seen = format!("{shown} is not there yet; the first `hundi serve` makes it");
        return vec![Check::ok("data folder", seen)];
    };
    if !meta.is_dir() {
        let advice = "name a folder with --data-dir or HUNDI_DATA_DIR";
        return vec![Check::fail(
            "data folder",
            format!("{shown} is not a folder"),
            advice,
        )];
    }
    let mut checks = Vec::new();
    if meta.permissions().mode() & 0o077 != 0 {
        let advice = format!("`chmod 700 {shown}`");
        checks.push(Check::warn(
            "data folder",
            format!("others can look into {shown}"),
            advice,
        ));
    }
    for path in open_files(folder) {
        let path = path.display();
        let advice = format!("`chmod 600 {path}`; if it holds keys, replace them as well");
        checks.push(Check::fail(
            "data folder",
            format!("others can read {path}"),
            advice,
        ));
    }
    if checks.is_empty() {
        checks.push(Check::ok(
            "data folder",
            format!("{shown}, for its owner alone"),
        ));
    }
    checks
}

fn open_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let open = entries.filter(|entry| {
        let meta = entry.metadata();
        meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o077 != 0)
    });
    open.map(|entry| entry.path()).collect()
}

/// The key that signs, and how old it is.
pub fn token_keys(config: &Config) -> Check {
    let ambient = Ambient::real();
    if config.token_keys.is_empty() && !config.data_dir.join(crate::keyring::RING_FILE).exists() {
        return Check::ok("token keys", "none yet; the first `hundi serve` makes one");
    }
    let keys = match Keyring::existing(config, &ambient).and_then(|ring| ring.list()) {
        Ok(keys) => keys,
        Err(error) => {
            let advice = "without keys every commit is refused";
            return Check::fail("token keys", error.to_string(), advice);
        }
    };
    let Some(sealing) = keys.iter().find(|key| key.sealing) else {
        return Check::fail("token keys", "no key can sign", "`hundi keyring rotate`");
    };
    let Some(made) = sealing.created_at else {
        let seen = format!(
            "{} signs; given from outside, so its age is not known",
            sealing.kid
        );
        return Check::ok("token keys", seen);
    };
    let days = age_days(made, ambient.now());
    let seen = format!("{} signs and is {days} days old", sealing.kid);
    if days > TOKEN_KEY_DAYS {
        Check::warn("token keys", seen, "`hundi keyring rotate` costs nothing")
    } else {
        Check::ok("token keys", seen)
    }
}

fn age_days(made: Timestamp, now: Timestamp) -> i64 {
    (now.secs() - made.secs()).max(0) / DAY_SECS
}

/// Whether there is a store to open. Another machine's always counts as there.
pub fn store_exists(config: &Config) -> bool {
    config.sqlite_path().is_none_or(|path| path.exists())
}

/// The store answers, nothing is stuck in it, and its API keys are not ancient.
pub async fn store(broker: &Broker) -> Vec<Check> {
    let store = &broker.ports().store;
    if let Err(error) = store.ping().await {
        let advice = "nothing is decided until it answers: check the disk or the database";
        return vec![Check::fail("store", error.to_string(), advice)];
    }
    let seen = "answers and writes; durable (a start refuses anything less), schema up to date";
    let mut checks = vec![Check::ok("store", seen)];
    match store.standings().await {
        Ok(standings) => {
            let now = broker.ports().ambient.now();
            let oldest = standings
                .oldest_unsettled
                .map_or(0, |at| now.secs() - at.secs());
            let seen = format!("{} in doubt, {} held", standings.unsettled, standings.held);
            checks.push(if oldest > DOUBT_SECS {
                let seen = format!("{seen}; the oldest doubt is {oldest} s old");
                let advice = "start `hundi serve`, which settles doubts once the bank answers; then `hundi proposal list --state in_doubt`";
                Check::warn("proposals", seen, advice)
            } else {
                Check::ok("proposals", seen)
            });
        }
        Err(error) => {
            let advice = "the store answers and cannot be read: restore a backup";
            checks.push(Check::fail("proposals", error.to_string(), advice));
        }
    }
    checks.extend(unsealed(broker).await);
    checks.extend(api_keys(broker, &owner()).await);
    checks
}

/// Records are sealed within a second while a server runs.
async fn unsealed(broker: &Broker) -> Option<Check> {
    let unsealed = broker.audit.unsealed().await.ok()?;
    let newest = RecordFilter {
        limit: 1,
        ..RecordFilter::default()
    };
    let newest = broker.ports().store.records(&newest).await.ok()?;
    let age = newest.first().map_or(0, |newest| {
        broker.ports().ambient.now().secs() - newest.record.at.secs()
    });
    Some(if unsealed > 0 && age > DOUBT_SECS {
        let seen = format!("{unsealed} records are not sealed, the newest of them {age} s old");
        let advice = "`hundi serve` seals them; where it runs, its log says why it cannot";
        Check::warn("audit log", seen, advice)
    } else {
        Check::ok("audit log", "sealed, or about to be")
    })
}

/// The keys are those that the store was written with, and its log is sealed with them.
pub fn keys(app: &App) -> Check {
    let names = &app.key_names;
    let master = names.masters.first().map_or("none", String::as_str);
    let (token, audit) = (&names.sealing, &names.audit);
    let seen = format!("the store's: token {token}, audit {audit}, master {master}");
    Check::ok("keys", seen)
}

/// The bank's account is somebody's, and nobody acts as the agent in whose name payouts of others
/// are decided.
pub async fn bank_agent(broker: &Broker) -> Option<Check> {
    let advice = "`hundi serve` does not start until then";
    if let Err(trouble) = broker.access.bank_is_somebodys().await {
        return Some(Check::fail("bank account", trouble.to_string(), advice));
    }
    let trouble = broker.access.bank_agent_is_free().await.err()?;
    Some(Check::fail("external agent", trouble.to_string(), advice))
}

/// What a start with a bank needs before anything is allowed: it makes no policy, and no model
/// scores an agent's answers.
pub async fn going_live(config: &Config, broker: &Broker) -> Vec<Check> {
    let mut checks = Vec::new();
    if config.sandbox_mode() {
        return checks;
    }
    let policies = broker.pay.policies(&owner()).await;
    if policies.is_ok_and(|policies| policies.is_empty()) {
        checks.push(Check::warn(
            "policies",
            "no agent has one, so nothing is allowed",
            "`hundi policy set AGENT` with limits",
        ));
    }
    if config.on_missing == OnMissing::Hold {
        checks.push(Check::warn(
            "integrity",
            "no model scores agents' answers here, so every high-risk proposal is held (INTEGRITY_UNKNOWN)",
            "decide on each (`hundi proposal approve ID`), or set `on_missing = \"allow\"` under `[integrity]` (HUNDI_INTEGRITY_ON_MISSING) and rely on limits, payees, `require_approval_above` and `require_prompt`",
        ));
    }
    checks
}

async fn api_keys(broker: &Broker, who: &Principal) -> Option<Check> {
    let keys = broker.access.keys(who).await.ok()?;
    let now = broker.ports().ambient.now();
    let live: Vec<_> = keys.iter().filter(|key| key.revoked_at.is_none()).collect();
    let old = live
        .iter()
        .filter(|key| age_days(key.created_at, now) > API_KEY_DAYS);
    let old: Vec<&str> = old.map(|key| key.id.as_str()).collect();
    let seen = format!("{} in use", live.len());
    if old.is_empty() {
        return Some(Check::ok("API keys", seen));
    }
    let seen = format!("{seen}; older than {API_KEY_DAYS} days: {}", old.join(", "));
    let advice = "make new ones with `hundi key create`, hand them out, then `hundi key revoke ID`";
    Some(Check::warn("API keys", seen, advice))
}

/// Registered tools whose doubts only a person can end.
pub async fn settled_by_people(broker: &Broker) -> Option<Check> {
    let alone = broker.tools.settled_by_people().await.ok()?;
    let advice = "give them a `lookup`, an `idempotency_header` or a `marker`, or be there when \
                  an outcome is unknown";
    let seen = format!("nobody can be asked about {}", alone.join(", "));
    (!alone.is_empty()).then(|| Check::warn("recovery", seen, advice))
}

/// Tools of upstreams that nobody can use until an operator has looked at them.
pub async fn waiting_tools(config: &Config, broker: &Broker) -> Option<Check> {
    if config.upstreams.is_empty() && config.tools.is_empty() {
        return None;
    }
    if let Err(trouble) = broker.tools.tend_tools().await {
        return Some(Check::fail(
            "tools",
            trouble.to_string(),
            "their pins cannot be read",
        ));
    }
    if let Ok(unknown) = broker.tools.unknown_tool_rules().await
        && !unknown.is_empty()
    {
        let advice = "mend `hundi.toml`: the server does not start with it";
        return Some(Check::fail("tools", unknown.join("; "), advice));
    }
    let complaints = broker.tools.catalogue().complaints();
    if !complaints.is_empty() {
        let told = complaints.iter();
        let told = told.map(|(upstream, what)| format!("{upstream}: {}", what.join("; ")));
        let seen = told.collect::<Vec<_>>().join("; ");
        let advice = "until this is mended the tools concerned cannot be used";
        return Some(Check::fail("tools", seen, advice));
    }
    let infos = broker.tools.catalogue().shared_infos();
    let waits = |standing| standing == Standing::New || standing == Standing::Changed;
    let waiting = infos.values().filter(|info| waits(info.standing));
    let waiting: Vec<&str> = waiting.map(|info| info.name.as_str()).collect();
    Some(if waiting.is_empty() {
        Check::ok("tools", "none waits for an operator")
    } else {
        let seen = format!("quarantined until accepted: {}", waiting.join(", "));
        Check::warn(
            "tools",
            seen,
            "`hundi tool list --waiting`, then `hundi tool accept NAME`",
        )
    })
}

/// hundi can only refuse what passes through it.
pub fn ways_around(config: &Config) -> Check {
    const THEIRS: [&str; 2] = ["RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET"];
    let environment = environment();
    let found = THEIRS
        .into_iter()
        .filter(|name| environment.contains_key(*name));
    let found: Vec<&str> = found.collect();
    if !found.is_empty() {
        let seen = format!("{} set here", found.join(" and "));
        let advice = "an agent started from this environment can pay without hundi: unset them";
        return Check::warn("ways around", seen, advice);
    }
    let seen = if config.sandbox_mode() {
        "none seen here"
    } else {
        "none seen here; see to it that no agent has credentials of the bank, or a folder with them"
    };
    Check::ok("ways around", seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::cli::doctor::Health;

    #[test]
    fn this_build_spells_json_as_others_do() {
        assert_eq!(canonical_form().health, Health::Ok);
    }

    #[test]
    fn a_file_that_others_can_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.key");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        assert_eq!(open_files(folder.path()), std::slice::from_ref(&path));
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert!(open_files(folder.path()).is_empty());
    }
}
