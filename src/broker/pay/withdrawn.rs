//! A payout that we have withdrawn is news about the proposal that made it or let it go, and the
//! bank may tell nobody else of it. So the change that settles the withdrawal writes it down, and
//! the bank's duty tells the maker; neither can be lost without the other.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::connector::razorpay::Razorpay;
use crate::connector::razorpay::event::reduced;
use crate::domain::call::Receipt;
use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::ids::ProposalId;
use crate::domain::proposal::Proposal;

/// What has to be told. Named by the proposal that withdrew.
#[derive(Serialize, Deserialize)]
pub(in crate::broker) struct Withdrawn {
    /// The tool that withdrew it.
    pub tool: String,
    /// The payout as the bank then showed it.
    pub payout: Value,
}

impl Document for Withdrawn {
    const KIND: &'static str = "withdrawn_payout";
    const CACHED: bool = false;
    type Id = ProposalId;
}

/// What settling this proposal leaves to be told; nothing unless it withdrew a payout.
pub(super) fn withdrawn(proposal: &Proposal, receipt: &Receipt) -> Vec<DocWrite> {
    let tool = proposal.fixed.tool.as_str();
    let withdraws = [Razorpay::Cancel, Razorpay::Reject]
        .iter()
        .any(|kind| kind.tool() == tool);
    let payout = reduced(&receipt.result).filter(|_| withdraws);
    let news = payout.map(|payout| Withdrawn {
        tool: tool.to_owned(),
        payout,
    });
    let fixed = &proposal.fixed;
    let write = news.map(|news| news.write(&fixed.org, &fixed.id, None));
    write.into_iter().collect()
}
