//! The metrics as JSON, for `get_metrics`: read from the very text that Prometheus gets, so that
//! the two can never tell different numbers.

use serde_json::{Map, Number, Value, json};

use super::metrics::{METRICS, MetricKind, render};

/// `{"metrics": {name: {type, help, samples: [{labels, value}]}}, "prometheus_text": "..."}`. The
/// samples of a histogram carry the suffix of their series (`_bucket`, `_sum`, `_count`) as
/// `series`.
pub fn snapshot_json() -> Value {
    let text = render();
    let mut metrics = Map::new();
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        };
        let samples: Vec<Value> = text
            .lines()
            .filter_map(|line| sample(line, metric.name, metric.kind))
            .collect();
        let told = json!({"type": kind, "help": metric.help, "samples": samples});
        metrics.insert(metric.name.to_owned(), told);
    }
    json!({"metrics": metrics, "prometheus_text": text})
}

/// One line of a metric: `name[suffix][{label="value",...}] number`.
fn sample(line: &str, name: &str, kind: MetricKind) -> Option<Value> {
    let rest = line.strip_prefix(name)?;
    let (series, number) = rest.rsplit_once(' ')?;
    let (suffix, labels) = series.split_once('{').unwrap_or((series, ""));
    let fits = match kind {
        MetricKind::Counter | MetricKind::Gauge => suffix.is_empty(),
        MetricKind::Histogram => matches!(suffix, "_bucket" | "_sum" | "_count"),
    };
    if !fits {
        return None;
    }
    let labels = labels.strip_suffix('}').unwrap_or(labels);
    let mut told = json!({"labels": pairs(labels), "value": value(number)});
    if !suffix.is_empty() {
        told["series"] = json!(suffix);
    }
    Some(told)
}

/// No label of ours holds a comma or a quote: they are codes, names in the source and numbers.
fn pairs(labels: &str) -> Value {
    let pairs = labels.split(',').filter_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        Some((key.to_owned(), json!(value.trim_matches('"'))))
    });
    Value::Object(pairs.collect())
}

fn value(number: &str) -> Value {
    let whole = number.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| Number::from_f64(number.parse().ok()?));
    number.map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_sample() {
        let line = "hundi_commits_total{outcome=\"refused\",reason=\"expired\"} 3";
        assert_eq!(
            sample(line, "hundi_commits_total", MetricKind::Counter),
            Some(json!({"labels": {"outcome": "refused", "reason": "expired"}, "value": 3}))
        );
        let line = "hundi_commit_seconds_bucket{phase=\"send\",le=\"0.5\"} 7";
        assert_eq!(
            sample(line, "hundi_commit_seconds", MetricKind::Histogram),
            Some(json!({
                "labels": {"phase": "send", "le": "0.5"}, "value": 7, "series": "_bucket",
            }))
        );
        // Another metric whose name begins alike.
        let line = "hundi_in_doubt_oldest_seconds 1.5";
        assert_eq!(sample(line, "hundi_in_doubt", MetricKind::Gauge), None);
    }

    #[test]
    fn the_snapshot_names_every_metric_and_carries_the_text() {
        let snapshot = snapshot_json();
        for metric in METRICS {
            assert!(
                snapshot["metrics"][metric.name].is_object(),
                "{}",
                metric.name
            );
        }
        let text = snapshot["prometheus_text"].as_str().unwrap();
        assert!(text.contains("hundi_uptime_seconds"));
        assert!(
            !snapshot["metrics"]["hundi_held"]["samples"]
                .as_array()
                .unwrap()
                .is_empty()
        );
    }
}
