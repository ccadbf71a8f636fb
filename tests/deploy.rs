//! What `examples/deploy/` holds, held against the program: every variable exists, every probed path is a
//! route, every mounted key is one that the start accepts. No engine and no cluster runs here;
//! `tests/deploy/lint` adds each format's own linter.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use hundi::config::layers::Environment;
use hundi::config::{Config, settings::SETTINGS};
use hundi::entry::http;
use regex::Regex;

/// Where the image's listener is, inside the container.
const PORT: &str = "8787";

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/deploy")
}

fn text(file: &str) -> String {
    std::fs::read_to_string(deploy().join(file)).unwrap()
}

const FILES: [&str; 9] = [
    "Dockerfile",
    "compose.yaml",
    "kubernetes/deployment.yaml",
    "kubernetes/disruption.yaml",
    "kubernetes/kustomization.yaml",
    "kubernetes/network.yaml",
    "kubernetes/service.yaml",
    "kubernetes/settings.yaml",
    "kubernetes/workers.yaml",
];

/// `NAME: value` and `name: NAME` / `value: ...` pairs as YAML spells them here.
fn variables(text: &str) -> BTreeMap<String, String> {
    let line = Regex::new(r"(?m)^\s+(HUNDI_[A-Z_]+): (.+)$").unwrap();
    let pair = Regex::new(r"- name: (HUNDI_[A-Z_]+)\n\s+value: (.+)\n").unwrap();
    let found = line.captures_iter(text).chain(pair.captures_iter(text));
    found
        .map(|found| (found[1].to_owned(), found[2].trim_matches('"').to_owned()))
        .collect()
}

#[test]
fn every_variable_is_a_setting() {
    let mut known = BTreeSet::new();
    for setting in SETTINGS {
        known.insert(setting.variable());
        if setting.kind.is_secret() {
            known.insert(format!("{}_FILE", setting.variable()));
        }
    }
    let named = Regex::new(r"\bHUNDI_[A-Z][A-Z_]+").unwrap();
    for file in FILES {
        for found in named.find_iter(&text(file)) {
            assert!(known.contains(found.as_str()), "{file}: {}", found.as_str());
        }
    }
}

/// The keys that the script makes, in a folder of their own.
fn fresh_keys() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("sh")
        .arg(deploy().join("secrets.sh"))
        .arg(folder.path())
        .status();
    assert!(made.unwrap().success());
    folder
}

