//! The operations, as one table: what can be asked of the broker, and every door a projection of it.
//!
//! An operation is one value: what it is called, who may ask for it, what it does to the world, the
//! typed input and output, and the function that calls the broker. REST routes and their OpenAPI
//! document (`entry/http`), MCP tools and their annotations (`entry/mcp`) are made from it, and so is
//! a request that a client sends ([`Operation::request`]). To add one is one entry in the file of its
//! subject and one method of the broker.
//!
//! Three promises hold at every door, because they are kept here: whoever lacks the right is refused
//! before anything of the input is read; the input is held to the very schema that is published, so
//! an unknown field or a wrong type is told by its name and never by its value; and the function sees
//! only its typed input. That a body is JSON which every reader reads alike is for `entry/gate`
//! to say before; what the operation decides is for the broker to say after.
//!
//! The pairs `T_propose` and `T_commit` of the MCP door are two of these operations with the tool
//! given by their name ([`Step`]). Not in here: streams of events, callbacks that are signed over
//! raw bytes, and the pages of machines that watch.

pub mod access;
pub mod agents;
mod answer;
pub mod audit;
mod backtest;
mod bank;
mod check;
mod checks;
mod decisions;
pub mod documents;
mod input;
mod keyring;
mod orgs;
mod pay;
mod payees;
pub mod people;
pub mod policies;
mod prices;
mod proofs;
mod providers;
mod registry;
mod requests;
mod rest;
mod retrieve;
mod rules;
mod servers;
mod sources;
mod step;
mod tools;
mod traces;
mod usage;

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use futures_util::future::BoxFuture;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub use answer::{Answer, Body, Reply, Tells};
pub use rest::{Answers, Request, Rest};
pub use step::{Step, Steps, steps};

use crate::broker::{Broker, Trouble};
use crate::domain::ids::RequestId;
use crate::domain::principal::{Principal, Right};

/// One asking, whichever door it came through.
#[derive(Clone)]
pub struct Call {
    /// What does the work.
    pub broker: Broker,
    /// Who asks.
    pub who: Principal,
    /// What the client calls the conversation that this belongs to.
    pub conversation: Option<String>,
    /// How a request to a model that is made here is named, where the door has told that already.
    pub names: Option<RequestId>,
    /// Cancelled when the caller no longer waits for the answer. Only waiting may end because of
    /// it, never an effect.
    pub gone: CancellationToken,
    /// Cancelled when the server goes down: whoever waits for people is answered now.
    pub closing: CancellationToken,
}

/// What an operation does to the world, as clients are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing.
    Reads,
    /// Nothing, but it may take its time.
    Waits,
    /// Changes something of ours, and doing it twice is doing it once.
    Sets,
    /// Changes something, perhaps for good.
    Acts,
}

/// What every virtual server has besides its tools.
const SERVED: [&str; 9] = [
    "propose",
    "commit",
    "get_proposal",
    "await_proposal",
    "list_proposals",
    "cancel_proposal",
    "list_tools",
    "invoke_tool",
    "get_trace",
];

/// The input of an operation that takes none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

type Run = dyn Fn(Call, Value) -> BoxFuture<'static, Result<Answer, Trouble>> + Send + Sync;
type Shape = fn(&mut SchemaGenerator) -> Schema;

/// One operation.
#[derive(Clone)]
pub struct Operation {
    /// Its name at every door: MCP tool, `operationId`, command of a client.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it does, for people and for agents.
    pub summary: &'static str,
    /// Open to whoever has one of these.
    pub rights: &'static [Right],
    /// What it does to the world.
    pub effect: Effect,
    /// How it is asked for over REST, if it is.
    pub rest: Option<Rest>,
    /// Whether money may leave because of it.
    pub moves_money: bool,
    /// Whether it is about the bank's account, and known to nobody but the organisation that owns
    /// it.
    pub of_bank: bool,
    /// Whether it is a tool at the MCP door.
    pub mcp: bool,
    /// Whether `null` says something else than leaving a field out.
    pub null_matters: bool,
    /// The field that names the tool that is called, where every problem is told with the call's name.
    traced: Option<&'static str>,
    input: Shape,
    input_name: fn() -> String,
    output: Shape,
    run: Arc<Run>,
    reader: Arc<OnceLock<input::Reader>>,
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Operation({})", self.name)
    }
}

