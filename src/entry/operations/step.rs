//! `T_propose` and `T_commit`: two operations, each with the tool given by its name.

use std::sync::LazyLock;

use serde_json::Value;

use super::{Answer, Call, Operation, input, pay};
use crate::broker::Trouble;
use crate::domain::principal::Right;

/// An operation one field of which is given by something else than the input.
pub struct Step {
    operation: Operation,
    field: &'static str,
    reader: input::Reader,
}

/// The two steps of every tool that moves money or changes something.
pub struct Steps {
    /// Decides.
    pub propose: Step,
    /// Does it, once.
    pub commit: Step,
}

impl Step {
    pub(super) fn of(operation: Operation, field: &'static str) -> Self {
        let mut schema = operation.input().clone();
        if let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) {
            fields.remove(field);
        }
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name != field);
        }
        Self {
            operation,
            field,
            reader: input::Reader::of(schema),
        }
    }

    /// Open to whoever has one of these.
    pub fn rights(&self) -> &'static [Right] {
        self.operation.rights
    }

    /// JSON Schema of the input, without the field.
    pub fn input(&self) -> &Value {
        self.reader.schema()
    }

    /// JSON Schema of the output, complete in itself.
    pub fn output(&self) -> Value {
        self.operation.whole_output()
    }

    /// Says what does not fit of an input without the field.
    pub fn check(&self, input: &Value) -> Result<(), String> {
        self.reader.check(input)
    }

    /// As [`Operation::answer`], with the field given.
    pub async fn answer(
        &self,
        call: Call,
        given: &str,
        mut input: Value,
        unfit: fn(String) -> Trouble,
    ) -> Result<Answer, Trouble> {
        self.operation.refuse(&call.who)?;
        self.check(&input).map_err(unfit)?;
        if let Some(fields) = input.as_object_mut() {
            fields.insert(self.field.to_owned(), given.into());
        }
        (self.operation.run)(call, input).await
    }
}

/// `T_propose` and `T_commit`, whatever the tool.
pub fn steps() -> &'static Steps {
    static STEPS: LazyLock<Steps> = LazyLock::new(pay::steps);
    &STEPS
}
