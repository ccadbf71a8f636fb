//! Upstreams that are child processes: started with an empty environment, talked to over their
//! standard streams, never left behind.
//!
//! A child inherits nothing that was not given to it by name. What it prints on standard error is
//! logged at debug level and cut to length, because its words are not ours to publish. It runs in
//! its own process group, so that an interrupt at the terminal lets the broker finish what it
//! claimed before its children go; and that whole group ends with the conversation, so that what a
//! shell started in its turn does not stay behind with its credentials.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::process::{Child, ChildStderr, Command};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::Calls;
use super::group::Group;
use super::lines::{Line, Lines};
use super::mcp::{Protocol, Transport, UpstreamSpec};
use super::pipes;
use super::session::{Listener, NotOpened, Session};
use crate::domain::echo::Echo;

/// Longest line of a child's standard error that is logged.
const MAX_STDERR_BYTES: usize = 4096;
/// How long a child that exited may keep its last answers in the pipe.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How long a child may take to leave after its input ended.
const GRACE: Duration = Duration::from_secs(1);
/// How long its group may take to leave after it was asked to.
const ASKED: Duration = Duration::from_millis(500);
/// How often a group that was asked to leave is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// What starting a child takes.
pub(super) struct Start<'a> {
    pub(super) spec: &'a UpstreamSpec,
    pub(super) listener: Listener,
    pub(super) protocol: Protocol,
    /// Cancelled when the conversation is over; ends it when cancelled.
    pub(super) over: CancellationToken,
    /// Counts the children that have not left yet.
    pub(super) children: &'a TaskTracker,
}

impl Start<'_> {
    /// Starts the child and shakes hands. `ended` is told why the child is gone, once, if the
    /// conversation had begun.
    pub(super) async fn run(
        self,
        until: Instant,
        ended: impl FnOnce(String) + Send + 'static,
    ) -> Result<(Arc<Session>, u32), NotOpened> {
        let (mut child, group) = spawn(self.spec).map_err(NotOpened::Failed)?;
        let pid = child.id().unwrap_or(0);
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(NotOpened::Failed("it has no standard streams".to_owned()));
        };
        let heard = Arc::new(AtomicU64::new(0));
        let upstream = self.listener.upstream.clone();
        let (calls, limit) = (Calls::default(), self.spec.max_answer_bytes);
        let (upstream_of, told) = (upstream.clone(), calls.clone());
        let (pipes, queue) = pipes::pipes(upstream_of, stdout, limit, told, heard.clone());
        tokio::spawn(log_stderr(upstream, self.listener.echo.clone(), stderr));
        let writing = pipes::write(stdin, queue, calls.clone());
        let watching = self
            .children
            .spawn(watch(child, group, writing, self.over.clone()));
        let (listener, protocol, over) = (self.listener, self.protocol, self.over);
        let opened = Session::open(listener, pipes, protocol, over, heard, calls, until).await;
        match opened {
            Ok(session) => {
                tokio::spawn(async move {
                    let why = watching.await;
                    ended(why.unwrap_or_else(|_| "its watcher ended".to_owned()));
                });
                Ok((Arc::new(session), pid))
            }
            Err(NotOpened::Failed(why)) => {
                let left = watching.await.unwrap_or_default();
                Err(NotOpened::Failed(format!("{why}; {left}")))
            }
            Err(other) => Err(other),
        }
    }
}

/// Lives as long as the child: ends the conversation when the child goes, and the child with all its
/// group when the conversation ends. Returns why.
async fn watch(
    mut child: Child,
    group: Option<Group>,
    writing: impl Future<Output = String>,
    over: CancellationToken,
) -> String {
    let mut writing = Box::pin(writing);
    let why = tokio::select! {
        biased;
        status = child.wait() => {
            let _ = timeout(LAST_WORDS, over.cancelled()).await;
            status.map_or_else(|error| error.to_string(), |status| status.to_string())
        }
        why = &mut writing => why,
        () = over.cancelled() => "the conversation ended".to_owned(),
    };
    over.cancel();
    // A closed input is how a well-behaved child is told to leave.
    drop(writing);
    let left = timeout(GRACE, child.wait()).await.is_ok();
    if let Some(group) = group {
        leave(group, left, &mut child).await;
    }
    let _ = child.kill().await;
    why
}

/// Asks those who are still in the group to leave, and ends those who do not.
async fn leave(group: Group, leader_left: bool, child: &mut Child) {
    group.ask();
    let gone = async {
        if !leader_left {
            let _ = child.wait().await;
        }
        while group.is_there() {
            tokio::time::sleep(LOOK).await;
        }
    };
    // The rest is killed as the group is dropped.
    let _ = timeout(ASKED, gone).await;
}

fn spawn(spec: &UpstreamSpec) -> Result<(Child, Option<Group>), String> {
    let Transport::Stdio {
        command,
        args,
        env,
        cwd,
    } = &spec.transport
    else {
        return Err("it is no child process".to_owned());
    };
    let mut process = Command::new(command);
    process
        .args(args)
        .env_clear()
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    if let Some(cwd) = cwd {
        process.current_dir(cwd);
    }
    let child = process
        .spawn()
        .map_err(|error| format!("cannot start {command}: {error}"))?;
    let group = Group::of(&child, spec.watchdog.clone());
    Ok((child, group))
}

async fn log_stderr(upstream: Arc<str>, echo: Arc<Echo>, stderr: ChildStderr) {
    let mut lines = Lines::new(stderr, MAX_STDERR_BYTES);
    while let Some(line) = lines.next().await {
        match line {
            Line::Text(text) => {
                let text = String::from_utf8_lossy(&text);
                tracing::debug!(%upstream, stderr = %echo.hide(&text));
            }
            Line::TooLong(_) => tracing::debug!(%upstream, "a long line on its standard error"),
        }
    }
}
