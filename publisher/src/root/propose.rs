//! The body of the next root: what changes, and that the outcome can still be signed.

use std::path::{Path, PathBuf};

use lamplighter_client::format::root::{ChannelKey, Root};
use lamplighter_client::format::signed::PublicKey;
use lamplighter_client::format::text::{Time, is_token, number};

use super::{RootError, role};
use crate::init::days_in_seconds;
use crate::sign::{Role, ids, read_public};

/// Whose key it is: a role, and for channel keys the channel or `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The role.
    pub role: Role,
    /// The channel a channel key may sign; none where it is not said.
    pub channel: Option<String>,
}

impl Place {
    /// `root`, `release`, `channel` or `channel:NAME`.
    fn parse(text: &str) -> Option<Self> {
        let (name, channel) = text.split_once(':').map_or((text, None), |(name, channel)| (name, Some(channel)));
        let role = Role::parse(name)?;
        let bound = channel.is_none_or(|channel| role == Role::Channel && (channel == "*" || is_token(channel)));
        bound.then(|| Self { role, channel: channel.map(str::to_owned) })
    }

    fn name(&self) -> String {
        match &self.channel {
            Some(channel) => format!("{}:{channel}", self.role),
            None => self.role.to_string(),
        }
    }
}

/// A key to be removed: itself, or the id people see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyName {
    /// The key.
    Key(PublicKey),
    /// Its id, as minisign shows it.
    Id(String),
}

impl KeyName {
    fn names(&self, key: &PublicKey) -> bool {
        match self {
            KeyName::Key(wanted) => wanted.as_bytes() == key.as_bytes(),
            KeyName::Id(id) => *id == key.id_hex(),
        }
    }

    fn text(&self) -> String {
        match self {
            KeyName::Key(key) => key.id_hex(),
            KeyName::Id(id) => id.clone(),
        }
    }
}

/// How the next root differs from the newest.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Keys to remove, before any is added.
    pub remove: Vec<(Place, KeyName)>,
    /// Keys to add.
    pub add: Vec<(Place, PublicKey)>,
    /// Thresholds to set.
    pub thresholds: Vec<(Role, u64)>,
}

impl Changes {
    /// Reads `ROLE=KEY`, `ROLE=KEY|ID` and `ROLE=N` as the flags of `publisher root propose` give them. A key is minisign's
    /// base64 or the name of a `.pub` file.
    ///
    /// # Errors
    /// The first that is malformed; weak keys are.
    pub fn parse(add: &[String], remove: &[String], thresholds: &[String]) -> Result<Self, RootError> {
        let mut changes = Self::default();
        for text in remove {
            let (place, value) = split("remove-key", text)?;
            let id = value.len() == 16 && value.bytes().all(|b| b.is_ascii_hexdigit());
            let name =
                if id { KeyName::Id(value.to_uppercase()) } else { KeyName::Key(key("remove-key", text, value)?) };
            changes.remove.push((place, name));
        }
        for text in add {
            let (place, value) = split("add-key", text)?;
            changes.add.push((place, key("add-key", text, value)?));
        }
        for text in thresholds {
            let bad = || argument("threshold", text, "ROLE=N, with ROLE root, release or channel and N from 1");
            let (place, value) = text.split_once('=').ok_or_else(bad)?;
            let role = Role::parse(place).ok_or_else(bad)?;
            changes.thresholds.push((role, number(value).filter(|n| *n > 0).ok_or_else(bad)?));
        }
        Ok(changes)
    }
}

fn split<'a>(flag: &'static str, text: &'a str) -> Result<(Place, &'a str), RootError> {
    let expected = "ROLE=KEY, with ROLE root, release, channel or channel:NAME";
    let (place, value) = text.split_once('=').ok_or_else(|| argument(flag, text, expected))?;
    Ok((Place::parse(place).ok_or_else(|| argument(flag, text, expected))?, value))
}

fn key(flag: &'static str, text: &str, value: &str) -> Result<PublicKey, RootError> {
    let refused = match PublicKey::parse(value) {
        Ok(key) => return Ok(key),
        Err(refused) => refused,
    };
    let file = Path::new(value);
    if !file.exists() {
        return Err(argument(flag, text, &format!("a minisign public key or its .pub file ({refused})")));
    }
    read_public(file).map_err(|e| argument(flag, text, &e.to_string()))
}

fn argument(flag: &'static str, text: &str, expected: &str) -> RootError {
    RootError::Argument { flag, text: text.to_owned(), expected: expected.to_owned() }
}

