//! The accounts after a storm: what callers heard, what the broker says, what the bank's ledger
//! holds, what the budget says, and whether the audit log verifies. A small independent model:
//! it knows nothing of the broker but its answers.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::callers::Tale;
use super::ground::{Ground, SETTLED_WITHIN};

/// Proposals per page.
const PAGE: usize = 500;
/// Longest that the newest record may wait for its seal; a second is usual, on a quiet machine.
const SEALED_WITHIN: Duration = Duration::from_secs(20);

/// What came out of it. All but the first four have to be zero, and the log has to verify.
#[derive(Default)]
pub struct Figures {
    pub proposals: usize,
    pub executed: usize,
    pub acknowledged: usize,
    pub audit_records: usize,
    /// Proposals paid more than once at the bank.
    pub double_payouts: usize,
    /// Heard `committed`, and not executed or not paid.
    pub lost_acknowledgements: usize,
    /// Paid, and not executed here, or never proposed; or executed and not paid.
    pub strangers: usize,
    /// Heard `failed`, and paid.
    pub paid_refusals: usize,
    /// Paid with other arguments than proposed.
    pub changed_arguments: usize,
    /// Still in doubt a minute after everything was healed.
    pub old_doubts: usize,
    /// From healing to the last doubt's end.
    pub settled_after: Duration,
    /// `posted` of the budget less what the bank paid, and `reserved` less what is still allowed.
    pub books_off_by: (i64, i64),
    /// What `hundi audit verify` said, if it was no.
    pub audit_trouble: Option<String>,
    /// Examples of what is wrong.
    pub examples: Vec<String>,
}

impl Figures {
    pub fn is_clean(&self) -> bool {
        let wrong = self.double_payouts
            + self.lost_acknowledgements
            + self.strangers
            + self.paid_refusals
            + self.changed_arguments
            + self.old_doubts;
        wrong == 0 && self.books_off_by == (0, 0) && self.audit_trouble.is_none()
    }

