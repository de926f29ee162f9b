//! Reads a stream of server-sent events (HTML standard, section 9.2.6), as far as a server of ours sends them.

/// Longest event, in bytes. Ours are far smaller; more is a fault.
const LONGEST_EVENT: usize = 4 * 1024 * 1024;

/// One event of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) id: Option<String>,
}

/// An event was longer than this program takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent an event that is too long")]
pub(crate) struct TooLong;

/// Collects bytes into events.
#[derive(Debug, Default)]
pub(crate) struct EventParser {
    line: Vec<u8>,
    event: String,
    data: Option<String>,
    id: Option<String>,
}

impl EventParser {
    /// Takes bytes and gives each completed event to `sink`.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut sink: impl FnMut(ServerEvent)) -> Result<(), TooLong> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let size = self.line.len() + self.data.as_ref().map_or(0, String::len) + piece.len();
            if size > LONGEST_EVENT {
                return Err(TooLong);
            }
            self.line.extend_from_slice(piece);
            if self.line.pop_if(|byte| *byte == b'\n').is_some() {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                if let Some(event) = self.line(line.trim_end_matches('\r')) {
                    sink(event);
                }
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            let data = self.data.take()?;
            let event = if event.is_empty() { "message".to_owned() } else { event };
            return Some(ServerEvent { event, data, id: self.id.clone() });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            // Comments (an empty field name) keep the connection alive; `retry` is ours to decide.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event: &str, data: &str, id: Option<&str>) -> ServerEvent {
        ServerEvent { event: event.to_owned(), data: data.to_owned(), id: id.map(str::to_owned) }
    }

    #[test]
    fn events_are_read_whatever_the_pieces() {
        let stream = ": hello\n\nevent: overview\ndata: {\"n\":1}\n\nid: 7\ndata:a\r\ndata: b\r\n\r\n\
            retry: 5\nevent: empty\n\ndata\n\ndata: é\n\ndata: unfinished";
        let expected = [
            event("overview", "{\"n\":1}", None),
            event("message", "a\nb", Some("7")),
            event("message", "", Some("7")),
            event("message", "é", Some("7")),
        ];
        for size in [1, 2, 3, 7, 1000] {
            let mut parser = EventParser::default();
            let mut events = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                parser.feed(piece, |event| events.push(event)).unwrap();
            }
            assert_eq!(events, expected, "pieces of {size}");
        }
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = EventParser::default();
        let piece = vec![b'x'; LONGEST_EVENT / 2];
        assert_eq!(parser.feed(&piece, |_| ()), Ok(()));
        assert_eq!(parser.feed(&piece, |_| ()), Ok(()));
        assert_eq!(parser.feed(b"y", |_| ()), Err(TooLong));
    }
}
