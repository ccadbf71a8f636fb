//! What a Redis URL means: one server, a cluster, or a service that sentinels know.
//!
//! | URL | means |
//! | --- | --- |
//! | `redis://[user:password@]host:port[/db]` | one server; `rediss://` with TLS |
//! | `redis+unix:///path` | one server on a socket |
//! | `redis-cluster://[user:password@]host:port,host:port` | a cluster by some of its nodes |
//! | `redis-sentinel://[user:password@]host:port,host:port/service[/db]` | the sentinels, and the name of the service; the password is the servers' |
//!
//! With `rediss-cluster` and `rediss-sentinel` the servers speak TLS (and so do the sentinels).

use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError, TlsMode};

use super::{ANSWER, CONNECT};

/// Where sentinels usually listen.
const SENTINEL_PORT: u16 = 26379;

/// The URL cannot be used. Its text is not repeated: it can hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Redis URL cannot be used: {0}")]
pub struct BadAddress(String);

/// Where Redis is.
pub(super) enum Address {
    One(Box<Client>),
    Cluster {
        client: Box<ClusterClient>,
        nodes: Vec<Client>,
    },
    Sentinels(Sentinels),
}

/// Sentinels, and what they are asked for.
pub(super) struct Sentinels {
    hosts: Vec<(String, u16)>,
    service: String,
    db: i64,
    user: Option<String>,
    password: Option<String>,
    tls: bool,
}

impl fmt::Debug for Address {
    /// No password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Address::One(_) => "one server",
            Address::Cluster { .. } => "a cluster",
            Address::Sentinels(_) => "sentinels",
        })
    }
}

impl Address {
    /// Reads a URL. Asks nobody.
    pub fn parse(url: &str) -> Result<Self, BadAddress> {
        let bad = |why: &str| BadAddress(why.to_owned());
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| bad("it has no scheme"))?;
        let (kind, tls) = match scheme {
            "redis-cluster" => ("cluster", false),
            "rediss-cluster" => ("cluster", true),
            "redis-sentinel" => ("sentinel", false),
            "rediss-sentinel" => ("sentinel", true),
            _ => {
                let client = Client::open(url).map_err(|error| bad(&told(&error)))?;
                return Ok(Address::One(Box::new(client)));
            }
        };
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match hosts.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, hosts),
        };
        let hosts: Vec<&str> = hosts.split(',').filter(|host| !host.is_empty()).collect();
        if hosts.is_empty() {
            return Err(bad("it names no host"));
        }
        if kind == "cluster" {
            return Self::cluster(&hosts, login, tls);
        }
        let (service, db) = path.split_once('/').unwrap_or((path, "0"));
        if service.is_empty() {
            return Err(bad(
                "it names no service (redis-sentinel://host:26379/SERVICE)",
            ));
        }
        let hosts = hosts
            .into_iter()
            .map(|host| host_and_port(host, SENTINEL_PORT));
        let login = login.map(|login| login.split_once(':').unwrap_or((login, "")));
        let decoded = |text: &str| {
            let text = percent_decoded(text);
            (!text.is_empty()).then_some(text)
        };
        Ok(Address::Sentinels(Sentinels {
            hosts: hosts.collect::<Result<_, _>>()?,
            service: service.to_owned(),
            db: db
                .parse()
                .map_err(|_| bad("the number of its database is not one"))?,
            user: login.and_then(|(user, _)| decoded(user)),
            password: login.and_then(|(_, password)| decoded(password)),
            tls,
        }))
    }

    fn cluster(hosts: &[&str], login: Option<&str>, tls: bool) -> Result<Self, BadAddress> {
        let scheme = if tls { "rediss" } else { "redis" };
        let login = login.map(|login| format!("{login}@")).unwrap_or_default();
        let urls: Vec<String> = hosts
            .iter()
            .map(|host| format!("{scheme}://{login}{host}"))
            .collect();
        let bad = |error: RedisError| BadAddress(told(&error));
        let nodes = urls.iter().map(|url| Client::open(url.as_str()));
        let nodes = nodes.collect::<Result<Vec<_>, _>>().map_err(bad)?;
        let client = ClusterClient::builder(urls)
            .connection_timeout(CONNECT)
            .response_timeout(ANSWER)
            // Whoever waits longer is better served by the local view.
            .retries(1)
            .build()
            .map_err(bad)?;
        Ok(Address::Cluster {
            client: Box::new(client),
            nodes,
        })
    }

    /// Connects. Also gives whom to ask for messages.
    pub async fn connect(&self) -> Result<(Connection, Client), RedisError> {
        match self {
            Address::One(client) => Ok((one(client).await?, (**client).clone())),
            Address::Cluster { client, nodes } => {
                let connection = client.get_async_connection().await?;
                // Every node of a cluster passes messages on; any that answers will do.
                let mut last = RedisError::from((ErrorKind::Io, "no node of the cluster answers"));
                for node in nodes {
                    match one(node).await {
                        Ok(_) => return Ok((Connection::Cluster(connection), node.clone())),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            Address::Sentinels(sentinels) => {
                // Asked anew at every connecting, so that a new master is found.
                let client = sentinels.master().await?;
                Ok((one(&client).await?, client))
            }
        }
    }
}

impl Sentinels {
    async fn master(&self) -> Result<Client, RedisError> {
        let address = |(host, port): &(String, u16)| match self.tls {
            false => ConnectionAddr::Tcp(host.clone(), *port),
            true => ConnectionAddr::TcpTls {
                host: host.clone(),
                port: *port,
                insecure: false,
                tls_params: None,
            },
        };
        let addresses: Vec<_> = self.hosts.iter().map(address).collect();
        let mut builder =
            SentinelClientBuilder::new(addresses, &self.service, SentinelServerType::Master)?
                .set_client_to_redis_db(self.db);
        if let Some(user) = &self.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if self.tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        builder.build()?.async_get_client().await
    }
}

async fn one(client: &Client) -> Result<Connection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(ANSWER));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    Ok(Connection::One(connection.await?))
}

