//! Text of others made safe to show: no escape sequences, no control characters, nothing that hides or turns text round.

use std::iter::Peekable;
use std::str::Chars;

/// `text` without what could act on a terminal or mislead a person; of control characters only LF and TAB stay.
///
/// * ANSI escape sequences go whole, with their parameters; those that carry a text (window titles, links) up to their end,
///   or up to the end of the line if they have none.
/// * CR LF and a lone CR become LF, as do the separators of lines and paragraphs.
/// * Characters that change the direction of text or are not seen go: bidirectional marks, embeddings, overrides and
///   isolates, zero-width spaces, soft hyphens, invisible operators, tags. Joiners (U+200C, U+200D) stay between two
///   characters beyond ASCII, where scripts and emoji need them.
///
/// Cleaning twice is cleaning once.
pub fn cleaned(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => skip_escape(&mut chars),
            '\u{9b}' => skip_control_sequence(&mut chars),
            '\u{90}' | '\u{98}' | '\u{9d}' | '\u{9e}' | '\u{9f}' => skip_string(&mut chars),
            '\r' => {
                if chars.peek() != Some(&'\n') {
                    out.push('\n');
                }
            }
            '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || is_unseen(c) => {}
            c => out.push(c),
        }
    }
    without_stray_joiners(&out)
}

/// What follows ESC, by ECMA-48.
fn skip_escape(chars: &mut Peekable<Chars<'_>>) {
    match chars.peek() {
        Some('[') => {
            chars.next();
            skip_control_sequence(chars);
        }
        Some('P' | 'X' | ']' | '^' | '_') => {
            chars.next();
            skip_string(chars);
        }
        _ => {
            while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
            chars.next_if(|c| ('0'..='~').contains(c));
        }
    }
}

/// Parameters, intermediates and the final byte of a control sequence.
fn skip_control_sequence(chars: &mut Peekable<Chars<'_>>) {
    while chars.next_if(|c| ('0'..='?').contains(c)).is_some() {}
    while chars.next_if(|c| (' '..='/').contains(c)).is_some() {}
    chars.next_if(|c| ('@'..='~').contains(c));
}

/// A control string up to BEL or ST. Without either it must not swallow the notes: it ends with its line.
fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next_if(|c| !matches!(c, '\n' | '\r')) {
        match c {
            '\u{7}' | '\u{9c}' => return,
            '\u{1b}' if chars.next_if_eq(&'\\').is_some() => return,
            _ => {}
        }
    }
}

fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}' | '\u{200b}'
        | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

fn without_stray_joiners(text: &str) -> String {
    let is_joiner = |c: char| matches!(c, '\u{200c}' | '\u{200d}');
    let joins = |c: Option<char>| c.is_some_and(|c| !c.is_ascii() && !is_joiner(c));
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if !is_joiner(c) || (joins(out.chars().next_back()) && joins(chars.peek().copied())) {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escape_sequences_go_whole() {
        for (hostile, kept) in [
            ("a\x1b[31mred\x1b[0mb", "aredb"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\b", "alinkb"),
            ("a\x1bPq#0~\x1b\\b", "ab"),
            ("a\x1b(Bb\x1bcc\x1b7d", "abcd"),
            ("a\u{9b}2Jb\u{9d}x\u{9c}c", "abc"),
            ("a\x1b]no end\nb", "a\nb"),
            ("a\x1b[", "a"),
            ("a\x1b", "a"),
            ("a\x1b[3\x1b[31mb", "ab"),
            ("a\x08\x7f\0\u{84}b", "ab"),
        ] {
            assert_eq!(cleaned(hostile), kept, "{hostile:?}");
        }
    }

    #[test]
    fn text_that_hides_or_turns_is_straightened() {
        assert_eq!(cleaned("exe\u{202e}txt.\u{2066}x\u{2069}\u{200f}"), "exetxt.x");
        assert_eq!(cleaned("a\u{200b}b\u{feff}c\u{ad}d\u{2060}e\u{e0041}f"), "abcdef");
        assert_eq!(cleaned("one\r\ntwo\rthree\u{2028}four\tfive"), "one\ntwo\nthree\nfour\tfive");
    }

    #[test]
    fn people_who_do_not_write_in_ascii_can_read_theirs() {
        for text in
            ["می\u{200c}خواهم", "👨\u{200d}👩\u{200d}👧", "क्\u{200d}ष", "Größe – “naïve” 日本語 🇪🇺 ❤\u{fe0f}", "שלום"]
        {
            assert_eq!(cleaned(text), text);
        }
        assert_eq!(cleaned("a\u{200d}b\u{200c}\u{200d}é\u{200c}"), "abé");
    }

    proptest! {
        #[test]
        fn nothing_harmful_is_left_and_cleaning_twice_is_cleaning_once(
            text in "[a-c\\[\\]\\\\;0-9 \n\r\t\x00\x07\x1b\u{85}\u{9b}\u{9c}\u{9d}é\u{200b}-\u{200f}\u{202e}\u{2066}\u{feff}]{0,60}",
            other in any::<String>(),
        ) {
            for text in [text, other] {
                let once = cleaned(&text);
                prop_assert!(!once.chars().any(|c| (c.is_control() && c != '\n' && c != '\t') || is_unseen(c)));
                prop_assert_eq!(cleaned(&once), once);
            }
        }
    }
}
