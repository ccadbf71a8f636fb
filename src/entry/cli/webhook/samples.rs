//! The sample events of `hundi webhook simulate`: every kind that the bank documents, and what
//! goes wrong on the way.
//!
//! No payout in them exists. What the server allows it therefore cannot carry out; what it refuses
//! it cannot turn down; both are on record, and no money moves.

use serde_json::{Value, json};

/// One webhook to post.
pub(super) struct Sample {
    /// What it shows.
    pub(super) case: &'static str,
    /// The event's name, or what stands in its place.
    pub(super) event: &'static str,
    /// The payout it is about, if it is about one.
    pub(super) payout: Option<String>,
    /// The header that names the event.
    pub(super) event_id: String,
    /// The raw body.
    pub(super) body: String,
    /// False for a signature that does not hold.
    pub(super) genuine: bool,
}

/// What the sample payouts look like.
pub(super) struct Look<'a> {
    /// Paise.
    pub(super) amount: i64,
    /// In `notes.vendor_url`.
    pub(super) vendor_url: Option<&'a str>,
    /// In `notes.vendor_name`.
    pub(super) vendor_name: Option<&'a str>,
}

/// All of them, in the order they are posted. `tag` makes their ids unique: 10 letters or digits.
pub(super) fn all(tag: &str, look: &Look<'_>) -> Vec<Sample> {
    let mut samples = Samples {
        tag,
        look,
        made: Vec::new(),
    };
    samples.payout("waits for approval", 0, "payout.pending", "pending");
    samples.again("the same event again", 0);
    samples.payout(
        "the same payout, another event",
        0,
        "payout.pending",
        "pending",
    );
    samples.payout("waits for balance", 1, "payout.queued", "queued");
    samples.bare("without notes (`notes: []`)", 2);
    samples.payout("under way", 3, "payout.initiated", "processing");
    samples.payout("arrived", 3, "payout.processed", "processed");
    samples.payout("changed", 3, "payout.updated", "processed");
    samples.payout("came back", 3, "payout.reversed", "reversed");
    samples.payout("failed", 4, "payout.failed", "failed");
    samples.payout("turned down at the bank", 5, "payout.rejected", "rejected");
    samples.payout("out of order: arrived", 6, "payout.processed", "processed");
    samples.payout("out of order: began", 6, "payout.initiated", "processing");
    samples.downtime("the bank is down", "started");
    samples.downtime("the bank is up again", "resolved");
    let other = json!({"entity": "event", "event": "payment.captured", "payload": {}});
    samples.post(
        "an event of no concern",
        "payment.captured",
        other.to_string(),
    );
    samples.post("not JSON", "(garbage)", "{\"event\": ".to_owned());
    samples.forged("forged", 7);
    samples.made
}

struct Samples<'a> {
    tag: &'a str,
    look: &'a Look<'a>,
    made: Vec<Sample>,
}

impl Samples<'_> {
    fn post(&mut self, case: &'static str, event: &'static str, body: String) {
        let event_id = format!("sim-{}-{}", self.tag, self.made.len());
        self.made.push(Sample {
            case,
            event,
            payout: None,
            event_id,
            body,
            genuine: true,
        });
    }

    fn payout(&mut self, case: &'static str, n: usize, event: &'static str, state: &str) {
        let id = self.id(n);
        let body = envelope(event, self.entity(&id, state));
        self.post(case, event, body);
        if let Some(last) = self.made.last_mut() {
            last.payout = Some(id);
        }
    }

    fn bare(&mut self, case: &'static str, n: usize) {
        let id = self.id(n);
        let mut entity = self.entity(&id, "pending");
        entity["notes"] = json!([]);
        self.post(case, "payout.pending", envelope("payout.pending", entity));
        if let Some(last) = self.made.last_mut() {
            last.payout = Some(id);
        }
    }

    fn forged(&mut self, case: &'static str, n: usize) {
        self.payout(case, n, "payout.processed", "processed");
        if let Some(last) = self.made.last_mut() {
            last.genuine = false;
        }
    }

    /// What the bank does when an answer came too late.
    fn again(&mut self, case: &'static str, which: usize) {
        if let Some(first) = self.made.get(which) {
            let again = Sample {
                case,
                event: first.event,
                payout: first.payout.clone(),
                event_id: first.event_id.clone(),
                body: first.body.clone(),
                genuine: true,
            };
            self.made.push(again);
        }
    }

    fn downtime(&mut self, case: &'static str, what: &str) {
        let event = match what {
            "started" => "payout.downtime.started",
            _ => "payout.downtime.resolved",
        };
        let body = json!({
            "entity": "event", "account_id": "acc_simulated", "event": event,
            "contains": ["payout.downtime"],
            "payload": {"payout.downtime": {"entity": {
                "id": format!("poutdown_{}", self.tag), "entity": "payout.downtime",
                "method": ["IMPS"], "begin": 1_700_000_000, "end": null, "status": what,
                "source": "BENEFICIARY", "instrument": {"bank": "HDFC"},
            }}},
            "created_at": 1_700_000_000,
        });
        self.post(case, event, body.to_string());
    }

    fn id(&self, n: usize) -> String {
        format!("pout_{}{n:04}", self.tag)
    }

    fn entity(&self, id: &str, state: &str) -> Value {
        let mut notes = json!({});
        if let Some(url) = self.look.vendor_url {
            notes["vendor_url"] = json!(url);
        }
        if let Some(name) = self.look.vendor_name {
            notes["vendor_name"] = json!(name);
        }
        json!({
            "id": id, "entity": "payout", "fund_account_id": "fa_00000000000001",
            "amount": self.look.amount, "currency": "INR", "notes": notes, "fees": 0, "tax": 0,
            "status": state, "purpose": "payout", "utr": null, "mode": "IMPS",
            "reference_id": null, "created_at": 1_700_000_000,
        })
    }
}

fn envelope(event: &str, payout: Value) -> String {
    let body = json!({
        "entity": "event", "account_id": "acc_simulated", "event": event, "contains": ["payout"],
        "payload": {"payout": {"entity": payout}}, "created_at": 1_700_000_000,
    });
    body.to_string()
}
