//! `hundi audit`: what happened, as a table or live; the whole log as a file; and whether a log is
//! what was sealed. Checking a file needs neither a data folder nor a server.

use std::fs::File;
use std::io::{BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::asks::{Around, Asks};
use super::door::Door;
use super::{Actor, Failure, Json, print};
use crate::ambient;
use crate::domain::audit::names::Decision;
use crate::domain::audit::verify::{Report, Verifier, verify};
use crate::domain::audit::{PublicKey, proof};
use crate::domain::ids::{AgentId, ProposalId};
use crate::domain::money::{Currency, Money};
use crate::domain::strict::MAX_BYTES;
use crate::domain::time::Timestamp;
use crate::entry::operations::audit as records;

/// Most records that a live view reads at once.
const PAGE: u32 = 500;

/// `hundi audit ...`
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do instead of showing records.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Which records.
    #[command(flatten)]
    pub list: List,
}

/// What to do with the whole log.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Write the whole log to stdout; jsonl carries what is needed to verify it
    Export {
        /// jsonl or csv
        #[arg(long, value_enum, default_value_t = Format::Jsonl)]
        format: Format,
        /// The same as --format jsonl
        #[arg(long, conflicts_with = "format")]
        json: bool,
        /// As whom, and where.
        #[command(flatten)]
        actor: Actor,
    },
    /// Check that a log is what was sealed, and name the first bad record
    Verify {
        /// An exported file, or one head or one proof as `/v1/audit/head` and
        /// `/v1/audit/proof/{seq}` answer it; without it, the log of the server or the store
        file: Option<PathBuf>,
        /// The only public key to trust (hex); without it, the one the file names
        #[arg(long = "key", value_name = "PUBLIC_KEY", value_parser = hex_key)]
        keys: Vec<String>,
        /// The server to ask [default: the one that runs on the data folder, else the store itself]
        #[arg(long, env = "HUNDI_URL", value_name = "URL")]
        url: Option<String>,
        /// How to print.
        #[command(flatten)]
        json: Json,
    },
}

/// How the log is written.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Records and signed heads, one a line
    Jsonl,
    /// Records for a spreadsheet; does not verify
    Csv,
}

/// Which records to show, and how.
#[derive(clap::Args, Debug)]
pub struct List {
    /// Only about this agent
    #[arg(long)]
    pub agent: Option<AgentId>,
    /// Only about this proposal
    #[arg(long)]
    pub proposal: Option<ProposalId>,
    /// Only about this provider's id
    #[arg(long)]
    pub payout: Option<String>,
    /// Only with this decision: APPROVED, REJECTED, HELD or SKIPPED
    #[arg(long, value_parser = decision)]
    pub decision: Option<Decision>,
    /// Only about this tool
    #[arg(long)]
    pub tool: Option<String>,
    /// At or after: RFC 3339, or an age like 90s, 15m, 6h, 2d
    #[arg(long)]
    pub since: Option<String>,
    /// At most so many, the newest
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// Show each record in full
    #[arg(long)]
    pub detail: bool,
    /// Go on showing what happens
    #[arg(long)]
    pub tail: bool,
    /// Seconds between two looks of --tail
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub interval: u32,
    /// As whom.
    #[command(flatten)]
    pub actor: Actor,
    /// How to print.
    #[command(flatten)]
    pub json: Json,
}

impl Asks for Args {
    /// A check has `--key` for public keys, so an API key comes from the environment alone.
    fn actor(&self) -> Actor {
        match &self.command {
            None => self.list.actor.clone(),
            Some(Command::Export { actor, .. }) => actor.clone(),
            Some(Command::Verify { url, .. }) => Actor {
                url: url.clone(),
                key: ambient::variable("HUNDI_API_KEY").filter(|_| url.is_some()),
                ..Actor::default()
            },
        }
    }

    async fn ask(&self, door: &Door, around: &mut Around<'_>) -> Result<(), Failure> {
        run(self, around.now, door, around.out).await
    }
}

/// Checks a file, if that is what was asked; `None` if the store is needed.
pub fn without_store(args: &Args, out: &mut dyn Write) -> Option<Result<(), Failure>> {
    let Some(Command::Verify {
        file: Some(file),
        keys,
        json,
        ..
    }) = &args.command
    else {
        return None;
    };
    let keys = match public_keys(keys) {
        Ok(keys) => keys,
        Err(why) => return Some(Err(why)),
    };
    let report = check_file(file, &keys);
    Some(match report {
        Ok(report) => tell(&report, *json, out),
        Err(error) => {
            let text = format!("{} cannot be read: {error}", file.display());
            Err(Failure::Failed(text))
        }
    })
}

/// A file that is one document is a head or a proof; anything else is an export, line by line.
fn check_file(path: &Path, keys: &[PublicKey]) -> std::io::Result<Report> {
    let mut file = File::open(path)?;
    let mut text = Vec::new();
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    (&mut file).take(most).read_to_end(&mut text)?;
    if let Some(report) = proof::verify(&text, keys) {
        return Ok(report);
    }
    verify(BufReader::new(text.as_slice().chain(file)), keys)
}

