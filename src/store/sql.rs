//! What every SQL store does alike: each question and each small statement is spelt once, here.
//!
//! A store brings its connections ([`Database`]) and the few words it spells its own way
//! ([`Words`]); what a row means is in [`columns`](super::columns). Each read is one statement, and
//! so sees one moment.

use std::future::Future;

use async_trait::async_trait;
use tokio::sync::watch;

use super::columns::{
    Columns, Read, budget_of, doc_of, earlier_of, past_of, proposal_of, record_of, standings_of,
    waiting,
};
use super::group::Group;
use super::question::Question;
use super::stored::{name, unsigned};
use super::{
    ApplyError, Budget, LEASE_HORIZON_MS, Lately, ProposalFilter, RecordFilter, Same, Side,
    Standings, Store, StoreError, StoredRecord, Waiting,
};
use crate::domain::audit::names::Decision;
use crate::domain::change::{Applied, Change, Doc, DocKey, Pot};
use crate::domain::facts::{Earlier, PastPayout};
use crate::domain::ids::{AgentId, OrgId, ProposalId};
use crate::domain::proposal::Proposal;
use crate::domain::retention::Old;
use crate::domain::time::Timestamp;

/// The connections to one database.
pub(super) trait Database: Send + Sync {
    type Row: Columns + Send + Sync;

    /// What it spells its own way.
    const WORDS: Words;

    /// The line in front of the one writer.
    fn group(&self) -> &Group;

    /// All rows of an answer.
    fn all(&self, asked: Question) -> impl Future<Output = Read<Vec<Self::Row>>> + Send;

    /// The first row of an answer, if it has one.
    fn optional(&self, asked: Question) -> impl Future<Output = Read<Option<Self::Row>>> + Send;

    /// Carries out a statement that commits by itself, and gives back the rows it returns.
    fn change(&self, told: Question) -> impl Future<Output = Read<Vec<Self::Row>>> + Send;

    /// The same for one that returns none: how many rows it touched.
    fn execute(&self, told: Question) -> impl Future<Output = Read<u64>> + Send;

    /// [`Store::drop_old`].
    fn drop_old(
        &self,
        old: Old,
        before: Timestamp,
        limit: u32,
    ) -> impl Future<Output = Read<u64>> + Send;

    /// [`Store::ping`].
    fn ping(&self) -> impl Future<Output = Read<()>> + Send;

