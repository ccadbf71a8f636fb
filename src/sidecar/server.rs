//! The MCP server: tool calls become requests to the bank, reports become tool results.

use std::borrow::Cow;
use std::sync::Arc;

use reqwest::Method;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Map, Value, json};

use super::bank::{Bank, Report, Request};
use super::tools::{Action, Tools};
use super::{Settings, SidecarError};
use crate::connector::razorpay::{FOUND_LIMIT, State};
use crate::domain::canonical::Canonical;

/// The server. Cheap to clone.
#[derive(Clone)]
pub(super) struct Sidecar {
    inner: Arc<Inner>,
}

struct Inner {
    bank: Bank,
    tools: Tools,
    account_number: String,
}

impl Sidecar {
    pub(super) fn new(settings: Settings) -> Result<Self, SidecarError> {
        let inner = Inner {
            bank: Bank::new(&settings)?,
            tools: Tools::new(settings.is_sandbox())?,
            account_number: settings.account_number,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

impl Inner {
    async fn act(&self, action: Action, args: Value) -> Report {
        if let Some(detail) = self.tools.refuse(action, &args) {
            return Report::Arguments { detail };
        }
        let Value::Object(mut fields) = args else {
            let detail = "the arguments are not an object".to_owned();
            return Report::Arguments { detail };
        };
        match action {
            Action::CreatePayout => {
                fields.insert("account_number".to_owned(), json!(self.account_number));
                self.create("/v1/payouts", fields).await
            }
            Action::CreateTransfer => self.create("/sandbox/transfers", fields).await,
            Action::FetchPayout => self.bank.ask(Request::get(payout(&fields, ""))).await,
            Action::FindPayouts => {
                fields.insert("count".to_owned(), json!(FOUND_LIMIT));
                self.list("/v1/payouts", fields).await
            }
            Action::FindTransfers => self.list("/sandbox/transfers", fields).await,
            Action::ListPayouts => self.list("/v1/payouts", fields).await,
            Action::ApprovePayout => match self.look(&fields).await {
                Looked::Stop(report) => report,
                // It needs no approval any more, or cannot have one: its state tells which.
                Looked::Fits(seen) if !waits(&seen) => seen,
                Looked::Fits(_) => self.decide(&fields, "/approve").await,
            },
            Action::RejectPayout => match self.look(&fields).await {
                Looked::Stop(report) => report,
                Looked::Fits(_) => self.decide(&fields, "/reject").await,
            },
            Action::CancelPayout => match self.look(&fields).await {
                Looked::Stop(report) => report,
                Looked::Fits(_) => {
                    let cancel = Request::post(payout(&fields, "/cancel"), None);
                    self.bank.ask(cancel).await
                }
            },
            Action::FetchBalance => self.bank.ask(Request::get("/v1/banking_balances")).await,
        }
    }

    /// The body is canonical JSON of the fields, so that a replay sends the same bytes.
    async fn create(&self, path: &str, mut fields: Map<String, Value>) -> Report {
        let key = fields.remove("idempotency_key");
        let key = key.as_ref().and_then(Value::as_str).map(str::to_owned);
        let body = Canonical::of(&Value::Object(fields)).to_string();
        let mut request = Request::post(path, Some(body));
        request.idempotency_key = key;
        self.bank.ask(request).await
    }

    async fn list(&self, path: &str, fields: Map<String, Value>) -> Report {
        let mut request = Request::get(path);
        let account = ("account_number".to_owned(), self.account_number.clone());
        request.query.push(account);
        for (name, value) in fields {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            request.query.push((name, text));
        }
        self.bank.ask(request).await
    }

    async fn decide(&self, fields: &Map<String, Value>, verb: &str) -> Report {
        let remarks = fields.get("remarks").unwrap_or(&Value::Null);
        let body = Canonical::of(&json!({ "remarks": remarks })).to_string();
        let decide = Request {
            method: Method::POST,
            ..Request::post(payout(fields, verb), Some(body))
        };
        self.bank.ask(decide).await
    }

    /// Looks whether the payout is the one that was decided on. Amount, account and notes never
    /// change at the bank, so what is seen now still holds when the decision arrives.
    async fn look(&self, fields: &Map<String, Value>) -> Looked {
        let seen = self.bank.ask(Request::get(payout(fields, ""))).await;
        let not_sent = |why: &str| {
            Looked::Stop(Report::Transport {
                sent: false,
                detail: format!("the payout could not be looked at first: {why}"),
            })
        };
        match seen {
            Report::Answer { body, .. } if body.get("id") != fields.get("payout_id") => {
                not_sent("the bank showed another one")
            }
            Report::Answer { status, body } => match mismatch(fields, &body) {
                Some(report) => Looked::Stop(report),
                None => Looked::Fits(Report::Answer { status, body }),
            },
            // There is no such payout, in the bank's own words.
            Report::Http {
                status: 400 | 404,
                body,
            } if body["error"]["code"] == NO_SUCH_PAYOUT => Looked::Stop(Report::Precondition {
                code: NO_SUCH_PAYOUT.to_owned(),
                detail: body["error"]["description"]
                    .as_str()
                    .unwrap_or("the bank knows no such payout")
                    .to_owned(),
            }),
            Report::Http { status, .. } => not_sent(&format!("the bank answered {status}")),
            Report::Unreadable { detail, .. }
            | Report::Transport { detail, .. }
            | Report::Arguments { detail }
            | Report::Precondition { detail, .. } => not_sent(&detail),
        }
    }
}

/// What a look before a decision came to.
enum Looked {
    /// It is the payout that was decided on, as the bank shows it.
    Fits(Report),
    /// It is not, or nobody knows.
    Stop(Report),
}

/// Whether the payout waits for an approval at the bank.
fn waits(seen: &Report) -> bool {
    matches!(seen, Report::Answer { body, .. } if body["status"] == State::Pending.name())
}

/// What the bank says of an id that it does not know.
const NO_SUCH_PAYOUT: &str = "BAD_REQUEST_ERROR";

/// The first thing that a decision says about its payout and the bank does not.
fn mismatch(fields: &Map<String, Value>, payout: &Value) -> Option<Report> {
    let plain = |field: &str| match fields.get(field) {
        Some(ours) => payout.get(field) == Some(ours),
        None => true,
    };
    let notes = fields.get("notes").and_then(Value::as_object);
    let notes = notes.is_none_or(|notes| {
        let mut ours = notes.iter();
        ours.all(|(name, value)| payout.get("notes").and_then(|all| all.get(name)) == Some(value))
    });
    let (code, what) = match (plain("amount"), plain("fund_account_id"), notes) {
        (true, true, true) => return None,
        (false, _, _) => ("amount_mismatch", "is for another amount"),
        (_, false, _) => ("account_mismatch", "goes to another account"),
        (_, _, false) => ("notes_mismatch", "carries other notes"),
    };
    Some(Report::Precondition {
        code: code.to_owned(),
        detail: format!("the payout {what} than the one decided on"),
    })
}

/// The payout's path. Its id has matched the schema's pattern, so it cannot bend the path.
fn payout(fields: &Map<String, Value>, verb: &str) -> String {
    let id = fields.get("payout_id").and_then(Value::as_str);
    format!("/v1/payouts/{}{verb}", id.unwrap_or_default())
}

impl ServerHandler for Sidecar {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        let version = env!("CARGO_PKG_VERSION");
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("hundi-sidecar-razorpay", version))
            .with_instructions(
                "Holds the credentials for RazorpayX and makes its calls. Meant for the hundi \
                 broker: called directly, there is no second step.",
            )
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let offered = self.inner.tools.offered().to_vec();
        Ok(ListToolsResult::with_all_items(offered))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(action) = self.inner.tools.action(&request.name) else {
            let words: Cow<'static, str> = "there is no such tool".into();
            return Err(ErrorData::invalid_params(words, None));
        };
        let args = Value::Object(request.arguments.unwrap_or_default());
        let report = self.inner.act(action, args).await;
        tracing::debug!(tool = action.name(), report = report.word(), "called");
        let (content, is_error) = report.content();
        let result = if is_error {
            CallToolResult::structured_error(content)
        } else {
            CallToolResult::structured(content)
        };
        Ok(result.into())
    }
}
