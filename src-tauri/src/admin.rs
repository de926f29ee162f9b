//! The page's way to the admin API: plain HTTP over loopback, with the token that the page never sees.

use crate::{
    error::{CommandError, ErrorCode},
    sse::{EventParser, ServerEvent},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

/// The only part of the server that the page may ask.
const PREFIX: &str = "/_hearth/admin/";
/// How long an answer may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// Largest answer, in bytes.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;
/// A live stream that says nothing for so long, not even a comment, is lost.
const SILENCE: Duration = Duration::from_mins(1);

/// Where the admin API is, and what opens it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
}

/// The answer to `admin_request`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// What a subscription hears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum AdminEvent {
    Open,
    Event { event: String, data: String, id: Option<String> },
    Lost { message: String },
}

/// A connection with its driver, which ends when this is dropped.
struct Exchange {
    response: Response<Incoming>,
    _driver: JoinSet<()>,
}

impl Endpoint {
    /// Sends one request and reads its whole answer.
    pub(crate) async fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, CommandError> {
        let method = match method {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            other => return Err(bad_request(format!("{other} is not a method of the admin API."))),
        };
        let until = Instant::now() + DEADLINE;
        let exchange = self.exchange(method, path, body, until).await?;
        let status = exchange.response.status().as_u16();
        let body = Limited::new(exchange.response.into_body(), LARGEST_ANSWER);
        let bytes = match timeout_at(until, body.collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => return Err(unreachable(error)),
            Err(_) => return Err(too_slow()),
        };
        Ok(Answer { status, body: read_body(&bytes) })
    }

    /// Follows a live stream until it is lost; says why. `sink` gives `false` when nobody listens any more.
    pub(crate) async fn follow(&self, path: &str, sink: &mut (impl FnMut(AdminEvent) -> bool + Send)) -> CommandError {
        let exchange = match self.exchange(Method::GET, path, None, Instant::now() + DEADLINE).await {
            Ok(exchange) => exchange,
            Err(error) => return error,
        };
        let status = exchange.response.status();
        if !status.is_success() {
            let message = format!("The server refused the live updates with HTTP status {status}.");
            return CommandError { status: Some(status.as_u16()), ..CommandError::new(ErrorCode::Refused, message) };
        }
        sink(AdminEvent::Open);
        let mut body = exchange.response.into_body();
        let mut parser = EventParser::default();
        loop {
            let frame = match timeout(SILENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => return unreachable(error),
                Ok(None) => return CommandError::new(ErrorCode::Unreachable, "The server ended the live updates."),
                Err(_) => return too_slow(),
            };
            let Some(bytes) = frame.data_ref() else { continue };
            let mut heard = true;
            let parsed = parser.feed(bytes, |ServerEvent { event, data, id }| {
                heard &= sink(AdminEvent::Event { event, data, id });
            });
            if let Err(error) = parsed {
                return unreachable(error);
            }
            if !heard {
                return CommandError::new(ErrorCode::Unreachable, "The page has gone.");
            }
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        until: Instant,
    ) -> Result<Exchange, CommandError> {
        check_path(path)?;
        let payload = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(payload)).map_err(|error| bad_request(format!("{error}.")))?;
        let send = async {
            let stream = TcpStream::connect(self.address).await.map_err(unreachable)?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
            let mut driver = JoinSet::new();
            driver.spawn(async move {
                // Its error reaches the request or the body, too.
                connection.await.ok();
            });
            let response = sender.send_request(request).await.map_err(unreachable)?;
            Ok(Exchange { response, _driver: driver })
        };
        timeout_at(until, send).await.unwrap_or_else(|_| Err(too_slow()))
    }
}

/// The page reaches the admin API and nothing else of the server.
fn check_path(path: &str) -> Result<(), CommandError> {
    let plain = path.split(['?', '#']).next().unwrap_or_default();
    let climbs =
        plain.split('/').any(|part| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | ".."));
    if path.starts_with(PREFIX) && !climbs && !path.contains('#') {
        Ok(())
    } else {
        Err(bad_request(format!("{path} is not a path of the admin API.")))
    }
}

