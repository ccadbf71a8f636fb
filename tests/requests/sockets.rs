//! Following a request over a WebSocket: the same events as server-sent ones, in order, to whoever may
//! see the request, and to nobody else.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::queue::{ended, events, get, queued};
use super::town::{Town, WITHIN, answer, until};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket; `Err` is the status of the refusal.
async fn opened(town: &Town, path: &str, headers: &[(&str, &str)]) -> Result<Socket, u16> {
    let url = format!("{}{path}", town.server.url.replace("http://", "ws://"));
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        let name: reqwest::header::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(refused)) => Err(refused.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

/// Everything that is told, and how it ends.
async fn told(socket: &mut Socket) -> (Vec<Value>, Option<CloseFrame>) {
    let mut all = Vec::new();
    let listening = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(text) => all.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return frame,
                _ => {}
            }
        }
        None
    };
    let end = timeout(WITHIN, listening).await.expect("it never ends");
    (all, end)
}

fn numbers(events: &[Value]) -> Vec<u64> {
    let numbers = events.iter().map(|event| event["event_id"].as_u64());
    numbers.map(Option::unwrap).collect()
}

#[tokio::test]
async fn a_socket_tells_what_events_tell_to_whoever_may_hear_it() {
    let town = Town::new().await;
    let bearer = format!("Bearer {}", town.server.agent_key);
    let ours = [("authorization", bearer.as_str())];

    // Live, from the first event to the last.
    town.arm(json!({"kind": "drip", "operation": "model", "delay_ms": 60, "count": 1}))
        .await;
    let id = queued(&town, json!({"prompt": "one two three four five six"})).await;
    let path = format!("/v1/requests/{id}/stream");
    let mut live = opened(&town, &path, &ours).await.unwrap();
    let (live, end) = told(&mut live).await;
    assert_eq!(u16::from(end.unwrap().code), 1000);
    assert_eq!(live[0]["type"], "queued");
    assert_eq!(live.last().unwrap()["type"], "completed");

    // Late, the same; and the same as server-sent events.
    let mut late = opened(&town, &path, &ours).await.unwrap();
    let (late, _) = told(&mut late).await;
    assert_eq!(late, live);
    let most = u64::try_from(late.len()).unwrap();
    assert_eq!(numbers(&late), (1..=most).collect::<Vec<_>>());
    let url = format!("{}/v1/requests/{id}/events", town.server.url);
    let sent = answer(town.server.http.get(url).header("authorization", &bearer)).await;
    let sent: Vec<Value> = events(&sent)
        .into_iter()
        .map(|(number, _, mut data)| {
            data["event_id"] = json!(number);
            data
        })
        .collect();
    assert_eq!(sent, late);
    let mut rest = opened(&town, &format!("{path}?after=2"), &ours)
        .await
        .unwrap();
    assert_eq!(
        numbers(&told(&mut rest).await.0),
        (3..=most).collect::<Vec<_>>()
    );

    // A page's way to bring its key; and who may not listen.
    let offered = format!("hundi, bearer.{}", town.server.agent_key);
    let page = [("sec-websocket-protocol", offered.as_str())];
    let mut socket = opened(&town, &path, &page).await.unwrap();
    assert_eq!(told(&mut socket).await.0, late);
    let other = format!("Bearer {}", town.server.other_agent("other").await);
    let never = "/v1/requests/0190a0a0-0000-7000-8000-000000000000/stream";
    let foreign = format!("Bearer {}x", town.server.agent_key);
    for (path, headers, status) in [
        (path.as_str(), vec![], 401),
        (&path, vec![("authorization", foreign.as_str())], 401),
        (&path, vec![("sec-websocket-protocol", "hundi")], 401),
        (&path, vec![("authorization", other.as_str())], 404),
        (never, ours.to_vec(), 404),
        ("/v1/requests/x/stream", ours.to_vec(), 404),
        (&format!("{path}?after=x"), ours.to_vec(), 400),
        (
            &path,
            [ours[0], ("origin", "https://evil.example")].to_vec(),
            403,
        ),
    ] {
        let refused = opened(&town, path, &headers).await.err();
        assert_eq!(refused, Some(status), "{path} {headers:?}");
    }
    let plain = format!("{}{path}", town.server.url);
    let plain = answer(town.server.http.get(plain).header("authorization", &bearer)).await;
    assert_eq!(
        (plain.status, plain.json()["code"].as_str()),
        (400, Some("invalid_request"))
    );
}

#[tokio::test]
async fn listeners_who_do_not_listen_hold_nothing_up_and_those_who_speak_are_let_go() {
    let town = Town::with(&[("HUNDI_REQUESTS_WORKERS", "0")]).await;
    let bearer = format!("Bearer {}", town.server.agent_key);
    let ours = [("authorization", bearer.as_str())];
    let id = queued(&town, json!({"prompt": "hello there"})).await;
    let path = format!("/v1/requests/{id}/stream");
    let mut speaks = opened(&town, &path, &ours).await.unwrap();
    speaks.send(Message::text("hello?")).await.unwrap();
    let (_, end) = told(&mut speaks).await;
    assert_eq!(u16::from(end.unwrap().code), 1008);

    // A listener whose key is revoked hears nothing more.
    let other = town.server.other_agent("other").await;
    let url = format!("{}/v1/requests", town.server.url);
    let sent = town.server.http.post(url).bearer_auth(&other);
    let theirs = answer(sent.json(&json!({"prompt": "mine"}))).await.json();
    let theirs = format!(
        "/v1/requests/{}/stream",
        theirs["request_id"].as_str().unwrap()
    );
    let key = format!("Bearer {other}");
    let mut listens = opened(&town, &theirs, &[("authorization", key.as_str())])
        .await
        .unwrap();
    let keys = town.server.get(&town.server.admin_key, "/v1/keys").await;
    let keys = keys["keys"].as_array().unwrap().iter();
    let named = keys.clone().find(|key| key["agent_id"] == "other");
    let named = named.unwrap_or_else(|| panic!("no such key: {keys:?}"));
    let path = format!("/v1/keys/{}", named["id"].as_str().unwrap());
    let url = format!("{}{path}", town.server.url);
    let revoked = town
        .server
        .http
        .delete(url)
        .bearer_auth(&town.server.admin_key);
    assert_eq!(answer(revoked).await.status, 200);
    let (_, end) = told(&mut listens).await;
    assert_eq!(u16::from(end.unwrap().code), 1008);

    // Sockets that nobody reads, and their places: given back when they end.
    // The first one's is given back once both sides have said that it is over.
    drop(speaks);
    let mut deaf = Vec::new();
    for _ in 0..64 {
        let path = format!("/v1/requests/{id}/stream");
        let one = until(async || opened(&town, &path, &ours).await.ok());
        deaf.push(one.await);
    }
    let full = opened(&town, &format!("/v1/requests/{id}/stream"), &ours).await;
    assert_eq!(full.err(), Some(503));
    let answers = town.server.again(&[]);
    assert_eq!(ended(&town, &id).await["status"], "completed");
    drop(answers);
    drop(deaf);
    until(async || {
        let path = format!("/v1/requests/{id}/stream");
        opened(&town, &path, &ours).await.ok().map(drop)
    })
    .await;
    assert_eq!(
        get(&town, &format!("/v1/requests/{id}")).await["status"],
        "completed"
    );
}
