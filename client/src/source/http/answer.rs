//! What the head of an answer means: a pure function of status and header fields.

use super::super::{ByteRange, Obstacle, SourceError, Trouble};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_ENCODING, CONTENT_RANGE, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::time::Duration;

/// Offset in the file at which the body of this answer begins, or what the answer means instead.
pub(super) fn judge(
    name: &str,
    site: &str,
    status: StatusCode,
    headers: &HeaderMap,
    range: Option<ByteRange>,
) -> Result<u64, SourceError> {
    let answer = || status.to_string();
    let (name_owned, site_owned) = (name.to_owned(), site.to_owned());
    let transient = |trouble| SourceError::transient(name, site, trouble);
    let asked = range.map(|range| range.start);
    match (status.as_u16(), asked) {
        (200, _) => plain(headers).map(|()| 0).map_err(transient),
        (206, Some(start)) => plain(headers).and_then(|()| part(headers, start)).map_err(transient),
        (206, None) => Err(transient(Trouble::Range { expected: 0, actual: "a part of the file".into() })),
        (404 | 410, _) => Err(SourceError::NotFound { name: name_owned, site: site_owned, answer: answer() }),
        (401 | 403 | 451, _) => Err(SourceError::Forbidden { name: name_owned, site: site_owned, answer: answer() }),
        (407, _) => Err(SourceError::fatal(name, site, Obstacle::Proxy(answer()))),
        (416, Some(start)) => {
            Err(transient(Trouble::Range { expected: start, actual: format!("{status} {}", content_range(headers)) }))
        }
        (511, _) => Err(transient(Trouble::WebPage)),
        (other, _) => Err(SourceError::Transient {
            name: name_owned,
            site: site_owned,
            trouble: Trouble::Status(other),
            retry_after: retry_after(headers),
        }),
    }
}

/// Refuses every content coding.
fn plain(headers: &HeaderMap) -> Result<(), Trouble> {
    let coded = |value: &&HeaderValue| !value.is_empty() && !value.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get_all(CONTENT_ENCODING).iter().find(coded) {
        None => Ok(()),
        Some(value) => Err(Trouble::Encoded(shown(value))),
    }
}

/// Start of a single part, which must be the one asked for.
fn part(headers: &HeaderMap, start: u64) -> Result<u64, Trouble> {
    let mut fields = headers.get_all(CONTENT_RANGE).iter();
    let found = match (fields.next(), fields.next()) {
        (Some(field), None) => field.to_str().ok().and_then(parse_content_range),
        _ => None,
    };
    if found == Some(start) {
        return Ok(start);
    }
    Err(Trouble::Range { expected: start, actual: format!("206 {}", content_range(headers)) })
}

/// First byte named by `bytes <first>-<last>/<total or *>`, if the three agree.
fn parse_content_range(text: &str) -> Option<u64> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let (unit, rest) = text.split_once(' ')?;
    let (span, total) = rest.trim_start().split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let (first, last) = (digits(first)?, digits(last)?);
    let total = if total == "*" { u64::MAX } else { digits(total)? };
    (unit.eq_ignore_ascii_case("bytes") && first <= last && last < total).then_some(first)
}

fn content_range(headers: &HeaderMap) -> String {
    headers
        .get(CONTENT_RANGE)
        .map_or_else(|| "without Content-Range".into(), |value| format!("Content-Range {}", shown(value)))
}

/// A header value for messages: short and free of control characters.
fn shown(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().filter(|c| !c.is_control()).take(80).collect()
}

/// `Retry-After` as a wait. A date is compared with the answer's own `Date`, so the clock here does not matter.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let seconds = |text: &str| jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp().as_second());
    let now = headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(seconds);
    let wait = seconds(text)? - now.unwrap_or_else(|| jiff::Timestamp::now().as_second());
    Some(Duration::from_secs(u64::try_from(wait).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderName;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let field = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        fields.iter().map(field).collect()
    }

    fn judged(status: u16, fields: &[(&str, &str)], start: Option<u64>) -> Result<u64, &'static str> {
        let range = start.map(|start| ByteRange { start, end: None });
        let status = StatusCode::from_u16(status).unwrap();
        judge("name", "site", status, &headers(fields), range).map_err(|e| e.code())
    }

    #[test]
    fn every_status_has_one_meaning() {
        assert_eq!(judged(200, &[], None), Ok(0));
        assert_eq!(judged(200, &[], Some(7)), Ok(0));
        assert_eq!(judged(206, &[("content-range", "bytes 7-9/10")], Some(7)), Ok(7));
        assert_eq!(judged(206, &[("content-range", "bytes 0-9/10")], None), Err("range"));
        assert_eq!(judged(416, &[("content-range", "bytes */5")], Some(7)), Err("range"));
        assert_eq!(judged(404, &[], None), Err("not-found"));
        assert_eq!(judged(410, &[], None), Err("not-found"));
        assert_eq!(judged(403, &[], None), Err("forbidden"));
        assert_eq!(judged(407, &[], None), Err("proxy"));
        assert_eq!(judged(511, &[], None), Err("web-page"));
        for status in [100, 201, 204, 302, 304, 400, 416, 418, 429, 500, 502, 503, 599] {
            assert_eq!(judged(status, &[], None), Err("status"), "{status}");
        }
    }

    #[test]
    fn parts_must_be_the_one_asked_for() {
        for bad in [
            "",
            "bytes 6-9/10",
            "bytes 7-6/10",
            "bytes 7-10/10",
            "bytes 7-9",
            "bytes */10",
            "items 7-9/10",
            "bytes +7-9/10",
        ] {
            assert_eq!(judged(206, &[("content-range", bad)], Some(7)), Err("range"), "{bad}");
        }
        assert_eq!(judged(206, &[], Some(7)), Err("range"));
        let twice = [("content-range", "bytes 7-9/10"), ("content-range", "bytes 7-9/10")];
        assert_eq!(judged(206, &twice, Some(7)), Err("range"));
        assert_eq!(judged(206, &[("content-range", "Bytes 7-9/*")], Some(7)), Ok(7));
    }

    #[test]
    fn encoded_bodies_are_refused() {
        assert_eq!(judged(200, &[("content-encoding", "gzip")], None), Err("encoded"));
        assert_eq!(judged(200, &[("content-encoding", "identity"), ("content-encoding", "br")], None), Err("encoded"));
        assert_eq!(judged(200, &[("content-encoding", "Identity")], None), Ok(0));
    }

    #[test]
    fn waits_are_read_as_seconds_or_dates() {
        let wait = |fields: &[(&str, &str)]| retry_after(&headers(fields)).map(|d| d.as_secs());
        assert_eq!(wait(&[("retry-after", "120")]), Some(120));
        assert_eq!(wait(&[("retry-after", "99999999999999999999999")]), Some(u64::MAX));
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date]), Some(30));
        assert_eq!(wait(&[("retry-after", "Sun, 06 Nov 1994 08:40:07 GMT"), date]), Some(0));
        assert_eq!(wait(&[("retry-after", "soon")]), None);
        assert_eq!(wait(&[]), None);
    }
}
