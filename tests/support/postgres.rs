//! A Postgres to test with: the one that `TEST_POSTGRES_URL` names, else one that is started for
//! this run in a temporary folder and ends with it, if the server is installed.
//!
//! Where there is neither, [`complete`](super::complete) says what becomes of the test.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Executor};

use super::complete::needed;

/// `nobody`, on every Debian: a Postgres server refuses to run as root.
const NOBODY: u32 = 65_534;
/// How long a server may take to end in order: longer than any did that ended.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Says `ready` once the server answers, then waits for the end of its standard input, and so for
/// the end of this process, however it ends.
const SCRIPT: &str = r#"
"$1/initdb" -D "$2/data" -U hundi -A trust -E UTF8 --locale=C --no-sync >"$2/log" 2>&1 || exit 1
"$1/pg_ctl" -D "$2/data" -l "$2/log" -w -t 60 -o "-p $3 -c listen_addresses=127.0.0.1 \
    -c max_connections=300 -c unix_socket_directories=$2" start >/dev/null 2>&1 || exit 1
echo ready
cat >/dev/null
"$1/pg_ctl" -D "$2/data" -m fast -w stop >/dev/null 2>&1
rm -rf "$2"
"#;

struct Server {
    url: String,
    _watcher: Option<Child>,
}

fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(find).as_ref()
}

fn find() -> Option<Server> {
    if let Some(url) = std::env::var_os("TEST_POSTGRES_URL") {
        let url = url.into_string().unwrap();
        return Some(Server {
            url,
            _watcher: None,
        });
    }
    programs().map(|programs| start(&programs))
}

/// The folder of the newest installed server programs.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<PathBuf> = versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .collect();
    folders.sort();
    folders.pop()
}

