//! Checking documents of all kinds together, before any is written: for whoever keeps them in files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Call, Effect, Operation, Rest};
use crate::broker::Trouble;
use crate::broker::tools::check::Beside;
use crate::domain::principal::Right;

/// Longest request: some thousand documents.
const MAX_DOCUMENTS: usize = 16 * 1024 * 1024;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("check_documents", check)
            .says(
                "Check documents",
                "Hold documents against each other and against what there is, as if they were \
                 written in this order, and tell each as it would be kept, or what is wrong with it. \
                 Nothing is written.",
            )
            .needs(&[Right::ReadSetup])
            .does(Effect::Reads)
            .rest(
                Rest::post("/v1/documents/check")
                    .up_to(MAX_DOCUMENTS)
                    .answers(200, "what would become of each"),
            ),
    ]
}

/// Documents, each as the body that makes it; a policy with the `agent_id` that it is for.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Documents {
    sources: Vec<Map<String, Value>>,
    tools: Vec<Map<String, Value>>,
    servers: Vec<Map<String, Value>>,
    access: Vec<Map<String, Value>>,
    policies: Vec<Map<String, Value>>,
}

/// In the order in which they were given.
#[derive(Default, Serialize, JsonSchema)]
struct CheckedDocuments {
    sources: Vec<Checked>,
    tools: Vec<Checked>,
    servers: Vec<Checked>,
    access: Vec<Checked>,
    policies: Vec<Checked>,
}

/// One of `document` and `problem`.
#[derive(Serialize, JsonSchema)]
struct Checked {
    /// As it would be kept, with what it left to defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Value>,
    /// Why it would be refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Refused>,
    /// What whoever writes it should know: what it names and nobody is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

impl Checked {
    fn warning(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }
}

/// Why a document would be refused.
#[derive(Serialize, JsonSchema)]
struct Refused {
    code: &'static str,
    detail: String,
}

impl From<Result<Value, Trouble>> for Checked {
    fn from(checked: Result<Value, Trouble>) -> Self {
        let (document, problem) = match checked {
            Ok(document) => (Some(document), None),
            Err(trouble) => {
                let (code, detail) = (trouble.code(), trouble.to_string());
                (None, Some(Refused { code, detail }))
            }
        };
        Self {
            document,
            problem,
            warnings: Vec::new(),
        }
    }
}

async fn check(call: Call, asked: Documents) -> Result<CheckedDocuments, Trouble> {
    let (broker, who) = (&call.broker, &call.who);
    let mut beside = Beside::default();
    let mut told = CheckedDocuments::default();
    for source in asked.sources {
        let checked = broker.tools.check_source(who, &json!(source), &mut beside);
        told.sources.push(checked.into());
    }
    for tool in asked.tools {
        let tool = json!(tool);
        let checked = broker.tools.check_tool(who, &tool, &mut beside);
        told.tools.push(checked.await.into());
    }
    for server in asked.servers {
        let checked = broker.tools.check_server(who, &json!(server), &mut beside);
        told.servers.push(checked.into());
    }
    if asked.access.is_empty() && asked.policies.is_empty() {
        return Ok(told);
    }
    let here = broker.tools.here(who, &beside).await?;
    for rule in asked.access {
        let checked = broker.tools.check_rule(who, &json!(rule));
        let warnings = checked.as_ref().map(|rule| here.unknown_to_rule(rule));
        let warnings = warnings.unwrap_or_default();
        told.access.push(Checked::from(checked).warning(warnings));
    }
    for mut policy in asked.policies {
        let agent = policy.remove("agent_id");
        let agent = agent.as_ref().and_then(Value::as_str);
        let checked = broker.pay.check_policy(who, &json!(policy));
        let warnings = checked
            .as_ref()
            .map(|policy| here.unknown_to_policy(agent, policy));
        let warnings = warnings.unwrap_or_default();
        told.policies.push(Checked::from(checked).warning(warnings));
    }
    Ok(told)
}
