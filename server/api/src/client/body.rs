//! The body of a request: read within limits, and checked to be one JSON object.

use std::{fmt, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use ruma::api::error::ErrorKind;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::ApiError;

/// Largest body of a request, in bytes. The largest that ordinary clients send are uploads of room keys.
pub(super) const BODY_LIMIT: usize = 4 << 20;
/// How much of a body that nobody wants is read nevertheless, in bytes. A client that is still writing when the
/// connection is closed does not get to see the answer.
const DISCARD_LIMIT: usize = 32 << 20;
/// Deepest nesting of a body. Most JSON parsers, serde's too, read up to 128, and an event wraps its content.
const DEPTH_LIMIT: usize = 100;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// Reads the body and checks that it is one JSON object. Clients often send no body where an empty object is
/// meant.
pub(super) async fn read_json(parts: &Parts, body: Body) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large(format!("A request may have {BODY_LIMIT} bytes at most."));
    if announced(parts).is_some_and(|length| length > BODY_LIMIT) {
        discard(parts, body).await;
        return Err(too_large());
    }
    let body = match tokio::time::timeout(BODY_TIMEOUT, collect(body)).await {
        Ok(Ok(Some(body))) => body,
        Ok(Ok(None)) => return Err(too_large()),
        Ok(Err(_)) => return Err(ApiError::bad_request(ErrorKind::Unknown, "The body ended too early.")),
        Err(_) => {
            let message = "The body took too long.";
            return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Unknown, message));
        }
    };
    check(&body)?;
    if body.iter().all(u8::is_ascii_whitespace) { Ok(Bytes::from_static(b"{}")) } else { Ok(body) }
}

/// Reads what is left of a request that is refused already, unless the client waits to be asked for it.
pub(super) async fn discard(parts: &Parts, body: Body) {
    if parts.headers.contains_key(header::EXPECT) || announced(parts).is_some_and(|length| length > DISCARD_LIMIT) {
        return;
    }
    // Whether it arrived whole makes no difference any more.
    let _ = tokio::time::timeout(BODY_TIMEOUT, collect(body)).await;
}

/// What the client says of the body's length.
fn announced(parts: &Parts) -> Option<usize> {
    parts.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The whole body; `None` when it is larger than the limit, after reading what comes behind it.
async fn collect(mut body: Body) -> Result<Option<Bytes>, axum::Error> {
    let (mut collected, mut length) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        // What is no data are trailers.
        let Ok(data) = frame?.into_data() else { continue };
        length += data.len();
        if length > DISCARD_LIMIT {
            break;
        }
        if length <= BODY_LIMIT {
            collected.extend_from_slice(&data);
        } else {
            collected = BytesMut::new();
        }
    }
    Ok((length <= BODY_LIMIT).then(|| collected.freeze()))
}

/// Whether the bytes are one JSON object, or nothing.
fn check(body: &[u8]) -> Result<(), ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let text = std::str::from_utf8(body).map_err(|_| ApiError::not_json("The body is not UTF-8."))?;
    // Parsed on its own: ruma's types stop at the first wrong field and never see broken JSON behind it.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| ApiError::not_json(error.to_string()))?;
    if is_deep(body) {
        return Err(ApiError::bad_json(format!("The body nests more than {DEPTH_LIMIT} values.")));
    }
    if !text.trim_start().starts_with('{') {
        return Err(ApiError::bad_json("The body is not a JSON object."));
    }
    serde_json::from_str::<Readable>(text).map_err(|error| ApiError::bad_json(error.to_string()))?;
    Ok(())
}

/// Whether valid JSON nests deeper than other programs can be expected to read.
fn is_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > DEPTH_LIMIT {
                    return true;
                }
            }
            b'}' | b']' if !in_string => depth -= 1,
            _ => {}
        }
    }
    false
}

/// JSON of which every value can be read, not only the grammar: halves of surrogate pairs are no characters, and
/// numbers have to fit. What goes on to other clients as it is must not break their parsers.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadEverything)
    }
}

struct ReadEverything;

impl<'de> Visitor<'de> for ReadEverything {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Readable, A::Error> {
        while values.next_element::<Readable>()?.is_some() {}
        Ok(Readable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Readable, A::Error> {
        while fields.next_entry::<Readable, Readable>()?.is_some() {}
        Ok(Readable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &[u8]) -> Option<String> {
        check(body).err().and_then(|error| error.kind().map(|kind| kind.errcode().to_string()))
    }

    #[test]
    fn what_a_body_may_be() {
        let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth)).into_bytes();
        for (body, expected) in [
            (&b""[..], None),
            (b" \n", None),
            (b"{}", None),
            (b" {\"a\": [1, 1.5, -2, true, null, \"\\ud83d\\udc08\", {\"\\u0000\": \"[{\"}]}", None),
            (&nested(DEPTH_LIMIT), None),
            (&nested(DEPTH_LIMIT + 1), Some("M_BAD_JSON")),
            (&nested(100_000), Some("M_BAD_JSON")),
            (b"{", Some("M_NOT_JSON")),
            (b"{}{}", Some("M_NOT_JSON")),
            (b"{\"a\": \"\xff\"}", Some("M_NOT_JSON")),
            (b"[]", Some("M_BAD_JSON")),
            (b"null", Some("M_BAD_JSON")),
            (b"{\"a\": \"\\ud800\"}", Some("M_BAD_JSON")),
            (b"{\"\\udc00\": 1}", Some("M_BAD_JSON")),
            (b"{\"a\": 1e400}", Some("M_BAD_JSON")),
        ] {
            assert_eq!(code(body).as_deref(), expected, "{:.80}", String::from_utf8_lossy(body));
        }
    }
}
