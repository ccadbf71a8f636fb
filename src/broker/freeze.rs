//! Freezing and unfreezing: an operator's brake.
//!
//! All freezes of an organisation are one document, and every admission and every claim is written
//! under a guard on its version: once a freeze is stored, nothing that had not seen it goes through
//! on any node, without waiting for anybody to hear of it.

use serde_json::json;

use super::keys::{failed, forbidden};
use super::{Broker, Trouble};
use crate::domain::change::{Change, Conflict, DocKey, DocWrite, Record};
use crate::domain::facts::{Freeze, FreezeScope, Freezes};
use crate::domain::ids::{AgentId, OrgId, ToolName};
use crate::domain::principal::{Principal, Right};
use crate::store::ApplyError;

/// Document kind and id of an organisation's freezes.
pub(super) const KIND: &str = "freeze";
pub(super) const STATE: &str = "state";
/// Most freezes at once; each decision looks at all of them.
const MAX_FREEZES: usize = 1_000;
/// Longest vendor and longest reason, in characters.
const MAX_VENDOR: usize = 256;
const MAX_REASON: usize = 1_000;
/// How often a write is tried when others write at the same moment.
const TRIES: u32 = 8;

impl Broker {
    /// What is frozen in the caller's organisation.
    pub async fn freezes(&self, who: &Principal) -> Result<Freezes, Trouble> {
        if !who.may(Right::ReadAll) {
            return Err(forbidden(who));
        }
        self.read_freezes(&who.org)
            .await
            .map(|(freezes, _)| freezes)
    }

    /// Freezes a scope. Freezing it again renews the reason. Returns what is frozen then.
    pub async fn freeze(
        &self,
        who: &Principal,
        scope: FreezeScope,
        id: Option<&str>,
        reason: &str,
    ) -> Result<Freezes, Trouble> {
        let id = target(scope, id)?;
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > MAX_REASON {
            return bad(&format!(
                "`reason` is 1 to {MAX_REASON} characters: others will ask why"
            ));
        }
        let freeze = Freeze {
            scope,
            id,
            reason: reason.to_owned(),
            by: who.id.clone(),
            at: self.ports().ambient.now(),
        };
        self.change_freezes(who, "frozen", &freeze, |freezes| {
            freezes.0.retain(|other| !same(other, &freeze));
            if freezes.0.len() >= MAX_FREEZES {
                return bad("too many scopes are frozen; freeze a wider one instead");
            }
            freezes.0.push(freeze.clone());
            Ok(())
        })
        .await
    }

    /// Lifts one freeze; others that cover the same thing stay. Returns what is frozen then.
    pub async fn unfreeze(
        &self,
        who: &Principal,
        scope: FreezeScope,
        id: Option<&str>,
        reason: &str,
    ) -> Result<Freezes, Trouble> {
        let freeze = Freeze {
            scope,
            id: target(scope, id)?,
            reason: reason.trim().chars().take(MAX_REASON).collect(),
            by: who.id.clone(),
            at: self.ports().ambient.now(),
        };
        self.change_freezes(who, "unfrozen", &freeze, |freezes| {
            let before = freezes.0.len();
            freezes.0.retain(|other| !same(other, &freeze));
            if freezes.0.len() == before {
                return Err(Trouble::NotFound("freeze"));
            }
            Ok(())
        })
        .await
    }

    async fn change_freezes(
        &self,
        who: &Principal,
        kind: &str,
        about: &Freeze,
        change: impl Fn(&mut Freezes) -> Result<(), Trouble>,
    ) -> Result<Freezes, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        for _ in 0..TRIES {
            let (mut freezes, version) = self.read_freezes(&who.org).await?;
            change(&mut freezes)?;
            let key = DocKey::new(KIND, &who.org, STATE);
            let write = DocWrite {
                key: key.clone(),
                expect: Some(version),
                body: Some(json!(freezes)),
            };
            let mut record = Record::new(about.at, &who.org, kind, &who.id)
                .with(json!({"scope": about.scope, "id": about.id, "reason": about.reason}));
            match (about.scope, &about.id) {
                (FreezeScope::Agent, Some(id)) => record.agent = id.parse().ok(),
                (FreezeScope::Tool, Some(id)) => record.tool = id.parse().ok(),
                (
                    FreezeScope::All | FreezeScope::Vendor | FreezeScope::Agent | FreezeScope::Tool,
                    _,
                ) => {}
            }
            let change = Change::documents(vec![write], Vec::new(), vec![record], Vec::new());
            match self.ports().store.apply(change).await {
                Ok(_) => {
                    self.memory().forget_doc(&key);
                    return Ok(freezes);
                }
                Err(ApplyError::Conflict(Conflict::DocChanged(_))) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(Trouble::Changed)
    }

    async fn read_freezes(&self, org: &OrgId) -> Result<(Freezes, u64), Trouble> {
        let doc = self
            .ports()
            .store
            .doc(&DocKey::new(KIND, org, STATE))
            .await?;
        let Some(doc) = doc else {
            return Ok((Freezes::default(), 0));
        };
        let freezes = serde_json::from_value(doc.body).map_err(|error| {
            tracing::error!(%error, "the stored freezes do not read back");
            Trouble::StoreUnavailable
        })?;
        Ok((freezes, doc.version))
    }
}

/// What a scope is of, spelt as checks compare it.
fn target(scope: FreezeScope, id: Option<&str>) -> Result<Option<String>, Trouble> {
    let id = id.map(str::trim).filter(|id| !id.is_empty());
    match (scope, id) {
        (FreezeScope::All, None) => Ok(None),
        (FreezeScope::All, Some(_)) => bad("the scope `all` takes no `id`"),
        (FreezeScope::Agent, Some(id)) if id.parse::<AgentId>().is_ok() => Ok(Some(id.to_owned())),
        (FreezeScope::Tool, Some(id)) if id.parse::<ToolName>().is_ok() => Ok(Some(id.to_owned())),
        (FreezeScope::Vendor, Some(id)) if id.chars().count() <= MAX_VENDOR => {
            Ok(Some(id.to_owned()))
        }
        (FreezeScope::Agent, _) => bad("the scope `agent` takes the `id` of an agent"),
        (FreezeScope::Tool, _) => bad("the scope `tool` takes the name of a tool as `id`"),
        (FreezeScope::Vendor, _) => bad(
            "the scope `vendor` takes an account, a domain or a vendor's name as `id`, at most \
             256 characters",
        ),
    }
}

fn same(a: &Freeze, b: &Freeze) -> bool {
    a.scope == b.scope && a.id == b.id
}

fn bad<T>(detail: &str) -> Result<T, Trouble> {
    Err(Trouble::InvalidRequest(detail.to_owned()))
}
