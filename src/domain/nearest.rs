//! The name that was probably meant: of a setting, a tool, an agent.
//!
//! Advice only. Nothing is ever done to the nearest name instead of the one that was given.

/// The name closest to a mistyped one, if any is close enough to be meant.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let typed_last = last(typed);
    known
        .map(|name| {
            // The right name in the wrong table, and the unit left out, are what TOML and haste
            // make easiest to get wrong.
            let cut_short = typed.len() >= 5 && name.starts_with(typed);
            let distance = if last(name) == typed_last || cut_short {
                1
            } else {
                distance(typed, name)
            };
            (distance, name)
        })
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein's distance, over bytes.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_near_and_nothing_else_is() {
        let known = ["agent-1", "reconciler", "transfer_funds"];
        let cases = [
            ("agnet-1", Some("agent-1")),
            ("agent-2", Some("agent-1")),
            ("reconcile", Some("reconciler")),
            ("tranfer_funds", Some("transfer_funds")),
            ("payroll", None),
        ];
        for (typed, meant) in cases {
            assert_eq!(nearest(typed, known.into_iter()), meant, "{typed}");
        }
    }
}
