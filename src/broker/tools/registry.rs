//! Tools that organisations register: kept as documents with every earlier version, checked whole
//! before they are saved, and in the catalogue of their organisation within a second on every node.
//!
//! A change makes another tool of it, and so does a source that reaches elsewhere: a proposal made on
//! the old one ends as `tool_changed`. One whose source cannot be unsealed is in nobody's catalogue
//! until it can, and the log says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Tools;
use super::catalogue::OUR_OWN;
use super::check::Beside;
use super::sources::StoredSource;
use super::watch::compiled;
use crate::broker::core::Trouble;
use crate::broker::core::kept::{Earlier, Keepable, Kept, Records, version_id};
use crate::connector::{registered, registry};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::DocKey;
use crate::domain::document::Single;
use crate::domain::ids::{OrgId, ToolName};
use crate::domain::names::Names;
use crate::domain::principal::{Principal, Right};
use crate::domain::schema::{self, Checker};
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, Standing, Tool};
use crate::domain::tools::difference::{Difference, differences};
use crate::domain::tools::work::{Registered as AtSource, Work};
use crate::domain::tools::{Invalid, Source, ToolDef, word};

/// What operators may change of a tool that others write.
const OPERATORS: &[&str] = &["enabled", "money", "payee", "risk"];

/// A registered tool as it is kept: its document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Registered(pub(super) Value);

impl Registered {
    /// The source that it works on.
    pub(super) fn source(&self) -> Option<&str> {
        self.0.get("source").and_then(Value::as_str)
    }
}

impl Keepable for Registered {
    const KIND: &'static str = "tool";
    const NOUN: &'static str = "tool";
    const RECORDS: Records = Records {
        created: RecordKind::ToolCreated,
        changed: RecordKind::ToolChanged,
        deleted: RecordKind::ToolDeleted,
    };
    const HISTORY: Option<&'static str> = Some("tool_version");

    fn told(&self) -> Value {
        self.0.clone()
    }
}

/// A registered tool as people see it.
#[derive(Clone, PartialEq, Debug)]
pub struct ToolView {
    /// The document, with what it left to defaults.
    pub document: Value,
    /// Counts its changes.
    pub version: u64,
    /// Who changed it last.
    pub changed_by: String,
    /// And when.
    pub changed_at: Timestamp,
    /// How an unknown outcome is settled: by a `marker` in the same database, a `lookup`, the
    /// `idempotency_header`, or by nobody but a person (`none`). Of tools that only read, nothing.
    pub recovery_contract: Option<&'static str>,
    /// What this version changed; empty where it is the first, or was not asked for.
    pub changes: Vec<Difference>,
}

impl Tools {
    /// Registers a tool.
    pub async fn create_tool(
        &self,
        who: &Principal,
        document: &Value,
    ) -> Result<ToolView, Trouble> {
        self.may_develop(who)?;
        let alone = Beside::default();
        let def = self.may_be_made(who, document, &alone).await?;
        let name = def.name.clone();
        let kept = self.make(who, &name, Registered(def.document())).await?;
        self.reload().await?;
        Ok(view(kept))
    }

    /// A document that may be saved under a name that no tool of another kind has.
    pub(super) async fn may_be_made(
        &self,
        who: &Principal,
        document: &Value,
        beside: &Beside,
    ) -> Result<ToolDef, Trouble> {
        let def = self.checked(who, None, document, beside).await?;
        // Also while the server of the tool of that name is away.
        let given = self.find::<Names>(&OrgId::default(), Names::ID).await?;
        let given = given.transpose()?;
        let is_given = given.is_some_and(|names| names.value.owner(&def.name).is_some());
        match is_given || self.catalogue().shared(&def.name).is_some() {
            true => Err(Trouble::NameTaken("tool", def.name)),
            false => Ok(def),
        }
    }

    /// Replaces a registered tool.
    pub async fn replace_tool(
        &self,
        who: &Principal,
        name: &str,
        document: &Value,
        version: Option<u64>,
    ) -> Result<ToolView, Trouble> {
        self.may_develop(who)?;
        let before = self.ours(who, name).await?;
        self.replaced(who, name, before, document, version).await
    }

