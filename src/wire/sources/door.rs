//! One opened source of any kind: its tasks carried out, its own words about how it is, and what the
//! configuration refuses of it when it is saved.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::Allowed;
use crate::domain::call::{Call, Outcome, Reply, Sighting};
use crate::domain::secret::Secret;
use crate::domain::tools::http::Request;
use crate::domain::tools::reach::Reach;
use crate::domain::tools::work::Task;
use crate::domain::tools::{Invalid, Source, SourceConfig};
use crate::wire::mcp::{UpstreamSpec, Upstreams};
use crate::wire::program::Program;
use crate::wire::reach;
use crate::wire::rest::Api;
use crate::wire::sql::{self, Database};
use crate::wire::{Offered, SourceAnswer, Wire};

/// Most names of tools that a ping tells.
const MAX_NAMES: usize = 50;

/// What answers for a source.
pub(super) enum Door {
    Database(Database),
    Api(Box<Api>),
    Program(Box<Program>),
    Server(Box<Upstreams>),
}

/// The name of the one server that [`Door::Server`] knows.
const SERVER: &str = "server";

impl Door {
    /// Opens a source without connecting yet. The error is for people.
    pub(super) fn open(
        source: &Source,
        secrets: &BTreeMap<String, Secret>,
        allowed: &Allowed,
    ) -> Result<Self, String> {
        match &source.config {
            SourceConfig::Postgres(_) | SourceConfig::Sqlite(_) => {
                let reach = reach_of(source, allowed);
                Database::open(source, secrets, &allowed.sqlite_dirs, reach).map(Door::Database)
            }
            SourceConfig::Rest(_) => {
                let api = Api::open(source, secrets, &allowed.private)?;
                Ok(Door::Api(Box::new(api)))
            }
            SourceConfig::Program(named) => {
                let spec = allowed.programs.get(&named.program);
                let mut spec = spec.ok_or_else(|| no_program(&named.program))?.clone();
                let most = source.limits.max_concurrent;
                let most = most.and_then(|most| usize::try_from(most).ok());
                spec.max_concurrent = most.or(spec.max_concurrent);
                let bytes = source
                    .limits
                    .max_bytes
                    .and_then(|most| usize::try_from(most).ok());
                spec.max_output = bytes.map_or(spec.max_output, |most| most.min(spec.max_output));
                let program = Program::new(spec, allowed.watchdog.clone());
                Ok(Door::Program(Box::new(program)))
            }
            SourceConfig::Mcp(server) => {
                let reach = reach_of(source, allowed);
                let url = Url::parse(&server.url).map_err(|error| error.to_string())?;
                reach::check(&reach, &url)?;
                let token = secrets.get("token");
                let token = token.map(|token| format!("Bearer {}", token.expose()));
                let token = token.map(|token| ("authorization".to_owned(), token));
                let fixed = server.headers.clone().into_iter();
                let headers = fixed.chain(token).collect();
                let mut spec = UpstreamSpec::http(SERVER, &server.url, headers).within(reach);
                let bytes = source
                    .limits
                    .max_bytes
                    .and_then(|most| usize::try_from(most).ok());
                spec.max_answer_bytes = bytes.unwrap_or(spec.max_answer_bytes);
                Ok(Door::Server(Box::new(Upstreams::new(vec![spec]))))
            }
        }
    }

    pub(super) async fn carry_out(&self, task: &Task, deadline: Duration) -> Reply {
        match (self, task) {
            (
                Door::Database(database),
                Task::Read { .. } | Task::Preview { .. } | Task::Write { .. } | Task::Look { .. },
            ) => in_database(database, task, deadline).await,
            (Door::Api(api), Task::Ask { request } | Task::Act { request, .. }) => {
                at_api(api, request, deadline).await
            }
            (Door::Program(program), Task::Run { input, .. }) => program.run(input, deadline).await,
            (
                Door::Server(server),
                Task::Tell {
                    tool,
                    arguments,
                    enquiry: false,
                },
            ) => told_by(server, tool, arguments, deadline).await,
            (
                Door::Server(server),
                Task::Tell {
                    tool, arguments, ..
                }
                | Task::Call {
                    tool, arguments, ..
                },
            ) => {
                let call = Call::new(SERVER, tool, arguments);
                server.send(&call, deadline).await
            }
            (Door::Database(_) | Door::Api(_) | Door::Program(_) | Door::Server(_), _) => {
                Reply::NotSent("its source is of another kind by now".to_owned())
            }
        }
    }

