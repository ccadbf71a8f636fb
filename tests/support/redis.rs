//! A Redis to test with. Tests that stop and restart it start their own in a temporary folder;
//! others may share the one that `TEST_REDIS_URL` names.
//!
//! Where no `redis-server` is installed, [`complete`](super::complete) says what becomes of the
//! test.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::complete::needed;
use super::postgres::free_port;

/// How long a new server may take to answer on a busy machine.
const START: Duration = Duration::from_secs(20);

/// A server of our own, which can be stopped and started on the same port.
pub struct RedisServer {
    pub port: u16,
    tls_port: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
    args: Vec<String>,
}

impl RedisServer {
    /// With further arguments, like `--maxmemory 1mb`; `None` where there is no server program.
    pub fn start(args: &[&str]) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        if args.iter().any(|arg| arg == "--cluster-enabled") {
            // Its usual one is 10,000 above, which may be beyond the last there is.
            args.extend(["--cluster-port".to_owned(), free_port().to_string()]);
        }
        let mut server = Self {
            port,
            tls_port: 0,
            dir: tempfile::tempdir().unwrap(),
            child: None,
            args,
        };
        let up = server.up().then_some(server);
        needed(
            up,
            "no redis-server: install the Debian package `redis-server`",
        )
    }

    /// Masters of one cluster, made by Redis' own tool.
    pub fn cluster(masters: usize) -> Option<Vec<Self>> {
        let args = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        let servers = (0..masters).map(|_| Self::start(&args));
        let servers = servers.collect::<Option<Vec<_>>>()?;
        let addresses = servers
            .iter()
            .map(|server| format!("127.0.0.1:{}", server.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .arg("--cluster-yes")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success(), "redis-cli --cluster create: {told}");
        Some(servers)
    }

    /// A sentinel that watches a master; so many have to agree that it is gone.
    pub fn sentinel(service: &str, master: u16, quorum: u8) -> Option<Self> {
        let conf = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "sentinel monitor {service} 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds {service} 500\n\
             sentinel failover-timeout {service} 3000\n"
        );
        std::fs::write(conf.path(), text).unwrap();
        // It rewrites its file, and so it has to stay.
        let path = conf.into_temp_path().keep().unwrap();
        Self::start(&[path.to_str().unwrap(), "--sentinel"])
    }

    /// One that speaks TLS beside plain text, and the folder with its authority's `ca.crt`.
    pub fn with_tls() -> Option<(Self, tempfile::TempDir)> {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let tls_port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let args = [
            ("--tls-port", tls_port.to_string()),
            ("--tls-cert-file", file("server.crt")),
            ("--tls-key-file", file("server.key")),
            ("--tls-ca-cert-file", file("ca.crt")),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        let args: Vec<&str> = args
            .iter()
            .flat_map(|(name, value)| [*name, value])
            .collect();
        let mut server = Self::start(&args)?;
        server.tls_port = tls_port;
        Some((server, dir))
    }

    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}", self.tls_port)
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it again, empty. False if there is no such program.
    pub fn up(&mut self) -> bool {
        let port = self.port.to_string();
        let dir = self.dir.path().to_str().unwrap().to_owned();
        // A configuration file has to come first.
        let first = self.args.first().filter(|arg| !arg.starts_with("--"));
        let rest = self.args.iter().skip(usize::from(first.is_some()));
        let spawned = Command::new("redis-server")
            .args(first)
            .args(["--port", &port, "--bind", "127.0.0.1", "--dir", &dir])
            .args(["--save", "", "--appendonly", "no"])
            .args(rest)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = spawned else { return false };
        self.child = Some(child);
        let until = Instant::now() + START;
        while self.try_ask(&["PING"]).is_none() {
            assert!(Instant::now() < until, "redis-server does not answer");
            std::thread::yield_now();
        }
        true
    }

    /// `kill -9`.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops answering without closing anything, until [`RedisServer::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    /// Starts it if it is down.
    pub fn up_again(&mut self) {
        if self.child.is_none() {
            assert!(self.up());
        }
    }

    fn signal(&self, signal: &str) {
        let Some(child) = &self.child else { return };
        let pid = child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Everything in it is gone, if it is there.
    pub fn flush(&self) {
        let _ = self.try_ask(&["FLUSHALL"]);
    }

    /// All that `INFO` tells under one name.
    pub fn info(&self, name: &str) -> String {
        let told = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "INFO"])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let line = told
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    }

    /// One command, as an operator gives it.
    pub fn ask(&self, words: &[&str]) -> String {
        self.try_ask(words)
            .unwrap_or_else(|| panic!("{words:?}: no answer"))
    }

    /// The raw first line of the answer: the protocol is simple enough to need no client.
    fn try_ask(&self, words: &[&str]) -> Option<String> {
        use std::io::{BufRead, BufReader, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(START)).ok()?;
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        stream.write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        (!line.is_empty()).then(|| line.trim_end().to_owned())
    }
}

/// An authority, and a certificate of it for localhost: `ca.crt`, `server.crt`, `server.key`.
pub fn certificates(dir: &Path) {
    let openssl = |args: &[&str]| {
        let done = Command::new("openssl").args(args).current_dir(dir).output();
        let done = done.expect("openssl is installed");
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "openssl {args:?}: {told}");
    };
    let ca = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca \
              -keyout ca.key -out ca.crt";
    openssl(&ca.split_whitespace().collect::<Vec<_>>());
    let request = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
                   -keyout server.key -out server.csr";
    openssl(&request.split_whitespace().collect::<Vec<_>>());
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n";
    std::fs::write(dir.join("names"), names).unwrap();
    let sign = "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 \
                -extfile names -out server.crt";
    openssl(&sign.split_whitespace().collect::<Vec<_>>());
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.down();
    }
}
