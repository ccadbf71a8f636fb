//! An API on this machine, and what is heard of it.

use std::sync::Arc;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::domain::tools::ContentType;

const DEADLINE: Duration = Duration::from_secs(10);

/// Answers each request with what `reply` makes of its text; no reply closes the connection.
struct Fake {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start(reply: impl Fn(&str, usize) -> Option<String> + Send + Sync + 'static) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = door.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (told, reply) = (asked.clone(), Arc::new(reply));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = door.accept().await {
                let (told, reply) = (told.clone(), reply.clone());
                tokio::spawn(async move {
                    let mut bytes = Vec::new();
                    let mut part = [0; 4096];
                    loop {
                        let read = stream.read(&mut part).await.unwrap_or(0);
                        if read == 0 {
                            return;
                        }
                        bytes.extend_from_slice(&part[..read]);
                        let text = String::from_utf8_lossy(&bytes).into_owned();
                        let Some((head, body)) = text.split_once("\r\n\r\n") else {
                            continue;
                        };
                        let length = head.to_ascii_lowercase();
                        let length = length.split("content-length: ").nth(1);
                        let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
                        if body.len() >= length.unwrap_or(0) {
                            let number = {
                                let mut told = told.lock().unwrap();
                                told.push(text.clone());
                                told.len()
                            };
                            if let Some(reply) = reply(&text, number) {
                                let _ = stream.write_all(reply.as_bytes()).await;
                            }
                            return;
                        }
                    }
                });
            }
        });
        Self { port, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn reply(status: u16, headers: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    ))
}

fn api(config: Value, secrets: &[(&str, &str)]) -> Result<Api, String> {
    let mut config = config;
    config["allow_private"] = json!(true);
    open(config, secrets, &["127.0.0.0/8"])
}

fn open(config: Value, secrets: &[(&str, &str)], private: &[&str]) -> Result<Api, String> {
    let document =
        json!({"name": "a", "kind": "rest", "config": config, "limits": {"max_bytes": 1000}});
    let source = Source::read(&document).unwrap();
    let secrets = secrets
        .iter()
        .map(|(name, value)| ((*name).to_owned(), Secret::new(*value)));
    let secrets: BTreeMap<String, Secret> = secrets.collect();
    source.check_secrets(&secrets).unwrap();
    let private: Vec<IpNet> = private
        .iter()
        .map(|network| network.parse().unwrap())
        .collect();
    Api::open(&source, &secrets, &private)
}

fn request(method: Method, path: &str) -> Request {
    Request {
        method,
        path: path.to_owned(),
        query: "q=1".to_owned(),
        headers: vec![("x-n".to_owned(), "n".to_owned())],
        body: (method == Method::Post).then(|| (ContentType::Json, "{}".to_owned())),
    }
}

fn status(heard: &Heard) -> u16 {
    match heard {
        Heard::Answer(answer) => answer.status,
        Heard::NotSent(_) | Heard::TooLarge { .. } | Heard::Late | Heard::Lost(_) => {
            panic!("{heard:?}")
        }
    }
}