    async fn replaced(
        &self,
        who: &Principal,
        name: &str,
        before: Kept<Registered>,
        document: &Value,
        version: Option<u64>,
    ) -> Result<ToolView, Trouble> {
        let (earlier, alone) = (&before.value.0, Beside::default());
        let def = self.checked(who, Some(earlier), document, &alone).await?;
        if def.name != name {
            let detail = "is another than the tool's; delete it and register a new one";
            return Err(Trouble::invalid(Invalid::tool("/name", detail)));
        }
        let value = Registered(def.document());
        let kept = self.replace(who, name, before, version, value).await?;
        self.reload().await?;
        Ok(view(kept))
    }

    /// Changes what is named of a registered tool; null takes a field away. Operators, who write no
    /// tools, may give their word on one ([`OPERATORS`]).
    pub async fn change_tool(
        &self,
        who: &Principal,
        name: &str,
        changes: &Value,
        version: Option<u64>,
    ) -> Result<ToolView, Trouble> {
        let fields = changes.as_object().into_iter().flat_map(Map::keys);
        let their_own = fields
            .into_iter()
            .all(|field| OPERATORS.contains(&field.as_str()));
        if !(their_own && who.may(Right::Operate)) {
            self.may_develop(who)?;
        }
        let before = self.ours(who, name).await?;
        let mut document = before.value.0.clone();
        if let (Some(document), Some(changes)) = (document.as_object_mut(), changes.as_object()) {
            for (field, value) in changes {
                if value.is_null() {
                    document.remove(field);
                } else {
                    document.insert(field.clone(), value.clone());
                }
            }
        }
        // What was read and what is replaced are held to be the same.
        let version = version.or(Some(before.version));
        self.replaced(who, name, before, &document, version).await
    }

    /// A registered tool, or why the one of this name cannot be changed here.
    async fn ours(&self, who: &Principal, name: &str) -> Result<Kept<Registered>, Trouble> {
        if let Some(kept) = self.kept(&who.org, name).await? {
            return Ok(kept);
        }
        let found = self.catalogue().get(&who.org, name);
        Err(match found.as_ref().map(|tool| &tool.executor) {
            Some(Executor::Noop | Executor::Bank) => {
                let text = format!("`{name}` is built in: it cannot be changed");
                Trouble::InvalidRequest(text)
            }
            Some(Executor::Upstream { upstream, .. }) => Trouble::InvalidRequest(format!(
                "`{name}` is a tool of the upstream `{upstream}`, which the configuration rules \
                 ([upstream.{upstream}.tools]): it cannot be changed here"
            )),
            Some(Executor::Registered(_)) | None => Trouble::NotFound("tool"),
        })
    }

    /// Lets a registered tool be called, or not.
    pub async fn enable_tool(
        &self,
        who: &Principal,
        name: &str,
        enabled: bool,
    ) -> Result<ToolView, Trouble> {
        self.change_tool(who, name, &json!({"enabled": enabled}), None)
            .await
    }

    /// Takes a registered tool away. Its versions stay.
    pub async fn delete_tool(&self, who: &Principal, name: &str) -> Result<(), Trouble> {
        self.may_develop(who)?;
        let before = self.ours(who, name).await?;
        self.take_away(who, name, &before).await?;
        self.reload().await
    }