fn read_body(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn bad_request(message: String) -> CommandError {
    CommandError::new(ErrorCode::Invalid, message)
}

fn unreachable(error: impl std::fmt::Display) -> CommandError {
    CommandError::new(ErrorCode::Unreachable, format!("The server did not answer: {error}."))
}

fn too_slow() -> CommandError {
    CommandError::new(ErrorCode::Unreachable, "The server did not answer in time.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinHandle,
    };

    /// Answers one connection with fixed bytes and gives back what it was asked.
    async fn server(answer: &'static str) -> (Endpoint, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {}
            String::from_utf8(request).unwrap()
        });
        (Endpoint { address, token: "secret".to_owned() }, asked)
    }

    #[tokio::test]
    async fn a_request_carries_the_token_and_every_status_is_an_answer() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}", (200, json!({"a": 1}))),
            ("HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", (404, json!({}))),
            ("HTTP/1.1 204 No Content\r\n\r\n", (204, Value::Null)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", (200, json!("hello"))),
        ] {
            let (endpoint, asked) = server(answer).await;
            let answer = endpoint.request("GET", "/_hearth/admin/v1/users?limit=5", None).await.unwrap();
            assert_eq!((answer.status, answer.body), expected);
            let asked = asked.await.unwrap();
            assert!(asked.starts_with("GET /_hearth/admin/v1/users?limit=5 HTTP/1.1\r\n"), "{asked}");
            assert!(asked.contains("authorization: Bearer secret\r\n"), "{asked}");
            assert!(asked.contains(&format!("host: {}\r\n", endpoint.address)), "{asked}");
        }
    }

    #[tokio::test]
    async fn a_body_is_json() {
        let (endpoint, asked) = server("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
        let answer = endpoint.request("POST", "/_hearth/admin/v1/users", Some(&json!({"name": "ada"}))).await.unwrap();
        assert_eq!(answer.status, 201);
        let asked = asked.await.unwrap();
        assert!(asked.contains("content-type: application/json\r\n"), "{asked}");
        assert!(asked.ends_with("\r\n\r\n{\"name\":\"ada\"}"), "{asked}");
    }

    #[tokio::test]
    async fn only_the_admin_api_is_reached() {
        let endpoint = Endpoint { address: SocketAddr::from(([127, 0, 0, 1], 1)), token: String::new() };
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/_matrix/client/versions"),
            ("GET", "http://example.org/_hearth/admin/"),
            ("GET", "/_hearth/admin/../x"),
            ("GET", "/_hearth/admin/%2E%2e/x"),
            ("GET", "/_hearth/admin/a b"),
            ("CONNECT", "/_hearth/admin/v1/users"),
            ("get", "/_hearth/admin/v1/users"),
        ] {
            let error = endpoint.request(method, path, None).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::Invalid, "{method} {path}");
        }
        let error = endpoint.request("GET", "/_hearth/admin/v1/users", None).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unreachable, "nobody listens there");
    }

    #[tokio::test]
    async fn a_stream_is_followed_until_it_is_lost() {
        let (endpoint, asked) = server(
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
             10\r\nevent: a\ndata: 1\r\n2\r\n\n\n\r\n9\r\ndata: 2\n\n\r\n",
        )
        .await;
        let mut heard = Vec::new();
        let lost = endpoint
            .follow("/_hearth/admin/v1/events", &mut |event| {
                heard.push(event);
                true
            })
            .await;
        assert_eq!(lost.code, ErrorCode::Unreachable);
        let event =
            |event: &str, data: &str| AdminEvent::Event { event: event.to_owned(), data: data.to_owned(), id: None };
        assert_eq!(heard, [AdminEvent::Open, event("a", "1"), event("message", "2")]);
        asked.await.unwrap();

        let (endpoint, _asked) = server("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
        let refused = endpoint.follow("/_hearth/admin/v1/events", &mut |_| panic!("never open")).await;
        assert_eq!((refused.code, refused.status), (ErrorCode::Refused, Some(503)));
    }

    #[tokio::test]
    async fn a_listener_that_left_ends_the_stream() {
        let (endpoint, _asked) =
            server("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\ndata: 2\n\n\r\n").await;
        let ended = endpoint.follow("/_hearth/admin/v1/events", &mut |event| event == AdminEvent::Open).await;
        assert_eq!(ended.message, "The page has gone.");
    }

    #[test]
    fn events_are_shaped_as_the_contract_says() {
        for (event, expected) in [
            (AdminEvent::Open, json!({"type": "open"})),
            (AdminEvent::Lost { message: "x".to_owned() }, json!({"type": "lost", "message": "x"})),
            (
                AdminEvent::Event { event: "overview".to_owned(), data: "{}".to_owned(), id: None },
                json!({"type": "event", "event": "overview", "data": "{}", "id": null}),
            ),
        ] {
            assert_eq!(serde_json::to_value(event).unwrap(), expected);
        }
    }
}
