//! The callers: propose, commit, again, until the time or the cycles are used up.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::answers::{Answer, Invoked, Plain, Rpc, message};
use super::asks::{self, Question};
use super::client::{Client, Target};
use super::cpu::{Busy, Cpu};
use super::histogram::Histogram;
use super::progress::Progress;
use super::{Args, DEFAULT_SECONDS, Door, Tool};

/// Pause of a caller whose cycle failed, so that a server that is down is not flooded.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
/// Different errors that are told apart; the rest is counted together.
const MAX_ERRORS: usize = 20;
/// Longest text of one error, in characters.
const MAX_ERROR: usize = 200;

/// What came of a run.
#[derive(Default)]
pub struct Outcome {
    /// Cycles that were done.
    pub cycles: u64,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Latencies of proposing.
    pub propose: Histogram,
    /// Latencies of committing.
    pub commit: Histogram,
    /// Latencies of plain calls.
    pub call: Histogram,
    /// How busy the machine was, if it tells.
    pub busy: Option<Busy>,
    /// Cycles that failed, by what was said.
    pub errors: BTreeMap<String, u64>,
}

/// What is left to do; shared by the callers of one thread.
pub struct Plan {
    until: Option<Instant>,
    cycles: Cell<u64>,
    /// Cycles done so far.
    pub done: Cell<u64>,
    /// Cycles failed so far.
    pub failed: Cell<u64>,
    /// Where acknowledged proposals are written down.
    acks: Option<RefCell<File>>,
    /// When the next cycle begins and how long after it the one that follows, where the pace is
    /// given and not the server's.
    next: Option<(Cell<Instant>, Duration)>,
}

impl Plan {
    fn of(args: &Args, every: Option<Duration>, start: Instant) -> Result<Self, String> {
        let seconds = args.seconds.unwrap_or(DEFAULT_SECONDS);
        let until = args
            .cycles
            .is_none()
            .then(|| start + Duration::from_secs(seconds));
        let acks = args.acks.as_deref().map(File::create).transpose();
        let acks = acks.map_err(|error| format!("the file of --acks: {error}"))?;
        Ok(Self {
            until,
            cycles: Cell::new(args.cycles.unwrap_or(u64::MAX)),
            done: Cell::new(0),
            failed: Cell::new(0),
            acks: acks.map(RefCell::new),
            next: every.map(|every| (Cell::new(start), every)),
        })
    }

    /// Written at once: whoever stops this program still has what was promised.
    fn acknowledged(&self, id: &str) -> Result<(), String> {
        let Some(acks) = &self.acks else {
            return Ok(());
        };
        let written = acks.borrow_mut().write_all(format!("{id}\n").as_bytes());
        written.map_err(|error| format!("the file of --acks: {error}"))
    }

    fn take(&self) -> Option<u64> {
        let left = self.cycles.get().checked_sub(1)?;
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return None;
        }
        self.cycles.set(left);
        Some(left)
    }

    /// Waits until a cycle is due, if the pace is given.
    async fn due(&self) {
        if let Some((next, every)) = &self.next {
            let at = next.get();
            next.set(at + *every);
            sleep_until(at).await;
        }
    }
}

/// Runs all callers on this thread, each as fast as it is answered or all together one cycle
/// `every` so often. Fails only if the very first connection does.
pub async fn run(args: &Args, target: &Target, every: Option<Duration>) -> Result<Outcome, String> {
    let spent = Cpu::now();
    let start = Instant::now();
    let plan = Plan::of(args, every, start)?;
    let callers = (0..args.concurrency).map(|index| {
        let caller = Caller {
            door: args.door,
            tool: args.tool,
            amount: args.amount,
            call: args.call.as_deref().zip(Some(&args.arguments)),
            model: &args.model,
            index,
            client: Client::new(target),
        };
        caller.run(&plan)
    });
    let progress = Progress::new(args.cycles, args.seconds.unwrap_or(DEFAULT_SECONDS), start);
    let parts = tokio::select! {
        parts = join_all(callers) => parts,
        () = progress.draw(&plan) => Vec::new(),
    };
    progress.clear();
    let took = start.elapsed();
    let mut all = Outcome {
        took,
        busy: Cpu::now()
            .zip(spent)
            .and_then(|(now, then)| now.since(then, took)),
        ..Outcome::default()
    };
    for part in parts {
        all.cycles += part.cycles;
        all.propose.merge(&part.propose);
        all.commit.merge(&part.commit);
        all.call.merge(&part.call);
        for (error, count) in part.errors {
            count_error(&mut all.errors, error, count);
        }
    }
    Ok(all)
}

fn count_error(errors: &mut BTreeMap<String, u64>, error: String, count: u64) {
    let error = if errors.len() < MAX_ERRORS || errors.contains_key(&error) {
        error
    } else {
        "other errors".to_owned()
    };
    *errors.entry(error).or_default() += count;
}

struct Caller<'a> {
    door: Door,
    tool: Tool,
    amount: Option<i64>,
    /// A plain call and its arguments, instead of pairs.
    call: Option<(&'a str, &'a Option<Value>)>,
    model: &'a str,
    index: u16,
    client: Client<'a>,
}

