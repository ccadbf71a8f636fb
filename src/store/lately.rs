//! What the SQL stores ask about payments of the last while; a database only says how it spells an
//! instant and a document.
//!
//! A reservation says what counts: it is pending while a payment is held, allowed, on its way or in
//! doubt, posted once it is executed, and void when nothing of it is left. An amount without a
//! bound reserves nothing, so until it is settled the proposal's own amount counts.

use super::columns::{Columns, Read};
use super::stored::corrupt;
use crate::domain::facts::Earlier;
use crate::domain::ids::ProposalId;
use crate::domain::proposal::State;

/// Pushes the tables and conditions of `$lately`, a [`Lately`](super::Lately), on a query builder; `$instant`
/// spells an instant. The conditions on `p` repeat those of the index `proposals_to_payee`.
macro_rules! push_lately {
    ($query:ident, $lately:expr, $instant:expr) => {{
        $query.push(
            " FROM proposals p JOIN reservations r ON r.proposal = p.id \
             LEFT JOIN executions e ON e.proposal = p.id \
             WHERE p.amount IS NOT NULL AND p.org = ",
        );
        $query.push_bind($lately.org.as_str());
        match &$lately.of {
            $crate::store::Side::Agent(agent) => {
                $query.push(" AND p.agent = ").push_bind(agent.as_str())
            }
            $crate::store::Side::Payee(payee) => $query
                .push(" AND p.payee IS NOT NULL AND p.payee = ")
                .push_bind(payee.as_str()),
        };
        $query
            .push(" AND p.id >= ")
            .push_bind($crate::domain::ids::ProposalId::at($lately.oldest, [0; 10]).uuid())
            .push(" AND r.standing IN ('pending', 'posted') AND r.currency = ")
            .push_bind($lately.currency.code())
            .push(" AND (r.standing = 'pending' OR p.created_at >= ")
            .push_bind($instant($lately.since))
            .push(" OR e.claimed_at >= ")
            .push_bind($instant($lately.since))
            .push(")");
    }};
}
pub(super) use push_lately;

/// `id, created_at, state`.
pub(super) fn earlier_of(row: &impl Columns) -> Read<Earlier> {
    let state = row.text(2)?;
    Ok(Earlier {
        proposal: row.maybe_id(0)?.map(ProposalId::from_uuid),
        at: row.time(1)?,
        state: State::parse(state).ok_or_else(|| corrupt("state", state))?,
    })
}