#[tokio::test]
async fn a_request_goes_below_its_base_with_its_credentials() {
    let fake = Fake::start(|_, _| {
        reply(
            200,
            "etag: \"v1\"\r\ncontent-type: Application/JSON; charset=x\r\n",
            "{}",
        )
    })
    .await;
    let base = format!("http://127.0.0.1:{}/v1/", fake.port);
    let with = |auth: &str, more: Value| {
        let mut config = json!({"base_url": base, "auth": auth, "headers": {"X-Fixed": "f"}});
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        config
    };
    #[rustfmt::skip]
    let cases = [
        (with("none", json!({})),                     vec![],                                         "x-fixed: f"),
        (with("bearer", json!({})),                   vec![("token", "canary")],                      "authorization: Bearer canary"),
        (with("basic", json!({})),                    vec![("username", "u"), ("password", "p")],     "authorization: Basic dTpw"),
        (with("header", json!({"header": "X-Key"})),  vec![("value", "canary")],                      "x-key: canary"),
        (with("query", json!({"query": "key"})),      vec![("value", "a&b")],                         "/v1/orders/7?q=1&key=a%26b "),
    ];
    for (config, secrets, expected) in cases {
        let api = api(config, &secrets).unwrap();
        let heard = api
            .send(&request(Method::Post, "/orders/7"), DEADLINE)
            .await;
        let Heard::Answer(answer) = &heard else {
            panic!("{heard:?}");
        };
        assert_eq!(answer.content_type, "application/json");
        assert_eq!(answer.etag.as_deref(), Some("\"v1\""));
        let asked = fake.asked().pop().unwrap();
        assert!(asked.starts_with("POST /v1/orders/7?q=1"), "{asked}");
        assert!(
            asked.contains("x-n: n") && asked.contains(expected),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn what_was_not_sent_and_what_may_have_arrived_are_told_apart() {
    let fake = Fake::start(|text, _| match text {
        text if text.contains("/close") => None,
        text if text.contains("/broken") => {
            Some("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{".to_owned())
        }
        text if text.contains("/long") => reply(200, "", &"x".repeat(2_000)),
        text if text.contains("/hang") => {
            Some("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n".to_owned())
        }
        _ => reply(500, "retry-after: 7\r\n", "no"),
    })
    .await;
    let base = format!("http://127.0.0.1:{}", fake.port);
    let api_there = api(json!({"base_url": base}), &[]).unwrap();
    let send = async |path: &str| api_there.send(&request(Method::Post, path), DEADLINE).await;
    assert!(matches!(send("/close").await, Heard::Lost(_)));
    assert!(matches!(send("/broken").await, Heard::Lost(_)));
    assert_eq!(
        send("/long").await,
        Heard::TooLarge {
            status: 200,
            limit: 1000
        }
    );
    let heard = send("/x").await;
    assert!(
        matches!(&heard, Heard::Answer(answer) if answer.retry_after_secs == Some(7)),
        "{heard:?}"
    );
    // A POST is never sent twice; a GET whose connection broke is.
    assert_eq!(fake.asked().len(), 4);
    api_there
        .send(&request(Method::Get, "/close"), DEADLINE)
        .await;
    assert_eq!(fake.asked().len(), 6);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://127.0.0.1:{}", gone.local_addr().unwrap().port());
    drop(gone);
    let api_gone = api(json!({"base_url": base}), &[]).unwrap();
    let heard = api_gone.send(&request(Method::Post, "/x"), DEADLINE).await;
    assert!(matches!(heard, Heard::NotSent(_)), "{heard:?}");
}

#[tokio::test]
async fn redirects_stay_within_the_api_and_are_not_for_requests_that_act() {
    let other = Fake::start(|_, _| reply(200, "", "stolen")).await;
    let port = other.port;
    let fake = Fake::start(move |text, _| match text {
        text if text.contains("/out") => {
            reply(302, &format!("location: http://127.0.0.1:{port}/x\r\n"), "")
        }
        text if text.contains("/in") => reply(302, "location: /end\r\n", ""),
        text if text.contains("/loop") => reply(302, "location: /loop\r\n", ""),
        _ => reply(200, "", "end"),
    })
    .await;
    let base = format!("http://127.0.0.1:{}", fake.port);
    let api = api(
        json!({"base_url": base, "auth": "bearer"}),
        &[("token", "canary")],
    )
    .unwrap();
    let send = async |method: Method, path: &str| {
        status(&api.send(&request(method, path), DEADLINE).await)
    };
    assert_eq!(send(Method::Get, "/in").await, 200);
    assert_eq!(send(Method::Get, "/out").await, 302);
    assert_eq!(send(Method::Get, "/loop").await, 302);
    assert_eq!(send(Method::Post, "/in").await, 302);
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn private_addresses_are_reached_only_where_both_allow_it() {
    let fake = Fake::start(|_, _| reply(200, "", "{}")).await;
    let at = |host: &str| format!("http://{host}:{}", fake.port);
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::ffff:127.0.0.1]",
        "0x7f.1",
        "2130706433",
        "127.1",
    ];
    for host in hosts {
        for (allow, private) in [
            (false, &["127.0.0.0/8", "::/0"][..]),
            (true, &["10.0.0.0/8"][..]),
        ] {
            let config = json!({"base_url": at(host), "allow_private": allow});
            if let Ok(api) = open(config, &[], private) {
                let heard = api.send(&request(Method::Post, "/x"), DEADLINE).await;
                let Heard::NotSent(why) = heard else {
                    panic!("{host}: {heard:?}");
                };
                assert!(why.contains("private address"), "{why}");
            }
        }
    }
    assert!(fake.asked().is_empty());
    let config = json!({"base_url": at("localhost"), "allow_private": true});
    let api = open(config, &[], &["127.0.0.0/8"]).unwrap();
    assert_eq!(
        status(&api.send(&request(Method::Post, "/x"), DEADLINE).await),
        200
    );
    let config = json!({"base_url": "http://169.254.169.254/latest", "allow_private": true});
    assert!(open(config, &[], &["0.0.0.0/0"]).is_err());
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_again_when_it_is_not_taken() {
    let issuer = Fake::start(|text, number| {
        assert!(
            text.contains("grant_type=client_credentials&scope=a+b"),
            "{text}"
        );
        let body = format!(
            "{{\"access_token\": \"t{number}\", \"token_type\": \"bearer\", \"expires_in\": 3600}}"
        );
        reply(200, "", &body)
    })
    .await;
    let fake = Fake::start(
        |text, _| match text.contains("Bearer t1") && text.contains("/late") {
            true => reply(401, "", ""),
            false => reply(200, "", "{}"),
        },
    )
    .await;
    let config = json!({
        "base_url": format!("http://127.0.0.1:{}", fake.port), "auth": "client_credentials",
        "token_url": format!("http://127.0.0.1:{}/token", issuer.port), "scopes": ["a", "b"],
    });
    let api = api(config, &[("client_id", "i d"), ("client_secret", "canary")]).unwrap();
    let sent =
        (0..5).map(|_| async { status(&api.send(&request(Method::Post, "/x"), DEADLINE).await) });
    assert_eq!(futures_util::future::join_all(sent).await, [200; 5]);
    assert_eq!(issuer.asked().len(), 1);
    // `i+d:canary`
    assert!(issuer.asked()[0].contains("authorization: Basic aStkOmNhbmFyeQ=="));
    assert_eq!(
        status(&api.send(&request(Method::Post, "/late"), DEADLINE).await),
        200
    );
    assert_eq!(issuer.asked().len(), 2);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent_and_no_secret_is_told() {
    let issuer = Fake::start(|_, _| reply(401, "", "{\"error\": \"invalid_client\"}")).await;
    let fake = Fake::start(|_, _| reply(200, "", "{}")).await;
    let config = json!({
        "base_url": format!("http://127.0.0.1:{}", fake.port), "auth": "client_credentials",
        "token_url": format!("http://127.0.0.1:{}/token", issuer.port),
    });
    let api = api(config, &[("client_id", "id"), ("client_secret", "canary")]).unwrap();
    let heard = api.send(&request(Method::Post, "/x"), DEADLINE).await;
    assert!(
        matches!(&heard, Heard::NotSent(why) if !why.contains("canary")),
        "{heard:?}"
    );
    // In the header, then in the form.
    assert_eq!(issuer.asked().len(), 2);
    assert!(issuer.asked()[1].contains("client_secret=canary"));
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn a_source_does_not_take_more_calls_than_its_limit() {
    let (hold, held) = tokio::sync::watch::channel(false);
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = door.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((stream, _)) = door.accept().await {
            open.push(stream);
            let _ = hold.send(true);
        }
    });
    let document = json!({
        "name": "a", "kind": "rest", "limits": {"max_concurrent": 1},
        "config": {"base_url": format!("http://127.0.0.1:{port}"), "allow_private": true},
    });
    let source = Source::read(&document).unwrap();
    let api = Api::open(&source, &BTreeMap::new(), &["127.0.0.0/8".parse().unwrap()]).unwrap();
    let api = Arc::new(api);
    let first = tokio::spawn({
        let api = api.clone();
        async move { api.send(&request(Method::Post, "/x"), DEADLINE).await }
    });
    let mut held = held;
    held.wait_for(|held| *held).await.unwrap();
    let second = api
        .send(&request(Method::Post, "/x"), Duration::from_millis(50))
        .await;
    assert!(matches!(second, Heard::NotSent(_)), "{second:?}");
    first.abort();
}
