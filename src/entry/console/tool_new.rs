//! `/console/tools/new`: a form for each kind of tool, with the fields of that kind under their REST
//! names. What is wrong with a definition is said by the operation, with the field it is about.

use std::sync::Arc;

use askama::Template;
use serde_json::{Value, json};

use super::ask::Ask;
use super::frame::{Frame, Shown};
use super::show;
use crate::broker::Trouble;

/// How a field is typed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Typed {
    /// A word or a number.
    Line,
    /// Several words, commas between.
    Words,
    /// A statement or a document.
    Text,
}

/// Name, words for people, how it is typed, and what it may look like.
type Field = (&'static str, &'static str, Typed, &'static str);

/// A form.
struct Form {
    /// In the address.
    form: &'static str,
    /// For people.
    words: &'static str,
    kind: &'static str,
    /// The risk, where the kind leaves no choice.
    risk: &'static str,
    fields: &'static [Field],
}

const LINE: Typed = Typed::Line;
const TEXT: Typed = Typed::Text;

#[rustfmt::skip]
const FORMS: [Form; 5] = [
    Form { form: "read", words: "Read from a database", kind: "sql", risk: "low", fields: &[
        ("exec.query",    "The query; an argument is :name", TEXT, "select id, total from invoices where id = :id"),
        ("exec.max_rows", "Most rows",                       LINE, "100"),
    ] },
    Form { form: "write", words: "Write to a database", kind: "sql", risk: "high", fields: &[
        ("exec.statement",       "The statement; an argument is :name",       TEXT, "update invoices set total = total - :amount where id = :id"),
        ("exec.preview",         "A query that shows what it would change",   TEXT, "select id, total from invoices where id = :id"),
        ("exec.expect_rows.min", "Rows that it changes at least",             LINE, "1"),
        ("exec.expect_rows.max", "Rows that it changes at most",              LINE, "1"),
    ] },
    Form { form: "rest", words: "Call an API", kind: "rest", risk: "", fields: &[
        ("exec.method",   "Method",                                         LINE, "GET"),
        ("exec.path",     "Path; what is in braces is filled in",           LINE, "/orders/{id}"),
        ("exec.path_params", "What is filled into the path: JSON",          TEXT, "{\"id\": {\"$arg\": \"/id\"}}"),
        ("exec.query",    "Query: JSON",                                    TEXT, ""),
        ("exec.body",     "Body: JSON",                                     TEXT, "{\"item\": {\"$arg\": \"/item\"}}"),
        ("exec.success",  "Statuses that say yes",                          Typed::Words, "200, 201"),
        ("exec.response", "What of the answer is kept: a JSONPath",         LINE, "$.id"),
        ("exec.idempotency_header", "Header that the API keeps a repetition apart by: JSON", TEXT, ""),
        ("exec.lookup",   "How to see whether it happened: JSON",           TEXT, ""),
    ] },
    Form { form: "program", words: "Run a program", kind: "program", risk: "", fields: &[
        ("exec.input", "What it reads: JSON; the arguments if left out", TEXT, ""),
    ] },
    Form { form: "mcp", words: "A tool of an MCP server", kind: "mcp", risk: "", fields: &[
        ("exec.tool", "The tool's name there", LINE, "find_customer"),
    ] },
];

#[derive(Template)]
#[template(path = "tool_new.html", config = ".config/askama.toml")]
struct New {
    frame: Frame,
    forms: &'static [Form],
    form: &'static Form,
    here: String,
    sources: Vec<String>,
}

impl Form {
    fn has_words(&self) -> bool {
        self.fields.iter().any(|field| field.2 == Typed::Words)
    }
}

impl New {
    #[allow(clippy::unused_self, reason = "templates call methods")]
    fn is_text(&self, field: &Field) -> bool {
        field.2 == Typed::Text
    }
}

/// The form for a new one.
pub(super) async fn new(ask: Arc<Ask>) -> Result<Shown, Trouble> {
    ask.needs("create_tool")?;
    let asked = ask.query("form").unwrap_or("read");
    let form = FORMS.iter().find(|one| one.form == asked);
    let form = form.unwrap_or(&FORMS[0]);
    let sources = match ask.may("list_sources") {
        true => ask.ask("list_sources", json!({})).await?,
        false => Value::Null,
    };
    let sources = sources["sources"].as_array().into_iter().flatten();
    Shown::of(&New {
        forms: &FORMS,
        here: format!("/console/tools/new?form={}", form.form),
        form,
        sources: sources.map(|one| show::plain(&one["name"])).collect(),
        frame: ask.frame(ask.lang.t("New tool")),
    })
}
