//! `hundi doctor`: what was examined, how it is, and what to do about it. Who examines is
//! elsewhere; this says it in one line each.

use std::io::Write;

use serde_json::{Value, json};

use super::{Failure, Json, print};

/// Flags of `hundi doctor`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

/// How one thing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// As it should be.
    Ok,
    /// Works, and deserves a look.
    Warn,
    /// Does not work.
    Fail,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        }
    }
}

/// One thing that was examined.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What: `store`, `upstream bank`.
    pub name: String,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub seen: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(name: impl Into<String>, seen: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            health: Health::Ok,
            seen: seen.into(),
            advice: None,
        }
    }

    /// It works, and still.
    pub fn warn(
        name: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            health: Health::Warn,
            advice: Some(advice.into()),
            ..Self::ok(name, seen)
        }
    }

    /// It does not work.
    pub fn fail(
        name: impl Into<String>,
        seen: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            health: Health::Fail,
            advice: Some(advice.into()),
            ..Self::ok(name, seen)
        }
    }
}

/// Prints what was examined; a failure if anything is broken.
pub fn report(args: &Args, checks: &[Check], out: &mut dyn Write) -> Result<(), Failure> {
    let broken = checks.iter().any(|check| check.health == Health::Fail);
    if args.json.json {
        let checks: Vec<Value> = checks.iter().map(spell).collect();
        print::json(out, &json!({"ok": !broken, "checks": checks}))?;
    } else {
        people(checks, out)?;
    }
    out.flush()?;
    if broken { Err(Failure::Told) } else { Ok(()) }
}

fn spell(check: &Check) -> Value {
    json!({
        "name": check.name,
        "status": check.health.name(),
        "detail": check.seen,
        "advice": check.advice,
    })
}

fn people(checks: &[Check], out: &mut dyn Write) -> std::io::Result<()> {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for check in checks {
        let advice = check.advice.as_ref();
        let advice = advice.map_or(String::new(), |advice| {
            format!(" -> {}", print::plain(advice))
        });
        let (health, name, seen) = (check.health.name(), &check.name, print::plain(&check.seen));
        writeln!(out, "{health:<4}  {name:<width$}  {seen}{advice}")?;
    }
    let count = |health| checks.iter().filter(|check| check.health == health).count();
    match (count(Health::Fail), count(Health::Warn)) {
        (0, 0) => writeln!(out, "\nAll is well."),
        (0, warned) => writeln!(out, "\nNothing is broken; {warned} deserve a look."),
        (broken, warned) => writeln!(out, "\n{broken} broken, {warned} deserve a look."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_broken_fails() {
        let args = Args {
            json: Json { json: true },
        };
        let fine = [Check::ok("a", "b"), Check::warn("c", "d", "e")];
        let mut out = Vec::new();
        assert!(report(&args, &fine, &mut out).is_ok());
        let told: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(told["checks"][1]["advice"], "e");
        let broken = [Check::fail("a", "b", "c")];
        assert!(matches!(
            report(&args, &broken, &mut Vec::new()),
            Err(Failure::Told)
        ));
    }
}