impl Operation {
    /// What `run` does, under this name. Nobody may, no door has it, until that is said.
    fn new<I, O, Done>(name: &'static str, run: fn(Call, I) -> Done) -> Self
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Tells + 'static,
        Done: Future<Output = Result<O, Trouble>> + Send + 'static,
    {
        let run = move |call: Call, input: Value| -> BoxFuture<'static, Result<Answer, Trouble>> {
            match serde_json::from_value::<I>(input) {
                Ok(input) => {
                    let done = run(call, input);
                    Box::pin(async move { done.await.map(Tells::told) })
                }
                // The schema let it through, so only a rule that no schema can say is broken.
                Err(error) => Box::pin(async move { Err(invalid(error.to_string())) }),
            }
        };
        Self {
            name,
            title: "",
            summary: "",
            rights: &[],
            effect: Effect::Reads,
            rest: None,
            moves_money: false,
            of_bank: false,
            mcp: false,
            null_matters: false,
            traced: None,
            input: I::json_schema,
            input_name: || I::schema_name().into_owned(),
            output: SchemaGenerator::subschema_for::<O::Body>,
            run: Arc::new(run),
            reader: Arc::new(OnceLock::new()),
        }
    }

    fn says(self, title: &'static str, summary: &'static str) -> Self {
        Self {
            title,
            summary,
            ..self
        }
    }

    fn needs(self, rights: &'static [Right]) -> Self {
        Self { rights, ..self }
    }

    fn does(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    fn rest(self, rest: Rest) -> Self {
        Self {
            rest: Some(rest),
            ..self
        }
    }

    fn moves_money(self) -> Self {
        Self {
            moves_money: true,
            ..self
        }
    }

    fn of_bank(self) -> Self {
        Self {
            of_bank: true,
            ..self
        }
    }

    fn mcp(self) -> Self {
        Self { mcp: true, ..self }
    }

    fn null_matters(self) -> Self {
        Self {
            null_matters: true,
            ..self
        }
    }

    fn traced(self, field: &'static str) -> Self {
        Self {
            traced: Some(field),
            ..self
        }
    }

    /// A problem as this operation tells it: of a call of a tool, with the call's name.
    pub fn problem(
        &self,
        broker: &Broker,
        who: &Principal,
        tool: &str,
        trouble: Trouble,
    ) -> Trouble {
        match self.traced {
            Some(_) => broker.tools.traced(who, tool, trouble),
            None => trouble,
        }
    }

    /// Whether this principal may ask for it at all.
    pub fn permits(&self, who: &Principal) -> bool {
        self.is_served(who) && self.rights.iter().any(|right| who.may(*right))
    }

    /// Whether it is behind the door through which this principal came: whoever came through a
    /// virtual server has its tools, its own proposals, and what the server names.
    pub fn is_served(&self, who: &Principal) -> bool {
        let Some(entrance) = &who.server else {
            return true;
        };
        SERVED.contains(&self.name) || entrance.server.names(self.name)
    }

    /// Checks who asks and what is asked, and does it. `unfit` is what a door calls an input that
    /// does not fit.
    pub async fn answer(
        &self,
        call: Call,
        mut input: Value,
        unfit: fn(String) -> Trouble,
    ) -> Result<Answer, Trouble> {
        let tool = self.traced.map(|field| {
            let tool = input[field].as_str().unwrap_or_default().to_owned();
            (call.broker.clone(), call.who.clone(), tool)
        });
        let answer = async {
            self.refuse(&call.who)?;
            self.check(&input).map_err(unfit)?;
            self.reader().settle(&mut input);
            (self.run)(call, input).await
        };
        let answer = answer.await;
        match tool {
            Some((broker, who, tool)) => {
                answer.map_err(|trouble| broker.tools.traced(&who, &tool, trouble))
            }
            None => answer,
        }
    }

    /// Says what does not fit of an input, in words that name the field.
    pub fn check(&self, input: &Value) -> Result<(), String> {
        self.reader().check(input)
    }

    /// Refuses whoever lacks the right, before anything is read.
    pub fn refuse(&self, who: &Principal) -> Result<(), Trouble> {
        match self.permits(who) {
            true => Ok(()),
            false => Err(Trouble::Forbidden { roles: who.roles }),
        }
    }

    /// JSON Schema of the input, complete in itself.
    pub fn input(&self) -> &Value {
        self.reader().schema()
    }

    /// The input that a request makes, its texts read as what the fields are.
    pub fn gather<'a>(
        &self,
        path: impl IntoIterator<Item = (&'a str, &'a str)>,
        query: impl IntoIterator<Item = (String, String)>,
        body: Option<Map<String, Value>>,
    ) -> Result<Value, Trouble> {
        let Some(rest) = &self.rest else {
            return Err(invalid(format!("`{}` is not on REST", self.name)));
        };
        let mut input = rest.gather(path, query, body).map_err(invalid)?;
        if let Some(field) = holds_nul(&input) {
            let why = format!("`{field}` holds the character U+0000, which is in no text or name");
            return Err(invalid(why));
        }
        for (field, text) in &mut input {
            let fits = match rest.takes_body() && !rest.in_path(field) {
                true => true,
                false => self.reader().convert(field, text),
            };
            // A path that cannot be a name of anything leads nowhere, like one to what is not there.
            let unknown = rest.names().find(|(_, named)| named == field);
            if let (false, Some((name, _))) = (fits, unknown) {
                return Err(Trouble::NotFound(name));
            }
        }
        Ok(Value::Object(input))
    }

