//! Tends the tools of upstreams: lists them, compares each with what an operator accepted, and
//! puts what differs in quarantine.
//!
//! What is accepted is pinned word by word: name, description, schemas and hints. A new, changed
//! or vanished definition cannot be proposed or called until an operator accepts it, here or in
//! another process on the same store. What cannot be compared, because the store does not
//! answer or a pin does not read, is quarantined too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;

use super::catalogue::{Judged, ToolInfo};
use super::{Broker, Trouble};
use crate::domain::change::{Change, DocKey, DocWrite, Record};
use crate::domain::ids::OrgId;
use crate::domain::money::Effective;
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::principal::{Principal, Right};
use crate::domain::tool::{Payee, Risk, Standing, Tool};
use crate::domain::upstream::{Definition, Pin, UpstreamRules};
use crate::store::ApplyError;
use crate::wire::{Offered, Wire};

/// How long an upstream may take to list its tools.
const LIST: Duration = Duration::from_secs(10);

/// What is known of the upstreams between two turns.
pub(super) struct Tending {
    changes: Mutex<broadcast::Receiver<String>>,
    /// One turn at a time; a second one finds nothing left to do.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The store's count of document writes when pins were last read.
    epoch: Option<u64>,
    /// What each upstream offered when it was last listed.
    offers: BTreeMap<String, Vec<Definition>>,
    /// Upstreams to list: never listed, changed, or failed.
    due: BTreeSet<String>,
    /// Upstreams whose tools are not yet compared with the pins.
    unjudged: BTreeSet<String>,
}

/// One pin as it is stored; `Err` if it does not read.
struct Stored {
    version: u64,
    pin: Result<Pin, String>,
}

type Pins = BTreeMap<String, Stored>;

impl Tending {
    pub(super) fn new<'a>(wire: &dyn Wire, upstreams: impl Iterator<Item = &'a String>) -> Self {
        let due: BTreeSet<String> = upstreams.cloned().collect();
        let state = State {
            unjudged: due.clone(),
            due,
            ..State::default()
        };
        Self {
            changes: Mutex::new(wire.changes()),
            state: tokio::sync::Mutex::new(state),
        }
    }

    /// Upstreams that said since the last turn that something changed, or `None` if too many did.
    fn told(&self) -> Option<BTreeSet<String>> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = BTreeSet::new();
        loop {
            match changes.try_recv() {
                Ok(upstream) => {
                    told.insert(upstream);
                }
                Err(TryRecvError::Lagged(_)) => return None,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(told),
            }
        }
    }
}

impl Broker {
    /// One turn: lists the upstreams that are new, changed or failed last time, and compares all
    /// anew if a pin may have been written by anyone. Fails if the store does not answer; then
    /// every tool that could not be compared is quarantined.
    pub async fn tend_tools(&self) -> Result<(), Trouble> {
        let configured = &self.settings().upstreams;
        if configured.is_empty() {
            return Ok(());
        }
        let mut state = self.tending().state.lock().await;
        match self.tending().told() {
            Some(told) => {
                let ours = told
                    .into_iter()
                    .filter(|name| configured.contains_key(name));
                state.due.extend(ours);
            }
            None => state.due.extend(configured.keys().cloned()),
        }
        self.list_due(&mut state).await;
        self.judge_due(&mut state).await
    }

    async fn list_due(&self, state: &mut State) {
        let due = std::mem::take(&mut state.due);
        let listings = due.into_iter().map(|upstream| async move {
            let listed = self.ports().wire.offered(&upstream, LIST).await;
            (upstream, listed)
        });
        for (upstream, listed) in join_all(listings).await {
            match listed {
                Ok(offered) => {
                    let offers = offered.into_iter().map(definition).collect();
                    state.offers.insert(upstream.clone(), offers);
                    state.unjudged.insert(upstream);
                }
                Err(why) => {
                    tracing::debug!(%upstream, %why, "its tools could not be listed");
                    state.due.insert(upstream);
                }
            }
        }
    }

