//! Sources that people registered: opened as the registry says, and reached by the tasks of their
//! tools.
//!
//! A source is open once, whatever many of its tools are called; one that changed is opened anew and
//! the old one closed when its last call is done. Nobody but this file holds credentials and
//! addresses together, and none of them is in what it answers.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::sql::{self, Database};
use super::{Heard, Late, Offered, OpenSource, SourceAnswer, Sources, UpstreamHealth, Wire};
use crate::domain::call::{Call, Outcome, Reply, Sighting};
use crate::domain::ids::OrgId;
use crate::domain::tools::work::{Registered, Task, upstream};

/// Calls at one source at a time, where it names no bound of its own.
const AT_ONCE: u32 = 64;

/// What the configuration file lets sources reach.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// The folders in which SQLite files may lie.
    pub sqlite_dirs: Vec<PathBuf>,
}

/// Every open source.
pub struct Registry {
    allowed: Allowed,
    open: ArcSwap<HashMap<String, Arc<Opened>>>,
}

struct Opened {
    version: u64,
    kind: &'static str,
    room: Semaphore,
    deadline: Option<Duration>,
    door: Result<Database, String>,
}

impl Registry {
    /// Nothing is open yet.
    pub fn new(allowed: Allowed) -> Self {
        Self {
            allowed,
            open: ArcSwap::default(),
        }
    }

    fn opened(&self, source: &OpenSource) -> Opened {
        let limits = &source.source.limits;
        let room = limits.max_concurrent.unwrap_or(AT_ONCE);
        Opened {
            version: source.version,
            kind: source.source.kind().code(),
            room: Semaphore::new(usize::try_from(room).unwrap_or(usize::MAX)),
            deadline: limits.timeout_ms.map(Duration::from_millis),
            door: Database::open(&source.source, &source.secrets, &self.allowed.sqlite_dirs),
        }
    }

    fn at(&self, name: &str) -> Option<Arc<Opened>> {
        self.open.load().get(name).cloned()
    }

    /// Carries out a task that a call of a registered tool is.
    pub async fn carry_out(&self, call: &Call, deadline: Duration) -> Reply {
        let Some(source) = self.at(&call.upstream) else {
            let why = "its source is not open here, or reaches elsewhere than it did";
            return Reply::NotSent(why.to_owned());
        };
        let task: Task = match serde_json::from_str(&call.arguments) {
            Ok(task) => task,
            Err(error) => return Reply::NotSent(format!("the task does not read: {error}")),
        };
        let deadline = source.deadline.map_or(deadline, |own| own.min(deadline));
        let room = tokio::time::timeout(deadline, source.room.acquire()).await;
        let Ok(Ok(_room)) = room else {
            return Reply::NotSent("its source has no room for another call".to_owned());
        };
        match &source.door {
            Ok(database) => in_database(database, &task, deadline).await,
            Err(why) => Reply::NotSent(why.clone()),
        }
    }
}

#[async_trait]
impl Sources for Registry {
    async fn replace(&self, sources: Vec<OpenSource>) {
        let before = self.open.load_full();
        let mut now = HashMap::new();
        for source in sources {
            let place = source.source.place(&source.secrets);
            let name = upstream(&source.org, &source.source.name, &place);
            let same = before
                .get(&name)
                .filter(|open| open.version == source.version);
            let open = match same {
                Some(open) => open.clone(),
                None => Arc::new(self.opened(&source)),
            };
            now.insert(name, open);
        }
        self.open.store(Arc::new(now));
    }

    async fn ping(&self, org: &OrgId, name: &str, deadline: Duration) -> SourceAnswer {
        let database = match self.database(org, name) {
            Ok(database) => database,
            Err(answer) => return answer,
        };
        let Ok(database) = &database.door else {
            return SourceAnswer::default();
        };
        match database.ping(deadline).await {
            Ok(ping) => SourceAnswer {
                ok: true,
                latency_ms: u64::try_from(ping.latency.as_millis()).ok(),
                detail: ping.detail,
                advice: ping.advice,
            },
            Err(trouble) => SourceAnswer::not(trouble.to_string()),
        }
    }

    async fn prepare(&self, org: &OrgId, name: &str, deadline: Duration) -> SourceAnswer {
        let database = match self.database(org, name) {
            Ok(database) => database,
            Err(answer) => return answer,
        };
        let Ok(database) = &database.door else {
            return SourceAnswer::default();
        };
        match database.prepare(deadline).await {
            Ok(()) => SourceAnswer {
                ok: true,
                detail: "hundi_effects is there".to_owned(),
                ..SourceAnswer::default()
            },
            Err(trouble) => SourceAnswer::not(trouble.to_string()),
        }
    }
}

impl Registry {
    /// A source that is a database, or why it is none that can be asked.
    fn database(&self, org: &OrgId, name: &str) -> Result<Arc<Opened>, SourceAnswer> {
        let all = self.open.load();
        let named = all.iter().find(|(key, _)| {
            let place = key.rsplit_once('@').map_or("", |(_, place)| place);
            **key == upstream(org, name, place)
        });
        let Some(open) = named.map(|(_, open)| open.clone()) else {
            return Err(SourceAnswer::not("it is not open here"));
        };
        match &open.door {
            Ok(_) => Ok(open),
            Err(why) => Err(SourceAnswer::not(format!("{}: {why}", open.kind))),
        }
    }
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
        } => {
            let order = sql::Order {
                proposal: *proposal,
                write,
                args,
                state: state.as_deref(),
            };
            as_reply(database.write(&order, deadline).await.outcome())
        }
        Task::Look { proposal } => match database.settle(*proposal, deadline).await {
            Ok(mark) => seen(mark.sighting()),
            Err(trouble) => Reply::Lost(trouble.to_string()),
        },
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

/// Calls to registered sources, and to everything else.
pub struct Either {
    /// Where calls to sources go.
    pub sources: Arc<Registry>,
    /// Where all others go.
    pub others: Arc<dyn Wire>,
}

impl Either {
    fn is_source(call: &Call) -> bool {
        call.upstream.starts_with(Registered::PREFIX)
    }
}

#[async_trait]
impl Wire for Either {
    async fn send(&self, call: &Call, deadline: Duration) -> Reply {
        match Self::is_source(call) {
            true => self.sources.carry_out(call, deadline).await,
            false => self.others.send(call, deadline).await,
        }
    }

    async fn relay(&self, call: &Call, deadline: Duration) -> Heard {
        match Self::is_source(call) {
            true => self.sources.carry_out(call, deadline).await.into(),
            false => self.others.relay(call, deadline).await,
        }
    }

    async fn send_and_mind(&self, call: &Call, deadline: Duration, late: Late) -> Heard {
        match Self::is_source(call) {
            true => self.sources.carry_out(call, deadline).await.into(),
            false => self.others.send_and_mind(call, deadline, late).await,
        }
    }

    async fn offered(&self, upstream: &str, deadline: Duration) -> Result<Vec<Offered>, String> {
        self.others.offered(upstream, deadline).await
    }

    fn changes(&self) -> tokio::sync::broadcast::Receiver<String> {
        self.others.changes()
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        self.others.health()
    }

    fn breakers(&self) -> Vec<UpstreamHealth> {
        self.others.breakers()
    }
}
