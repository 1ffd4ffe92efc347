//! One HTTP request, as far as a static site needs it.

use std::io::{self, BufRead, Read};

const HEAD_BYTES_MAX: u64 = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Other,
}

#[derive(Debug)]
pub(super) struct Request {
    /// Method and target, for the log.
    pub(super) line: String,
    pub(super) method: Method,
    target: String,
    range: Option<String>,
    pub(super) keep_alive: bool,
}

pub(super) enum RequestError {
    Io(io::Error),
    /// The connection ends after an answer of this status.
    Refused(u16),
}

/// What to answer to a `Range`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RangeReply {
    Whole,
    /// First byte, and the one behind the last.
    Part(u64, u64),
    Unsatisfiable,
}

impl Request {
    /// Reads the next request; none where the other side has ended the connection.
    pub(super) fn read(reader: &mut impl BufRead) -> Result<Option<Self>, RequestError> {
        let mut limited = reader.take(HEAD_BYTES_MAX);
        let Some(line) = header_line(&mut limited)? else { return Ok(None) };
        let parts: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = parts[..] else { return Err(RequestError::Refused(400)) };
        if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
            return Err(RequestError::Refused(400));
        }
        let method = match method {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => Method::Other,
        };
        let mut request = Self {
            line: format!("{} {target}", parts[0]),
            method,
            target: target.to_owned(),
            range: None,
            // A body is never read, so nothing can follow a request that might have one.
            keep_alive: version != "HTTP/1.0" && method != Method::Other,
        };
        while let Some(line) = header_line(&mut limited)?.filter(|l| !l.is_empty()) {
            request.header(&line)?;
        }
        Ok(Some(request))
    }

    fn header(&mut self, line: &str) -> Result<(), RequestError> {
        let (name, value) = line.split_once(':').ok_or(RequestError::Refused(400))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "range" => self.range = Some(value.to_owned()),
            "connection" if value.eq_ignore_ascii_case("close") => self.keep_alive = false,
            "content-length" if value != "0" => self.keep_alive = false,
            "transfer-encoding" => self.keep_alive = false,
            _ => {}
        }
        Ok(())
    }

    /// The name in the site that is asked for, unless no site has such names.
    pub(super) fn name(&self) -> Option<&str> {
        let path = self.target.split('?').next().unwrap_or_default().strip_prefix('/')?;
        if path.is_empty() {
            return Some("index.html");
        }
        let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/'));
        (plain && path.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))).then_some(path)
    }

    /// The part of a file of `length` bytes that is asked for. What is not one valid range is ignored, by RFC 9110.
    pub(super) fn range(&self, length: u64) -> RangeReply {
        let wanted = self.range.as_deref().and_then(|r| r.strip_prefix("bytes="));
        let Some((first, last)) = wanted.and_then(|w| w.split_once('-')) else { return RangeReply::Whole };
        let part = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(length)),
            (Ok(first), Err(_)) if last.is_empty() => (first, length),
            (Err(_), Ok(suffix)) if first.is_empty() => (length.saturating_sub(suffix), length),
            _ => return RangeReply::Whole,
        };
        if part.0 < part.1 { RangeReply::Part(part.0, part.1) } else { RangeReply::Unsatisfiable }
    }
}

fn header_line(reader: &mut impl BufRead) -> Result<Option<String>, RequestError> {
    let mut line = Vec::new();
    reader.read_until(b'\n', &mut line).map_err(RequestError::Io)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(RequestError::Refused(431));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map(Some).map_err(|_| RequestError::Refused(400))
}