    async fn judge_due(&self, state: &mut State) -> Result<(), Trouble> {
        let epoch = self.ports().store.docs_epoch().await;
        let known = matches!((&epoch, state.epoch), (Ok(now), Some(then)) if *now == then);
        if !known {
            state
                .unjudged
                .extend(self.settings().upstreams.keys().cloned());
        }
        if state.unjudged.is_empty() {
            return Ok(());
        }
        let pins = match &epoch {
            Ok(_) => self.pins().await,
            Err(error) => Err(error.clone().into()),
        };
        for upstream in state.unjudged.clone() {
            let offers = state.offers.get(&upstream);
            let pins = pins.as_ref().map(|all| all.get(&upstream));
            self.judge(&upstream, offers, pins).await;
        }
        pins?;
        state.unjudged.clear();
        // Read before the pins were, so that a pin written meanwhile is seen at the next turn.
        state.epoch = epoch.ok();
        Ok(())
    }

    /// Compares one upstream's offers with its pins and puts the result into the catalogue.
    async fn judge(
        &self,
        upstream: &str,
        offers: Option<&Vec<Definition>>,
        pins: Result<Option<&Pins>, &Trouble>,
    ) {
        let Some(rules) = self.settings().upstreams.get(upstream) else {
            return;
        };
        let none = Pins::new();
        let (pins, unreadable) = match pins {
            Ok(pins) => (pins.unwrap_or(&none), false),
            Err(_) => (&none, true),
        };
        let trusting = rules.trust_on_first_use && pins.is_empty() && !unreadable;
        let mut shelf = Vec::new();
        for offered in offers.into_iter().flatten() {
            let stored = pins.get(&offered.name);
            let mut judged = match judged(upstream, rules, offered, stored) {
                Some(judged) => judged,
                None => continue,
            };
            if unreadable {
                judged.problem = Some("what was accepted cannot be read".to_owned());
            } else if trusting && judged.problem.is_none() {
                self.trust(upstream, offered, &mut judged).await;
            } else if judged.tool.standing == Standing::Changed {
                self.report(upstream, offered, stored).await;
            }
            shelf.push(judged);
        }
        let gone = pins.iter().filter(|(name, _)| {
            let mut offered = offers.into_iter().flatten();
            !offered.any(|definition| definition.name == **name)
        });
        shelf.extend(gone.filter_map(|(_, stored)| gone_tool(upstream, rules, stored)));
        self.catalogue().shelve(upstream, shelf);
    }

    /// Every pin, by upstream and tool.
    async fn pins(&self) -> Result<BTreeMap<String, Pins>, Trouble> {
        let org = OrgId::default();
        let docs = self.ports().store.docs(Pin::KIND, Some(&org)).await?;
        let mut pins: BTreeMap<String, Pins> = BTreeMap::new();
        for doc in docs {
            let Some((upstream, tool)) = doc.key.id.split_once('/') else {
                continue;
            };
            let stored = Stored {
                version: doc.version,
                pin: serde_json::from_value(doc.body).map_err(|error| error.to_string()),
            };
            let shelf = pins.entry(upstream.to_owned()).or_default();
            shelf.insert(tool.to_owned(), stored);
        }
        Ok(pins)
    }

    /// First contact with an upstream that the operator trusts.
    async fn trust(&self, upstream: &str, offered: &Definition, judged: &mut Judged) {
        match self.pin(upstream, offered, 0, "hundi", judged, true).await {
            Ok(pin) => {
                judged.pin = Some(pin);
                judged.tool.standing = Standing::Accepted;
            }
            Err(trouble) => tracing::warn!(%upstream, %trouble, "first contact was not kept"),
        }
    }

