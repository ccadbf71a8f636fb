//! A payout's states, and the one table of what may follow what.

use serde::{Deserialize, Serialize};

/// A payout's state, by Razorpay's words. Independent of the connector's own list on purpose: the
/// bank and its reader should not share a mistake.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Pending,
    Queued,
    Scheduled,
    Processing,
    Processed,
    Reversed,
    Cancelled,
    Rejected,
    Failed,
}

impl State {
    #[cfg(test)]
    pub(super) const ALL: [Self; 9] = [
        Self::Pending,
        Self::Queued,
        Self::Scheduled,
        Self::Processing,
        Self::Processed,
        Self::Reversed,
        Self::Cancelled,
        Self::Rejected,
        Self::Failed,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Queued => "queued",
            Self::Scheduled => "scheduled",
            Self::Processing => "processing",
            Self::Processed => "processed",
            Self::Reversed => "reversed",
            Self::Cancelled => "cancelled",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
        }
    }

    /// Whether a payout in this state may go to `next`.
    pub(super) fn may_become(self, next: Self) -> bool {
        use State::*;
        match self {
            Pending => matches!(next, Queued | Scheduled | Processing | Rejected),
            Queued => matches!(next, Processing | Cancelled | Failed),
            Scheduled => matches!(next, Processing | Cancelled | Failed),
            Processing => matches!(next, Processed | Reversed | Failed),
            // The beneficiary's bank may send it back later.
            Processed => matches!(next, Reversed),
            Reversed | Cancelled | Rejected | Failed => false,
        }
    }

    /// The money has left the account in this state.
    pub(super) fn is_debited(self) -> bool {
        match self {
            Self::Processing | Self::Processed => true,
            Self::Pending
            | Self::Queued
            | Self::Scheduled
            | Self::Reversed
            | Self::Cancelled
            | Self::Rejected
            | Self::Failed => false,
        }
    }

    /// The webhook that tells of entering this state, if there is one.
    pub(super) fn event(self) -> Option<&'static str> {
        match self {
            Self::Pending => Some("payout.pending"),
            Self::Queued => Some("payout.queued"),
            Self::Processing => Some("payout.initiated"),
            Self::Processed => Some("payout.processed"),
            Self::Reversed => Some("payout.reversed"),
            Self::Rejected => Some("payout.rejected"),
            Self::Failed => Some("payout.failed"),
            Self::Scheduled | Self::Cancelled => None,
        }
    }

    /// Reason, source and words of `status_details`.
    pub(super) fn details(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pending => ("pending_approval", "business", "Waits for an approver."),
            Self::Queued => ("low_balance", "business", "Waits for balance."),
            Self::Scheduled => ("scheduled", "business", "Waits for its date."),
            Self::Processing => ("payout_bank_processing", "beneficiary_bank", "Under way."),
            Self::Processed => ("payout_processed", "beneficiary_bank", "It has arrived."),
            Self::Reversed => (
                "beneficiary_bank_failure",
                "beneficiary_bank",
                "It came back.",
            ),
            Self::Cancelled => ("payout_cancelled", "business", "It was cancelled."),
            Self::Rejected => ("payout_rejected", "business", "An approver rejected it."),
            Self::Failed => (
                "gateway_technical_error",
                "gateway",
                "It could not be sent.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_leads_back_and_the_ends_are_ends() {
        for from in State::ALL {
            for to in State::ALL {
                assert!(
                    !(from.may_become(to) && to.may_become(from)),
                    "{from:?} and {to:?} lead to each other"
                );
            }
        }
        for end in [
            State::Reversed,
            State::Cancelled,
            State::Rejected,
            State::Failed,
        ] {
            assert!(
                !State::ALL.into_iter().any(|to| end.may_become(to)),
                "{end:?}"
            );
        }
    }

    #[test]
    fn a_stored_state_reads_back() {
        for state in State::ALL {
            let text = serde_json::to_string(&state).unwrap();
            assert_eq!(text, format!("\"{}\"", state.name()));
            assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
        }
    }
}
