//! `hundi audit`: what happened, as a table or live; the whole log as a file; and whether a log is
//! what was sealed. Checking a file needs neither a data folder nor a server.

use std::fs::File;
use std::io::{BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Actor, Failure, Json, print};
use crate::broker::{Broker, RecordFilter, StoredRecord};
use crate::domain::audit::export::{csv_header, csv_line};
use crate::domain::audit::names::Decision;
use crate::domain::audit::verify::{Report, Verifier, verify};
use crate::domain::audit::{PublicKey, proof, record_json};
use crate::domain::ids::{AgentId, ProposalId};
use crate::domain::money::Money;
use crate::domain::principal::Principal;
use crate::domain::strict::MAX_BYTES;
use crate::domain::time::Timestamp;
use crate::entry::operations::audit as records;

/// An export does not wait for more records than this to be sealed as well.
const A_LITTLE: usize = 1_000;
/// Records per read of an export, and most that a live view reads at once.
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
        /// As whom.
        #[command(flatten)]
        actor: Actor,
    },
    /// Check that a log is what was sealed, and name the first bad record
    Verify {
        /// An exported file, or one head or one proof as `/v1/audit/head` and
        /// `/v1/audit/proof/{seq}` answer it; without it, the log of the configured store
        file: Option<PathBuf>,
        /// The only public key to trust (hex); without it, the one the file names
        #[arg(long = "key", value_name = "PUBLIC_KEY", value_parser = hex_key)]
        keys: Vec<String>,
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

impl Args {
    /// As whom it acts; `None` for a check, which trusts a key and nobody else.
    pub fn actor(&self) -> Option<&Actor> {
        match &self.command {
            None => Some(&self.list.actor),
            Some(Command::Export { actor, .. }) => Some(actor),
            Some(Command::Verify { .. }) => None,
        }
    }
}

/// Checks a file, if that is what was asked; `None` if the store is needed.
pub fn without_store(args: &Args, out: &mut dyn Write) -> Option<Result<(), Failure>> {
    let Some(Command::Verify {
        file: Some(file),
        keys,
        json,
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

/// Runs it on the store.
pub async fn run(
    args: &Args,
    broker: &Broker,
    who: &Principal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match &args.command {
        None => list(&args.list, broker, who, out).await,
        Some(Command::Export { format, .. }) => export(*format, broker, who, out).await,
        Some(Command::Verify { keys, json, .. }) => {
            let report = check_store(broker, who, &public_keys(keys)?).await?;
            tell(&report, *json, out)
        }
    }
}

async fn list(
    list: &List,
    broker: &Broker,
    who: &Principal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let now = broker.ports().ambient.now();
    let since = list.since.as_deref().map(|text| since(text, now));
    let filter = RecordFilter {
        agent: list.agent.clone(),
        proposal: list.proposal,
        payout: list.payout.clone(),
        decision: list.decision,
        tool: list.tool.clone(),
        since: since.transpose()?,
        limit: list.limit,
        ..RecordFilter::default()
    };
    let mut records = newest(broker, who, filter.clone()).await?;
    // The newest stands last, where the eye is and where --tail goes on.
    records.reverse();
    let mut last = records.last().map_or(0, |record| record.seq);
    show(list, &records, true, out)?;
    if !list.tail {
        return Ok(out.flush()?);
    }
    loop {
        out.flush()?;
        tokio::time::sleep(Duration::from_secs(u64::from(list.interval))).await;
        let newer = RecordFilter {
            after_seq: Some(last),
            limit: PAGE,
            ..filter.clone()
        };
        let records = broker.audit.records(who, newer).await?.rows;
        last = records.last().map_or(last, |record| record.seq);
        if !records.is_empty() {
            show(list, &records, false, out)?;
        }
    }
}

/// The newest records, over as many pages as it takes.
async fn newest(
    broker: &Broker,
    who: &Principal,
    mut filter: RecordFilter,
) -> Result<Vec<StoredRecord>, Failure> {
    let wanted = usize::try_from(filter.limit).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    loop {
        let page = broker.audit.records(who, filter.clone()).await?;
        found.extend(page.rows);
        if !page.more || found.len() >= wanted {
            return Ok(found);
        }
        filter.limit = u32::try_from(wanted - found.len()).unwrap_or(u32::MAX);
        filter.before_seq = found.last().map(|last| last.seq);
    }
}

fn show(
    list: &List,
    records: &[StoredRecord],
    first: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let shown = |record: &StoredRecord| record_json(record.seq, &record.record);
    if list.json.json {
        if list.tail {
            for record in records {
                print::json(out, &shown(record))?;
            }
            return Ok(());
        }
        let records: Vec<Value> = records.iter().map(shown).collect();
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
        match record
            .record
            .decision
            .known()
            .map(colour)
            .filter(|_| coloured)
        {
            Some(code) => writeln!(out, "\u{1b}[{code}m{line}\u{1b}[0m")?,
            None => writeln!(out, "{line}")?,
        }
        if list.detail {
            writeln!(out, "    {}", print::plain(&shown(record).to_string()))?;
        }
    }
    if first && !records.is_empty() {
        let count = |decision: Decision| {
            let of = records.iter().filter(|r| r.record.decision == decision);
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

fn row(stored: &StoredRecord) -> Vec<String> {
    let record = &stored.record;
    let amount = match (record.amount, record.currency) {
        (Some(minor), Some(currency)) => Money { minor, currency }.to_string(),
        (Some(minor), None) => minor.to_string(),
        (None, _) => String::new(),
    };
    let agent = record.agent.as_ref().map(ToString::to_string);
    vec![
        stored.seq.to_string(),
        record.at.to_string(),
        record.kind.name().to_owned(),
        dash(record.decision.name()),
        dash(&record.reason),
        dash(&agent.unwrap_or_default()),
        dash(&amount),
        print::short(&record.actor, 40),
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

async fn export(
    format: Format,
    broker: &Broker,
    who: &Principal,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    match format {
        Format::Jsonl => {
            // What was written a moment ago belongs into the file as well. A turn seals only so
            // many, and beside a busy server there is always a little more.
            while broker.audit.seal().await? > A_LITTLE {}
            let mut export = broker.audit.audit_export(who).await?;
            while let Some(lines) = export.next().await? {
                out.write_all(lines.as_bytes())?;
            }
        }
        Format::Csv => {
            out.write_all(csv_header().as_bytes())?;
            let mut after = 0;
            loop {
                let filter = RecordFilter {
                    after_seq: Some(after),
                    limit: PAGE,
                    ..RecordFilter::default()
                };
                let records = broker.audit.records(who, filter).await?.rows;
                let Some(last) = records.last() else { break };
                after = last.seq;
                for record in &records {
                    out.write_all(csv_line(record.seq, &record.record).as_bytes())?;
                }
            }
        }
    }
    Ok(out.flush()?)
}

/// The store's log, checked like a file: what is there now against what was signed.
async fn check_store(
    broker: &Broker,
    who: &Principal,
    keys: &[PublicKey],
) -> Result<Report, Failure> {
    let own: Vec<PublicKey> = broker.audit.audit_public_key().into_iter().collect();
    let pins = if keys.is_empty() { &own } else { keys };
    let mut verifier = Verifier::new(pins);
    let mut export = broker.audit.audit_export(who).await?;
    while let Some(lines) = export.next().await? {
        for line in lines.lines() {
            verifier.line(line.as_bytes());
        }
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