    /// Tells people about a changed definition, once for each.
    async fn report(&self, upstream: &str, offered: &Definition, stored: Option<&Stored>) {
        let Some((stored, pin)) = stored.and_then(|s| Some((s, s.pin.as_ref().ok()?))) else {
            return;
        };
        let digest = offered.digest();
        if pin.reported.as_ref() == Some(&digest) {
            return;
        }
        let differs = offered.differences(&pin.definition);
        let name = &offered.name;
        tracing::warn!(%upstream, tool = %name, ?differs, "changed since it was accepted");
        let now = self.ports().ambient.now();
        let org = OrgId::default();
        let detail = json!({
            "upstream": upstream, "tool": name, "differs": differs,
            "accepted": pin.digest, "offered": digest,
        });
        let record = Record::new(now, &org, "tool_quarantined", "hundi").with(detail);
        let told = format!(
            "{upstream} changed the {} of its tool {name}; it waits for an operator",
            differs.join(", ")
        );
        let notice = Notice {
            kind: NoticeKind::Alert,
            at: now,
            org: org.clone(),
            proposal: None,
            agent: None,
            tool: None,
            effective: Effective::Nothing,
            payee: Payee::default(),
            args_hash: String::new(),
            reason: "tool_quarantined".to_owned(),
            findings: Vec::new(),
            detail: told,
        };
        let pin = Pin {
            reported: Some(digest),
            ..pin.clone()
        };
        let write = write(&org, upstream, name, stored.version, &pin);
        let change = Change::documents(vec![write], Vec::new(), vec![record], vec![notice]);
        // A conflict means that another node told it, or that an operator has just accepted it.
        if let Err(error) = self.ports().store.apply(change).await {
            tracing::debug!(%upstream, tool = %name, %error, "not reported");
        }
    }

    /// Accepts what a tool offers now, whatever that is. See [`Broker::accept_tool_if`].
    pub async fn accept_tool(&self, who: &Principal, name: &str) -> Result<ToolInfo, Trouble> {
        self.accept(who, name, None).await
    }

    /// Accepts a tool's definition if it still has the digest that the operator looked at.
    pub async fn accept_tool_if(
        &self,
        who: &Principal,
        name: &str,
        digest: &str,
    ) -> Result<ToolInfo, Trouble> {
        self.accept(who, name, Some(digest)).await
    }

    async fn accept(
        &self,
        who: &Principal,
        name: &str,
        seen: Option<&str>,
    ) -> Result<ToolInfo, Trouble> {
        // Pins hold for every organisation, so only operators of the first one set them.
        if !who.may(Right::Operate) || who.org != OrgId::default() {
            let role = who.role.name();
            return Err(Trouble::Forbidden { role });
        }
        self.tend_tools().await?;
        let info = self.tool_info(name)?;
        let (Some((upstream, _)), Some(offered)) = (&info.upstream, &info.offered) else {
            let why =
                format!("{name} is offered by no upstream now, so there is nothing to accept");
            return Err(Trouble::InvalidRequest(why));
        };
        if seen.is_some_and(|digest| digest != info.digest) {
            return Err(Trouble::Changed);
        }
        if let Some(problem) = &info.problem {
            return Err(Trouble::InvalidRequest(format!("{name}: {problem}")));
        }
        if info.standing == Standing::Accepted {
            return Ok(info);
        }
        let id = Pin::id(upstream, &offered.name);
        let key = DocKey::new(Pin::KIND, &OrgId::default(), id);
        let stored = self.ports().store.doc(&key).await?;
        let version = stored.map_or(0, |doc| doc.version);
        let judged = Judged {
            tool: (*self.known_tool(name)?).clone(),
            offered: Some(offered.clone()),
            pin: None,
            raised: info.raised,
            problem: None,
        };
        self.pin(upstream, offered, version, &who.id, &judged, false)
            .await?;
        self.tend_tools().await?;
        self.tool_info(name)
    }

