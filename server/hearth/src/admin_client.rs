//! Asks the admin API of the running server.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::failure::Failure;

/// Longest that one question may take; deactivation of a user in many rooms takes the longest.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The admin API at one address.
pub(crate) struct AdminClient {
    /// `127.0.0.1:8010`
    authority: String,
    token: String,
}

impl AdminClient {
    /// For the server at `url` with its `token`.
    pub(crate) fn new(url: &str, token: String) -> Self {
        Self { authority: url.trim_start_matches("http://").trim_end_matches('/').to_owned(), token }
    }

    /// Asks, and returns the parsed answer. `path` is below the API's root.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Failure> {
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::new(format!(
                "The data folder is in use, but the server's admin API at {} cannot be asked: {error}.",
                self.authority
            ))
        };
        let exchange = async {
            let stream = TcpStream::connect(&self.authority).await.map_err(|error| unreachable(&error))?;
            let (mut sender, connection) =
                http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
            let request = Request::builder()
                .method(method)
                .uri(format!("{}{path}", hearth_api::admin::API))
                .header(header::HOST, &self.authority)
                .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Full::new(Bytes::from(body.map(|body| body.to_string()).unwrap_or_default())))
                .map_err(|error| unreachable(&error))?;
            let answer = async {
                let response = sender.send_request(request).await?;
                let status = response.status();
                Ok::<_, hyper::Error>((status, response.into_body().collect().await?.to_bytes()))
            };
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                answer = answer => answer.map_err(|error| unreachable(&error)),
                ended = connection.as_mut() => Err(match ended {
                    Ok(()) => unreachable(&"the connection ended"),
                    Err(error) => unreachable(&error),
                }),
            }
        };
        let (status, body) = tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| unreachable(&"no answer"))??;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        match status {
            status if status.is_success() => Ok(body),
            StatusCode::UNAUTHORIZED => Err(unreachable(&"another server runs there")),
            status => {
                let message =
                    body["message"].as_str().map_or_else(|| format!("The server answered {status}."), str::to_owned);
                Err(Failure::new(message))
            }
        }
    }
}