impl Caller<'_> {
    async fn run(mut self, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(number) = plan.take() {
            plan.due().await;
            match self.cycle(number, plan, &mut outcome).await {
                Ok(()) => {
                    outcome.cycles += 1;
                    plan.done.set(plan.done.get() + 1);
                }
                Err(error) => {
                    let error = error.chars().take(MAX_ERROR).collect();
                    count_error(&mut outcome.errors, error, 1);
                    plan.failed.set(plan.failed.get() + 1);
                    sleep(AFTER_FAILURE).await;
                }
            }
        }
        outcome
    }

    async fn cycle(
        &mut self,
        number: u64,
        plan: &Plan,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        if self.door.asks() {
            let before = Instant::now();
            let (model, number) = (self.model, (self.index, number));
            asks::ask(&mut self.client, self.door, Question { model, number }).await?;
            outcome.call.record(before.elapsed());
            return Ok(());
        }
        if let Some((name, arguments)) = self.call {
            let before = Instant::now();
            self.plain(name, arguments).await?;
            outcome.call.record(before.elapsed());
            return Ok(());
        }
        let arguments = match self.tool {
            Tool::Noop => {
                let note = format!("bench {} {number}", self.index);
                match self.amount {
                    Some(amount) => json!({"note": note, "amount": amount}),
                    None => json!({"note": note}),
                }
            }
            Tool::TransferFunds => {
                json!({"amount": self.amount.unwrap_or(100), "to": "acct_bench"})
            }
        };
        let before = Instant::now();
        let (id, token) = self
            .propose(&arguments)
            .await
            .map_err(|why| format!("propose: {why}"))?;
        let between = Instant::now();
        let committed = self.commit(&id, &token, &arguments).await;
        committed.map_err(|why| format!("commit: {why}"))?;
        plan.acknowledged(&id)?;
        outcome.propose.record(between - before);
        outcome.commit.record(between.elapsed());
        Ok(())
    }

    async fn plain(&mut self, name: &str, arguments: &Option<Value>) -> Result<(), String> {
        let arguments = arguments.clone().unwrap_or_else(|| json!({}));
        if self.door == Door::Invoke {
            return self.invoke(name, &arguments).await;
        }
        let (status, body) = self.mcp(name, &arguments).await?;
        let unreadable = |_| format!("HTTP {status}, and no JSON-RPC answer");
        let rpc: Rpc<'_, Plain> = serde_json::from_slice(message(body)).map_err(unreadable)?;
        match (rpc.result, rpc.error) {
            (_, Some(error)) => Err(error.message.into_owned()),
            (Some(result), None) if !result.is_error => Ok(()),
            (Some(_), None) => Err("the tool answered with an error".to_owned()),
            (None, None) => Err(format!("HTTP {status}, and no result")),
        }
    }

    async fn invoke(&mut self, name: &str, arguments: &Value) -> Result<(), String> {
        let path = format!("/v1/tools/{name}/invoke");
        let (status, body) = self.rest(&path, &json!({"arguments": arguments})).await?;
        let unreadable = |_| format!("HTTP {status}, and no answer of hundi's");
        let told: Invoked<'_> = serde_json::from_slice(body).map_err(unreadable)?;
        match told.ok {
            Some(true) => Ok(()),
            Some(false) => Err("the tool answered with an error".to_owned()),
            None => Err(told.complaint(status)),
        }
    }

    async fn propose(&mut self, arguments: &Value) -> Result<(String, String), String> {
        let (door, tool) = (self.door, self.tool.name());
        let (status, body) = match door {
            // A pair has no door of its own to be invoked or asked by.
            Door::Rest | Door::Invoke | Door::Chat | Door::Requests => {
                let body = json!({"tool": tool, "arguments": arguments});
                self.rest("/v1/proposals", &body).await?
            }
            Door::Mcp => {
                let name = format!("{tool}_propose");
                self.mcp(&name, &json!({"arguments": arguments})).await?
            }
        };
        let answer = Answer::read(door, body)?;
        match (&answer.proposal_id, &answer.commit_token) {
            (Some(id), Some(token)) if answer.is("allowed") => {
                Ok((id.to_string(), token.to_string()))
            }
            _ => Err(answer.complaint(status)),
        }
    }

    async fn commit(&mut self, id: &str, token: &str, arguments: &Value) -> Result<(), String> {
        let (door, tool) = (self.door, self.tool.name());
        let (status, body) = match door {
            Door::Rest | Door::Invoke | Door::Chat | Door::Requests => {
                let body = json!({"commit_token": token, "arguments": arguments});
                self.rest(&format!("/v1/proposals/{id}/commit"), &body)
                    .await?
            }
            Door::Mcp => {
                let name = format!("{tool}_commit");
                let body =
                    json!({"proposal_id": id, "commit_token": token, "arguments": arguments});
                self.mcp(&name, &body).await?
            }
        };
        let answer = Answer::read(door, body)?;
        if answer.is("committed") {
            Ok(())
        } else {
            Err(answer.complaint(status))
        }
    }

    async fn rest(&mut self, path: &str, body: &Value) -> Result<(u16, &[u8]), String> {
        self.client
            .post(path, "", body.to_string().as_bytes())
            .await
    }

    async fn mcp(&mut self, name: &str, arguments: &Value) -> Result<(u16, &[u8]), String> {
        let headers = format!(
            "mcp-protocol-version: {PROTOCOL}\r\nmcp-method: tools/call\r\nmcp-name: {name}\r\n"
        );
        let body = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {
                "name": name,
                "arguments": arguments,
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": PROTOCOL,
                    "io.modelcontextprotocol/clientInfo": {"name": "hundi bench", "version": env!("CARGO_PKG_VERSION")},
                    "io.modelcontextprotocol/clientCapabilities": {},
                },
            },
        });
        self.client
            .post("/mcp", &headers, body.to_string().as_bytes())
            .await
    }
}

/// The revision of MCP that needs no session.
const PROTOCOL: &str = "2026-07-28";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_in_bounded_memory() {
        let mut errors = BTreeMap::new();
        for index in 0..1_000 {
            count_error(&mut errors, format!("error {index}"), 1);
        }
        assert!(errors.len() <= MAX_ERRORS + 1);
        assert_eq!(errors.values().sum::<u64>(), 1_000);
    }
}