    /// Pins a definition and records who accepted it.
    async fn pin(
        &self,
        upstream: &str,
        offered: &Definition,
        version: u64,
        by: &str,
        judged: &Judged,
        first_contact: bool,
    ) -> Result<Pin, Trouble> {
        let now = self.ports().ambient.now();
        let org = OrgId::default();
        let pin = Pin {
            digest: offered.digest(),
            definition: offered.clone(),
            accepted_by: by.to_owned(),
            accepted_at: now,
            reported: None,
        };
        let mut record = Record::new(now, &org, "tool_accepted", by).with(json!({
            "upstream": upstream, "tool": offered.name, "digest": pin.digest,
            "risk": judged.tool.risk, "first_contact": first_contact,
        }));
        record.tool = Some(judged.tool.name.clone());
        let write = write(&org, upstream, &offered.name, version, &pin);
        let change = Change::documents(vec![write], Vec::new(), vec![record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(pin),
            Err(ApplyError::Conflict(_)) => Err(Trouble::Changed),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// The tools: every one with all there is to know for those who may read everything, and the
    /// usable ones without what was accepted when for agents.
    pub fn tools(&self, who: &Principal) -> Vec<ToolInfo> {
        let infos = self.catalogue().infos();
        let everything = who.may(Right::ReadAll);
        let shown = infos
            .values()
            .filter(|info| everything || info.standing == Standing::Accepted);
        shown
            .map(|info| ToolInfo {
                accepted_by: info.accepted_by.clone().filter(|_| everything),
                ..info.clone()
            })
            .collect()
    }

    fn tool_info(&self, name: &str) -> Result<ToolInfo, Trouble> {
        let infos = self.catalogue().infos();
        let info = infos.get(name).cloned();
        info.ok_or_else(|| Trouble::UnknownTool(name.chars().take(128).collect()))
    }

    fn known_tool(&self, name: &str) -> Result<Arc<Tool>, Trouble> {
        let tool = self.catalogue().get(name);
        tool.ok_or_else(|| Trouble::UnknownTool(name.chars().take(128).collect()))
    }
}

fn judged(
    upstream: &str,
    rules: &UpstreamRules,
    offered: &Definition,
    stored: Option<&Stored>,
) -> Option<Judged> {
    let digest = offered.digest();
    let (standing, pin) = match stored.map(|stored| &stored.pin) {
        None => (Standing::New, None),
        Some(Ok(pin)) if pin.digest == digest => (Standing::Accepted, Some(pin)),
        Some(Ok(pin)) => (Standing::Changed, Some(pin)),
        Some(Err(why)) => {
            tracing::warn!(%upstream, tool = %offered.name, %why, "its pin does not read");
            (Standing::Changed, None)
        }
    };
    let Some((mut tool, problem)) = offered.tool(upstream, rules, standing) else {
        tracing::debug!(%upstream, tool = %offered.name, "left out of the catalogue");
        return None;
    };
    if problem.is_some() && tool.standing == Standing::Accepted {
        // It was usable when it was accepted; the operator's rules have changed since.
        tool.standing = Standing::Changed;
    }
    let word = rules.rule(&offered.name).and_then(|rule| rule.risk);
    Some(Judged {
        raised: word == Some(Risk::Low) && word != Some(tool.risk),
        tool,
        offered: Some(offered.clone()),
        pin: pin.cloned(),
        problem,
    })
}

/// A tool that was accepted and is not offered any more, or not yet.
fn gone_tool(upstream: &str, rules: &UpstreamRules, stored: &Stored) -> Option<Judged> {
    let pin = stored.pin.as_ref().ok()?;
    let (tool, problem) = pin.definition.tool(upstream, rules, Standing::Gone)?;
    Some(Judged {
        tool,
        offered: None,
        pin: Some(pin.clone()),
        raised: false,
        problem,
    })
}

fn definition(offered: Offered) -> Definition {
    Definition {
        name: offered.name,
        description: offered.description,
        input_schema: offered.input_schema,
        output_schema: offered.output_schema,
        annotations: offered.annotations,
    }
}

fn write(org: &OrgId, upstream: &str, tool: &str, version: u64, pin: &Pin) -> DocWrite {
    DocWrite {
        key: DocKey::new(Pin::KIND, org, Pin::id(upstream, tool)),
        expect: Some(version),
        body: Some(json!(pin)),
    }
}