    fn blame(&mut self, count: impl FnOnce(&mut Self) -> &mut usize, text: String) {
        *count(self) += 1;
        if self.examples.len() < 20 {
            self.examples.push(text);
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: [(&str, String); 12] = [
            ("proposals", self.proposals.to_string()),
            ("executed", self.executed.to_string()),
            ("acknowledged commits", self.acknowledged.to_string()),
            ("double payouts", self.double_payouts.to_string()),
            (
                "lost acknowledgements",
                self.lost_acknowledgements.to_string(),
            ),
            ("paid or executed alone", self.strangers.to_string()),
            ("paid after a final no", self.paid_refusals.to_string()),
            (
                "paid with other arguments",
                self.changed_arguments.to_string(),
            ),
            ("doubts older than 60 s", self.old_doubts.to_string()),
            (
                "last doubt ended after",
                format!("{:.1} s", self.settled_after.as_secs_f64()),
            ),
            (
                "books less ledger",
                format!(
                    "{} posted, {} reserved",
                    self.books_off_by.0, self.books_off_by.1
                ),
            ),
            (
                "audit verify",
                match &self.audit_trouble {
                    None => format!("clean, {} records", self.audit_records),
                    Some(trouble) => trouble.clone(),
                },
            ),
        ];
        for (name, figure) in rows {
            writeln!(f, "  {name:26} {figure}")?;
        }
        for example in &self.examples {
            writeln!(f, "  ! {example}")?;
        }
        Ok(())
    }
}

/// One proposal as the broker has it.
struct Known {
    state: String,
    arguments: Value,
}

/// Waits until nothing is unsettled, and compares everything with everything. `acknowledged` are
/// proposals that somebody else heard `committed` about.
pub async fn settle(
    ground: &Ground,
    agent: &str,
    tales: &[Tale],
    acknowledged: &[String],
    healed: Instant,
) -> Figures {
    let mut figures = Figures {
        old_doubts: wait_for_doubts(ground, healed).await,
        settled_after: healed.elapsed(),
        ..Figures::default()
    };
    let known = proposals(ground).await;
    figures.proposals = known.len();
    let ledger = ground.cluster.bank.ledger().await;
    let mut paid: HashMap<String, Vec<&Value>> = HashMap::new();
    for row in ledger.iter().filter(|row| row["replayed"] == json!(false)) {
        let reference = row["reference_id"].as_str().unwrap().to_owned();
        paid.entry(reference).or_default().push(&row["body"]);
    }
    let wanted: HashMap<&str, &Value> = tales
        .iter()
        .map(|tale| (tale.id.as_str(), &tale.arguments))
        .collect();
    let mut paid_minor = 0;
    for (id, rows) in &paid {
        if rows.len() > 1 {
            figures.blame(
                |f| &mut f.double_payouts,
                format!("{id} was paid {} times", rows.len()),
            );
        }
        paid_minor += rows[0]["amount"].as_i64().unwrap();
        match known.get(id) {
            Some(proposal) if proposal.state == "executed" => {
                // By its caller's own memory, where it has one.
                let wanted = *wanted.get(id.as_str()).unwrap_or(&&proposal.arguments);
                let same = ["amount", "to"].iter().all(|field| {
                    rows[0][field] == wanted[field] && proposal.arguments[field] == wanted[field]
                });
                if !same {
                    let text = format!("{id}: {wanted} was paid as {}", rows[0]);
                    figures.blame(|f| &mut f.changed_arguments, text);
                }
            }
            Some(proposal) => {
                let text = format!("{id} was paid and is {}", proposal.state);
                figures.blame(|f| &mut f.strangers, text);
            }
            None => figures.blame(
                |f| &mut f.strangers,
                format!("{id} was paid, never proposed"),
            ),
        }
    }
    for (id, proposal) in known.iter().filter(|(_, p)| p.state == "executed") {
        figures.executed += 1;
        // The no-op tool has no ledger.
        if !paid.contains_key(id) && !proposal.arguments["to"].is_null() {
            figures.blame(
                |f| &mut f.strangers,
                format!("{id} is executed and was not paid"),
            );
        }
    }
    let heard = tales
        .iter()
        .filter(|tale| tale.committed)
        .map(|tale| &tale.id);
    for id in heard.chain(acknowledged) {
        figures.acknowledged += 1;
        let executed = known
            .get(id)
            .is_some_and(|proposal| proposal.state == "executed");
        if !executed || !paid.contains_key(id) {
            let state = known
                .get(id)
                .map_or("unknown", |proposal| proposal.state.as_str());
            let text = format!("{id} was acknowledged and is {state}");
            figures.blame(|f| &mut f.lost_acknowledgements, text);
        }
    }
    for tale in tales
        .iter()
        .filter(|tale| tale.failed && paid.contains_key(&tale.id))
    {
        figures.blame(
            |f| &mut f.paid_refusals,
            format!("{} failed and was paid", tale.id),
        );
    }
    figures.books_off_by = books(ground, agent, paid_minor).await;
    if figures.books_off_by != (0, 0) {
        let mut sums: HashMap<&str, (usize, i64)> = HashMap::new();
        for proposal in known.values() {
            let (count, minor) = sums.entry(&proposal.state).or_default();
            *count += 1;
            *minor += proposal.arguments["amount"].as_i64().unwrap_or(0);
        }
        let budget = ground.get(0, &format!("/v1/agents/{agent}/budget")).await;
        figures
            .examples
            .push(format!("{sums:?}; paid {paid_minor}; {budget:?}"));
    }
    audit(ground, &mut figures).await;
    figures
}

/// Gives back how many are left when the time is over.
async fn wait_for_doubts(ground: &Ground, healed: Instant) -> usize {
    let mut turns = tokio::time::interval(Duration::from_millis(200));
    loop {
        turns.tick().await;
        let mut open = 0;
        for state in ["committing", "in_doubt"] {
            let path = format!("/v1/proposals?state={state}&limit=500");
            let page = ground.get(0, &path).await;
            let listed = page.and_then(|page| page["proposals"].as_array().map(Vec::len));
            open += listed.unwrap_or(1);
        }
        if open == 0 || healed.elapsed() > SETTLED_WITHIN {
            return open;
        }
    }
}

/// Every proposal there is.
async fn proposals(ground: &Ground) -> HashMap<String, Known> {
    let pages = pages(ground, "").await;
    let known = pages.into_iter().map(|proposal| {
        let id = proposal["proposal_id"].as_str().unwrap().to_owned();
        let state = proposal["state"].as_str().unwrap().to_owned();
        let arguments = proposal["arguments"].clone();
        (id, Known { state, arguments })
    });
    known.collect()
}

async fn in_state(ground: &Ground, state: &str) -> Vec<Value> {
    pages(ground, &format!("&state={state}")).await
}

async fn pages(ground: &Ground, filter: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/proposals?limit={PAGE}{filter}{cursor}");
        let page = ground.get(1, &path).await.unwrap();
        all.extend(page["proposals"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// What the budget says, less what it should. Reservations of proposals that nobody committed come
/// back while this looks, so it looks until both sides agree.
async fn books(ground: &Ground, agent: &str, paid: i64) -> (i64, i64) {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let budget = ground
            .get(0, &format!("/v1/agents/{agent}/budget"))
            .await
            .unwrap();
        let mut waiting = 0;
        for state in ["held", "allowed"] {
            let listed = in_state(ground, state).await;
            waiting += listed
                .iter()
                .filter_map(|proposal| proposal["arguments"]["amount"].as_i64())
                .sum::<i64>();
        }
        let text = |name: &str| budget[name].as_i64().unwrap_or_else(|| panic!("{budget}"));
        let off = (text("posted") - paid, text("reserved") - waiting);
        if off == (0, 0) || Instant::now() > until {
            return off;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until everything that is recorded by now is in the signed log: until there is a proof
/// about its newest record.
async fn sealed(ground: &Ground) -> Result<(), String> {
    let newest = ground.get(1, "/v1/audit?limit=1").await;
    let seq = newest
        .as_ref()
        .and_then(|page| page["records"][0]["seq"].as_i64());
    let Some(seq) = seq else {
        return Err(format!("NO RECORDS: {newest:?}"));
    };
    let until = Instant::now() + SEALED_WITHIN;
    let mut turns = tokio::time::interval(Duration::from_millis(50));
    loop {
        turns.tick().await;
        let proof = ground.get(1, &format!("/v1/audit/proof/{seq}")).await;
        if proof
            .as_ref()
            .is_some_and(|proof| proof["leaf_hash"].is_string())
        {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("NOT SEALED: record {seq} has no proof: {proof:?}"));
        }
    }
}

async fn audit(ground: &Ground, figures: &mut Figures) {
    if let Err(trouble) = sealed(ground).await {
        figures.audit_trouble = Some(trouble);
        return;
    }
    let url = format!("{}/v1/audit?format=jsonl", ground.url(1));
    let export = ground.http.get(url).bearer_auth(&ground.keys.admin).send();
    let export = export.await.unwrap().text().await.unwrap();
    figures.audit_records = export.lines().count();
    let node = ground.nodes[0].as_ref().unwrap();
    let file = node.dir.path().join("export.jsonl");
    std::fs::write(&file, export).unwrap();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_hundi"))
        .args(["audit", "verify", file.to_str().unwrap()])
        .env_clear()
        .current_dir(node.dir.path())
        .output()
        .unwrap();
    if !ran.status.success() {
        let told = String::from_utf8_lossy(&ran.stderr);
        figures.audit_trouble = Some(format!("NOT CLEAN: {told}"));
    }
}