    /// [`RequestStore::rung`](super::requests::RequestStore::rung).
    fn rung(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// The one row of an answer.
    fn one(&self, asked: Question) -> impl Future<Output = Read<Self::Row>> + Send {
        async {
            let row = self.optional(asked).await?;
            row.ok_or_else(|| StoreError::Corrupt("an answer without a row".to_owned()))
        }
    }

    /// Whether it is worth carrying something out that `asked` finds rows for.
    fn is_worth_it(&self, asked: Question) -> impl Future<Output = Read<bool>> + Send {
        async {
            match Self::WORDS.looks_first {
                true => Ok(self.optional(asked).await?.is_some()),
                false => Ok(true),
            }
        }
    }
}

/// What a database spells its own way.
pub(super) struct Words {
    /// What follows the name of a JSON column: as it is kept, and as text.
    pub json: [&'static str; 2],
    /// The table that counts writes of documents.
    pub counters: &'static str,
    /// A further condition on a proposal that is due.
    pub due_too: &'static str,
    /// How rows that another node has in hand are passed over.
    pub skip_locked: &'static str,
    /// `SELECT` and the sum of what counts of reservations `r` of proposals `p`.
    pub sum: &'static str,
    /// When a webhook was seen, by its marker.
    pub seen_at: &'static str,
    /// What stands before and after the words that a passage `p` has to hold.
    pub finds: [&'static str; 2],
    /// What a word stands between there, and between two of which one is enough.
    pub any: [&'static str; 2],
    /// A statement that finds nothing to do costs more than a look beforehand.
    pub looks_first: bool,
}

impl Words {
    /// `SELECT` of what [`proposal_of`] reads; conditions follow.
    fn proposals(&self) -> Question {
        let [_, text] = self.json;
        Question::new(format!(
            "SELECT p.fixed{text}, p.state, p.version, p.moving{text}, e.execution{text} \
             FROM proposals p LEFT JOIN executions e ON e.proposal = p.id WHERE "
        ))
    }

    /// `SELECT` of what [`doc_of`] reads; conditions follow.
    fn docs(&self) -> Question {
        let [kept, text] = self.json;
        Question::new(format!(
            "SELECT kind, org, id, version, body{text} FROM docs WHERE body{kept} IS NOT NULL"
        ))
    }

    /// `SELECT` of this about what is old.
    pub fn old(&self, selected: &str, old: Old, before: Timestamp) -> Question {
        let asked = Question::new(format!("SELECT {selected} FROM "));
        match old {
            // The condition of the index `proposals_refused`, word for word.
            Old::RefusedProposals => asked
                .with(
                    "proposals WHERE state = 'blocked' AND created_at < ",
                    before,
                )
                .with(" AND id < ", ProposalId::at(before, [0; 10])),
            Old::SeenWebhooks => {
                let [kept, _] = self.json;
                let marker = format!("docs WHERE kind = 'webhook' AND (body{kept} IS NULL OR ");
                let seen_at = format!(" > {})", self.seen_at);
                asked.with(&marker, before).words(&seen_at)
            }
        }
    }
}

#[async_trait]
impl<D: Database> Store for D {
    async fn apply(&self, change: Change) -> Result<Applied, ApplyError> {
        self.group().apply(change).await
    }

    async fn proposal(&self, id: ProposalId) -> Read<Option<Proposal>> {
        one_proposal(self, D::WORDS.proposals().with("p.id = ", id)).await
    }

    async fn by_key(&self, org: &OrgId, agent: &AgentId, key: &str) -> Read<Option<Proposal>> {
        let asked = D::WORDS.proposals().with("p.org = ", org.as_str());
        let asked = asked.with(" AND p.agent = ", agent.as_str());
        one_proposal(self, asked.with(" AND p.caller_key = ", key)).await
    }

    async fn proposals(&self, filter: &ProposalFilter) -> Read<Vec<Proposal>> {
        let live = filter.state.is_some_and(|state| !state.is_settled());
        let asked = D::WORDS
            .proposals()
            .words("true")
            .if_some(" AND p.org = ", filter.org.as_ref().map(OrgId::as_str))
            .if_some(
                " AND p.agent = ",
                filter.agent.as_ref().map(AgentId::as_str),
            )
            .if_some(" AND p.state = ", filter.state.map(|state| state.name()))
            // The short list of live work, instead of a walk through all of history.
            .words(if live {
                " AND p.due_at IS NOT NULL"
            } else {
                ""
            })
            .if_some(" AND p.tool = ", filter.tool.as_deref())
            .if_some(" AND p.id < ", filter.before)
            .with(" ORDER BY p.id DESC LIMIT ", filter.limit);
        many_proposals(self, asked).await
    }

    async fn lapsed(&self, now: Timestamp, limit: u32) -> Read<Vec<Proposal>> {
        let words = D::WORDS;
        let asked = words
            .proposals()
            .with("p.state IN ('held', 'allowed') AND p.due_at <= ", now)
            .words(words.due_too)
            .with(" ORDER BY p.due_at, p.id LIMIT ", limit);
        many_proposals(self, asked).await
    }

    async fn unsettled(&self, now: Timestamp, limit: u32) -> Read<Vec<Proposal>> {
        let horizon = now.plus_millis(LEASE_HORIZON_MS);
        let asked = D::WORDS
            .proposals()
            .words("p.state IN ('committing', 'in_doubt') AND p.due_at IS NOT NULL")
            .with(" AND (p.due_at <= ", now)
            .with(" OR p.due_at > ", horizon)
            .with(") ORDER BY p.due_at, p.id LIMIT ", limit);
        many_proposals(self, asked).await
    }

    async fn standings(&self) -> Read<Standings> {
        let asked = Question::new(
            "SELECT (SELECT count(*) FROM proposals WHERE state = 'held' AND due_at IS NOT NULL), \
                    count(*), min(e.claimed_at) \
             FROM proposals p LEFT JOIN executions e ON e.proposal = p.id \
             WHERE p.state IN ('committing', 'in_doubt') AND p.due_at IS NOT NULL",
        );
        standings_of(&self.one(asked).await?)
    }

    async fn doc(&self, key: &DocKey) -> Read<Option<Doc>> {
        let asked = D::WORDS.docs().with(" AND kind = ", key.kind.as_str());
        let asked = asked.with(" AND org = ", key.org.as_str());
        let row = self
            .optional(asked.with(" AND id = ", key.id.as_str()))
            .await?;
        row.as_ref().map(doc_of).transpose()
    }

    async fn docs(&self, kind: &str, org: Option<&OrgId>) -> Read<Vec<Doc>> {
        let asked = D::WORDS
            .docs()
            .with(" AND kind = ", kind)
            .if_some(" AND org = ", org.map(OrgId::as_str))
            .words(" ORDER BY org, id");
        self.all(asked).await?.iter().map(doc_of).collect()
    }

    async fn docs_epoch(&self) -> Read<u64> {
        let counters = D::WORDS.counters;
        let asked = format!("SELECT value FROM {counters} WHERE name = 'docs_epoch'");
        unsigned(self.one(Question::new(asked)).await?.number(0)?)
    }

    async fn records(&self, filter: &RecordFilter) -> Read<Vec<StoredRecord>> {
        let [_, text] = D::WORDS.json;
        let asked = Question::new(format!(
            "SELECT seq, at, org, kind, decision, reason, actor, agent, proposal, tool, payout, \
             amount, currency, detail{text} FROM records WHERE true"
        ));
        let asked = asked
            .if_some(" AND org = ", filter.org.as_ref().map(OrgId::as_str))
            .if_some(" AND agent = ", filter.agent.as_ref().map(AgentId::as_str))
            .if_some(" AND proposal = ", filter.proposal)
            // Word for word the condition of the index `records_webhooks`.
            .words(if filter.webhooks_only {
                " AND kind = 'webhook'"
            } else {
                ""
            })
            .if_some(" AND payout = ", filter.payout.as_deref())
            .if_some(" AND decision = ", filter.decision.map(Decision::name))
            .if_some(" AND tool = ", filter.tool.as_deref())
            .if_some(" AND at >= ", filter.since)
            .if_some(" AND at < ", filter.until)
            .if_some(" AND seq < ", filter.before_seq)
            .if_some(" AND seq > ", filter.after_seq)
            .words(if filter.after_seq.is_some() {
                " ORDER BY seq"
            } else {
                " ORDER BY seq DESC"
            })
            .with(" LIMIT ", filter.limit);
        self.all(asked).await?.iter().map(record_of).collect()
    }

    async fn budget(&self, pot: &Pot) -> Read<Budget> {
        let asked = Question::new("SELECT pending, posted FROM pots WHERE ")
            .with("org = ", pot.org.as_str())
            .with(" AND agent = ", pot.agent.as_str())
            .with(" AND day = ", i64::from(pot.day.number()))
            .with(" AND currency = ", pot.currency.code());
        budget_of(self.optional(asked).await?.as_ref())
    }

    async fn history(&self, org: &OrgId, agent: &AgentId, limit: u32) -> Read<Vec<PastPayout>> {
        // The condition repeats that of the index `proposals_paid`, word for word.
        let asked = Question::new("SELECT created_at, amount, payee, vendor FROM proposals WHERE ")
            .with("org = ", org.as_str())
            .with(" AND agent = ", agent.as_str())
            .words(" AND amount IS NOT NULL AND state = 'executed'")
            .with(" ORDER BY id DESC LIMIT ", limit);
        self.all(asked).await?.iter().map(past_of).collect()
    }

    async fn sum_lately(&self, lately: &Lately) -> Read<i64> {
        let row = self.optional(among(D::WORDS.sum, lately)).await?;
        row.map_or(Ok(0), |row| row.number(0))
    }

    async fn same_lately(&self, lately: &Lately, same: &Same) -> Read<Option<Earlier>> {
        let [kept, _] = D::WORDS.json;
        let asked = among("SELECT p.id, p.created_at, p.state", lately);
        let mut asked = asked.with(" AND p.amount = ", same.amount);
        if let Some((tool, hash)) = &same.call {
            let hashed = format!(" AND p.fixed{kept} ->> 'args_hash' = ");
            asked = asked.with(" AND p.tool = ", tool.as_str());
            asked = asked.with(&hashed, hash.to_string());
        }
        let row = self.optional(asked.words(" ORDER BY p.id LIMIT 1")).await?;
        row.as_ref().map(earlier_of).transpose()
    }

    async fn agents(&self, org: &OrgId) -> Read<Vec<AgentId>> {
        // Jumps from one agent to the next in the index, however many proposals lie between.
        let asked = Question::new("WITH RECURSIVE found (agent) AS ( ")
            .with(
                "SELECT min(agent) FROM proposals WHERE org = ",
                org.as_str(),
            )
            .words(
                " UNION ALL \
                 SELECT (SELECT min(agent) FROM proposals WHERE org = $1 AND agent > found.agent) \
                 FROM found WHERE found.agent IS NOT NULL) \
                 SELECT agent FROM found WHERE agent IS NOT NULL",
            );
        let rows = self.all(asked).await?;
        rows.iter().map(|row| row.text(0).and_then(name)).collect()
    }

    async fn count_old(&self, old: Old, before: Timestamp) -> Read<u64> {
        let asked = D::WORDS.old("count(*)", old, before);
        unsigned(self.one(asked).await?.number(0)?)
    }

    async fn take_notices(
        &self,
        now: Timestamp,
        hidden_until: Timestamp,
        limit: u32,
    ) -> Read<Vec<Waiting>> {
        // Asked every second or so: most of the time there is nothing worth a flush.
        let due = Question::new("SELECT 1 FROM outbox WHERE ").with("due_at <= ", now);
        if !self.is_worth_it(due.words(" LIMIT 1")).await? {
            return Ok(Vec::new());
        }
        let Words {
            json: [_, text],
            skip_locked,
            ..
        } = D::WORDS;
        let take = Question::new("UPDATE outbox SET attempts = attempts + 1")
            .with(", due_at = ", hidden_until)
            .with(" WHERE id IN (SELECT id FROM outbox WHERE due_at <= ", now)
            .with(" ORDER BY urgency, due_at, id LIMIT ", limit)
            .words(skip_locked)
            .words(") RETURNING id, CAST(attempts - 1 AS bigint), notice")
            .words(text);
        waiting(&self.change(take).await?)
    }

    async fn notice_done(&self, id: i64, retry_at: Option<Timestamp>) -> Read<()> {
        let told = match retry_at {
            None => Question::new("DELETE FROM outbox"),
            Some(at) => Question::new("UPDATE outbox").with(" SET due_at = ", at),
        };
        self.execute(told.with(" WHERE id = ", id)).await.map(drop)
    }

    async fn prune_nonces(&self, now_secs: i64, limit: u32) -> Read<u64> {
        let expired = Question::new("SELECT 1 FROM nonces WHERE ").with("kept_until < ", now_secs);
        if !self.is_worth_it(expired.words(" LIMIT 1")).await? {
            return Ok(0);
        }
        let prune = Question::new("DELETE FROM nonces WHERE nonce IN ")
            .with("(SELECT nonce FROM nonces WHERE kept_until < ", now_secs)
            .with(" ORDER BY kept_until LIMIT ", limit);
        self.execute(prune.words(")")).await
    }

    async fn drop_old(&self, old: Old, before: Timestamp, limit: u32) -> Read<u64> {
        Database::drop_old(self, old, before, limit).await
    }

    async fn ping(&self) -> Read<()> {
        Database::ping(self).await
    }
}

async fn one_proposal(db: &impl Database, asked: Question) -> Read<Option<Proposal>> {
    let row = db.optional(asked).await?;
    row.as_ref().map(proposal_of).transpose()
}

async fn many_proposals(db: &impl Database, asked: Question) -> Read<Vec<Proposal>> {
    db.all(asked).await?.iter().map(proposal_of).collect()
}

/// The question about payments of the last while, which begins with `selected`.
///
/// A reservation says what counts: it is pending while a payment is held, allowed, on its way or in
/// doubt, posted once it is executed, and void when nothing of it is left. An amount without a
/// bound reserves nothing, so until it is settled the proposal's own amount counts. The conditions
/// on `p` repeat those of the index `proposals_to_payee`.
fn among(selected: &str, lately: &Lately) -> Question {
    let asked = Question::new(selected)
        .words(
            " FROM proposals p JOIN reservations r ON r.proposal = p.id \
             LEFT JOIN executions e ON e.proposal = p.id WHERE p.amount IS NOT NULL",
        )
        .with(" AND p.org = ", lately.org.as_str());
    let asked = match &lately.of {
        Side::Agent(agent) => asked.with(" AND p.agent = ", agent.as_str()),
        Side::Payee(names) => {
            let asked = asked.words(" AND p.payee IS NOT NULL AND p.payee IN (NULL");
            let named = |asked: Question, name: &String| asked.with(", ", name.as_str());
            names.iter().fold(asked, named).words(")")
        }
    };
    asked
        .with(" AND p.id >= ", ProposalId::at(lately.oldest, [0; 10]))
        .words(" AND r.standing IN ('pending', 'posted')")
        .with(" AND r.currency = ", lately.currency.code())
        .with(
            " AND (r.standing = 'pending' OR p.created_at >= ",
            lately.since,
        )
        .with(" OR e.claimed_at >= ", lately.since)
        .words(")")
}
