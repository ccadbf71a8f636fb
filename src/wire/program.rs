//! Runs the programs of the configuration file: one document on standard input, one on standard
//! output, exit code 0.
//!
//! A program starts with an empty environment but for what the configuration gives it, as the leader
//! of a process group that ends with the call: whatever it started does not stay behind. Its words
//! on standard error are logged at debug level, and their end is told where it fails. Time and size
//! are bounded; neither more output nor children that keep a pipe open hold the caller up.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::group::{Group, Watchdog};
use crate::domain::call::Reply;
use crate::domain::echo::Echo;
use crate::domain::secret::Secret;
use crate::domain::tools::numbers::exact;

/// What is kept of standard error: its end says why.
const MAX_STDERR: usize = 4 * 1024;
/// Most characters of it that are told.
const MAX_WORDS: usize = 300;
/// How long a program that has ended may leave its last output in the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Where a command without a folder is looked for.
const FOLDERS: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];
/// Runs at a time where nothing is said.
const MAX_CONCURRENT: usize = 8;

/// A program of the configuration file.
#[derive(Clone, Debug)]
pub struct ProgramSpec {
    /// Its file and arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, Secret>,
    /// Longest that a run may take.
    pub timeout: Duration,
    /// Longest output, in bytes.
    pub max_output: usize,
    /// Most runs at a time.
    pub max_concurrent: Option<usize>,
}

/// Runs one program.
pub struct Program {
    spec: ProgramSpec,
    watchdog: Option<Watchdog>,
    places: Semaphore,
}

impl Program {
    /// Nothing is started yet.
    pub fn new(spec: ProgramSpec, watchdog: Option<Watchdog>) -> Self {
        let places = spec.max_concurrent.unwrap_or(MAX_CONCURRENT);
        Self {
            spec,
            watchdog,
            places: Semaphore::new(places),
        }
    }

    /// Runs it once and answers within `deadline` (monotonic) or its own time-out.
    pub async fn run(&self, input: &Value, deadline: Duration) -> Reply {
        let until = Instant::now() + deadline.min(self.spec.timeout);
        let Ok(Ok(_place)) = timeout_at(until, self.places.acquire()).await else {
            return Reply::NotSent("too many runs of this program are under way".to_owned());
        };
        let (child, group) = match self.start() {
            Ok(started) => started,
            Err(why) => return Reply::NotSent(why),
        };
        let ran = timeout_at(until, self.finish(child, input)).await;
        // Ends whatever is left of the group, on every way out.
        drop(group);
        let late = |_| failed("timeout", "it did not end in time and was ended");
        let mut told = ran.unwrap_or_else(late);
        let given = self.spec.env.iter();
        let given = given.map(|(name, value)| (name.as_str(), value.expose()));
        Echo::of_named(given).hide_in_reply(&mut told);
        told
    }

    /// Whether its file is there to be run; it is not started.
    pub fn can_start(&self) -> Result<String, String> {
        let file = self.spec.command.first().map(String::as_str);
        let found = found(file.unwrap_or_default())?;
        Ok(format!("{} can be started", found.display()))
    }

    fn start(&self) -> Result<(Child, Option<Group>), String> {
        let Some((file, args)) = self.spec.command.split_first() else {
            return Err("its command is empty".to_owned());
        };
        let env = self.spec.env.iter();
        let mut command = Command::new(found(file)?);
        command
            .args(args)
            .env_clear()
            .envs(env.map(|(name, value)| (name, value.expose())))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start {file}: {error}"))?;
        let group = Group::of(&child, self.watchdog.clone());
        Ok((child, group))
    }

    async fn finish(&self, mut child: Child, input: &Value) -> Reply {
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Reply::Lost("it has no standard streams".to_owned());
        };
        let limit = self.spec.max_output;
        let (mut said, mut moaned) = (Vec::new(), Vec::new());
        let mut ended = None;
        let outcome = {
            let heard = heard(stdout, limit, &mut said);
            let complaints = tail(stderr, &mut moaned);
            let talking = async { tokio::join!(told(stdin, input), heard, complaints).1 };
            tokio::pin!(talking);
            tokio::select! {
                biased;
                within = &mut talking => within,
                status = child.wait() => {
                    ended = Some(status);
                    // Somebody it started may hold the pipe open for ever.
                    timeout(LAST_WORDS, talking).await.unwrap_or(true)
                }
            }
        };
        if !outcome {
            return Reply::TooLarge { limit };
        }
        let status = match ended {
            Some(status) => status,
            None => child.wait().await,
        };
        let words = String::from_utf8_lossy(&moaned).trim().to_owned();
        if !words.is_empty() {
            tracing::debug!(program = ?self.spec.command.first(), stderr = %words);
        }
        match status {
            Ok(status) => judged(status, &said, &words),
            Err(error) => Reply::Lost(error.to_string()),
        }
    }
}

/// The file of a command, which has no `PATH` to be looked for in.
fn found(file: &str) -> Result<PathBuf, String> {
    let path = match file.contains('/') {
        true => Some(PathBuf::from(file)),
        false => {
            let all = FOLDERS.iter().map(|folder| Path::new(folder).join(file));
            all.into_iter().find(|path| is_runnable(path))
        }
    };
    let path = path.filter(|path| is_runnable(path));
    path.ok_or_else(|| format!("there is no program {file} that can be started"))
}

fn is_runnable(path: &Path) -> bool {
    let runnable = |file: &Metadata| file.is_file() && file.permissions().mode() & 0o111 != 0;
    path.metadata().as_ref().is_ok_and(runnable)
}