/// A connection that many callers share.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    /// One command, one answer.
    pub async fn ask<T: redis::FromRedisValue>(
        &mut self,
        command: &redis::Cmd,
    ) -> Result<T, RedisError> {
        match self {
            Connection::One(connection) => command.query_async(connection).await,
            Connection::Cluster(connection) => command.query_async(connection).await,
        }
    }
}

/// What may be shown of an error. Its own text can hold an address with its password.
pub(super) fn told(error: &RedisError) -> String {
    format!("{:?}", error.kind())
}

fn host_and_port(text: &str, usual: u16) -> Result<(String, u16), BadAddress> {
    // An IPv6 address has its colons inside brackets.
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (text, Some(usual)),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match port {
        Some(port) if !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err(BadAddress("one of its hosts is not HOST:PORT".to_owned())),
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = (*first == b'%').then(|| tail.get(..2)).flatten();
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn urls_of_every_kind_are_understood() {
        let cases = [
            ("redis://127.0.0.1:6379",                          Ok("one server")),
            ("rediss://me:pw@cache.example/2",                  Ok("one server")),
            ("redis+unix:///run/redis.sock",                    Ok("one server")),
            ("redis-cluster://a:1,b:2",                         Ok("a cluster")),
            ("rediss-cluster://me:pw@a:1,b:2",                  Ok("a cluster")),
            ("redis-sentinel://a:1,[::1]:2,c/main/3",           Ok("sentinels")),
            ("redis-sentinel://a:1",                            Err("names no service")),
            ("redis-sentinel:///main",                          Err("names no host")),
            ("redis-sentinel://a:port/main",                    Err("HOST:PORT")),
            ("redis-sentinel://a:1/main/x",                     Err("database")),
            ("redis-cluster://",                                Err("names no host")),
            ("localhost:6379",                                  Err("no scheme")),
            ("http://localhost:6379",                           Err("InvalidClientConfig")),
        ];
        for (url, expected) in cases {
            match (Address::parse(url), expected) {
                (Ok(address), Ok(kind)) => assert_eq!(format!("{address:?}"), kind, "{url}"),
                (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{url}: {error}"),
                (got, _) => panic!("{url}: {got:?}"),
            }
        }
    }

    #[test]
    fn a_sentinel_url_says_who_and_what() {
        let url = "rediss-sentinel://me:p%40ss@one:7,two/main/3";
        let Ok(Address::Sentinels(sentinels)) = Address::parse(url) else {
            panic!("{url} is not understood");
        };
        assert_eq!(
            sentinels.hosts,
            [("one".to_owned(), 7), ("two".to_owned(), SENTINEL_PORT)]
        );
        assert_eq!((sentinels.service.as_str(), sentinels.db), ("main", 3));
        assert_eq!(sentinels.user.as_deref(), Some("me"));
        assert_eq!(sentinels.password.as_deref(), Some("p@ss"));
        assert!(sentinels.tls);
    }

    #[test]
    fn no_error_shows_a_password() {
        for url in [
            "redis://:canary-4711@host:x",
            "redis-sentinel://:canary-4711@host",
        ] {
            let error = Address::parse(url).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("4711"), "{error:?}");
        }
    }
}
