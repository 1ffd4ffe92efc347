//! What is wrong with an answer: pure functions of what was asked for and what came.

use std::collections::BTreeMap;

use super::Finding;
use super::web::Answer;
use crate::delivery::FileKind;

/// Caches that keep a head longer make clients late.
const HEAD_SECONDS_MAX: u64 = 300;
/// Files that never change are worth keeping at least this long.
const IMMUTABLE_SECONDS_MIN: u64 = 86_400;

/// What is wrong with the answer to a request for the first byte of `name`, a file of `length` bytes.
pub(super) fn presence(name: &str, length: u64, answer: &Answer) -> Option<Finding> {
    let error = |code, text| Some(Finding { is_warning: false, code, name: name.to_owned(), text });
    match answer.status {
        200 | 206 => {}
        status => {
            return error(
                "missing",
                format!("expected {length} bytes, the answer is {status}; it is named by what is offered"),
            );
        }
    }
    if !answer.content_encoding.is_empty() && answer.content_encoding != "identity" {
        let text = format!(
            "the answer is encoded as {:?} although that was declined; clients refuse it",
            answer.content_encoding
        );
        return error("encoded", text);
    }
    match answer.length {
        Some(found) if found != length => error("length", format!("expected {length} bytes, found {found}")),
        _ => None,
    }
}

/// What a server says of caching, over all files of a kind.
#[derive(Debug, Default)]
pub(super) struct Habits {
    /// Header → an example and how many there are, by kind.
    wrong_cache: BTreeMap<(FileKind, String), (String, u64)>,
    /// An example of a range that was ignored, and how many there are.
    whole: Option<(String, u64)>,
}

impl Habits {
    /// Takes note of one answer to a request for the first byte of a file of `length` bytes.
    pub(super) fn note(&mut self, name: &str, length: u64, answer: &Answer) {
        if !matches!(answer.status, 200 | 206) {
            return;
        }
        if let Some(kind) = FileKind::of(name).filter(|kind| !is_cached_well(*kind, &answer.cache_control)) {
            let seen = self.wrong_cache.entry((kind, answer.cache_control.clone()));
            seen.or_insert_with(|| (name.to_owned(), 0)).1 += 1;
        }
        if !answer.is_part && length > 1 {
            self.whole.get_or_insert_with(|| (name.to_owned(), 0)).1 += 1;
        }
    }

    /// One finding a habit, not one a file.
    pub(super) fn findings(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ((kind, header), (name, count)) in self.wrong_cache {
            let found = if header.is_empty() { "none".to_owned() } else { format!("{header:?}") };
            let text = format!("Cache-Control: expected {:?}, found {found}{}", kind.cache_control(), and_more(count));
            findings.push(Finding { is_warning: true, code: "cache", name, text });
        }
        if let Some((name, count)) = self.whole {
            let text = format!(
                "Range is ignored{}: downloads start from the beginning after every interruption",
                and_more(count)
            );
            findings.push(Finding { is_warning: true, code: "range", name, text });
        }
        findings
    }
}

fn and_more(count: u64) -> String {
    if count > 1 { format!(" (and {} more like it)", count - 1) } else { String::new() }
}

/// Whether what a cache is told suits the kind.
fn is_cached_well(kind: FileKind, header: &str) -> bool {
    let directives: Vec<&str> = header.split(',').map(str::trim).collect();
    let has = |name: &str| directives.contains(&name);
    let seconds =
        |name: &str| directives.iter().find_map(|d| d.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok());
    if kind.is_immutable() {
        let kept = has("immutable") || seconds("max-age").is_some_and(|s| s >= IMMUTABLE_SECONDS_MIN);
        return kept && !has("no-store") && !has("no-cache");
    }
    let shared = seconds("s-maxage").or_else(|| seconds("max-age"));
    has("no-cache") || has("no-store") || shared.is_some_and(|s| s <= HEAD_SECONDS_MAX)
}

/// What is wrong with the answer to a program that takes compressed answers, for the file `name`.
pub(super) fn compression(name: &str, answer: &Answer) -> Option<Finding> {
    let encoded = !answer.content_encoding.is_empty() && answer.content_encoding != "identity";
    if !encoded || answer.vary.contains("accept-encoding") || answer.vary.contains('*') {
        return None;
    }
    let text = format!(
        "compressed as {:?} for those who take that, without \"Vary: Accept-Encoding\": a cache may hand it to clients, which \
         refuse it; turn compression off for these files",
        answer.content_encoding
    );
    Some(Finding { is_warning: true, code: "compressed", name: name.to_owned(), text })
}

/// A head as one request got it: how it was asked for, its sequence where it could be read, its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) how: &'static str,
    pub(super) sequence: Option<u64>,
    pub(super) age_seconds: Option<u64>,
}

