//! One list of metrics: what the source counts, what the page shows and what the dashboard asks for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hundi::telemetry::{METRICS, MetricKind, render, snapshot_json};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn known() -> BTreeSet<String> {
    let names = METRICS.iter().flat_map(|metric| match metric.kind {
        MetricKind::Counter | MetricKind::Gauge => vec![metric.name.to_owned()],
        MetricKind::Histogram => ["_bucket", "_sum", "_count"]
            .map(|suffix| format!("{}{suffix}", metric.name))
            .to_vec(),
    });
    names.collect()
}

/// Every word of the text that is spelt like a metric of ours.
fn named(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !part(c));
    words
        .filter(|word| word.starts_with("hundi_"))
        .map(str::to_owned)
        .collect()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_query_of_the_dashboard_names_a_metric_that_exists() {
    let text = std::fs::read_to_string(root().join("examples/deploy/grafana/hundi.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let mut asked = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let names = named(target["expr"].as_str().unwrap());
            assert!(!names.is_empty(), "{target}");
            asked.extend(names);
        }
    }
    let known = known();
    let unknown: Vec<_> = asked.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for metric in METRICS {
        let shown = asked.iter().any(|name| name.starts_with(metric.name));
        assert!(shown, "{} is on no panel", metric.name);
    }
}

#[test]
fn nothing_is_counted_under_a_name_that_is_not_listed() {
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    for file in files {
        let text: String = std::fs::read_to_string(&file)
            .unwrap()
            .split_whitespace()
            .collect();
        for call in ["counter!(\"", "gauge!(\"", "histogram!(\""] {
            for part in text.split(call).skip(1) {
                let name = part.split('"').next().unwrap();
                assert!(names.contains(name), "{name} in {}", file.display());
            }
        }
    }
}

#[test]
fn what_is_rendered_is_listed() {
    let known = known();
    for line in render()
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(known.contains(name), "{line}");
    }
    let snapshot = snapshot_json();
    assert_eq!(
        snapshot["metrics"].as_object().unwrap().len(),
        METRICS.len()
    );
}
