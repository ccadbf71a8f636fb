//! A proposal as somebody may see it: what the masks hide of its arguments, and what findings quote of
//! that, is hidden from everybody but the agent that has to present them again, and of what came back it is hidden before it is
//! stored, so that no reader ever has it.
//!
//! Masks are those that stood when it was proposed; they are kept with it.

use serde_json::Value;

use super::Pay;
use crate::domain::call::{Outcome, ProviderError, Receipt};
use crate::domain::canonical::Canonical;
use crate::domain::principal::Principal;
use crate::domain::proposal::{Proposal, State};
use crate::domain::reason::Finding;
use crate::domain::tool::{Payee, Tool};
use crate::governance::access::masks::{self, HIDDEN, of_source};
use crate::governance::access::quoted::Quoted;

impl Pay {
    /// As this caller may see it.
    pub(super) async fn seen_by(&self, who: &Principal, proposal: Proposal) -> Proposal {
        let own = who.agent.as_ref() == Some(&proposal.fixed.agent);
        let presents = matches!(proposal.state, State::Held | State::Allowed);
        match own && presents {
            true => proposal,
            false => self.masked(proposal).await,
        }
    }

    /// As people may see it.
    pub(super) async fn masked(&self, proposal: Proposal) -> Proposal {
        let fixed = &proposal.fixed;
        if fixed.access.masks.is_empty() {
            return proposal;
        }
        let hidden = fixed.access.hidden();
        let mut args = fixed.args.value();
        let key = self.mask_key(&fixed.org).await;
        if masks::apply(&mut args, &hidden, &key).values == 0 {
            return proposal;
        }
        let tool = self.tools.catalogue().get(&fixed.org, fixed.tool.as_str());
        let payee = masked_payee(tool.as_deref(), &fixed.args.value(), &args, &fixed.payee);
        let quoted = Quoted::between(&fixed.args.value(), &args);
        let findings = fixed.findings.iter().cloned();
        let findings = findings.map(|finding| match quoted.is_in(&finding.detail) {
            true => Finding {
                detail: finding.reason.text().to_owned(),
                ..finding
            },
            false => finding,
        });
        let findings = findings.collect();
        proposal.showing(Canonical::of(&args), payee, findings)
    }

    /// What came of it, with the provider's words as they may be kept. What it brought back is left:
    /// whoever looks in it for what was withdrawn reads it whole first.
    pub(super) fn masked_words(&self, proposal: &Proposal, outcome: Outcome) -> Outcome {
        let hidden = proposal.fixed.access.hidden();
        if hidden.is_empty() {
            return outcome;
        }
        match outcome {
            Outcome::Executed(receipt) => Outcome::Executed(receipt),
            Outcome::Refused(error) => Outcome::Refused(ProviderError {
                description: of_source(&error.description, &hidden).to_owned(),
                ..error
            }),
            Outcome::NotSent(why) => Outcome::NotSent(of_source(&why, &hidden).to_owned()),
            Outcome::Unknown(why) => Outcome::Unknown(of_source(&why, &hidden).to_owned()),
        }
    }

    /// What the provider said of it, as it may be kept.
    pub(super) async fn masked_receipt(&self, proposal: &Proposal, receipt: Receipt) -> Receipt {
        let hidden = proposal.fixed.access.hidden();
        if hidden.is_empty() {
            return receipt;
        }
        let key = self.mask_key(&proposal.fixed.org).await;
        let (result, blocks) = self
            .tools
            .hidden(receipt.result, receipt.blocks, &hidden, &key);
        Receipt {
            result,
            blocks,
            ..receipt
        }
    }
}

/// Who is paid was read out of the arguments, so what is hidden there is hidden here.
fn masked_payee(tool: Option<&Tool>, args: &Value, masked: &Value, payee: &Payee) -> Payee {
    let Some(tool) = tool else {
        let hide = |field: &Option<String>| field.as_ref().map(|_| HIDDEN.to_owned());
        return Payee {
            id: payee.id.clone(),
            account: hide(&payee.account),
            name: hide(&payee.name),
            url: hide(&payee.url),
        };
    };
    let (said, shown) = (tool.payee(args), tool.payee(masked));
    let pick = |said: &Option<String>, shown: &Option<String>, known: &Option<String>| match said
        == shown
    {
        true => known.clone(),
        false => Some(shown.clone().unwrap_or_else(|| HIDDEN.to_owned())),
    };
    Payee {
        id: payee.id.clone(),
        account: pick(&said.account, &shown.account, &payee.account),
        name: pick(&said.name, &shown.name, &payee.name),
        url: pick(&said.url, &shown.url, &payee.url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nobody_can_say_what_is_hidden_of_a_payee_whose_tool_is_gone() {
        let payee = Payee {
            account: Some("fa_1".to_owned()),
            ..Payee::default()
        };
        let shown = masked_payee(None, &json!({}), &json!({}), &payee);
        assert_eq!((shown.account.as_deref(), shown.name), (Some(HIDDEN), None));
    }
}