/// The root after `newest`.
///
/// `channels` are those that have a head: enough keys must stay for each.
///
/// # Errors
/// A key added twice, or removed where it is not; a threshold nobody could meet; more keys than the format allows.
pub fn next(
    newest: &Root,
    changes: &Changes,
    channels: &[String],
    time: Time,
    expires_days: u64,
) -> Result<Root, RootError> {
    let mut root = newest.clone();
    root.version += 1;
    // A clock that went back must not make a root that was issued before its predecessor.
    root.issued = time.max(newest.issued);
    root.expires = root.issued.plus(days_in_seconds(expires_days));
    changes.remove.iter().try_for_each(|(place, name)| remove(&mut root, newest, place, name))?;
    changes.add.iter().try_for_each(|(place, key)| add(&mut root, place, key))?;
    for (kind, threshold) in &changes.thresholds {
        match kind {
            Role::Root => root.root.threshold = *threshold,
            Role::Release => root.release.threshold = *threshold,
            Role::Channel => root.channel_threshold = *threshold,
        }
    }
    let root = checked(root)?;
    for channel in channels {
        let role = root.channel_role(channel);
        require(&format!("channel:{channel}"), role.threshold, distinct(&role.keys))?;
    }
    Ok(root)
}

/// `root` as readers of the format see it.
///
/// # Errors
/// A threshold nobody could meet; another rule of the format broken.
pub fn checked(root: Root) -> Result<Root, RootError> {
    for kind in Role::ALL {
        let role = role(&root, kind);
        require(kind.name(), role.threshold, distinct(&role.keys))?;
    }
    Root::parse(&root.to_body()).map_err(RootError::Rule)
}

fn remove(root: &mut Root, newest: &Root, place: &Place, name: &KeyName) -> Result<(), RootError> {
    let before = role(root, place.role).keys;
    match place.role {
        Role::Root => root.root.keys.retain(|key| !name.names(key)),
        Role::Release => root.release.keys.retain(|key| !name.names(key)),
        Role::Channel => root
            .channel
            .retain(|k| !(name.names(&k.key) && place.channel.as_ref().is_none_or(|channel| *channel == k.channel))),
    }
    if role(root, place.role).keys.len() < before.len() {
        return Ok(());
    }
    let (version, known) = (newest.version, ids(&before));
    Err(RootError::NoSuchKey { role: place.name(), key: name.text(), version, known })
}

fn add(root: &mut Root, place: &Place, key: &PublicKey) -> Result<(), RootError> {
    let same = |k: &PublicKey| k.as_bytes() == key.as_bytes();
    let channel = place.channel.as_deref().unwrap_or("*");
    let there = match place.role {
        // A key for all channels and for one of them would be listed twice for that one.
        Role::Channel => root.channel.iter().any(|k| same(&k.key) && (k.channel == channel || k.channel == "*")),
        other => role(root, other).keys.iter().any(same),
    };
    if there {
        return Err(RootError::Duplicate { role: place.name(), key: key.id_hex() });
    }
    match place.role {
        Role::Root => root.root.keys.push(key.clone()),
        Role::Release => root.release.keys.push(key.clone()),
        Role::Channel => root.channel.push(ChannelKey { key: key.clone(), channel: channel.to_owned() }),
    }
    Ok(())
}

fn require(role: &str, threshold: u64, keys: usize) -> Result<(), RootError> {
    if threshold > 0 && threshold <= keys as u64 {
        return Ok(());
    }
    Err(RootError::Threshold { role: role.to_owned(), threshold, keys })
}

fn distinct(keys: &[PublicKey]) -> usize {
    (0..keys.len()).filter(|i| !keys[..*i].iter().any(|k| k.as_bytes() == keys[*i].as_bytes())).count()
}