    pub(super) async fn ping(&self, deadline: Duration) -> SourceAnswer {
        match self {
            Door::Database(database) => match database.ping(deadline).await {
                Ok(ping) => SourceAnswer {
                    ok: true,
                    latency_ms: millis(ping.latency),
                    detail: ping.detail,
                    advice: ping.advice,
                },
                Err(trouble) => SourceAnswer::not(trouble.to_string()),
            },
            Door::Api(api) => match api.ping(deadline).await {
                Ok(ping) => SourceAnswer {
                    ok: ping.ok,
                    latency_ms: millis(ping.latency),
                    detail: ping.detail,
                    advice: Vec::new(),
                },
                Err(why) => SourceAnswer::not(why),
            },
            Door::Program(program) => match program.can_start() {
                Ok(detail) => SourceAnswer {
                    ok: true,
                    detail,
                    ..SourceAnswer::default()
                },
                Err(why) => SourceAnswer::not(why),
            },
            Door::Server(server) => {
                let began = Instant::now();
                match server.offered(SERVER, deadline).await {
                    Ok(tools) => SourceAnswer {
                        ok: true,
                        latency_ms: millis(began.elapsed()),
                        detail: offers(&tools),
                        advice: Vec::new(),
                    },
                    Err(why) => SourceAnswer::not(why),
                }
            }
        }
    }

    pub(super) async fn prepare(&self, deadline: Duration) -> SourceAnswer {
        let ready = |detail: &str| SourceAnswer {
            ok: true,
            detail: detail.to_owned(),
            ..SourceAnswer::default()
        };
        match self {
            Door::Database(database) => match database.prepare(deadline).await {
                Ok(()) => ready("hundi_effects is there"),
                Err(trouble) => SourceAnswer::not(trouble.to_string()),
            },
            Door::Api(_) | Door::Program(_) | Door::Server(_) => {
                ready("only databases are prepared")
            }
        }
    }
}

/// What the configuration file does not let this source reach.
pub(super) fn refuses(source: &Source, allowed: &Allowed) -> Option<Invalid> {
    let wrong = |at: &str, why: String| Some(Invalid::source(at, why));
    match &source.config {
        SourceConfig::Postgres(db) => {
            let host = db.host.as_deref()?.trim_matches(['[', ']']);
            let address: IpAddr = host.parse().ok()?;
            match reach_of(source, allowed).permits(address) {
                true => None,
                false => wrong("/config/host", reach::refused()),
            }
        }
        SourceConfig::Sqlite(file) => {
            sql::refused(file, &allowed.sqlite_dirs).and_then(|why| wrong("/config/path", why))
        }
        SourceConfig::Rest(api) => {
            let reach = reach_of(source, allowed);
            let refused =
                |at: &str, url: &str| forbidden(&reach, url).and_then(|why| wrong(at, why));
            refused("/config/base_url", &api.base_url).or_else(|| {
                let url = api.token_url.as_deref()?;
                refused("/config/token_url", url)
            })
        }
        SourceConfig::Mcp(server) => {
            let reach = reach_of(source, allowed);
            forbidden(&reach, &server.url).and_then(|why| wrong("/config/url", why))
        }
        SourceConfig::Program(named) => match allowed.programs.contains_key(&named.program) {
            true => None,
            false => wrong("/config/program", no_program(&named.program)),
        },
    }
}

/// What a source may reach that does, or does not, ask for private addresses.
pub(super) fn reach_of(source: &Source, allowed: &Allowed) -> Reach {
    let asks_for_private = match &source.config {
        SourceConfig::Rest(api) => api.allow_private,
        SourceConfig::Mcp(server) => server.allow_private,
        SourceConfig::Postgres(_) if allowed.databases => return Reach::anywhere(),
        SourceConfig::Postgres(_) | SourceConfig::Sqlite(_) | SourceConfig::Program(_) => false,
    };
    match asks_for_private {
        true => Reach::with_private(&allowed.private),
        false => Reach::public(),
    }
}