/// Runs it.
async fn run(args: &Args, now: Timestamp, door: &Door, out: &mut dyn Write) -> Result<(), Failure> {
    match &args.command {
        None => list(&args.list, now, door, out).await,
        Some(Command::Export { format, .. }) => {
            let format = match format {
                Format::Jsonl => "jsonl",
                Format::Csv => "csv",
            };
            let asked = json!({"format": format});
            let copy = |piece: &[u8]| Ok(out.write_all(piece)?);
            door.pour("list_audit", asked, copy).await?;
            Ok(out.flush()?)
        }
        Some(Command::Verify { keys, json, .. }) => {
            let report = check_log(door, &public_keys(keys)?).await?;
            tell(&report, *json, out)
        }
    }
}

async fn list(
    list: &List,
    now: Timestamp,
    door: &Door,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let since = list.since.as_deref().map(|text| since(text, now));
    let filter = json!({
        "agent": list.agent,
        "proposal": list.proposal,
        "payout": list.payout,
        "decision": list.decision.map(Decision::name),
        "tool": list.tool,
        "since": since.transpose()?.map(|since| since.to_string()),
        "limit": list.limit,
    });
    let mut filter = filter.as_object().cloned().unwrap_or_default();
    filter.retain(|_, value| !value.is_null());
    let mut records = newest(list.limit, filter.clone(), door).await?;
    // The newest stands last, where the eye is and where --tail goes on.
    records.reverse();
    let mut last = records.last().map_or(0, seq);
    show(list, &records, true, out)?;
    if !list.tail {
        return Ok(out.flush()?);
    }
    loop {
        out.flush()?;
        tokio::time::sleep(Duration::from_secs(u64::from(list.interval))).await;
        filter.insert("after".to_owned(), json!(last));
        filter.insert("limit".to_owned(), json!(PAGE));
        let told = door
            .ask("list_audit", Value::Object(filter.clone()))
            .await?;
        let records = told["records"].as_array().cloned().unwrap_or_default();
        last = records.last().map_or(last, seq);
        if !records.is_empty() {
            show(list, &records, false, out)?;
        }
    }
}

fn seq(record: &Value) -> i64 {
    record["seq"].as_i64().unwrap_or(0)
}

/// The newest records, over as many pages as it takes.
async fn newest(
    wanted: u32,
    mut filter: Map<String, Value>,
    door: &Door,
) -> Result<Vec<Value>, Failure> {
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let mut found: Vec<Value> = Vec::new();
    loop {
        let mut page = door
            .ask("list_audit", Value::Object(filter.clone()))
            .await?;
        if let Some(records) = page["records"].as_array_mut() {
            found.append(records);
        }
        let before = page["next_before"].take();
        if before.is_null() || found.len() >= wanted {
            return Ok(found);
        }
        filter.insert("limit".to_owned(), json!(wanted - found.len()));
        filter.insert("before".to_owned(), before);
    }
}

fn show(list: &List, records: &[Value], first: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if list.json.json {
        if list.tail {
            for record in records {
                print::json(out, record)?;
            }
            return Ok(());
        }
        return Ok(print::json(out, &json!({"records": records}))?);
    }
    let heading = [
        "seq", "at", "kind", "decision", "reason", "agent", "amount", "actor",
    ];
    let mut text = Vec::new();
    let rows = records.iter().map(row).collect();
    print::table(&mut text, &heading, rows, "no records")?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let coloured = std::io::stdout().is_terminal();
    let mut lines = text.lines();
    if let Some(heading) = lines.next()
        && (first || records.is_empty())
    {
        writeln!(out, "{heading}")?;
    }
    for (line, record) in lines.zip(records) {
        match decided(record).map(colour).filter(|_| coloured) {
            Some(code) => writeln!(out, "\u{1b}[{code}m{line}\u{1b}[0m")?,
            None => writeln!(out, "{line}")?,
        }
        if list.detail {
            writeln!(out, "    {}", print::plain(&record.to_string()))?;
        }
    }
    if first && !records.is_empty() {
        let count = |decision| {
            let of = records
                .iter()
                .filter(|record| decided(record) == Some(decision));
            of.count()
        };
        writeln!(
            out,
            "{} records: {} approved, {} rejected, {} held",
            records.len(),
            count(Decision::Approved),
            count(Decision::Rejected),
            count(Decision::Held)
        )?;
    }
    Ok(())
}

fn decided(record: &Value) -> Option<Decision> {
    records::decision(record["decision"].as_str()?)
}

