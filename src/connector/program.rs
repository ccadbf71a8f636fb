//! A program as a tool: which document it reads, and what its end proves.
//!
//! A program that ends with 0 and one document has done it. Whatever else happens may have happened
//! after its effect, so of a high-risk program only one that was never started has certainly done
//! nothing; the rest is for a person.

use serde_json::Value;

use crate::domain::call::{Outcome, Receipt, RecoveryContract, Reply};
use crate::domain::tool::Risk;
use crate::domain::tools::{Invalid, ProgramExec, pointer};

/// Checks a tool's `exec` against its schema.
pub fn check(exec: &ProgramExec, schema: &Value, risk: Risk) -> Result<(), Invalid> {
    let at = "/exec/input";
    let Some(input) = &exec.input else {
        return Ok(());
    };
    if risk == Risk::Low && input.names_proposal() {
        return Err(Invalid::tool(at, "a tool of low risk has no proposal"));
    }
    let pointers = input.pointers();
    for pointer in &pointers {
        pointer::in_schema(schema, pointer).map_err(|why| Invalid::tool(at, why))?;
    }
    if pointers.contains(&"") {
        return Ok(());
    }
    let used: Vec<String> = pointers.into_iter().filter_map(pointer::root).collect();
    match pointer::required(schema).find(|name| !used.iter().any(|root| root == name)) {
        Some(name) => {
            let why = format!("the required property `{name}` is not used");
            Err(Invalid::tool(at, why))
        }
        None => Ok(()),
    }
}

/// The document that the program reads.
pub fn input(exec: &ProgramExec, args: &Value, proposal: &str) -> Value {
    match &exec.input {
        Some(input) => input.filled(args, proposal).unwrap_or(Value::Null),
        None => args.clone(),
    }
}

/// What may be done about an unknown outcome: nothing, a person decides.
pub fn recovery() -> RecoveryContract {
    RecoveryContract::NONE
}

/// What a run proves.
pub fn outcome(reply: &Reply) -> Outcome {
    match reply {
        Reply::Result {
            content,
            is_error: false,
        } => Outcome::Executed(Receipt {
            provider_id: None,
            provider_state: None,
            reversed: false,
            settled_unreadable: false,
            settled_minor: None,
            result: content.clone(),
            blocks: Value::Null,
        }),
        Reply::Result { content, .. } => {
            let words = content.get("description").and_then(Value::as_str);
            Outcome::Unknown(format!("it failed: {}", words.unwrap_or_default()))
        }
        Reply::NotSent(why) => Outcome::NotSent(why.clone()),
        Reply::RpcError { .. }
        | Reply::TurnedAway { .. }
        | Reply::TooLarge { .. }
        | Reply::Lost(_) => Outcome::Unknown(reply.why()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_program_reads_its_arguments_or_what_they_are_put_into() {
        let args = json!({"id": 1, "note": "n"});
        assert_eq!(input(&ProgramExec::default(), &args, "P"), args);
        let exec: ProgramExec = serde_json::from_value(
            json!({"input": {"ref": {"$proposal": "id"}, "of": {"$arg": "/id"}}}),
        )
        .unwrap();
        assert_eq!(input(&exec, &args, "P"), json!({"ref": "P", "of": 1}));
        let schema = json!({"properties": {"id": {}, "note": {}}, "required": ["id"]});
        assert_eq!(check(&exec, &schema, Risk::High), Ok(()));
        assert!(check(&exec, &schema, Risk::Low).is_err());
        let schema = json!({"properties": {"id": {}, "note": {}}, "required": ["note"]});
        assert!(check(&exec, &schema, Risk::High).is_err());
        assert!(check(&exec, &json!({"properties": {}}), Risk::High).is_err());
    }

    #[test]
    fn only_a_good_end_is_a_yes_and_only_no_start_is_a_no() {
        let result = |is_error| Reply::Result {
            content: json!("x"),
            is_error,
        };
        assert!(matches!(outcome(&result(false)), Outcome::Executed(_)));
        assert!(matches!(outcome(&result(true)), Outcome::Unknown(_)));
        assert!(matches!(
            outcome(&Reply::NotSent("x".into())),
            Outcome::NotSent(_)
        ));
        assert!(matches!(
            outcome(&Reply::Lost("x".into())),
            Outcome::Unknown(_)
        ));
        assert!(matches!(
            outcome(&Reply::TooLarge { limit: 1 }),
            Outcome::Unknown(_)
        ));
    }
}
