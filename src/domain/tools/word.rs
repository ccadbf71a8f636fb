//! Which changes of a tool take an operator's word: whoever writes a tool is not believed when the
//! tool is to be watched less.
//!
//! What was said of a tool holds for that tool only. Where its arguments, its source or what it does
//! become others, it has to be said again.

use serde_json::Value;

use super::ToolKind;
use super::def::ToolDef;
use crate::domain::tool::Risk;

/// What of a change takes an operator's word, as the end of a sentence; `None` where nothing does.
/// `before` is the document that is replaced, if one is.
pub fn needed(before: Option<&Value>, after: &ToolDef) -> Option<&'static str> {
    let next = after.document();
    let same = |field: &str| before.is_some_and(|before| before.get(field) == next.get(field));
    let had = |field: &str| before.and_then(|before| before.get(field)).is_some();
    let does_the_same = || ["kind", "source", "exec"].into_iter().all(same);
    let lowers = before.is_some_and(|before| before["risk"] == "high") && after.risk == Risk::Low;
    if lowers {
        return Some("to lower a risk");
    }
    // A program was named by whoever wrote the configuration; a server's tools nobody has looked at.
    let free = after.exec.kind() == ToolKind::Mcp;
    if free && after.risk == Risk::Low && !(same("risk") && does_the_same()) {
        return Some("that a tool whose reading nothing enforces is of low risk");
    }
    let denies = after.money.as_ref().is_some_and(super::Money::denies);
    if denies && !(same("money") && same("input_schema") && does_the_same()) {
        return Some("that what looks like money is none");
    }
    if had("money") && !same("money") {
        return Some("to change what a tool moves");
    }
    let denies = after.payee.as_ref().is_some_and(super::PaysTo::denies);
    if denies && !(same("payee") && same("input_schema") && does_the_same()) {
        return Some("that what looks like a payee is none");
    }
    // Where nobody said it, its arguments did.
    if (had("payee") || had("money")) && !same("payee") {
        return Some("to change whom a tool pays");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(changes: Value) -> ToolDef {
        let mut document = json!({
            "name": "pay", "kind": "rest", "source": "api", "description": "Pays.",
            "risk": "high", "exec": {"method": "POST", "path": "/pay"},
            "input_schema": {"type": "object", "properties": {"amount": {"type": "integer"}},
                             "required": ["amount"]},
            "money": {"amount": "/amount", "currency": "INR"},
        });
        for (key, value) in changes.as_object().unwrap() {
            document[key] = value.clone();
        }
        ToolDef::read(&document).unwrap()
    }

    #[test]
    #[rustfmt::skip]
    fn watching_a_tool_less_takes_an_operators_word() {
        let (pays, none) = (json!({}), json!({"money": "none"}));
        let low = json!({"money": "none", "risk": "low"});
        let plain = json!({"money": null, "input_schema": {}});
        let to = json!({"required": ["amount", "to"], "properties": {"amount": {}, "to": {}}});
        let run = |risk: &str| json!({"money": null, "input_schema": {}, "kind": "mcp", "exec": {"tool": "t"}, "risk": risk});
        let with = |base: &Value, field: &str, value: Value| {
            let mut all = base.clone();
            all[field] = value;
            all
        };
        for (before, after, word) in [
            (None,                 pays.clone(),                                       false),
            (None,                 none.clone(),                                       true),
            (None,                 low.clone(),                                        true),
            (Some(pays.clone()),   pays.clone(),                                       false),
            (Some(pays.clone()),   with(&pays, "description", json!("x")),             false),
            (Some(pays.clone()),   none.clone(),                                       true),
            (Some(pays.clone()),   plain.clone(),                                      true),
            (Some(plain.clone()),  pays.clone(),                                       false),
            (Some(pays.clone()),   json!({"money": {"amount": "/amount", "currency": "USD"}}), true),
            (Some(none.clone()),   with(&none, "description", json!("x")),             false),
            (Some(none.clone()),   with(&none, "exec", json!({"method": "POST", "path": "/y"})), true),
            (Some(none.clone()),   with(&none, "source", json!("other")),              true),
            (Some(none.clone()),   with(&none, "input_schema", json!({})),             true),
            (Some(none.clone()),   low.clone(),                                        true),
            (Some(low.clone()),    low.clone(),                                        false),
            (Some(low.clone()),    none.clone(),                                       false),
            (None,                 json!({"payee": "none"}),                           true),
            (Some(json!({"payee": {"account": "/to"}, "input_schema": to})), json!({"payee": null}), true),
            (None,                 json!({"payee": {"account": "/to"}, "input_schema": to}), false),
            (None,                 run("low"),                                         true),
            (None,                 run("high"),                                        false),
            (Some(run("low")),     run("low"),                                         false),
            (Some(run("low")),     with(&run("low"), "source", json!("other")),        true),
            (Some(run("low")),     run("high"),                                        false),
            (Some(run("high")),    run("low"),                                         true),
        ] {
            let earlier = before.clone().map(|changes| tool(changes).document());
            let found = needed(earlier.as_ref(), &tool(after.clone()));
            assert_eq!(found.is_some(), word, "{before:?} {after} {found:?}");
        }
    }
}