/// Writes the body of `root` to `file`, which must not exist.
///
/// # Errors
/// The file exists; the disk.
pub fn write(root: &Root, file: PathBuf) -> Result<PathBuf, RootError> {
    use std::io::Write;
    let created = std::fs::File::options().write(true).create_new(true).open(&file);
    let written = created.and_then(|mut f| f.write_all(&root.to_body()).and_then(|()| f.sync_all()));
    match written {
        Ok(()) => Ok(file),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Err(RootError::Exists { file }),
        Err(source) => Err(RootError::Write { file, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::root::Role as RootRole;
    use proptest::prelude::*;

    fn public(seed: u8) -> PublicKey {
        let key = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
        PublicKey::new([seed; 8], key.verifying_key().as_bytes()).expect("a good key")
    }

    fn root() -> Root {
        let role = |seed| RootRole { threshold: 1, keys: vec![public(seed)] };
        Root {
            app: "app".to_owned(),
            version: 4,
            issued: Time::from_seconds(1000),
            expires: Time::from_seconds(2000),
            root: role(1),
            release: role(2),
            channel_threshold: 1,
            channel: vec![ChannelKey { key: public(3), channel: "*".to_owned() }],
        }
    }

    fn flags(add: &[String], remove: &[String], thresholds: &[&str]) -> Result<Root, RootError> {
        let thresholds: Vec<String> = thresholds.iter().map(|t| (*t).to_owned()).collect();
        let changes = Changes::parse(add, remove, &thresholds)?;
        next(&root(), &changes, &["stable".to_owned(), "beta".to_owned()], Time::from_seconds(1500), 10)
    }

    fn set(place: &str, seed: u8) -> Vec<String> {
        vec![format!("{place}={}", public(seed).to_base64())]
    }

    #[test]
    fn keys_are_rotated_extended_and_bound() {
        let next = flags(&set("release", 9), &set("release", 2), &[]).expect("a rotation");
        assert_eq!((next.version, next.issued.seconds(), next.expires.seconds()), (5, 1500, 1500 + 864_000));
        assert_eq!(next.release.keys, [public(9)]);
        let id = vec![format!("channel={}", public(3).id_hex())];
        let more = [set("channel:beta", 7), set("channel:stable", 8)].concat();
        let next = flags(&more, &id, &[]).expect("two channels with a key each");
        assert_eq!(next.channel_role("beta").keys, [public(7)]);
        let next = flags(&set("root", 5), &[], &["root=2"]).expect("two of two");
        assert_eq!((next.root.threshold, next.root.keys.len()), (2, 2));
        assert!(flags(&[], &[], &[]).is_ok(), "a new date alone is a change");
    }

    #[test]
    fn what_could_not_be_signed_is_refused() {
        assert!(matches!(flags(&set("release", 2), &[], &[]), Err(RootError::Duplicate { .. })));
        assert!(matches!(flags(&set("channel:beta", 3), &[], &[]), Err(RootError::Duplicate { .. })));
        assert!(matches!(flags(&[], &set("release", 3), &[]), Err(RootError::NoSuchKey { .. })));
        assert!(matches!(flags(&[], &set("channel:beta", 3), &[]), Err(RootError::NoSuchKey { .. })));
        assert!(matches!(flags(&[], &set("root", 1), &[]), Err(RootError::Threshold { keys: 0, .. })));
        assert!(matches!(flags(&[], &[], &["release=2"]), Err(RootError::Threshold { threshold: 2, keys: 1, .. })));
        // Two keys, but only one of them may sign what is there.
        let bound = flags(&set("channel:nightly", 7), &[], &["channel=2"]);
        assert!(matches!(bound, Err(RootError::Threshold { role, .. }) if role == "channel:stable"));
        let many: Vec<String> = (10..80).flat_map(|seed| set("release", seed)).collect();
        assert!(matches!(flags(&many, &[], &[]), Err(RootError::Rule(_))));
    }

    #[test]
    fn malformed_flags_are_named() {
        let weak = format!("release={}", {
            use base64::prelude::{BASE64_STANDARD, Engine};
            let mut bytes = [0; 42];
            bytes[..2].copy_from_slice(b"Ed");
            bytes[10] = 1;
            BASE64_STANDARD.encode(bytes)
        });
        for bad in ["", "release", "other=x", "release:beta=x", "channel:A B=x", "release=none.pub", &weak] {
            let error = flags(&[bad.to_owned()], &[], &[]).expect_err(bad).to_string();
            assert!(error.contains("--add-key"), "{error}");
        }
        assert!(flags(&[weak], &[], &[]).expect_err("weak").to_string().contains("small order"));
        for bad in ["root", "root=0", "root=-1", "root=x", "channel:beta=1"] {
            assert!(matches!(flags(&[], &[], &[bad]), Err(RootError::Argument { flag: "threshold", .. })), "{bad}");
        }
    }

    proptest! {
        /// Whatever is asked for: a root that comes out is the next one, and every role of it can be signed.
        #[test]
        fn a_proposal_is_never_a_dead_end(
            add in prop::collection::vec((0usize..4, 1u8..9), 0..6),
            remove in prop::collection::vec((0usize..4, 1u8..9), 0..4),
            thresholds in prop::collection::vec((0usize..3, 1u64..4), 0..3),
        ) {
            let places = ["root", "release", "channel", "channel:beta"];
            let texts = |keys: &[(usize, u8)]| keys.iter().flat_map(|(p, s)| set(places[*p], *s)).collect::<Vec<_>>();
            let thresholds: Vec<String> = thresholds.iter().map(|(p, n)| format!("{}={n}", places[*p])).collect();
            let thresholds: Vec<&str> = thresholds.iter().map(String::as_str).collect();
            if let Ok(next) = flags(&texts(&add), &texts(&remove), &thresholds) {
                prop_assert_eq!(next.version, 5);
                let channels = ["stable", "beta"].map(|c| next.channel_role(c));
                for role in [next.root.clone(), next.release.clone()].iter().chain(&channels) {
                    prop_assert!(role.threshold > 0 && distinct(&role.keys) as u64 >= role.threshold);
                }
                prop_assert_eq!(Root::parse(&next.to_body()), Ok(next));
            }
        }
    }
}
