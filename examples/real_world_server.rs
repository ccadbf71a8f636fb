//! An upstream MCP server with ten business tools, to put hundi in front of: see
//! `real_world.toml` for the operator's rules and `real_world_client.rs` for a client.
//!
//! It is an ordinary MCP server that knows nothing of hundi, on stdio or, with `--http ADDRESS`,
//! over streamable HTTP at `/mcp`. Its business is in memory: what it did is gone when it ends.
//! What it does right, and what a rule can build on: every effect has an id, an effect repeats the
//! `reference` it was ordered under, and a repeated reference is the same effect.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::serve::ListenerExt;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ErrorData,
    Implementation, ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
    Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::transport::io::stdio_pipes;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{RoleServer, ServerHandler, ServiceExt};
use serde_json::{Map, Value, json};

/// One tool: its name, its words, the start of the ids it gives, whether it destroys, whether a
/// repetition changes nothing, whether it reaches beyond this company, and its arguments.
type Row = (&'static str, &'static str, &'static str, [bool; 3], Value);

fn rows() -> Vec<Row> {
    let text = json!({"type": "string", "minLength": 1, "maxLength": 200});
    let amount = json!({"type": "integer", "minimum": 1, "description": "Minor units."});
    let currency = json!({"type": "string", "pattern": "^[A-Z]{3}$"});
    let object = |fields: Value| {
        let required: Vec<&String> = fields
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, _)| k)
            .collect();
        let mut schema = json!({"type": "object", "required": required, "properties": fields});
        schema["properties"]["reference"] = text.clone();
        schema
    };
    vec![
        (
            "initiate_wire_transfer",
            "Sends money to another bank. Cannot be taken back.",
            "wire",
            [true, false, true],
            object(
                json!({"amount": amount, "currency": currency, "beneficiary_account": text, "beneficiary_name": text}),
            ),
        ),
        (
            "issue_invoice_refund",
            "Pays an invoice back to the customer.",
            "refund",
            [true, false, true],
            object(json!({"invoice_id": text, "amount": amount, "currency": currency})),
        ),
        (
            "freeze_payment_card",
            "Stops all payments with a card at once.",
            "card",
            [true, true, false],
            object(json!({"card_id": text, "reason": text})),
        ),
        (
            "unfreeze_payment_card",
            "Lets a frozen card pay again.",
            "card",
            [false, true, false],
            object(json!({"card_id": text})),
        ),
        (
            "create_expedited_shipment",
            "Books a courier for an order.",
            "ship",
            [false, false, true],
            object(json!({"order_id": text, "address": text})),
        ),
        (
            "cancel_shipment",
            "Calls a courier off.",
            "ship",
            [false, true, true],
            object(json!({"shipment_id": text})),
        ),
        (
            "schedule_clinic_visit",
            "Books an appointment.",
            "visit",
            [false, false, false],
            object(
                json!({"patient_id": text, "day": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}}),
            ),
        ),
        (
            "change_subscription_plan",
            "Moves a customer to another plan from the next month on.",
            "sub",
            [false, true, false],
            object(
                json!({"customer_id": text, "plan": {"type": "string", "enum": ["basic", "plus", "pro"]}}),
            ),
        ),
        (
            "reset_enterprise_password",
            "Ends every session of an employee and mails a new password.",
            "reset",
            [true, false, false],
            object(json!({"employee_id": text})),
        ),
        (
            "publish_feature_flag",
            "Switches a feature on or off for a share of all customers.",
            "flag",
            [true, true, true],
            object(
                json!({"flag": text, "percent": {"type": "integer", "minimum": 0, "maximum": 100}}),
            ),
        ),
    ]
}

/// The business. Cheap to clone.
#[derive(Clone, Default)]
struct Business {
    done: Arc<Mutex<Done>>,
}

#[derive(Default)]
struct Done {
    count: u32,
    by_reference: BTreeMap<String, Value>,
}

impl Business {
    /// Does it, or finds what was done under the same reference.
    fn act(&self, prefix: &str, arguments: Map<String, Value>) -> Value {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = arguments.get("reference").and_then(Value::as_str);
        let reference = reference.map(str::to_owned);
        if let Some(earlier) = reference
            .as_ref()
            .and_then(|name| done.by_reference.get(name))
        {
            return earlier.clone();
        }
        done.count += 1;
        let mut effect = Value::Object(arguments);
        effect["id"] = json!(format!("{prefix}_{:06}", done.count));
        effect["status"] = json!("done");
        if let Some(reference) = reference {
            done.by_reference.insert(reference, effect.clone());
        }
        effect
    }
}

impl ServerHandler for Business {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let us = Implementation::new("real-world", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(us)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = rows().into_iter().map(|(name, words, _, hints, schema)| {
            let [destructive, idempotent, open_world] = hints;
            let schema = schema.as_object().cloned().unwrap_or_default();
            // Nothing here only reads, but a server may stay silent about that.
            let annotations = ToolAnnotations::new()
                .destructive(destructive)
                .idempotent(idempotent)
                .open_world(open_world);
            Tool::new(name, words, Arc::new(schema)).with_annotations(annotations)
        });
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let rows = rows();
        let row = rows.iter().find(|(name, ..)| *name == request.name);
        let Some((_, _, prefix, _, schema)) = row else {
            return Err(ErrorData::invalid_params("there is no such tool", None));
        };
        let arguments = request.arguments.unwrap_or_default();
        let required = schema["required"].as_array().into_iter().flatten();
        let missing = required
            .filter_map(Value::as_str)
            .find(|name| !arguments.contains_key(*name));
        if let Some(name) = missing {
            let words = ContentBlock::text(format!("`{name}` is missing"));
            return Ok(CallToolResult::error(vec![words]).into());
        }
        Ok(CallToolResult::structured(self.act(prefix, arguments)).into())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => {
            let service = Business::default().serve(stdio_pipes()).await?;
            service.waiting().await?;
        }
        (Some("--http"), Some(address)) => {
            let business = Business::default();
            let service = StreamableHttpService::new(
                move || Ok(business.clone()),
                Arc::new(LocalSessionManager::default()),
                StreamableHttpServerConfig::default(),
            );
            let router = axum::Router::new().nest_service("/mcp", service);
            let listener = tokio::net::TcpListener::bind(&address).await?;
            eprintln!("listening on http://{}/mcp", listener.local_addr()?);
            // Without this, small answers wait for the acknowledgement of the one before.
            let listener = listener.tap_io(|stream| {
                if let Err(error) = stream.set_nodelay(true) {
                    eprintln!("answers may be slow: {error}");
                }
            });
            axum::serve(listener, router).await?;
        }
        (Some(other), _) => anyhow::bail!("{other}: only `--http ADDRESS` is understood"),
    }
    Ok(())
}
