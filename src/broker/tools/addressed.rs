//! What rules and policies name and nobody here is: told to whoever writes them, with the name that
//! was probably meant, because a rule that addresses nothing protects nothing. One that is written
//! for what is to come is a fine thing, so nothing is refused.
//!
//! `T_propose` and `T_commit` mean `T`: a rule that names a step of a tool's pair is kept with the
//! tool's own name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Tools;
use super::catalogue::OUR_OWN;
use super::check::Beside;
use super::sources::StoredSource;
use crate::broker::access::rules::{RuleView, Somebody};
use crate::broker::core::Trouble;
use crate::domain::access::RuleDef;
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::names::STEPS;
use crate::domain::nearest::nearest;
use crate::domain::person::folded;
use crate::domain::principal::Principal;

impl Tools {
    /// Makes an access rule.
    pub async fn create_rule(
        &self,
        who: &Principal,
        document: &Value,
    ) -> Result<RuleView, Trouble> {
        let document = self.as_meant(&who.org, document);
        self.access.create_rule(who, &document).await
    }

    /// Replaces an access rule.
    pub async fn replace_rule(
        &self,
        who: &Principal,
        id: &str,
        document: &Value,
        version: Option<u64>,
    ) -> Result<RuleView, Trouble> {
        let document = self.as_meant(&who.org, document);
        self.access.replace_rule(who, id, &document, version).await
    }

    /// An access rule as it would be kept.
    pub fn check_rule(&self, who: &Principal, document: &Value) -> Result<Value, Trouble> {
        let document = self.as_meant(&who.org, document);
        self.access.check_rule(who, &document)
    }

    /// A rule's document with tools for the steps of their pairs.
    fn as_meant(&self, org: &OrgId, document: &Value) -> Value {
        let mut document = document.clone();
        let named = document.pointer_mut("/what/tools");
        let tools = self.catalogue().tools(org);
        for entry in named.and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(name) = entry.as_str().filter(|name| !tools.contains_key(*name)) else {
                continue;
            };
            if let Some(tool) = whole(name).filter(|tool| tools.contains_key(*tool)) {
                *entry = json!(tool);
            }
        }
        document
    }

    /// Everything here that a rule can name.
    pub async fn here(&self, who: &Principal, beside: &Beside) -> Result<Here, Trouble> {
        let tools = self.catalogue().tools(&who.org);
        let kept = self.all_kept::<StoredSource>(Some(&who.org)).await?;
        let mut sources: BTreeSet<String> = kept.into_iter().map(|(key, _)| key.id).collect();
        sources.extend(
            tools
                .values()
                .filter_map(|tool| Some(tool.server()?.to_owned())),
        );
        sources.extend(self.settings().upstreams.keys().cloned());
        sources.extend(beside.sources.keys().cloned());
        let people = self.access.people(who).await?.into_iter();
        let servers = self.access.servers(who).await?.into_iter();
        let servers = servers.filter_map(|view| Some(view.document["name"].as_str()?.to_owned()));
        let ours = OUR_OWN.iter().map(|name| (*name).to_owned());
        Ok(Here {
            tools: tools
                .keys()
                .cloned()
                .chain(ours)
                .chain(beside.tools.iter().cloned())
                .collect(),
            sources,
            agents: self
                .agents(who)
                .await?
                .iter()
                .map(ToString::to_string)
                .collect(),
            people: people
                .map(|one| (one.id.to_string(), one.person.name))
                .collect(),
            servers: servers.chain(beside.servers.iter().cloned()).collect(),
        })
    }

    /// The agents that a key acts as, and those that need none.
    pub(in crate::broker) async fn agents(
        &self,
        who: &Principal,
    ) -> Result<BTreeSet<AgentId>, Trouble> {
        let keys = self.access.keys(who).await?.into_iter();
        let live = keys.filter(|key| key.revoked_at.is_none());
        let mut known: BTreeSet<AgentId> = live.filter_map(|key| key.agent_id).collect();
        known.extend(self.access.agent_without_key(who).await?);
        known.insert(self.settings().bank.external_agent.clone());
        known.insert(AgentId::external());
        Ok(known)
    }
}

/// Everything in an organisation that a rule can name.
pub struct Here {
    tools: BTreeSet<String>,
    sources: BTreeSet<String>,
    agents: BTreeSet<String>,
    /// By id.
    people: BTreeMap<String, String>,
    servers: BTreeSet<String>,
}

