//! A small HTTP/1.1 client over one kept connection: enough to measure a server that we know, and
//! cheap enough not to be what is measured.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest that one answer may take.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest answer, in bytes.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Read at least so much at a time.
const READ: usize = 16 * 1024;

/// Where requests go, and the part of their head that never changes.
#[derive(Clone)]
pub struct Target {
    address: String,
    base: String,
    head: String,
}

impl Target {
    /// Reads `http://host:port`, and takes the key every request carries.
    pub fn new(url: &str, key: &str) -> Result<Self, String> {
        let parsed = url::Url::parse(url).map_err(|_| format!("{url} is not a URL"))?;
        if parsed.scheme() != "http" {
            return Err(format!(
                "{url} is not http://; bench speaks plain HTTP, so run it beside the server"
            ));
        }
        let host = parsed
            .host_str()
            .ok_or_else(|| format!("{url} names no host"))?;
        let port = parsed.port_or_known_default().unwrap_or(80);
        let graphic = |c: char| c.is_ascii_graphic();
        if key.is_empty() || !key.chars().all(graphic) {
            return Err(
                "the key is not one of hundi's: they look like hk_<id>_<secret>".to_owned(),
            );
        }
        Ok(Self {
            address: format!("{host}:{port}"),
            base: parsed.path().trim_end_matches('/').to_owned(),
            head: format!(
                " HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {key}\r\n\
                 content-type: application/json\r\naccept: application/json, text/event-stream\r\n"
            ),
        })
    }
}

/// One connection.
pub struct Client<'a> {
    target: &'a Target,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
    body: Vec<u8>,
}

impl<'a> Client<'a> {
    /// Connects at the first request.
    pub fn new(target: &'a Target) -> Self {
        Self {
            target,
            stream: None,
            request: Vec::with_capacity(2048),
            answer: Vec::with_capacity(READ),
            body: Vec::new(),
        }
    }

    /// Posts and gives the status and the body. After a failure the connection is a new one.
    pub async fn post(
        &mut self,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(u16, &[u8]), String> {
        self.send("POST ", path, headers, body).await
    }

    /// Gets, and gives the same.
    pub async fn get(&mut self, path: &str) -> Result<(u16, &[u8]), String> {
        self.send("GET ", path, "", b"").await
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<(u16, &[u8]), String> {
        match timeout(ANSWER, self.exchange(method, path, headers, body)).await {
            Ok(Ok(status)) => Ok((status, &self.body)),
            Ok(Err(error)) => {
                self.stream = None;
                Err(error)
            }
            Err(_) => {
                self.stream = None;
                Err(format!("no answer within {} s", ANSWER.as_secs()))
            }
        }
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &[u8],
    ) -> Result<u16, String> {
        let request = &mut self.request;
        request.clear();
        for part in [method, &self.target.base, path, &self.target.head, headers] {
            request.extend_from_slice(part.as_bytes());
        }
        request.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        request.extend_from_slice(body);
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.target.address).await?,
        };
        stream.write_all(&self.request).await.map_err(broken)?;
        self.answer.clear();
        let head = loop {
            if let Some(end) = find(&self.answer, b"\r\n\r\n") {
                break Head::read(&self.answer[..end], end + 4)?;
            }
            more(&mut stream, &mut self.answer).await?;
        };
        self.read_body(&mut stream, &head).await?;
        if !head.closes {
            self.stream = Some(stream);
        }
        Ok(head.status)
    }

