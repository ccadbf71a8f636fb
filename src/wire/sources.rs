//! Sources that people registered: opened as the registry says, and reached by the tasks of their
//! tools.
//!
//! A source is open once, whatever many of its tools are called; one that changed is opened anew and
//! the old one closed when its last call is done. Nobody but this file holds credentials and
//! addresses together, and none of them is in what it answers.

mod door;
mod fetching;
mod health;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use ipnet::IpNet;
use tokio::sync::Semaphore;

use super::group::Watchdog;
use super::program::ProgramSpec;
use super::{
    FetchTrouble, Heard, Late, Offered, OpenSource, SourceAnswer, Sources, UpstreamHealth, Wire,
};
use crate::domain::call::{Call, Reply};
use crate::domain::echo::Echo;
use crate::domain::ids::OrgId;
use crate::domain::secret::Secret;
use crate::domain::tools::reach::Reach;
use crate::domain::tools::work::{Registered, Task, upstream};
use crate::domain::tools::{Invalid, Source, reach_of};
use door::Door;
use health::Health;

/// Calls at one source at a time, where it names no bound of its own.
const AT_ONCE: u32 = 64;
/// How long a look at a source that is not well may take.
const LOOK: Duration = Duration::from_secs(5);
/// What is said of a source that is known and not open, because it could not be unsealed.
const NOT_OPEN: &str = "it is not open here";

/// What the configuration file lets sources reach.
#[derive(Clone, Default)]
pub struct Allowed {
    /// The folders in which SQLite files may lie.
    pub sqlite_dirs: Vec<PathBuf>,
    /// The private networks that sources may reach that ask for them.
    pub private: Vec<IpNet>,
    /// Whether databases may be reached at private addresses, where most of them are.
    pub databases: bool,
    /// The programs that may be started, by name.
    pub programs: BTreeMap<String, ProgramSpec>,
    /// Ends programs that outlive this process.
    pub watchdog: Option<Watchdog>,
    /// Whose sources may reach all that. A file on this machine says nothing of organisations, so
    /// those that are not named here may reach none of it; `*` names them all.
    pub orgs: Vec<String>,
}

impl Allowed {
    /// What the sources of an organisation may reach.
    fn of(&self, org: &OrgId) -> Self {
        match self
            .orgs
            .iter()
            .any(|named| named == org.as_str() || named == "*")
        {
            true => self.clone(),
            false => Self::default(),
        }
    }
}

/// Every open source.
pub struct Registry {
    allowed: Allowed,
    open: ArcSwap<HashMap<String, Arc<Opened>>>,
}

struct Opened {
    org: OrgId,
    version: u64,
    room: Semaphore,
    deadline: Option<Duration>,
    reach: Reach,
    echo: Echo,
    health: Health,
    door: Result<Door, String>,
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
        let allowed = self.allowed.of(&source.org);
        let door = Door::open(&source.source, &source.secrets, &allowed);
        let health = Health::new(source.org.clone(), source.source.name.clone());
        if let Err(why) = &door {
            health.is(Some(why.clone()));
        }
        Opened {
            org: source.org.clone(),
            version: source.version,
            room: Semaphore::new(usize::try_from(room).unwrap_or(usize::MAX)),
            deadline: limits.timeout_ms.map(Duration::from_millis),
            reach: door::reach_of(&source.source, &allowed),
            echo: echo_of(&source.secrets),
            health,
            door,
        }
    }

    fn at(&self, name: &str) -> Option<Arc<Opened>> {
        self.open.load().get(name).cloned()
    }

    /// Carries out a task that a call of a registered tool is.
    pub async fn carry_out(&self, call: &Call, deadline: Duration) -> Reply {
        let task: Task = match serde_json::from_str(&call.arguments) {
            Ok(task) => task,
            Err(error) => return Reply::NotSent(format!("the task does not read: {error}")),
        };
        let source = self.at(&call.upstream);
        let source = source.or_else(|| task.asks().then(|| self.reaching(&call.upstream))?);
        let Some(source) = source else {
            let why = "its source is not open here, or is not the one that it was";
            return Reply::NotSent(why.to_owned());
        };
        let deadline = source.deadline.map_or(deadline, |own| own.min(deadline));
        let room = tokio::time::timeout(deadline, source.room.acquire()).await;
        let Ok(Ok(_room)) = room else {
            return Reply::NotSent("its source has no room for another call".to_owned());
        };
        let door = match &source.door {
            Ok(door) => door,
            Err(why) => return Reply::NotSent(why.clone()),
        };
        let Some(asking) = source.health.pass() else {
            let why = "its source failed several times in a row and is left alone for a moment";
            return Reply::NotSent(why.to_owned());
        };
        let mut reply = door.carry_out(&task, deadline).await;
        source.echo.hide_in_reply(&mut reply);
        source.health.heard(asking, &task, &reply);
        reply
    }
}

