//! Access rules: kept as documents with every earlier version, and what they say of one caller and
//! one tool now.
//!
//! Every door and every proposal asks here, and nowhere else. A rule that any node has written is in
//! force on all of them within a second; who cannot learn the rules of an organisation, because the
//! store does not answer or one does not read back, is let through nowhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Access;
use super::in_force::InForce;
use crate::broker::core::kept::{Keepable, Kept, Records};
use crate::broker::core::{Trouble, forbidden};
use crate::domain::access::{Basis, Kind, Mask, Rule, RuleDef, RuleId, RuleVersion, Server};
use crate::domain::audit::names::RecordKind;
use crate::domain::ids::{OrgId, hex};
use crate::domain::person::PersonId;
use crate::domain::principal::{Principal, Right};
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, Tool};
use crate::domain::tools::{Invalid, ToolKind};
use crate::governance::access::rules::{self, Asked, ByDefault, Caller, Why};

/// Most characters of a rule's name that are kept in an id that is made of it.
const MAX_SLUG: usize = 40;

/// A rule as it is kept: its document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::broker) struct StoredRule(Value);

impl StoredRule {
    /// What it says.
    pub(super) fn document(&self) -> &Value {
        &self.0
    }
}

impl Keepable for StoredRule {
    const KIND: &'static str = "access_rule";
    const NOUN: &'static str = "access rule";
    const RECORDS: Records = Records {
        created: RecordKind::RuleCreated,
        changed: RecordKind::RuleChanged,
        deleted: RecordKind::RuleDeleted,
    };
    const HISTORY: Option<&'static str> = Some("access_rule_version");

    fn told(&self) -> Value {
        self.0.clone()
    }
}

/// A rule as people see it.
#[derive(Clone, PartialEq, Debug)]
pub struct RuleView {
    /// Names it.
    pub id: String,
    /// The document, with what it left to defaults.
    pub document: Value,
    /// Counts its changes.
    pub version: u64,
    /// Who changed it last.
    pub changed_by: String,
    /// And when.
    pub changed_at: Timestamp,
}

/// The rules of one organisation at one moment, and who asks: what they say of each tool.
pub struct Say<'w> {
    rules: Arc<Vec<Rule>>,
    default: ByDefault,
    at: Timestamp,
    who: &'w Principal,
    /// What the caller's person is called.
    name: Option<Arc<str>>,
}

/// What the rules say of one tool.
pub struct Told {
    /// Whether the call may go on, and why.
    pub why: Why,
    /// The rules that decided, each with its name, in order.
    pub by: Vec<(RuleVersion, String)>,
    /// What is hidden of the results.
    pub masks: Vec<Mask>,
}

impl Told {
    /// For records and proposals.
    pub fn basis(self, who: &Principal) -> Basis {
        Basis {
            rules: self.by.into_iter().map(|(rule, _)| rule).collect(),
            masks: self.masks,
            server: own_server(who).map(|server| server.name.clone()),
        }
    }
}

impl Say<'_> {
    /// Whether this caller may use this tool now.
    pub fn of(&self, tool: &Tool) -> Told {
        let caller = caller(self.who, self.name.as_deref(), tool);
        told(
            &self.rules,
            &asked(caller, tool, self.at),
            tool,
            self.default,
        )
    }

    /// The same, as yes or no.
    pub fn allows(&self, tool: &Tool) -> bool {
        let caller = caller(self.who, self.name.as_deref(), tool);
        let asked = asked(caller, tool, self.at);
        rules::decide(&self.rules, &asked, self.default).allowed()
    }

    /// Whether nothing could be said against any tool, so that nobody need ask for each.
    pub fn is_silent(&self) -> bool {
        self.rules.is_empty() && self.default == ByDefault::Server
    }
}

/// Who a check is about.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Somebody {
    /// The agent it acts as.
    pub agent: Option<crate::domain::ids::AgentId>,
    /// The person it belongs to.
    pub person: Option<String>,
    /// The server whose key it shows.
    pub server: Option<String>,
    /// What it may do.
    pub roles: Roles,
}

impl Access {
    /// Makes a rule.
    pub async fn create_rule(
        &self,
        who: &Principal,
        document: &Value,
    ) -> Result<RuleView, Trouble> {
        may_keep(who)?;
        let def = checked(document)?;
        self.name_is_free(&who.org, &def.name, None).await?;
        let id = id_of(&def.name);
        let made = self.make(who, &id, StoredRule(json!(def))).await;
        // What is taken is the id that was made of the name; the caller knows the name.
        let kept = made.map_err(|trouble| match matches!(trouble, Trouble::NameTaken(..)) {
            true => Trouble::NameTaken(StoredRule::NOUN, def.name.clone()),
            false => trouble,
        })?;
        self.reload_in_force().await;
        Ok(view(id, kept))
    }