fn row(record: &Value) -> Vec<String> {
    let word = |place| print::word(record, place);
    let currency = record["currency"].as_str().and_then(Currency::parse);
    let amount = match (record["amount"].as_i64(), currency) {
        (Some(minor), Some(currency)) => Money { minor, currency }.to_string(),
        (Some(minor), None) => minor.to_string(),
        (None, _) => String::new(),
    };
    vec![
        word("/seq"),
        word("/at"),
        word("/kind"),
        dash(&word("/decision")),
        dash(&word("/reason")),
        dash(&word("/agent_id")),
        dash(&amount),
        print::short(&word("/actor"), 40),
    ]
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// Colours of a terminal, by decision.
fn colour(decision: Decision) -> u8 {
    match decision {
        Decision::Approved => 32,
        Decision::Rejected => 31,
        Decision::Held => 33,
        Decision::Skipped => 2,
    }
}

/// The log as it is told now, checked like a file: against what was signed. Where the store is at
/// hand, the key that counts is its own; a server's word for its key is no proof.
async fn check_log(door: &Door, keys: &[PublicKey]) -> Result<Report, Failure> {
    let own: Vec<PublicKey> = match door {
        Door::Store { broker, .. } => broker.audit.audit_public_key().into_iter().collect(),
        Door::Server(_) => Vec::new(),
    };
    let mut verifier = Verifier::new(if keys.is_empty() { &own } else { keys });
    let mut left = Vec::new();
    let each = |piece: &[u8]| {
        for byte in piece.split_inclusive(|byte| *byte == b'\n') {
            left.extend_from_slice(byte);
            if left.ends_with(b"\n") {
                left.pop();
                verifier.line(&left);
                left.clear();
            }
        }
        Ok(())
    };
    door.pour("list_audit", json!({"format": "jsonl"}), each)
        .await?;
    if !left.is_empty() {
        verifier.line(&left);
    }
    Ok(verifier.finish())
}

fn tell(report: &Report, json: Json, out: &mut dyn Write) -> Result<(), Failure> {
    let head = report.head.as_ref().map(|head| &head.head);
    let key = report.key.map(|key| key.to_string());
    if json.json {
        let bad = report.first_bad.as_ref().map(|bad| {
            json!({
                "damage": bad.damage.code(), "seq": bad.seq, "line": bad.line,
                "detail": bad.detail,
            })
        });
        print::json(
            out,
            &json!({
                "ok": report.ok(),
                "records": report.records,
                "heads": report.heads,
                "signed_approvals": report.approvals,
                "signed_by_unknown_passkeys": report.strangers,
                "unsigned_decisions": report.unsigned,
                "tree_size": head.map(|head| head.tree_size),
                "root_hash": head.map(|head| head.root_hash),
                "key_id": report.key.map(|key| key.id()),
                "public_key": key,
                "pinned": report.pinned,
                "first_bad": bad,
            }),
        )?;
    } else if let Some(bad) = &report.first_bad {
        let record = bad
            .seq
            .map_or_else(String::new, |seq| format!("record {seq}, "));
        let detail = print::plain(&bad.detail);
        writeln!(
            out,
            "NOT what was sealed: {}: {record}line {}: {detail}",
            bad.damage.code(),
            bad.line
        )?;
    } else {
        let whose = match report.pinned {
            true => "the given key",
            false => "the key that the file names; pin it with --key",
        };
        writeln!(
            out,
            "ok: {} records are what was sealed; {} signed heads hold under {} ({whose})",
            report.records,
            report.heads,
            key.unwrap_or_default()
        )?;
        if report.approvals > 0 || report.unsigned > 0 {
            writeln!(
                out,
                "decisions: {} signed with a passkey, each checked ({} with one of which this part does \
                 not tell whose it is); {} not signed",
                report.approvals, report.strangers, report.unsigned
            )?;
        }
    }
    out.flush()?;
    if report.ok() {
        Ok(())
    } else {
        Err(Failure::Told)
    }
}

fn hex_key(text: &str) -> Result<String, String> {
    let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let key = hex.then(|| text.to_lowercase());
    key.ok_or_else(|| "a public key is 64 hex digits".to_owned())
}

/// Digits that are no point of the curve are no key, so nothing can be signed under them: a
/// check that failed, not a command that makes no sense.
fn public_keys(given: &[String]) -> Result<Vec<PublicKey>, Failure> {
    let key = |text: &String| {
        PublicKey::parse(text).ok_or_else(|| {
            let said = "is no Ed25519 public key, so no head can be signed under it; an export \
                        names its own as `public_key`";
            Failure::Failed(format!("{text} {said}"))
        })
    };
    given.iter().map(key).collect()
}

fn decision(text: &str) -> Result<Decision, String> {
    let known = records::decision(text);
    known.ok_or_else(|| "the decisions are APPROVED, REJECTED, HELD and SKIPPED".to_owned())
}

fn since(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    let wrong = || {
        let text = "--since takes an RFC 3339 time, or an age like 90s, 15m, 6h, 2d";
        Failure::Usage(text.to_owned())
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(now.plus_secs(-i64::from(count) * secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_or_a_time_is_read() {
        let now = Timestamp::from_secs(1_000_000);
        assert_eq!(since("90s", now).unwrap(), now.plus_secs(-90));
        assert_eq!(since("2d", now).unwrap(), now.plus_secs(-172_800));
        assert_eq!(
            since("1970-01-01T00:00:01Z", now).unwrap(),
            Timestamp::from_secs(1)
        );
        for bad in ["", "d", "-1d", "1w", "yesterday", "é"] {
            assert!(matches!(since(bad, now), Err(Failure::Usage(_))), "{bad}");
        }
    }
}
