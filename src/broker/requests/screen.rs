//! Secrets stay home: what a caller wants said is looked over as he wrote it, before anything is
//! made of it, let alone sent. What is found is told by type and place, never by its value.

use serde_json::{Value, json};

use super::Requests;
use crate::broker::audit::refusals::Kept;
use crate::broker::core::{FoundSecret, Trouble, failed};
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::{Change, Record};
use crate::domain::principal::Principal;
use crate::governance::secrets::judge;
use crate::governance::secrets::redact::Vault;
use crate::governance::secrets::walk::Placed;
use crate::telemetry::models;

/// Places that a record names.
const RECORDED: usize = 20;

/// What was looked over.
#[derive(Debug, Default)]
pub struct Screened {
    vault: Vault,
    found: Vec<FoundSecret>,
    excepted: Vec<FoundSecret>,
}

impl Screened {
    /// Puts back what was replaced.
    pub fn restore(&self, text: &str) -> String {
        self.vault.restore_text(text)
    }

    /// What was replaced by what, to be sealed beside the question.
    pub(super) fn kept(&self) -> Vec<(String, String)> {
        self.vault.kept()
    }

    /// Whether something was replaced.
    pub fn has_replaced(&self) -> bool {
        !self.vault.is_empty()
    }

    /// For the audit log.
    pub(super) fn told(&self) -> Value {
        json!({"found": places(&self.found), "excepted": places(&self.excepted)})
    }

    /// Whether there is anything to tell.
    pub(super) fn is_silent(&self) -> bool {
        self.found.is_empty() && self.excepted.is_empty()
    }
}

fn places(found: &[FoundSecret]) -> Value {
    let shown = found.iter().take(RECORDED);
    shown
        .map(|found| json!({"type": found.rule, "pointer": found.pointer}))
        .collect()
}

impl Requests {
    /// Looks a body over, and replaces what is to be replaced. Refused if something must not leave.
    pub async fn screen(&self, who: &Principal, body: &mut Value) -> Result<Screened, Trouble> {
        Self::may_ask(who)?;
        let settings = self.model_settings();
        let verdict = judge::judge(body, settings.secrets, &settings.exceptions);
        let plain = |placed: Placed| FoundSecret {
            rule: placed.find.rule,
            pointer: placed.pointer,
        };
        let found: Vec<FoundSecret> = verdict.found.into_iter().map(plain).collect();
        let excepted = verdict.excepted.into_iter().map(plain).collect();
        let action = match verdict.refused {
            true => "block",
            false => settings.secrets.name(),
        };
        for one in &found {
            models::secret_found(one.rule, action);
        }
        if verdict.refused {
            let trouble = Trouble::SecretFound(found.clone());
            self.refused(who, &trouble, json!({"found": places(&found)}))
                .await?;
            return Err(trouble);
        }
        Ok(Screened {
            vault: verdict.vault,
            found,
            excepted,
        })
    }

    /// Writes down that a request was turned away: the first of a minute each, then their number.
    pub(super) async fn refused(
        &self,
        who: &Principal,
        trouble: &Trouble,
        detail: Value,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        let kept = self.audit.refusals().count(who, trouble.code(), now);
        if kept == Kept::Summed {
            return Ok(());
        }
        let mut record = Record::new(now, &who.org, RecordKind::RequestRefused, &who.id)
            .deciding(Decision::Rejected, trouble.code())
            .with(detail);
        record.agent.clone_from(&who.agent);
        let change = Change::record(record, None);
        let written = self.ports().store.apply(change).await;
        written.map_err(failed)?;
        Ok(())
    }
}
