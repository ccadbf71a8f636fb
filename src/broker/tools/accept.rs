//! An operator's word on what upstreams offer: accepting a definition as it is, and hearing of one
//! that changed since.
//!
//! A definition is accepted as a whole, and its schema is compiled before it is. The digest names
//! it, so that what is accepted can be exactly what was read.

use std::sync::Arc;

use serde_json::json;

use super::Tools;
use super::catalogue::{Judged, ToolInfo};
use super::watch::{Stored, compiled};
use crate::broker::core::Trouble;
use crate::broker::core::documents::version_of;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, DocWrite, Record};
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::money::Effective;
use crate::domain::names::Identity;
use crate::domain::notice::{Notice, NoticeKind};
use crate::domain::principal::{Principal, Right};
use crate::domain::tool::{Payee, Standing, Tool};
use crate::domain::upstream::{Definition, Pin};
use crate::store::ApplyError;

impl Tools {
    /// Accepts what a tool offers now, whatever that is. See [`Tools::accept_tool_if`].
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
        if !who.may_for_all(Right::Operate) {
            return Err(Trouble::Forbidden { roles: who.roles });
        }
        self.tend_tool(name).await?;
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
        let tool = self.known_tool(name)?;
        if let Err(why) = compiled(tool.clone()).await {
            let why = format!("{name}: its schema cannot be used: {why}");
            return Err(Trouble::InvalidRequest(why));
        }
        let id = identity(upstream, &offered.name);
        let found = self.find::<Pin>(&OrgId::default(), &id).await?;
        let version = version_of(found.as_ref());
        self.pin(upstream, offered, version, &who.id, &tool).await?;
        self.tend_tool(name).await?;
        self.tool_info(name)
    }

    /// Pins a definition and records who accepted it.
    async fn pin(
        &self,
        upstream: &str,
        offered: &Definition,
        version: u64,
        by: &str,
        tool: &Tool,
    ) -> Result<(), Trouble> {
        let (pin, record) = self.pinned(upstream, offered, by, tool, false);
        let write = write(&OrgId::default(), upstream, &offered.name, version, &pin);
        let change = Change::documents(vec![write], Vec::new(), vec![record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(()),
            Err(ApplyError::Conflict(_)) => Err(Trouble::Changed),
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// The pin of a definition, and the record of who accepted it.
    fn pinned(
        &self,
        upstream: &str,
        offered: &Definition,
        by: &str,
        tool: &Tool,
        first_contact: bool,
    ) -> (Pin, Record) {
        let now = self.ports().ambient.now();
        let pin = Pin {
            digest: offered.digest(),
            definition: offered.clone(),
            accepted_by: by.to_owned(),
            accepted_at: now,
            reported: None,
        };
        let mut record =
            Record::new(now, &OrgId::default(), RecordKind::ToolAccepted, by).with(json!({
                "upstream": upstream, "tool": offered.name, "digest": pin.digest,
                "risk": tool.risk, "first_contact": first_contact,
            }));
        record.tool = Some(tool.name.clone());
        (pin, record)
    }

    /// First contact with an upstream that the operator trusts: everything usable that it offers is
    /// accepted in one write, or nothing is. Whoever waits for it may go away at any moment, and
    /// half of it would leave the other half to an operator for ever.
    pub(super) async fn trust(&self, upstream: &str, shelf: &mut [Judged]) {
        let org = OrgId::default();
        let (mut writes, mut records, mut pinned) = (Vec::new(), Vec::new(), Vec::new());
        for judged in shelf.iter_mut().filter(|judged| judged.problem.is_none()) {
            if let Err(why) = compiled(judged.tool.clone()).await {
                judged.problem = Some(format!("its schema cannot be used: {why}"));
                continue;
            }
            let offered = &judged.offer.definition;
            let (pin, record) = self.pinned(upstream, offered, "hundi", &judged.tool, true);
            writes.push(write(&org, upstream, &offered.name, 0, &pin));
            records.push(record);
            pinned.push((judged, pin));
        }
        if writes.is_empty() {
            return;
        }
        let change = Change::documents(writes, Vec::new(), records, Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {
                for (judged, pin) in pinned {
                    judged.pin = Some(pin);
                    judged.tool = Arc::new(Tool {
                        standing: Standing::Accepted,
                        ..Tool::clone(&judged.tool)
                    });
                }
            }
            Err(error) => tracing::warn!(%upstream, %error, "first contact was not kept"),
        }
    }

    /// Tells people about a changed definition, once for each; and of one that changes again and
    /// again while nobody has accepted it, once until somebody does or it is itself again.
    pub(super) async fn report(&self, upstream: &str, judged: &Judged, stored: Option<&Stored>) {
        let Some((stored, pin)) = stored.and_then(|s| Some((s, s.pin.as_ref().ok()?))) else {
            return;
        };
        let (offered, digest) = (&judged.offer.definition, judged.offer.digest.clone());
        let before = self.catalogue().shared(judged.tool.name.as_str());
        let waits = before.is_some_and(|tool| tool.standing == Standing::Changed);
        let is_told = pin
            .reported
            .as_ref()
            .is_some_and(|told| waits || *told == digest);
        if is_told {
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
        let record = Record::new(now, &org, RecordKind::ToolQuarantined, "hundi").with(detail);
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
            reason: RecordKind::ToolQuarantined.name().to_owned(),
            findings: Vec::new(),
            detail: told,
            copy: None,
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

    fn tool_info(&self, name: &str) -> Result<ToolInfo, Trouble> {
        let infos = self.catalogue().shared_infos();
        let info = infos.get(name).cloned();
        info.ok_or_else(|| Trouble::UnknownTool(name.chars().take(128).collect()))
    }

    fn known_tool(&self, name: &str) -> Result<Arc<Tool>, Trouble> {
        let tool = self.catalogue().shared(name);
        tool.ok_or_else(|| Trouble::UnknownTool(name.chars().take(128).collect()))
    }
}

fn write(org: &OrgId, upstream: &str, tool: &str, version: u64, pin: &Pin) -> DocWrite {
    pin.write(org, &identity(upstream, tool), Some(version))
}

fn identity(upstream: &str, tool: &str) -> Identity {
    Identity {
        upstream: upstream.to_owned(),
        tool: tool.to_owned(),
    }
}
