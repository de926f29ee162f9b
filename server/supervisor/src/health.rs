//! A health probe by plain HTTP over TCP: enough to know that a server answers, without an HTTP client.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// No connection, or it broke.
    #[error("no answer: {0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// What came back is not HTTP.
    #[error("the answer is not HTTP")]
    NotHttp,
    /// The server says that it is not well.
    #[error("it answered with HTTP status {0}")]
    Status(u16),
}

/// Sends `GET path` and gives the answer's status code. Any status below 500 counts as alive to [`check`].
pub async fn get_status(address: SocketAddr, path: &str, deadline: Duration) -> Result<u16, HealthError> {
    timeout(deadline, exchange(address, path)).await.map_err(|_| HealthError::Timeout(deadline))?
}

/// Whether the server answers with anything but a server error.
pub async fn check(address: SocketAddr, path: &str, deadline: Duration) -> Result<(), HealthError> {
    match get_status(address, path, deadline).await? {
        status @ 500.. => Err(HealthError::Status(status)),
        _ => Ok(()),
    }
}

async fn exchange(address: SocketAddr, path: &str) -> Result<u16, HealthError> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // "HTTP/1.1 200" is all that is needed.
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => HealthError::NotHttp,
        _ => error.into(),
    })?;
    parse_status(&head).ok_or(HealthError::NotHttp)
}

fn parse_status(head: &[u8; 12]) -> Option<u16> {
    let text = std::str::from_utf8(head).ok()?;
    let (version, status) = text.split_at(9);
    (version.starts_with("HTTP/1.") && version.ends_with(' ')).then(|| status.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(text.starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:"), "{text}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn statuses_are_judged() {
        for (answer, alive) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", true),
            ("HTTP/1.1 401 Unauthorized\r\n\r\n", true),
            ("HTTP/1.1 503 Busy\r\n\r\n", false),
            ("SSH-2.0-OpenSSH_9.2\r\n", false),
            ("HTTP", false),
        ] {
            let address = answering(answer).await;
            assert_eq!(check(address, "/health", Duration::from_secs(10)).await.is_ok(), alive, "{answer}");
        }
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let silent = check(address, "/", Duration::from_millis(20)).await;
        assert!(matches!(silent, Err(HealthError::Timeout(_))), "{silent:?}");
        drop(listener);
        let gone = check(address, "/", Duration::from_secs(10)).await;
        assert!(matches!(gone, Err(HealthError::Io(_))), "{gone:?}");
    }
}