impl Here {
    /// What a rule names and nobody is, in sentences.
    pub fn unknown_to_rule(&self, document: &Value) -> Vec<String> {
        let Ok(rule) = RuleDef::read(document) else {
            return Vec::new();
        };
        let tools = rule.what.tools.iter().map(ToString::to_string);
        let agents = rule.who.agents.iter().map(ToString::to_string);
        let mut told = self.unknown_tools("what.tools", tools);
        told.extend(self.unknown_sources("what.sources", rule.what.sources));
        told.extend(unknown("who.agents", "agent", agents, &self.agents));
        told.extend(self.strangers("who.people", rule.who.people));
        told.extend(unknown(
            "who.servers",
            "server",
            rule.who.servers,
            &self.servers,
        ));
        told
    }

    /// What a policy names and nobody is, in sentences: and whose it is, if no key acts as that agent.
    pub fn unknown_to_policy(&self, agent: Option<&str>, policy: &Value) -> Vec<String> {
        let unknown = agent.filter(|agent| !self.agents.contains(*agent));
        let mut told: Vec<String> = unknown
            .map(|agent| {
                let near = meant(nearest(agent, self.agents.iter().map(String::as_str)));
                format!("no key acts as the agent {agent} yet{near}")
            })
            .into_iter()
            .collect();
        let texts = |place: &str| {
            let list = policy.pointer(place).and_then(Value::as_array);
            let texts = list.into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect::<Vec<_>>()
        };
        told.extend(self.unknown_tools("allowed_tools", texts("/allowed_tools")));
        told.extend(self.unknown_tools("taint.tools", texts("/taint/tools")));
        told.extend(self.unknown_sources("taint.sources", texts("/taint/sources")));
        told
    }

    /// Whom a question about the rules names and nobody is, in sentences.
    pub fn unknown_to_question(&self, asked: &Somebody) -> Vec<String> {
        let agent = asked.agent.iter().map(ToString::to_string);
        let mut told = unknown("who.agent", "agent", agent, &self.agents);
        told.extend(self.strangers("who.person", asked.person.clone()));
        told.extend(unknown(
            "who.server",
            "server",
            asked.server.clone(),
            &self.servers,
        ));
        told
    }

    /// Which of these names of tools, or beginnings of such, fit no tool.
    pub fn unknown_tools(
        &self,
        field: &str,
        named: impl IntoIterator<Item = String>,
    ) -> Vec<String> {
        let known = || self.tools.iter().map(String::as_str);
        let fits = |entry: &String| match entry.strip_suffix('*') {
            Some(start) => known().any(|name| name.starts_with(start)),
            None => self.tools.contains(entry),
        };
        let unknown = named.into_iter().filter(|entry| !fits(entry));
        let told = unknown.map(|entry| {
            let step = whole(&entry).filter(|tool| self.tools.contains(*tool));
            let near = step.or_else(|| nearest(entry.trim_end_matches('*'), known()));
            let near = meant(near);
            format!("`{field}` lists {entry}, and no tool is called so{near}")
        });
        told.collect()
    }

    /// Which of these sources and upstream servers are none.
    pub fn unknown_sources(
        &self,
        field: &str,
        named: impl IntoIterator<Item = String>,
    ) -> Vec<String> {
        unknown(field, "source", named, &self.sources)
    }

    /// Which of these people, by id or name, are nobody.
    fn strangers(&self, field: &str, named: impl IntoIterator<Item = String>) -> Vec<String> {
        let names = || self.people.values().map(String::as_str);
        let is_one = |named: &String| {
            self.people.contains_key(named) || names().any(|name| folded(name) == folded(named))
        };
        let strangers = named.into_iter().filter(|named| !is_one(named));
        let told = strangers.map(|named| {
            let near = meant(nearest(&named, names()));
            format!("`{field}` names {named}, and nobody here is called so{near}")
        });
        told.collect()
    }
}

/// The tool that a step of its pair belongs to.
pub(super) fn whole(name: &str) -> Option<&str> {
    STEPS.iter().find_map(|step| name.strip_suffix(step))
}

fn unknown(
    field: &str,
    noun: &str,
    named: impl IntoIterator<Item = String>,
    known: &BTreeSet<String>,
) -> Vec<String> {
    let unknown = named.into_iter().filter(|name| !known.contains(name));
    let told = unknown.map(|name| {
        let near = meant(nearest(&name, known.iter().map(String::as_str)));
        format!("`{field}` names {name}, and there is no such {noun}{near}")
    });
    told.collect()
}

fn meant(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near}?"))
}