    /// One registered tool, for those who may make them or read everything.
    pub async fn registered_tool(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<Option<ToolView>, Trouble> {
        self.may_see_registry(who)?;
        Ok(self.kept(&who.org, name).await?.map(view))
    }

    /// Every version of a registered tool, the newest first.
    pub async fn tool_versions(
        &self,
        who: &Principal,
        name: &str,
    ) -> Result<Vec<ToolView>, Trouble> {
        self.may_see_registry(who)?;
        let now = self.ours(who, name).await?;
        let mut versions = vec![view(now.clone())];
        for version in (1..now.version).rev() {
            let id = version_id(name, version);
            let found = self.find::<Earlier<Registered>>(&who.org, &id).await?;
            if let Some(Ok(earlier)) = found {
                let Earlier(kept) = earlier.value;
                let earlier = view(Kept { version, ..kept });
                if let Some(later) = versions.last_mut() {
                    later.changes = differences(&earlier.document, &later.document);
                }
                versions.push(earlier);
            }
        }
        Ok(versions)
    }

    /// A document that may be saved: whole in itself, at a source that is there and of its kind,
    /// under a name that is nobody else's, by somebody who may say what it says. `before` is the
    /// document that it replaces.
    pub(super) async fn checked(
        &self,
        who: &Principal,
        before: Option<&Value>,
        document: &Value,
        beside: &Beside,
    ) -> Result<ToolDef, Trouble> {
        let org = &who.org;
        let def = ToolDef::read(document).map_err(Trouble::invalid)?;
        let built_in = registry::tools(true);
        let is_ours = |name: &str| {
            let ours = OUR_OWN.contains(&name) || registry::bank().tools().contains(&name);
            ours || built_in.iter().any(|tool| tool.name.as_str() == name)
        };
        if is_ours(&def.name) {
            let detail = "is the name of one of the broker's own tools; choose another";
            return Err(Trouble::invalid(Invalid::tool("/name", detail)));
        }
        let source = match beside.sources.get(&def.source) {
            Some(source) => Some(source.clone()),
            None => {
                let stored: Option<Kept<StoredSource>> = self.kept(org, &def.source).await?;
                stored.map(|kept| kept.value.source()).transpose()?
            }
        };
        let Some(source) = source else {
            let detail = format!("there is no source named `{}`; make it first", def.source);
            return Err(Trouble::invalid(Invalid::tool("/source", detail)));
        };
        let work = registered::work(&def, &source).map_err(Trouble::invalid)?;
        let tool = tool_of(org, 1, def.clone(), work, "").map_err(Trouble::invalid)?;
        if let Err(why) = compiled(tool).await {
            return Err(Trouble::invalid(Invalid::tool("/input_schema", why)));
        }
        match word::needed(before, &def).filter(|_| !who.may(Right::Operate)) {
            Some(word) => Err(Trouble::WordNeeded(word)),
            None => Ok(def),
        }
    }

    /// Takes in what is registered, if any document has changed since the last look.
    pub async fn look_at_registry(&self) -> Result<(), Trouble> {
        let epoch = self.ports().store.docs_epoch().await?;
        let next = epoch.saturating_add(1);
        if self.registry_seen.load(Ordering::Acquire) == next {
            return Ok(());
        }
        self.reload().await?;
        self.registry_seen.store(next, Ordering::Release);
        Ok(())
    }

    /// Takes in what is registered now: sources for the wire, tools for the catalogue.
    pub(super) async fn reload(&self) -> Result<(), Trouble> {
        let Some(wire) = self.ports().sources.clone() else {
            return Ok(());
        };
        // Held over the reading, so that what was read later is never overwritten by what was read
        // before. Of one document that does not read back the others learn nothing.
        let mut known = self.registry_known.lock().await;
        let sources = self.readable::<StoredSource>().await?;
        let tools = self.readable::<Registered>().await?;
        let versions = |key: &DocKey, version: u64| (key.clone(), version);
        let now: Vec<(DocKey, u64)> = sources
            .iter()
            .map(|(key, kept)| versions(key, kept.version))
            .chain(tools.iter().map(|(key, kept)| versions(key, kept.version)))
            .collect();
        if known.documents == now {
            return Ok(());
        }
        let sources = self.opened(sources);
        let places: Places = sources
            .iter()
            .map(|open| {
                let place = open.source.place(&open.secrets, &open.set);
                let name = (open.org.clone(), open.source.name.clone());
                (name, (open.version, open.source.clone(), place))
            })
            .collect();
        wire.replace(sources).await;
        let mut made = BTreeMap::new();
        for (key, kept) in tools {
            let earlier = known.tools.remove(&key);
            match earlier.filter(|earlier| earlier.is_still(&key.org, kept.version, &places)) {
                Some(earlier) => {
                    made.insert(key, earlier);
                }
                None => match Made::of(&key.org, kept.version, &kept.value.0, &places) {
                    Some(tool) => {
                        made.insert(key, tool);
                    }
                    None => {
                        tracing::error!(tool = %key.id, "it cannot be made from its document and its source");
                    }
                },
            }
        }
        let mut registered: BTreeMap<OrgId, Vec<Arc<Tool>>> = BTreeMap::new();
        for (key, made) in &made {
            let own = registered.entry(key.org.clone()).or_default();
            own.push(made.tool.clone());
        }
        self.catalogue().register(registered);
        *known = Known {
            documents: now,
            tools: made,
        };
        Ok(())
    }

    /// Registered tools that may be called, whose doubts nobody but a person can settle.
    pub async fn settled_by_people(&self) -> Result<Vec<String>, Trouble> {
        let all = self.readable::<Registered>().await?;
        let defs = all
            .iter()
            .filter_map(|(_, kept)| ToolDef::read(&kept.value.0).ok());
        let alone = defs.filter(|def| def.enabled && registered::settled_by(def) == Some("none"));
        Ok(alone.map(|def| def.name).collect())
    }

    async fn readable<T: Keepable>(&self) -> Result<Vec<(DocKey, Kept<T>)>, Trouble> {
        let read = self.documents::<Kept<T>>(None).await?;
        let read = read.into_iter().filter_map(Result::ok);
        Ok(read
            .map(|stored| {
                let version = stored.version;
                (
                    stored.key,
                    Kept {
                        version,
                        ..stored.value
                    },
                )
            })
            .collect())
    }
}

/// Each source's version, itself, and the place that it stands for, by organisation and name.
type Places = BTreeMap<(OrgId, String), (u64, Source, String)>;

/// What was registered at the last look. A change makes its own tool anew and no other: with a
/// thousand of them, the last is registered as quickly as the first.
#[derive(Default)]
pub(super) struct Known {
    documents: Vec<(DocKey, u64)>,
    tools: BTreeMap<DocKey, Made>,
}

/// A tool as it is in the catalogue, and of which versions it was made.
struct Made {
    tool: Arc<Tool>,
    version: u64,
    source: String,
    source_version: u64,
}

impl Made {
    fn of(org: &OrgId, version: u64, document: &Value, places: &Places) -> Option<Self> {
        let def = ToolDef::read(document).ok()?;
        let name = (org.clone(), def.source.clone());
        let (source_version, source, place) = places.get(&name)?;
        let work = registered::work(&def, source).ok()?;
        Some(Self {
            tool: tool_of(org, version, def, work, place).ok()?,
            version,
            source: name.1,
            source_version: *source_version,
        })
    }

