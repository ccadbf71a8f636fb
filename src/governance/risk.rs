//! What an agent's history says, told to people: the answers of `score_transaction_risk` and
//! `get_agent_risk_profile`, in the field names that clients of such tools know (`_paise` is the
//! minor unit, whatever the currency).
//!
//! The judging itself is `anomaly`'s; asking teaches it nothing.
#![allow(
    clippy::float_arithmetic,
    reason = "statistics over amounts, for people; no amount is computed from them"
)]

use serde_json::{Value, json};

use super::anomaly::{HOLD_AT, Look, MIN_HISTORY, assess, float, log, median};
use crate::domain::facts::PastPayout;
use crate::domain::ids::AgentId;

/// The answer of `score_transaction_risk`, four decimals, in the fields clients know.
pub fn risk(look: &Look<'_>) -> Value {
    let trained = look.history.len() >= MIN_HISTORY;
    let assessed = assess(look);
    // Too little to judge is neither safe nor risky.
    let risk = if trained {
        assessed.risk
    } else {
        assessed.risk.max(0.5)
    };
    let anomalous = assessed.risk >= HOLD_AT;
    let detail = if !assessed.reasons.is_empty() {
        assessed.reasons.join("; ")
    } else if trained {
        "nothing unusual".to_owned()
    } else {
        format!(
            "too little to judge: {} of {MIN_HISTORY} payouts",
            look.history.len()
        )
    };
    json!({
        "risk_score": rounded(risk),
        "raw_score": rounded(0.5 - risk),
        "is_anomalous": anomalous,
        "features": {
            "amount_log": rounded(log(look.minor)),
            "hour_of_day": look.hour_of_week % 24,
            "day_of_week": look.hour_of_week / 24,
            "amount_zscore": assessed.zscore.map(rounded),
        },
        "reasons": assessed.reasons,
        "model_trained": trained,
        "training_samples": look.history.len(),
        "detail": detail,
    })
}

/// The answer of `get_agent_risk_profile`. `hours` are the hours of the week of the history.
pub fn profile(agent: &AgentId, history: &[PastPayout], hours: &[u8]) -> Value {
    if history.is_empty() {
        return json!({"agent_id": agent, "total_transactions": 0, "profile": "no_data"});
    }
    let mut amounts: Vec<i64> = history.iter().map(|past| past.minor).collect();
    amounts.sort_unstable();
    let mut by_hour = [0_u32; 24];
    for hour in hours {
        by_hour[usize::from(hour % 24)] += 1;
    }
    let busiest = (0..24).rev().max_by_key(|hour| by_hour[*hour]);
    let distribution = by_hour.iter().enumerate().filter(|(_, count)| **count > 0);
    let distribution: serde_json::Map<String, Value> = distribution
        .map(|(hour, count)| (hour.to_string(), json!(count)))
        .collect();
    let mut payees: Vec<&str> = history
        .iter()
        .filter_map(|past| past.payee.as_deref())
        .collect();
    payees.sort_unstable();
    payees.dedup();
    let mut floats: Vec<f64> = amounts.iter().map(|minor| float(*minor)).collect();
    let mean = mean(&floats);
    let squares: Vec<f64> = floats.iter().map(|value| (value - mean).powi(2)).collect();
    json!({
        "agent_id": agent,
        "total_transactions": history.len(),
        "amount_stats": {
            "mean_paise": mean.round(),
            "median_paise": median(&mut floats).round(),
            "min_paise": amounts.first(),
            "max_paise": amounts.last(),
            "std_paise": self::mean(&squares).sqrt().round(),
        },
        "time_stats": {"most_active_hour": busiest, "hour_distribution": distribution},
        "distinct_payees": payees.len(),
        "first_at": history.last().map(|past| past.at.to_string()),
        "last_at": history.first().map(|past| past.at.to_string()),
    })
}

fn mean(values: &[f64]) -> f64 {
    let count = u32::try_from(values.len()).unwrap_or(u32::MAX).max(1);
    values.iter().sum::<f64>() / f64::from(count)
}

fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Currency;
    use crate::domain::time::Timestamp;
    use crate::domain::tool::Payee;

    fn history() -> Vec<PastPayout> {
        (1..=30)
            .map(|index| PastPayout {
                at: Timestamp::from_secs(1_000 - index),
                minor: 9_800 + index % 5 * 100,
                payee: Some("acct_123".into()),
                vendor: None,
            })
            .collect()
    }

    #[test]
    fn risk_and_profile_answer_in_the_known_fields() {
        let history = history();
        let hours = vec![34_u8; 30];
        let payee = Payee::default();
        let look = Look {
            minor: 10_000_000,
            currency: Currency::INR,
            now: Timestamp::from_secs(1_000),
            hour_of_week: 34,
            payee: &payee,
            history: &history,
            hours: &hours,
        };
        let risk = risk(&look);
        assert_eq!(risk["is_anomalous"], true);
        assert_eq!(risk["features"]["amount_log"], 7.0);
        assert_eq!(
            (
                &risk["features"]["hour_of_day"],
                &risk["features"]["day_of_week"]
            ),
            (&json!(10), &json!(1))
        );
        assert_eq!(
            (&risk["model_trained"], &risk["training_samples"]),
            (&json!(true), &json!(30))
        );
        let untrained = super::risk(&Look {
            history: &[],
            hours: &[],
            ..look
        });
        assert_eq!(
            (&untrained["risk_score"], &untrained["is_anomalous"]),
            (&json!(0.5), &json!(false))
        );
        assert_eq!(untrained["detail"], "too little to judge: 0 of 20 payouts");

        let agent = "agent-1".parse().unwrap();
        let profile = profile(&agent, &history, &hours);
        assert_eq!(profile["total_transactions"], 30);
        assert_eq!(profile["amount_stats"]["median_paise"], 10_000.0);
        assert_eq!(profile["amount_stats"]["min_paise"], 9_800);
        assert_eq!(
            profile["time_stats"],
            json!({"most_active_hour": 10, "hour_distribution": {"10": 30}})
        );
        assert_eq!(super::profile(&agent, &[], &[])["profile"], "no_data");
    }
}
