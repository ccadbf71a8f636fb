//! Every stable code in one table: why governance refused or held, why a commit was turned away,
//! and what to do next.
//!
//! A code never changes once released: new meaning, new code. A test holds the README to this
//! table.

use serde::{Deserialize, Serialize};

use super::audit::names::Decision;
use super::ids::ProposalId;

/// How bad a finding is. The worst one decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Reported, and nothing else.
    Note,
    /// A person must agree.
    Hold,
    /// Refused.
    Block,
}

macro_rules! codes {
    (
        $(#[$doc:meta])*
        pub enum $name:ident {
            $($(#[$variant_doc:meta])* $variant:ident = $code:literal, $next:ident, $text:literal;)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = $text] #[serde(rename = $code)] $variant,)*
        }

        impl $name {
            /// Every code of this kind, in order of precedence.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The code for programs. Never changes once released.
            pub fn code(self) -> &'static str {
                match self { $($name::$variant => $code),* }
            }

            /// One sentence for people.
            pub fn text(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }

            /// What the caller can do about it.
            pub fn recovery(self) -> Recovery {
                match self { $($name::$variant => Recovery::$next),* }
            }
        }
    };
}

codes! {
    /// Why governance blocked, held or remarked on a proposal.
    pub enum Reason {
        Frozen = "frozen", Stop, "An operator has frozen this scope.";
        NoPolicy = "NO_POLICY", Stop, "No policy is in force for this agent.";
        ToolNotAllowed = "TOOL_NOT_ALLOWED", Stop, "The agent's policy does not list this tool.";
        CurrencyNotAllowed = "CURRENCY_NOT_ALLOWED", FixArgs, "The policy is in another currency.";
        PayeeUnknown = "PAYEE_UNKNOWN", Stop, "The policy pays registered payees only, and nobody registered this account.";
        TxnLimitExceeded = "TXN_LIMIT_EXCEEDED", ReduceScope, "The amount is over the limit for one transaction.";
        RateLimited = "RATE_LIMITED", Wait, "Too many requests in the window.";
        LimitExceeded = "LIMIT_EXCEEDED", ReduceScope, "The amount does not fit into what is left of today's budget.";
        DomainBlocked = "DOMAIN_BLOCKED", Stop, "The vendor's domain is on the block list or not on the allow list, or no vendor has such a URL.";
        RiskHigh = "RISK_HIGH", Stop, "The vendor's URL is listed as a threat.";
        ReputationUnavailable = "REPUTATION_UNAVAILABLE", GetApproval, "The vendor's reputation could not be learned in time.";
        EntityUnverified = "ENTITY_UNVERIFIED", Stop, "The vendor is not a verified legal entity.";
        PossibleDuplicate = "POSSIBLE_DUPLICATE", GetApproval, "The same payment was asked for a moment ago.";
        TaintedContext = "TAINTED_CONTEXT", GetApproval, "The agent has read other people's text a moment ago, which its policy does not let it act on alone.";
        AnomalyDetected = "ANOMALY_DETECTED", GetApproval, "The request is far outside this agent's history.";
        LowIntegrity = "low_integrity", FixArgs, "The agent's own answers disagree with each other.";
        IntegrityUnknown = "INTEGRITY_UNKNOWN", GetApproval, "The integrity of the agent's answers could not be scored.";
        PromptContradicted = "PROMPT_CONTRADICTED", GetApproval, "An amount, an id or a payee in the arguments contradicts the prompt or the registry.";
        ApprovalRequired = "APPROVAL_REQUIRED", GetApproval, "A person has to approve this.";
        NewPayee = "NEW_PAYEE", FixArgs, "This payee was never paid before.";
        PolicyOk = "POLICY_OK", FixArgs, "Every check passed.";
    }
}

codes! {
    /// Why a commit was turned away, in the order the checks run.
    pub enum Refusal {
        BadSignature = "bad_signature", RenewToken, "The commit token is not one that this broker sealed.";
        Expired = "expired", RenewToken, "The commit token is not valid at this time.";
        UnknownProposal = "unknown_proposal", ProposeAgain, "There is no such proposal to commit.";
        ArgsHashMismatch = "args_hash_mismatch", ProposeAgain, "The tool or the arguments differ from the ones proposed.";
        NonceReplay = "nonce_replay", ReadOutcome, "This token was used before; the outcome is attached.";
        NotApproved = "not_approved", GetApproval, "The proposal still waits for a person.";
        SupersededToken = "superseded_token", RenewToken, "A newer token of this proposal has replaced this one.";
        Frozen = "frozen", Stop, "An operator has frozen this scope.";
        PolicyChanged = "policy_changed", ProposeAgain, "The policy now in force would not allow this.";
        ToolChanged = "tool_changed", ProposeAgain, "The tool's definition changed after the proposal.";
        PreconditionFailed = "precondition_failed", ProposeAgain, "What the proposal relied on has changed.";
    }
}

/// What a caller can do next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// Correct the arguments, then propose.
    FixArgs,
    /// Propose anew.
    ProposeAgain,
    /// The proposal stands: read it for a fresh token. Proposing anew would make a second one that
    /// can be paid.
    RenewToken,
    /// Ask a person, then read the proposal.
    GetApproval,
    /// Come back later.
    Wait,
    /// Read the stored outcome; do not repeat.
    ReadOutcome,
    /// Ask for less.
    ReduceScope,
    /// Do not try again.
    Stop,
}

impl Recovery {
    /// Every one.
    pub const ALL: [Recovery; 8] = [
        Recovery::FixArgs,
        Recovery::ProposeAgain,
        Recovery::RenewToken,
        Recovery::GetApproval,
        Recovery::Wait,
        Recovery::ReadOutcome,
        Recovery::ReduceScope,
        Recovery::Stop,
    ];

    /// The word on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Recovery::FixArgs => "fix_args",
            Recovery::ProposeAgain => "propose_again",
            Recovery::RenewToken => "renew_token",
            Recovery::GetApproval => "get_approval",
            Recovery::Wait => "wait",
            Recovery::ReadOutcome => "read_outcome",
            Recovery::ReduceScope => "reduce_scope",
            Recovery::Stop => "stop",
        }
    }
}