/// What is wrong with heads as different requests got them; `newest` is the sequence clients' own request found.
pub(super) fn stale(name: &str, newest: u64, seen: &[Seen]) -> Vec<Finding> {
    let warning = |text: String| Finding { is_warning: true, code: "head-old", name: name.to_owned(), text };
    let top = seen.iter().filter_map(|s| s.sequence).chain([newest]).max().unwrap_or(newest);
    let mut findings: Vec<Finding> = seen
        .iter()
        .filter_map(|s| Some((s.how, s.sequence.filter(|sequence| *sequence < top)?)))
        .map(|(how, sequence)| {
            warning(format!("{how} got sequence {sequence} while {top} is published; a cache keeps heads"))
        })
        .collect();
    if newest < top {
        findings.push(warning(format!("clients got sequence {newest} while {top} is published; a cache keeps heads")));
    }
    if let Some(age) = seen.iter().filter_map(|s| s.age_seconds).max().filter(|age| *age > HEAD_SECONDS_MAX) {
        findings
            .push(warning(format!("a cache has had it for {age} seconds; heads must be asked for again each time")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "objects/ab/ab00000000000000000000000000000000000000000000000000000000000000";

    fn answer(status: u16, length: u64) -> Answer {
        let cache_control = FileKind::Content.cache_control().to_owned();
        Answer { status, length: Some(length), is_part: status == 206, cache_control, ..Answer::default() }
    }

    fn code(finding: Option<Finding>) -> Option<(bool, &'static str)> {
        finding.map(|f| (f.is_warning, f.code))
    }

    #[test]
    fn files_must_be_there_whole_and_plain() {
        assert_eq!(code(presence(OBJECT, 10, &answer(206, 10))), None);
        assert_eq!(code(presence(OBJECT, 10, &answer(200, 10))), None);
        assert_eq!(code(presence(OBJECT, 10, &answer(404, 0))), Some((false, "missing")));
        assert_eq!(code(presence(OBJECT, 10, &answer(206, 9))), Some((false, "length")));
        let encoded = Answer { content_encoding: "gzip".to_owned(), ..answer(200, 7) };
        assert_eq!(code(presence(OBJECT, 10, &encoded)), Some((false, "encoded")));
    }

    #[test]
    fn cache_headers_are_judged_by_kind() {
        let good = |kind, headers: &[&str]| headers.iter().all(|header| is_cached_well(kind, header));
        let bad = |kind, headers: &[&str]| headers.iter().all(|header| !is_cached_well(kind, header));
        assert!(good(FileKind::Content, &["public, max-age=31536000, immutable", "max-age=86400", "immutable"]));
        assert!(bad(FileKind::Content, &["", "no-cache", "max-age=60", "public", "no-store, max-age=999999"]));
        assert!(good(
            FileKind::Head,
            &["no-cache", "no-store", "max-age=0, must-revalidate", "max-age=60", "max-age=9999, s-maxage=0"]
        ));
        assert!(bad(FileKind::Head, &["", "max-age=31536000, immutable", "public, max-age=3600"]));
    }

    #[test]
    fn a_habit_is_told_once_with_an_example() {
        let mut habits = Habits::default();
        let odd = Answer { cache_control: "max-age=60".to_owned(), is_part: false, ..answer(200, 10) };
        (0..3).for_each(|_| habits.note(OBJECT, 10, &odd));
        habits.note(OBJECT, 10, &answer(206, 10));
        habits.note(OBJECT, 10, &answer(404, 0));
        let found = habits.findings();
        assert_eq!(found.iter().map(|f| f.code).collect::<Vec<_>>(), ["cache", "range"]);
        assert!(found[0].text.contains("max-age=60") && found[0].text.contains("2 more"), "{}", found[0].text);
    }

    #[test]
    fn compression_without_vary_is_told() {
        let encoded = Answer { content_encoding: "br".to_owned(), ..answer(200, 7) };
        assert_eq!(code(compression(OBJECT, &encoded)), Some((true, "compressed")));
        let varied = Answer { vary: "origin, accept-encoding".to_owned(), ..encoded };
        assert_eq!((compression(OBJECT, &varied), compression(OBJECT, &answer(206, 10))), (None, None));
    }

    #[test]
    fn a_head_that_differs_by_how_it_is_asked_for_is_old_somewhere() {
        let seen = |how, sequence, age_seconds| Seen { how, sequence: Some(sequence), age_seconds };
        assert_eq!(stale("h", 5, &[seen("a", 5, Some(3)), seen("b", 5, None)]), []);
        assert_eq!(stale("h", 5, &[seen("a", 5, None), seen("b", 4, None)]).len(), 1);
        assert_eq!(stale("h", 4, &[seen("a", 5, None)]).len(), 1, "clients themselves are behind");
        assert_eq!(stale("h", 5, &[seen("a", 5, Some(4000))]).len(), 1);
    }
}