/// The configuration that a container would start with, its mounts moved to where files are here.
fn loaded(mut given: BTreeMap<String, String>, mount: &str, files: &Path) -> Config {
    for value in given.values_mut() {
        *value = value.replace(mount, &files.display().to_string());
    }
    let environment: Environment = given
        .into_iter()
        .map(|(name, value)| (name, OsString::from(value)))
        .collect();
    Config::load(None, &environment, &[]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_compose_file_starts_nodes_on_shared_stores() {
    let keys = fresh_keys();
    let compose = text("compose.yaml");
    let (nodes, bank) = compose.split_once("\n  bank:\n    image").unwrap();
    let config = loaded(variables(nodes), "/run/secrets", keys.path());
    assert!(config.on_postgres() && config.redis_url.is_some());
    assert!(!config.sandbox_mode(), "the bank is another container");
    let port = config.razorpay.api_base.rsplit(':').next().unwrap();
    let bank = loaded(variables(bank), "/run/secrets", keys.path());
    assert_eq!(bank.sandbox_listen.port().to_string(), port);
    assert!(bank.sandbox_listen.ip().is_unspecified());
}

#[test]
fn the_manifests_start_nodes_on_shared_stores() {
    let keys = fresh_keys();
    for name in ["key_secret", "webhook_secret"] {
        let secret = "Zq8f2vT0bLw6-from-the-bank";
        std::fs::write(keys.path().join(name), secret).unwrap();
    }
    for file in ["kubernetes/deployment.yaml", "kubernetes/workers.yaml"] {
        starts_on_shared_stores(file, keys.path());
    }
    let workers = text("kubernetes/workers.yaml");
    let gauge = Regex::new(r"metric: \{name: (\w+)\}").unwrap();
    let gauge = &gauge.captures(&workers).unwrap()[1];
    let named = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/models.rs");
    let named = std::fs::read_to_string(named).unwrap();
    assert!(named.contains(&format!("gauge!(\"{gauge}\"")), "{gauge}");
    // Nobody is sent to a worker: it opens no port.
    assert!(!workers.contains("app.kubernetes.io/name: hundi}"));
    assert!(text("kubernetes/kustomization.yaml").contains("  - workers.yaml\n"));
}

fn starts_on_shared_stores(file: &str, keys: &Path) {
    let deployment = text(file);
    let mut given = variables(&text("kubernetes/settings.yaml"));
    given.extend(variables(&deployment));
    // From a Secret, which no file here holds.
    let from_secret = [
        ("HUNDI_DATABASE_URL", "postgres://hundi@db/hundi"),
        ("HUNDI_REDIS_URL", "rediss://redis:6379"),
    ];
    for (name, value) in from_secret {
        assert!(deployment.contains(&format!("- name: {name}\n")));
        given.insert(name.to_owned(), value.to_owned());
    }
    for mount in ["/secrets/keys", "/secrets/bank"] {
        assert!(deployment.contains(&format!("mountPath: {mount}, readOnly: true")));
        for value in given.values_mut() {
            *value = value.replace(mount, "/secrets");
        }
    }
    let config = loaded(given, "/secrets", keys);
    assert!(config.on_postgres() && config.redis_url.is_some());
    assert_eq!(config.listen.port().to_string(), PORT);
}

#[test]
fn probes_ask_for_paths_that_exist_on_the_port_that_listens() {
    let deployment = text("kubernetes/deployment.yaml");
    let probe = Regex::new(r"httpGet: \{path: (\S+), port: (\S+)\}").unwrap();
    let routes: BTreeSet<&str> = http::operations().map(|op| op.path).collect();
    let mut probes = 0;
    for found in probe.captures_iter(&deployment) {
        assert!(routes.contains(&found[1]), "{}", &found[1]);
        assert_eq!(&found[2], "http");
        probes += 1;
    }
    assert_eq!(probes, 3, "startup, readiness, liveness");
    assert!(deployment.contains(&format!("{{name: http, containerPort: {PORT}}}")));
    assert!(text("Dockerfile").contains(&format!("EXPOSE {PORT}\n")));
    assert!(text("kubernetes/network.yaml").contains(&format!("port: {PORT}")));
    // A liveness probe on the store would restart every node when the database is away.
    let liveness = deployment.split("livenessProbe:").nth(1).unwrap();
    assert!(
        liveness
            .trim_start()
            .starts_with("httpGet: {path: /healthz")
    );
}

#[test]
fn nothing_runs_as_root_or_with_rights_it_does_not_need() {
    let dockerfile = text("Dockerfile");
    let run = dockerfile.rsplit("\nFROM ").next().unwrap();
    assert!(run.contains("\nUSER 65532:65532\n"), "{run}");
    assert!(run.contains("\nSTOPSIGNAL SIGTERM\n"));
    for file in ["kubernetes/deployment.yaml", "kubernetes/workers.yaml"] {
        let deployment = text(file);
        for line in [
            "runAsNonRoot: true",
            "runAsUser: 65532",
            "allowPrivilegeEscalation: false",
            "readOnlyRootFilesystem: true",
            "capabilities: {drop: [ALL]}",
            "seccompProfile: {type: RuntimeDefault}",
            "automountServiceAccountToken: false",
        ] {
            assert!(deployment.contains(line), "{file}: {line}");
        }
    }
    let compose = text("compose.yaml");
    let ours = compose.matches("image: hundi:").count();
    for line in [
        "read_only: true",
        "cap_drop: [ALL]",
        "no-new-privileges:true",
    ] {
        assert_eq!(compose.matches(line).count(), ours, "{line}");
    }
}

/// The orchestrator's patience is longer than ours: whoever is killed while it finishes leaves
/// doubts that recovery has to settle.
#[test]
fn a_stop_waits_for_what_was_claimed() {
    let drain = http::Limits::default().drain.as_secs();
    let deadline = Config::load(None, &Environment::new(), &[])
        .unwrap()
        .call_deadline;
    let needed = drain + 2 * deadline.as_secs();
    let seconds = |text: &str, key: &str| -> u64 {
        let pattern = Regex::new(&format!(r"{key}: (\d+)s?\n")).unwrap();
        pattern.captures(text).unwrap()[1].parse().unwrap()
    };
    let compose = seconds(&text("compose.yaml"), "stop_grace_period");
    assert!(compose >= needed, "{compose} s, and {needed} are needed");
    let deployment = text("kubernetes/deployment.yaml");
    let pod = seconds(&deployment, "terminationGracePeriodSeconds");
    let pause = Regex::new(r"preStop: \{sleep: \{seconds: (\d+)\}\}").unwrap();
    let pause: u64 = pause.captures(&deployment).unwrap()[1].parse().unwrap();
    assert!(
        pod >= needed + pause,
        "{pod} s, and {} are needed",
        needed + pause
    );
}

#[test]
fn kustomization_names_every_manifest_and_nothing_else() {
    let named = Regex::new(r"(?m)^  - (\S+\.yaml)$").unwrap();
    let kustomization = text("kubernetes/kustomization.yaml");
    let named: BTreeSet<String> = named
        .captures_iter(&kustomization)
        .map(|found| found[1].to_owned())
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(deploy().join("kubernetes"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    assert_eq!(named, there);
    let version = format!("newTag: {}", env!("CARGO_PKG_VERSION"));
    assert!(kustomization.contains(&version));
    let image = format!("image: hundi:{}", env!("CARGO_PKG_VERSION"));
    assert!(text("compose.yaml").contains(&image));
}

#[test]
fn keys_that_are_there_are_kept() {
    let keys = fresh_keys();
    let read = || std::fs::read_to_string(keys.path().join("token_key")).unwrap();
    let first = read();
    let again = Command::new("sh")
        .arg(deploy().join("secrets.sh"))
        .arg(keys.path())
        .status();
    assert!(again.unwrap().success());
    assert_eq!(read(), first);
    assert_eq!(first.len(), 64, "hex of 32 bytes");
}