    /// Whether a request has to have a body: some field in it must be there.
    pub fn needs_body(&self) -> bool {
        let rest = self.rest.as_ref().filter(|rest| rest.takes_body());
        let required = self.input()["required"].as_array().into_iter().flatten();
        let mut required = required.filter_map(Value::as_str);
        rest.is_some_and(|rest| required.any(|field| !rest.in_path(field)))
    }

    /// What the input is called among schemas.
    pub fn input_name(&self) -> String {
        (self.input_name)()
    }

    /// JSON Schema of the output; parts that have names are left with the generator.
    pub fn output(&self, generator: &mut SchemaGenerator) -> Value {
        (self.output)(generator).to_value()
    }

    /// JSON Schema of the output, complete in itself.
    pub fn whole_output(&self) -> Value {
        let mut schema = self.output(&mut settings(true).for_serialize().into_generator());
        tidy(&mut schema);
        schema
    }

    fn reader(&self) -> &input::Reader {
        self.reader.get_or_init(|| {
            let mut generator = settings(true).for_deserialize().into_generator();
            let mut schema = (self.input)(&mut generator).to_value();
            tidy(&mut schema);
            input::Reader::of(schema)
        })
    }
}

/// The first field that is, or lists, a text with a NUL in it: not every store could keep it. What
/// stands deeper is somebody else's document, such as a tool's arguments.
fn holds_nul(input: &Map<String, Value>) -> Option<&str> {
    let nul = |value: &Value| value.as_str().is_some_and(|text| text.contains('\0'));
    let found = input.iter().find(|(_, value)| {
        nul(value) || value.as_array().is_some_and(|items| items.iter().any(nul))
    });
    found.map(|(name, _)| name.as_str())
}

/// Every operation, in the order documents list them.
pub fn table() -> &'static [Operation] {
    static TABLE: LazyLock<Vec<Operation>> =
        LazyLock::new(|| subjects().into_iter().flatten().collect());
    &TABLE
}

/// Asks in this process, as the command line does where no server runs.
pub async fn ask(
    broker: &Broker,
    who: &Principal,
    name: &str,
    input: Value,
) -> Result<Value, Trouble> {
    let answer = answer(broker, who, name, input).await?;
    Ok(answer.body.into_value())
}

/// The same, with the whole answer.
pub async fn answer(
    broker: &Broker,
    who: &Principal,
    name: &str,
    input: Value,
) -> Result<Answer, Trouble> {
    let operation = named(name).ok_or(Trouble::NotFound("operation"))?;
    let call = Call {
        broker: broker.clone(),
        who: who.clone(),
        conversation: None,
        names: None,
        gone: CancellationToken::new(),
        closing: CancellationToken::new(),
    };
    operation.answer(call, input, Trouble::InvalidRequest).await
}

fn subjects() -> Vec<Vec<Operation>> {
    vec![
        pay::operations(),
        decisions::operations(),
        tools::operations(),
        registry::operations(),
        sources::operations(),
        access::operations(),
        rules::operations(),
        orgs::operations(),
        keyring::operations(),
        people::operations(),
        servers::operations(),
        traces::operations(),
        agents::operations(),
        policies::operations(),
        backtest::operations(),
        payees::operations(),
        audit::operations(),
        proofs::operations(),
        bank::operations(),
        checks::operations(),
        check::operations(),
        requests::operations(),
        providers::operations(),
        prices::operations(),
        usage::operations(),
        documents::operations(),
    ]
}

/// The operation of this name.
pub fn named(name: &str) -> Option<&'static Operation> {
    table().iter().find(|operation| operation.name == name)
}

/// How schemas are generated: with every part where it is used, or with names for parts.
pub fn settings(inline: bool) -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = inline;
        settings.definitions_path = "/components/schemas".into();
    })
}

/// Takes out of a generated schema what says nothing to a client: the width of a Rust integer, that
/// a field left out is null, and where a comment was broken into lines.
pub fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            let widths = ["int", "uint", "double"];
            let width = map.get("format").and_then(Value::as_str);
            if width.is_some_and(|width| widths.iter().any(|start| width.starts_with(start))) {
                map.remove("format");
            }
            if let Some(Value::String(words)) = map.get_mut("description") {
                *words = words.replace('\n', " ");
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn invalid(detail: impl Into<String>) -> Trouble {
    Trouble::InvalidRequest(detail.into())
}