/// One complaint of one check.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// The stable code.
    pub reason: Reason,
    /// How much it weighs.
    pub severity: Severity,
    /// What was seen, for people; never a secret.
    pub detail: String,
    /// Threat types of a reputation hit, else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub threats: Vec<String>,
    /// The earlier proposal that this one seems to repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier_proposal_id: Option<ProposalId>,
}

impl Finding {
    /// A finding that only reports.
    pub fn note(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            severity: Severity::Note,
            detail: detail.into(),
            threats: Vec::new(),
            earlier_proposal_id: None,
        }
    }

    /// A finding that asks for a person.
    pub fn hold(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            severity: Severity::Hold,
            detail: detail.into(),
            threats: Vec::new(),
            earlier_proposal_id: None,
        }
    }

    /// A finding that refuses.
    pub fn block(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            severity: Severity::Block,
            detail: detail.into(),
            threats: Vec::new(),
            earlier_proposal_id: None,
        }
    }
}

/// What all checks together say.
#[derive(Clone, PartialEq, Debug)]
pub enum Verdict {
    /// May be committed; the findings are remarks.
    Allow(Vec<Finding>),
    /// Waits for people.
    Hold(Vec<Finding>),
    /// Refused.
    Block(Vec<Finding>),
}

impl Verdict {
    /// The sum of findings that stand in order of precedence.
    pub fn of(findings: Vec<Finding>) -> Self {
        match findings.iter().map(|finding| finding.severity).max() {
            None | Some(Severity::Note) => Verdict::Allow(findings),
            Some(Severity::Hold) => Verdict::Hold(findings),
            Some(Severity::Block) => Verdict::Block(findings),
        }
    }

    /// What it comes to, as records and answers spell it.
    pub fn decision(&self) -> Decision {
        match self {
            Verdict::Allow(_) => Decision::Approved,
            Verdict::Hold(_) => Decision::Held,
            Verdict::Block(_) => Decision::Rejected,
        }
    }

    /// Every finding, remarks included.
    pub fn findings(&self) -> &[Finding] {
        match self {
            Verdict::Allow(findings) | Verdict::Hold(findings) | Verdict::Block(findings) => {
                findings
            }
        }
    }

    /// The first finding of the worst severity; `PolicyOk` when nothing weighs.
    pub fn headline(&self) -> Reason {
        let worst = match self {
            Verdict::Allow(_) => return Reason::PolicyOk,
            Verdict::Hold(_) => Severity::Hold,
            Verdict::Block(_) => Severity::Block,
        };
        let first = self
            .findings()
            .iter()
            .find(|finding| finding.severity == worst);
        first.map_or(Reason::PolicyOk, |finding| finding.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_is_the_first_of_the_worst() {
        let verdict = Verdict::of(vec![
            Finding::note(Reason::NewPayee, ""),
            Finding::hold(Reason::AnomalyDetected, ""),
            Finding::block(Reason::LowIntegrity, ""),
            Finding::hold(Reason::ApprovalRequired, ""),
        ]);
        assert_eq!(verdict.headline(), Reason::LowIntegrity);
        assert_eq!(Verdict::of(vec![]).headline(), Reason::PolicyOk);
        let noted = Verdict::of(vec![Finding::note(Reason::NewPayee, "")]);
        assert!(matches!(noted, Verdict::Allow(_)));
    }

    #[test]
    fn stored_codes_read_back() {
        for reason in Reason::ALL {
            let text = serde_json::to_string(reason).unwrap();
            assert_eq!(text, format!("\"{}\"", reason.code()));
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), *reason);
        }
    }
}