    /// Whether it would be made the same of what there is now.
    fn is_still(&self, org: &OrgId, version: u64, places: &Places) -> bool {
        let source = places.get(&(org.clone(), self.source.clone()));
        let source = source.map(|(version, ..)| *version);
        self.version == version && source == Some(self.source_version)
    }
}

fn tool_of(
    org: &OrgId,
    version: u64,
    def: ToolDef,
    work: Work,
    place: &str,
) -> Result<Arc<Tool>, Invalid> {
    let money = def.money_rule();
    let wrong = |why: String| Invalid::tool("/input_schema", why);
    let input_schema = schema::strict(&def.input_schema, &money).map_err(wrong)?;
    let name: ToolName = def
        .name
        .parse()
        .map_err(|_| Invalid::tool("/name", "is no name of a tool"))?;
    // What a proposal is bound to: the document, whose it is, and where it works.
    let digest = Tool::digest_of(&json!({
        "org": org, "version": version, "document": def.document(), "place": place,
    }));
    Ok(Arc::new(Tool {
        name,
        description: def.description.clone(),
        input_schema,
        output_schema: def.output_schema.clone(),
        risk: def.risk,
        money,
        payee: def.payee_rule(),
        patterns: Vec::new(),
        hold: false,
        standing: match def.enabled {
            true => Standing::Accepted,
            false => Standing::Disabled,
        },
        digest,
        checker: Checker::default(),
        executor: Executor::Registered(Arc::new(AtSource {
            org: org.clone(),
            version,
            def: Arc::new(def),
            place: place.to_owned(),
            work,
            output: Checker::default(),
        })),
    }))
}

pub(super) fn view(kept: Kept<Registered>) -> ToolView {
    let def = ToolDef::read(&kept.value.0).ok();
    ToolView {
        recovery_contract: def.as_ref().and_then(registered::settled_by),
        changes: Vec::new(),
        document: kept.value.0,
        version: kept.version,
        changed_by: kept.changed_by,
        changed_at: kept.changed_at,
    }
}