/// Names are looked up when they are used; only an address that stands there is known now.
fn forbidden(reach: &Reach, url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    reach::check(reach, &url).err()
}

fn no_program(name: &str) -> String {
    format!("the configuration file has no `[programs.{name}]`, and nothing else is started")
}

fn millis(latency: Duration) -> Option<u64> {
    u64::try_from(latency.as_millis()).ok()
}

/// What a server offers, for whoever writes tools for it.
fn offers(tools: &[Offered]) -> String {
    let names = tools.iter().take(MAX_NAMES).map(|tool| tool.name.as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    let names: String = names.chars().filter(|c| !c.is_control()).collect();
    match tools.len() {
        0 => "it offers no tools".to_owned(),
        count => format!("it offers {count} tools: {names}"),
    }
}

/// Where nothing but time was missing, a call that only reads is told so.
async fn told_by(server: &Upstreams, tool: &str, arguments: &Value, deadline: Duration) -> Reply {
    let until = Instant::now() + deadline;
    let call = Call::new(SERVER, tool, arguments);
    let reply = server.send(&call, deadline).await;
    match &reply {
        Reply::Lost(why) if Instant::now() >= until => refused("timeout", why),
        Reply::Result { .. }
        | Reply::RpcError { .. }
        | Reply::TurnedAway { .. }
        | Reply::NotSent(_)
        | Reply::TooLarge { .. }
        | Reply::Lost(_) => reply,
    }
}

async fn at_api(api: &Api, request: &Request, deadline: Duration) -> Reply {
    api.send(request, deadline).await.reply()
}

async fn in_database(database: &Database, task: &Task, deadline: Duration) -> Reply {
    match task {
        Task::Read { read, args } => match database.read(read, args, deadline).await {
            Ok(rows) => done(rows.data()),
            Err(trouble) => not_read(trouble),
        },
        Task::Write {
            proposal,
            write,
            args,
            state,
            timeout_ms: _,
        } => {
            let order = sql::Order {
                proposal: *proposal,
                write,
                args,
                state: state.as_deref(),
            };
            as_reply(database.write(&order, deadline).await.outcome())
        }
        Task::Preview { preview, args } => match database.preview(preview, args, deadline).await {
            Ok(shown) => done(json!({"rows": shown.rows, "state": shown.state})),
            Err(trouble) => not_read(trouble),
        },
        Task::Look { proposal } => match database.settle(*proposal, deadline).await {
            Ok(mark) => seen(mark.sighting()),
            Err(trouble) => Reply::Lost(trouble.to_string()),
        },
        Task::Ask { .. }
        | Task::Act { .. }
        | Task::Run { .. }
        | Task::Tell { .. }
        | Task::Call { .. } => Reply::NotSent("a database does not do this".to_owned()),
    }
}

fn done(content: Value) -> Reply {
    Reply::Result {
        content,
        is_error: false,
    }
}

fn refused(code: &str, description: &str) -> Reply {
    Reply::Result {
        content: json!({"code": code, "description": description}),
        is_error: true,
    }
}

/// Nothing that only reads leaves a doubt behind.
fn not_read(trouble: sql::Trouble) -> Reply {
    match trouble {
        sql::Trouble::TooLarge(limit) => Reply::TooLarge { limit },
        sql::Trouble::Unavailable(why) => Reply::NotSent(why),
        trouble @ (sql::Trouble::Timeout | sql::Trouble::Refused(_)) => {
            refused(trouble.code(), &trouble.to_string())
        }
    }
}

fn as_reply(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Executed(receipt) => done(receipt.result),
        Outcome::Refused(error) => refused(&error.code, &error.description),
        Outcome::NotSent(why) => Reply::NotSent(why),
        Outcome::Unknown(why) => Reply::Lost(why),
    }
}

fn seen(sighting: Sighting) -> Reply {
    match sighting {
        Sighting::Found(receipt) => done(receipt.result),
        Sighting::Absent => done(Value::Null),
        Sighting::Refused(error) => refused(&error.code, &error.description),
        Sighting::Unclear(why) => Reply::Lost(why),
    }
}