    /// A rule as it would be kept.
    pub fn check_rule(&self, who: &Principal, document: &Value) -> Result<Value, Trouble> {
        may_keep(who)?;
        Ok(json!(checked(document)?))
    }

    /// Every rule of the caller's organisation, by id.
    pub async fn rules(&self, who: &Principal) -> Result<Vec<RuleView>, Trouble> {
        may_read(who)?;
        let all = self.all_kept::<StoredRule>(Some(&who.org)).await?;
        Ok(all
            .into_iter()
            .map(|(key, kept)| view(key.id, kept))
            .collect())
    }

    /// One rule.
    pub async fn rule(&self, who: &Principal, id: &str) -> Result<RuleView, Trouble> {
        may_read(who)?;
        Ok(view(
            id.to_owned(),
            self.found::<StoredRule>(&who.org, id).await?,
        ))
    }

    /// Replaces a rule.
    pub async fn replace_rule(
        &self,
        who: &Principal,
        id: &str,
        document: &Value,
        version: Option<u64>,
    ) -> Result<RuleView, Trouble> {
        may_keep(who)?;
        let before: Kept<StoredRule> = self.found(&who.org, id).await?;
        let def = checked(document)?;
        self.name_is_free(&who.org, &def.name, Some(id)).await?;
        let value = StoredRule(json!(def));
        let kept = self.replace(who, id, before, version, value).await?;
        self.reload_in_force().await;
        Ok(view(id.to_owned(), kept))
    }

    /// Takes a rule away. Its versions stay.
    pub async fn delete_rule(&self, who: &Principal, id: &str) -> Result<(), Trouble> {
        may_keep(who)?;
        let before: Kept<StoredRule> = self.found(&who.org, id).await?;
        self.take_away(who, id, &before).await?;
        self.reload_in_force().await;
        Ok(())
    }

    /// What the rules say to this caller now.
    pub(in crate::broker) async fn say<'w>(&self, who: &'w Principal) -> Result<Say<'w>, Trouble> {
        let known = self.in_force().await?;
        let rules = known.rules(&who.org);
        Ok(Say {
            rules: rules.map_err(|()| Trouble::StoreUnavailable)?,
            name: who.person.as_ref().and_then(|person| known.name(person)),
            default: self.settings().access_default,
            at: self.ports().ambient.now(),
            who,
        })
    }

    /// What the rules would say to somebody else of the caller's organisation.
    pub(in crate::broker) async fn say_of(
        &self,
        who: &Principal,
        somebody: &Somebody,
        tool: &Tool,
    ) -> Result<Told, Trouble> {
        may_read(who)?;
        let known = self.in_force().await?;
        let rules = known
            .rules(&who.org)
            .map_err(|()| Trouble::StoreUnavailable)?;
        let server = somebody.server.as_deref();
        let server = server.map(|name| rules::Server {
            name,
            offers_tool: known
                .server(&who.org, name)
                .is_some_and(|server| server.enabled && server.offers(tool.name.as_str())),
        });
        // A person is named by name or by id; a name that is no id stands for itself.
        let id = somebody.person.as_deref();
        let name = id.and_then(|id| known.name(&id.parse().ok()?));
        let caller = Caller {
            roles: somebody.roles,
            agent: somebody.agent.as_ref(),
            person: name.as_deref().or(id),
            person_id: id,
            server,
        };
        let asked = asked(caller, tool, self.ports().ambient.now());
        Ok(told(&rules, &asked, tool, self.settings().access_default))
    }

    /// Looks whether anybody has changed a rule. A duty of the worker, so that whoever watches hears
    /// of it.
    pub async fn look_at_rules(&self) -> Result<(), Trouble> {
        self.in_force().await.map(drop)
    }

    /// Wakes after each change of any rule.
    pub fn watch_rules(&self) -> tokio::sync::watch::Receiver<u64> {
        self.in_force.watch()
    }

    async fn in_force(&self) -> Result<Arc<InForce>, Trouble> {
        self.in_force.fresh(self.ports().store.as_ref()).await
    }

    pub(super) async fn reload_in_force(&self) {
        self.in_force.reload(self.ports().store.as_ref()).await;
    }

    /// Names are what people find rules by. The id keeps two of the same from being made at once.
    async fn name_is_free(
        &self,
        org: &OrgId,
        name: &str,
        but: Option<&str>,
    ) -> Result<(), Trouble> {
        let all = self.all_kept::<StoredRule>(Some(org)).await?;
        let others = all.iter().filter(|(key, _)| Some(key.id.as_str()) != but);
        let mut names = others.filter_map(|(_, kept)| kept.value.0.get("name")?.as_str());
        match names.any(|taken| taken == name) {
            true => Err(Trouble::NameTaken(StoredRule::NOUN, name.to_owned())),
            false => Ok(()),
        }
    }
}