fn start(programs: &Path) -> Server {
    let folder = tempfile::Builder::new().prefix("hundi-pg-").tempdir();
    // Removed by the script, which outlives this process by a moment.
    let folder = folder.unwrap().keep();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut command = Command::new("sh");
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(programs)
        .arg(&folder)
        .arg(port.to_string());
    if is_root() {
        std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // Its own group, so that an interrupt of the tests lets the script clean up.
    let mut watcher = command.process_group(0).current_dir("/").spawn().unwrap();
    let mut said = String::new();
    let mut told = BufReader::new(watcher.stdout.take().unwrap());
    told.read_line(&mut said).unwrap();
    let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    assert_eq!(said.trim(), "ready", "the server did not start: {log}");
    Server {
        url: format!("postgres://hundi@127.0.0.1:{port}/postgres"),
        _watcher: Some(watcher),
    }
}

/// How long a crashed server may take to recover on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// A server of one test's own, which can crash and come back with what it had made durable.
pub struct OwnPostgres {
    pub port: u16,
    programs: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    settings: Vec<String>,
}

impl OwnPostgres {
    /// `None` where no server is installed.
    pub fn start() -> Option<Self> {
        Self::start_with(|_| Vec::new())
    }

    /// One that speaks TLS alone, and the file of its authority's certificate.
    pub fn with_tls() -> Option<(Self, PathBuf)> {
        let server = Self::start_with(|folder| {
            super::redis::certificates(folder);
            let hba = "hostssl all all 127.0.0.1/32 trust\n";
            std::fs::write(folder.join("hba.conf"), hba).unwrap();
            let key = folder.join("server.key");
            if is_root() {
                std::os::unix::fs::chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
            vec![
                "ssl=on".to_owned(),
                format!("ssl_cert_file={}", file("server.crt")),
                format!("ssl_key_file={}", file("server.key")),
                format!("hba_file={}", file("hba.conf")),
            ]
        })?;
        let authority = server.folder.join("ca.crt");
        Some((server, authority))
    }

    fn start_with(settings: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        let missing = "no Postgres: install the Debian package `postgresql`";
        let programs = needed(programs(), missing)?;
        let folder = tempfile::Builder::new().prefix("hundi-pg-").tempdir();
        let mut server = Self {
            port: free_port(),
            programs,
            folder: folder.unwrap().keep(),
            child: None,
            settings: Vec::new(),
        };
        server.settings = settings(&server.folder);
        if is_root() {
            std::os::unix::fs::chown(&server.folder, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = server.data();
        let made = server
            .command("initdb")
            .args(["-D", &data, "-U", "hundi", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C", "--no-sync"])
            .status()
            .unwrap();
        assert!(made.success(), "initdb failed");
        server.up();
        Some(server)
    }

    pub fn url(&self) -> String {
        format!("postgres://hundi@127.0.0.1:{}/postgres", self.port)
    }

    /// A connection, once it answers.
    pub async fn ready(&self) -> PgConnection {
        let options: PgConnectOptions = self.url().parse().unwrap();
        let until = Instant::now() + READY;
        let mut turns = tokio::time::interval(Duration::from_millis(20));
        loop {
            turns.tick().await;
            match PgConnection::connect_with(&options).await {
                Ok(conn) => return conn,
                Err(error) if Instant::now() > until => panic!("Postgres: {error}"),
                // Starting, or recovering.
                Err(_) => {}
            }
        }
    }

    /// Starts it, and does not wait until it answers.
    pub fn up(&mut self) {
        let (data, port, folder) = (
            self.data(),
            self.port.to_string(),
            self.folder.to_str().unwrap().to_owned(),
        );
        let child = self
            .command("postgres")
            .args(["-D", &data, "-p", &port, "-k", &folder])
            .args([
                "-c",
                "listen_addresses=127.0.0.1",
                "-c",
                "max_connections=200",
            ])
            .args(self.settings.iter().flat_map(|setting| ["-c", setting]))
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Starts it if it is down, or if it gave up by itself.
    pub fn up_again(&mut self) {
        let gone = match &mut self.child {
            Some(child) => child.try_wait().unwrap().is_some(),
            None => true,
        };
        if gone {
            self.up();
        }
    }

    /// Everything of it ends at once, without a word to disk: what a crash is.
    pub fn crash(&mut self) {
        self.end("-QUIT");
    }

    /// It ends in order, and ends every session.
    pub fn stop(&mut self) {
        self.end("-INT");
    }

    /// `kill -9` for one of its sessions, whichever: the server then ends all of them and recovers
    /// by itself.
    pub fn kill_a_session(&self) {
        let Some(server) = &self.child else { return };
        let pid = server.id().to_string();
        let killed = Command::new("pkill")
            .args(["-9", "-n", "-P", &pid])
            .status();
        assert!(killed.is_ok());
    }

    /// Stops answering without closing anything, until [`OwnPostgres::thaw`].
    pub fn freeze(&self) {
        self.signal_all("-STOP");
    }

    pub fn thaw(&self) {
        self.signal_all("-CONT");
    }

    fn signal_all(&self, signal: &str) {
        let Some(server) = &self.child else { return };
        let pid = server.id().to_string();
        let _ = Command::new("pkill").args([signal, "-P", &pid]).status();
        let _ = Command::new("kill").args([signal, &pid]).status();
    }

    fn end(&mut self, signal: &str) {
        // A frozen one would hear of its end only when it goes on, and be waited for until then.
        self.thaw();
        let Some(mut server) = self.child.take() else {
            return;
        };
        let pid = server.id().to_string();
        let _ = Command::new("kill").args([signal, &pid]).status();
        let (ended, end) = mpsc::channel();
        std::thread::spawn(move || {
            let _ = server.wait();
            let _ = ended.send(());
        });
        if end.recv_timeout(ENDS_WITHIN).is_err() {
            // Asked to end while it recovered from a crash, it may never do so by itself.
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
            let _ = end.recv();
        }
    }

    /// What it said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn data(&self) -> String {
        self.folder.join("data").to_str().unwrap().to_owned()
    }

    fn command(&self, program: &str) -> Command {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .unwrap();
        let mut command = Command::new(self.programs.join(program));
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(log));
        command
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        self.thaw();
        self.crash();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A port that nobody listens at, to come back at after a restart.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A URL under which all names are new, or `None` where there is no server to be had.
pub async fn fresh_schema() -> Option<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let missing = "no Postgres: set TEST_POSTGRES_URL or install the Debian package `postgresql`";
    let server = needed(server(), missing)?;
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("hundi_test_{}_{number}", std::process::id());
    let mut conn = connect(&server.url).await;
    let create = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}");
    conn.execute(AssertSqlSafe(create)).await.unwrap();
    let separator = if server.url.contains('?') { '&' } else { '?' };
    Some(format!(
        "{}{separator}options[search_path]={name}",
        server.url
    ))
}

/// A connection of somebody else.
pub async fn connect(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().unwrap();
    PgConnection::connect_with(&options).await.unwrap()
}