    async fn read_body(&mut self, stream: &mut TcpStream, head: &Head) -> Result<(), String> {
        self.body.clear();
        if let Some(length) = head.length {
            let end = head.size.saturating_add(length);
            while self.answer.len() < end {
                more(stream, &mut self.answer).await?;
            }
            self.body.extend_from_slice(&self.answer[head.size..end]);
            return Ok(());
        }
        let mut at = head.size;
        loop {
            let line = self.line(stream, at).await?;
            let size = std::str::from_utf8(&self.answer[at..line]).unwrap_or_default();
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| garbled())?;
            let start = line + 2;
            let end = start.checked_add(size).filter(|end| *end <= MAX_ANSWER);
            let end = end.ok_or_else(garbled)?;
            while self.answer.len() < end + 2 {
                more(stream, &mut self.answer).await?;
            }
            if size == 0 {
                return Ok(());
            }
            self.body.extend_from_slice(&self.answer[start..end]);
            at = end + 2;
        }
    }

    /// Where the line that begins at `from` ends.
    async fn line(&mut self, stream: &mut TcpStream, from: usize) -> Result<usize, String> {
        loop {
            if let Some(end) = self.answer.get(from..).and_then(|rest| find(rest, b"\r\n")) {
                return Ok(from + end);
            }
            more(stream, &mut self.answer).await?;
        }
    }
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| format!("nothing answers at {address}: {error}"))?;
    stream.set_nodelay(true).map_err(broken)?;
    Ok(stream)
}

async fn more(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<(), String> {
    if answer.len() > MAX_ANSWER {
        return Err("the answer does not end".to_owned());
    }
    answer.reserve(READ);
    match stream.read_buf(answer).await {
        Ok(0) => Err("the server closed the connection before it had answered".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(broken(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` wants")]
fn broken(error: std::io::Error) -> String {
    format!("the connection broke: {}", error.kind())
}

fn garbled() -> String {
    "the answer is not HTTP/1.1".to_owned()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

/// What is needed of an answer's head.
#[derive(Debug, PartialEq)]
struct Head {
    status: u16,
    /// Bytes of the head, the empty line included.
    size: usize,
    /// Bytes of the body; `None` if it comes in chunks.
    length: Option<usize>,
    closes: bool,
}

impl Head {
    fn read(bytes: &[u8], size: usize) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| garbled())?;
        let mut lines = text.split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok());
        let mut head = Self {
            status: status.ok_or_else(garbled)?,
            size,
            length: Some(0),
            closes: false,
        };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else {
                continue;
            };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let length = value.parse().ok().filter(|length| *length <= MAX_ANSWER);
                head.length = Some(length.ok_or_else(garbled)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                head.length = None;
            } else if name.eq_ignore_ascii_case("connection") {
                head.closes = value.eq_ignore_ascii_case("close");
            }
        }
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    async fn told(answers: &'static [&'static [u8]]) -> Vec<Result<(u16, String), String>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut request = vec![0; 4096];
                let _ = stream.read(&mut request).await.unwrap();
                // In two parts, so that every boundary is met in the middle at some time.
                let (a, b) = answer.split_at(answer.len() / 2);
                stream.write_all(a).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(b).await.unwrap();
            }
        });
        let target = Target::new(&url, "hk_1_x").unwrap();
        let mut client = Client::new(&target);
        let mut told = Vec::new();
        for _ in answers {
            let answer = client.post("/x", "", b"{}").await;
            told.push(
                answer.map(|(status, body)| (status, String::from_utf8(body.to_vec()).unwrap())),
            );
        }
        server.await.unwrap();
        told
    }

    #[tokio::test]
    async fn answers_of_every_framing_come_over_one_connection() {
        let answers = told(&[
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 409 Conflict\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
        ])
        .await;
        let expected = [(200, "hello"), (409, "abcde"), (204, "")];
        for (answer, (status, body)) in answers.into_iter().zip(expected) {
            assert_eq!(answer, Ok((status, body.to_owned())));
        }
    }

    #[tokio::test]
    async fn rubbish_is_an_error_and_not_a_hang() {
        for answer in [
            &b"hello\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let answers: &'static [&'static [u8]] = Box::leak(Box::new([answer]));
            assert!(told(answers).await[0].is_err());
        }
    }

    #[test]
    fn only_plain_http_and_whole_keys_are_accepted() {
        assert!(Target::new("http://127.0.0.1:1/base/", "hk_1_x").is_ok());
        for (url, key) in [
            ("https://h", "hk_1_x"),
            ("h", "hk_1_x"),
            ("http://h", ""),
            ("http://h", "hk\r\nx: y"),
        ] {
            assert!(Target::new(url, key).is_err(), "{url} {key:?}");
        }
    }
}