/// Whether this caller may learn what the rules are.
pub fn may_read_rules(who: &Principal) -> bool {
    who.may(Right::ReadSetup)
}

fn may_read(who: &Principal) -> Result<(), Trouble> {
    match may_read_rules(who) {
        true => Ok(()),
        false => Err(forbidden(who)),
    }
}

fn may_keep(who: &Principal) -> Result<(), Trouble> {
    match who.may(Right::Steward) {
        true => Ok(()),
        false => Err(forbidden(who)),
    }
}

fn checked(document: &Value) -> Result<RuleDef, Trouble> {
    RuleDef::read(document)
        .map_err(|wrong| Trouble::invalid(Invalid::rule(wrong.pointer, wrong.detail)))
}

/// The name itself where it can be an id, else what can be kept of it and a hash of the whole.
fn id_of(name: &str) -> String {
    if name.parse::<RuleId>().is_ok() {
        return name.to_owned();
    }
    let mut slug = String::new();
    for c in name.chars().take(MAX_SLUG) {
        match c.is_ascii_alphanumeric() {
            true => slug.push(c.to_ascii_lowercase()),
            false if slug.is_empty() || slug.ends_with('-') => {}
            false => slug.push('-'),
        }
    }
    let slug = slug.trim_end_matches('-');
    let slug = if slug.is_empty() { "rule" } else { slug };
    let hash = hex(&Sha256::digest(name.as_bytes()));
    format!("{slug}-{}", hash.get(..12).unwrap_or_default())
}

fn view(id: String, kept: Kept<StoredRule>) -> RuleView {
    RuleView {
        id,
        document: kept.value.0,
        version: kept.version,
        changed_by: kept.changed_by,
        changed_at: kept.changed_at,
    }
}

/// The server whose own key the caller showed. Whoever comes through a server's door with a key that
/// opens more is not taken for one whom the server's keeper let in.
fn own_server(who: &Principal) -> Option<&Server> {
    let entrance = who.server.as_ref().filter(|entrance| entrance.own_key);
    entrance.map(|entrance| entrance.server.as_ref())
}

/// Who asks, as rules see it.
fn caller<'a>(who: &'a Principal, name: Option<&'a str>, tool: &Tool) -> Caller<'a> {
    Caller {
        roles: who.roles,
        agent: who.agent.as_ref(),
        person: name,
        person_id: who.person.as_ref().map(PersonId::as_str),
        server: own_server(who).map(|server| rules::Server {
            name: &server.name,
            offers_tool: server.offers(tool.name.as_str()),
        }),
    }
}

fn asked<'a>(who: Caller<'a>, tool: &'a Tool, at: Timestamp) -> Asked<'a> {
    Asked {
        who,
        tool: tool.name.as_str(),
        source: tool.server(),
        kind: kind(tool),
        risk: tool.risk,
        at,
    }
}

fn told(rules: &[Rule], asked: &Asked<'_>, tool: &Tool, default: ByDefault) -> Told {
    let decided = rules::decide(rules, asked, default);
    let own = match &tool.executor {
        Executor::Registered(of) => of.def.masks.as_slice(),
        Executor::Upstream { .. } | Executor::Noop | Executor::Bank => &[],
    };
    let by = decided.by.iter().map(|rule| {
        let version = RuleVersion {
            id: rule.id.clone(),
            version: rule.version,
        };
        (version, rule.says.name.clone())
    });
    Told {
        why: decided.why,
        by: by.collect(),
        masks: decided.masks(own).into_iter().cloned().collect(),
    }
}

/// How a tool is carried out, in the words of rules and metrics.
pub(in crate::broker) fn kind(tool: &Tool) -> Kind {
    match &tool.executor {
        Executor::Noop | Executor::Bank => Kind::Builtin,
        Executor::Upstream { .. } => Kind::Mcp,
        Executor::Registered(of) => match of.def.exec.kind() {
            ToolKind::Sql => Kind::Sql,
            ToolKind::Rest => Kind::Rest,
            ToolKind::Program => Kind::Program,
            ToolKind::Mcp => Kind::Mcp,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_name_or_stands_for_it_alone() {
        assert_eq!(id_of("night_off"), "night_off");
        let (one, other) = (id_of("Nobody at night!"), id_of("Nobody at night?"));
        assert!(
            one.starts_with("nobody-at-night-") && one != other,
            "{one} {other}"
        );
        for name in ["सूचना", &"long name ".repeat(10)] {
            assert!(id_of(name).parse::<RuleId>().is_ok(), "{name}");
        }
    }
}
