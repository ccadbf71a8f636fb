//! Low-risk tools pass through.

use serde_json::Value;

use super::{Broker, Trouble};
use crate::domain::principal::Principal;

/// What an upstream answered to a pass-through call.
#[derive(Clone, Debug, PartialEq)]
pub struct Invoked {
    /// Its content.
    pub content: Value,
    /// It called it an error.
    pub is_error: bool,
}

impl Broker {
    /// Calls a low-risk tool at its upstream.
    pub async fn invoke(
        &self,
        who: &Principal,
        tool: &str,
        arguments: &Value,
    ) -> Result<Invoked, Trouble> {
        let _ = (who, tool, arguments);
        todo!()
    }
}