#[async_trait]
impl Sources for Registry {
    async fn replace(&self, sources: Vec<OpenSource>) {
        let before = self.open.load_full();
        let mut now = HashMap::new();
        for source in sources {
            let place = source.source.place(&source.secrets, &source.set);
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
        match self.named(org, name) {
            Some(open) => open.ping(deadline).await,
            None => SourceAnswer::not(NOT_OPEN),
        }
    }

    fn health(&self) -> Vec<(OrgId, UpstreamHealth)> {
        let all = self.open.load();
        all.values()
            .map(|open| (open.org.clone(), open.health.told()))
            .collect()
    }

    fn look_after(&self) {
        for open in self.open.load().values() {
            if open.health.wants_a_look() {
                let open = open.clone();
                tokio::spawn(async move { open.ping(LOOK).await });
            }
        }
    }

    async fn prepare(&self, org: &OrgId, name: &str, deadline: Duration) -> SourceAnswer {
        match self.named(org, name).as_deref().map(|open| &open.door) {
            Some(Ok(door)) => door.prepare(deadline).await,
            Some(Err(why)) => SourceAnswer::not(why),
            None => SourceAnswer::not(NOT_OPEN),
        }
    }

    async fn fetch(
        &self,
        org: &OrgId,
        name: &str,
        url: &str,
        deadline: Duration,
    ) -> Result<String, FetchTrouble> {
        match self.named(org, name) {
            Some(open) => fetching::fetch(&open.reach, url, deadline).await,
            None => Err(FetchTrouble::failed(NOT_OPEN.to_owned())),
        }
    }

    fn refuses(&self, org: &OrgId, source: &Source) -> Option<Invalid> {
        door::refuses(source, &self.allowed.of(org))
    }
}

impl Opened {
    async fn ping(&self, deadline: Duration) -> SourceAnswer {
        let mut answer = match &self.door {
            Ok(door) => door.ping(deadline).await,
            Err(why) => SourceAnswer::not(why),
        };
        answer.detail = self.echo.hide(&answer.detail).into_owned();
        let trouble = (!answer.ok).then(|| answer.detail.clone());
        self.health.is(trouble);
        answer
    }
}

impl Registry {
    /// The source of this name that reaches where this one did, whatever else has become of it.
    fn reaching(&self, name: &str) -> Option<Arc<Opened>> {
        let all = self.open.load();
        let found = all
            .iter()
            .find(|(key, _)| place_less(key) == place_less(name));
        found.map(|(_, open)| open.clone())
    }

    /// A source, wherever it reaches now.
    fn named(&self, org: &OrgId, name: &str) -> Option<Arc<Opened>> {
        let all = self.open.load();
        let named = all.iter().find(|(key, _)| {
            let place = key.rsplit_once('@').map_or("", |(_, place)| place);
            **key == upstream(org, name, place)
        });
        named.map(|(_, open)| open.clone())
    }
}

/// The name of a source without what else its place says than where it is.
fn place_less(name: &str) -> (&str, &str) {
    let (source, place) = name.rsplit_once('@').unwrap_or((name, ""));
    (source, reach_of(place))
}

/// What a source must not repeat: its own secrets.
fn echo_of(secrets: &BTreeMap<String, Secret>) -> Echo {
    let echo = Echo::of(secrets.values());
    match (secrets.get("username"), secrets.get("password")) {
        (Some(username), Some(password)) => echo.and_basic(username, password),
        _ => echo,
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