/// What an end, an output and some words come to.
fn judged(status: ExitStatus, said: &[u8], words: &str) -> Reply {
    if !status.success() {
        let skipped = words.chars().count().saturating_sub(MAX_WORDS);
        let words: String = words.chars().skip(skipped).collect();
        return failed(
            "upstream_failed",
            &match words.is_empty() {
                true => status.to_string(),
                false => format!("{status}: {words}"),
            },
        );
    }
    match serde_json::from_slice(said) {
        Ok(document) => Reply::Result {
            content: exact(document),
            is_error: false,
        },
        Err(error) => Reply::Lost(format!("its output is not one JSON document: {error}")),
    }
}

fn failed(code: &str, description: &str) -> Reply {
    Reply::Result {
        content: json!({"code": code, "description": description}),
        is_error: true,
    }
}

/// A program that does not read to the end is no mistake.
async fn told(mut stdin: ChildStdin, input: &Value) {
    let text = format!("{input}\n");
    if stdin.write_all(text.as_bytes()).await.is_ok() {
        let _ = stdin.shutdown().await;
    }
}

/// Reads to the end; false if there is more than `limit`.
async fn heard(mut from: impl AsyncRead + Unpin, limit: usize, into: &mut Vec<u8>) -> bool {
    let mut part = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut part).await {
        if read == 0 {
            break;
        }
        if into.len() + read > limit {
            return false;
        }
        into.extend_from_slice(part.get(..read).unwrap_or_default());
    }
    true
}

/// Reads to the end and keeps the end.
async fn tail(mut from: impl AsyncRead + Unpin, into: &mut Vec<u8>) {
    let mut part = vec![0; MAX_STDERR];
    while let Ok(read) = from.read(&mut part).await {
        if read == 0 {
            break;
        }
        into.extend_from_slice(part.get(..read).unwrap_or_default());
        let surplus = into.len().saturating_sub(MAX_STDERR);
        into.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Program {
        let spec = ProgramSpec {
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("GIVEN".to_owned(), Secret::new("canary"))]),
            timeout: Duration::from_secs(10),
            max_output: 1_000,
            max_concurrent: Some(1),
        };
        Program::new(spec, None)
    }

    async fn run(script: &str, input: Value) -> Reply {
        shell(script).run(&input, DEADLINE).await
    }

    fn is_late(reply: &Reply) -> bool {
        let late = |content: &Value| content["code"] == "timeout";
        matches!(reply, Reply::Result { content, is_error: true } if late(content))
    }

    fn result(content: Value) -> Reply {
        Reply::Result {
            content,
            is_error: false,
        }
    }

    #[tokio::test]
    async fn a_document_goes_in_and_a_document_comes_out() {
        let input = json!({"a": "x'; echo", "b": [1, 2]});
        assert_eq!(run("cat", input.clone()).await, result(input));
        let reads_nothing = run("echo 9007199254740993", json!("x".repeat(500_000))).await;
        assert_eq!(reads_nothing, result(json!("9007199254740993")));
    }

    #[tokio::test]
    async fn it_has_the_environment_that_it_was_given_and_no_other() {
        let said = run(
            "echo \"[\\\"$GIVEN\\\", \\\"$HOME$CARGO$USER\\\"]\"",
            json!({}),
        )
        .await;
        assert_eq!(said, result(json!(["canary", ""])));
    }

    #[tokio::test]
    async fn whatever_is_no_good_end_is_told_as_what_it_is() {
        let failed = run("echo {}; echo 'no such order' >&2; exit 3", json!({})).await;
        let Reply::Result {
            content,
            is_error: true,
        } = &failed
        else {
            panic!("{failed:?}");
        };
        let words = content["description"].as_str().unwrap();
        assert!(
            words.contains('3') && words.contains("no such order"),
            "{words}"
        );
        for script in ["true", "echo {} {}", "echo nonsense", "printf '{'"] {
            let said = run(script, json!({})).await;
            assert!(matches!(said, Reply::Lost(_)), "{script}: {said:?}");
        }
        let killed = run("kill -9 $$", json!({})).await;
        assert!(
            matches!(killed, Reply::Result { is_error: true, .. }),
            "{killed:?}"
        );
        let spec = ProgramSpec {
            command: vec!["/nowhere".to_owned()],
            ..shell("").spec
        };
        let missing = Program::new(spec, None).run(&json!({}), DEADLINE).await;
        assert!(matches!(missing, Reply::NotSent(_)), "{missing:?}");
    }

    #[tokio::test]
    async fn neither_output_nor_complaints_nor_time_are_without_bounds() {
        let much = run("yes", json!({})).await;
        assert_eq!(much, Reply::TooLarge { limit: 1_000 });
        let loud = run("yes | head -c 300000 >&2; echo 1", json!({})).await;
        assert_eq!(loud, result(json!(1)));
        let began = std::time::Instant::now();
        let slow = shell("sleep 60")
            .run(&json!({}), Duration::from_millis(200))
            .await;
        assert!(is_late(&slow), "{slow:?}");
        // A child that keeps the pipe open.
        let left = run("sleep 60 & echo 1", json!({})).await;
        assert_eq!(left, result(json!(1)));
        assert!(began.elapsed() < Duration::from_secs(8));
    }

    /// The end of its process group is the end of everything that it started.
    #[tokio::test]
    async fn what_it_started_ends_with_it() {
        let folder = tempfile::TempDir::new().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", pid.display());
        let slow = shell(&script)
            .run(&json!({}), Duration::from_millis(500))
            .await;
        assert!(is_late(&slow), "{slow:?}");
        let pid = std::fs::read_to_string(&pid).unwrap();
        let process = format!("/proc/{}/stat", pid.trim());
        let is_there = || {
            let stat = std::fs::read_to_string(&process).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        let gone = async {
            while is_there() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(5), gone).await.unwrap();
    }
}
