//! What a client remembers of what it has believed.
//!
//! # Specification
//!
//! A text document ([`crate::format::document`]) of type `lamplighter-state,1` in the state directory, followed by one line
//! `blake3,<digest of everything before it>` that detects damage. It is data, never authority: without it a client loses
//! freshness, never the floor.
//!
//! | record | meaning |
//! | --- | --- |
//! | `secret,<32 hexadecimal digits>` | the private rollout secret |
//! | `walked,<time>` | when the end of the chain of roots was last seen |
//! | `root,<base64 of a whole root document>` | roots after the pinned one, in order |
//! | `mirror,<url>` | mirrors the last accepted head named |
//! | `channel,<name>,<sequence>,<issued>,<blake3 of the head's body>,<highest build>,<root version>` | last accepted head |
//!
//! # Changelog
//!
//! * 1: first.

use base64::prelude::{BASE64_STANDARD, Engine};

use super::{ChannelState, TrustState};
use crate::format::digest::Blake3;
use crate::format::document::{Body, BodyWriter, DocumentError, Record};
use crate::format::text::{TextError, is_token};

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-state";

/// Parses the document.
///
/// # Errors
/// A digest that does not match, or any rule of the specification broken.
pub fn parse(bytes: &[u8]) -> Result<TrustState, DocumentError> {
    const TRAILER_BYTES: usize = "blake3,".len() + 64 + 1;
    let (body, trailer) = bytes.split_at(bytes.len().saturating_sub(TRAILER_BYTES));
    let expected = format!("blake3,{}\n", Blake3::of(body));
    if trailer != expected.as_bytes() {
        let found = String::from_utf8_lossy(trailer);
        return Err(TextError::new(0, expected.trim_end(), found.trim_end()).into());
    }
    let body = Body::parse(body, TYPE, &["secret", "walked"], &["root", "mirror", "channel"])?;
    let roots: Result<Vec<_>, _> =
        body.all("root").map(|r| r.parse(0, "base64", |text| BASE64_STANDARD.decode(text).ok())).collect();
    let channels: Result<_, DocumentError> = body.all("channel").map(channel).collect();
    Ok(TrustState {
        roots: roots?,
        roots_walked: body.optional("walked").map(|r| r.time(0)).transpose()?,
        channels: channels?,
        mirrors: body.all("mirror").map(|r| r.text(0).to_owned()).collect(),
        rollout_secret: body.one("secret")?.parse(0, "32 hexadecimal digits", secret)?,
    })
}

/// The document's bytes.
pub fn to_bytes(state: &TrustState) -> Vec<u8> {
    let mut out = BodyWriter::new(TYPE);
    out.push(&["secret", &state.rollout_secret.iter().map(|b| format!("{b:02x}")).collect::<String>()]);
    if let Some(walked) = state.roots_walked {
        out.push(&["walked", &walked.to_string()]);
    }
    for root in &state.roots {
        out.push(&["root", &BASE64_STANDARD.encode(root)]);
    }
    for mirror in &state.mirrors {
        out.push(&["mirror", mirror]);
    }
    for (name, channel) in &state.channels {
        let numbers = [channel.sequence, channel.highest_build, channel.root_version].map(|n| n.to_string());
        let (issued, body) = (channel.issued.to_string(), channel.body.to_string());
        out.push(&["channel", name, &numbers[0], &issued, &body, &numbers[1], &numbers[2]]);
    }
    let mut bytes = out.finish();
    let digest = Blake3::of(&bytes);
    bytes.extend(format!("blake3,{digest}\n").bytes());
    bytes
}

fn secret(text: &str) -> Option<[u8; 16]> {
    let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let byte = |i: usize| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap_or_default();
    digits.then(|| std::array::from_fn(byte))
}

fn channel(record: &Record) -> Result<(String, ChannelState), DocumentError> {
    let state = ChannelState {
        sequence: record.number(1)?,
        issued: record.time(2)?,
        body: record.parse(3, "a BLAKE3", |text| text.parse().ok())?,
        highest_build: record.number(4)?,
        root_version: record.number(5)?,
    };
    Ok((record.word(0, "a channel", is_token)?, state))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::text::Time;

    #[test]
    fn written_and_read_back_and_damage_is_noticed() {
        let mut state = TrustState { rollout_secret: [7; 16], ..TrustState::default() };
        state.roots = vec![b"root".to_vec()];
        state.roots_walked = Some(Time::from_seconds(5));
        state.mirrors = vec!["https://m.example/a,b".into(), "http://n.example".into()];
        let channel = ChannelState {
            sequence: 1,
            issued: Time::from_seconds(2),
            body: Blake3::of(b""),
            highest_build: 3,
            root_version: 4,
        };
        state.channels.insert("stable".into(), channel);
        let bytes = to_bytes(&state);
        assert_eq!(parse(&bytes), Ok(state));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(parse(&damaged).is_err(), "byte {at}");
            assert!(parse(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}
