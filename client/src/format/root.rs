//! The root document: whose signatures count, and how many.
//!
//! # Specification
//!
//! A signed document ([`super::signed`], [`super::document`]) of type `lamplighter-root,1`, at most 64 KiB.
//!
//! | record | meaning |
//! | --- | --- |
//! | `app,<id>` | the app: 1–128 of `A-Z a-z 0-9 . _ -` |
//! | `version,<n>` | version of this root, from 1 |
//! | `issued,<time>` `expires,<time>` | issued ≤ expires |
//! | `threshold,<role>,<n>` | distinct keys of `root`, `release`, `channel` that must sign; 1 ≤ n ≤ keys of the role |
//! | `key,root,<public key>` | a root key |
//! | `key,release,<public key>` | a release key |
//! | `key,channel,<public key>,<channel>` | a channel key and the channel it may sign, or `*` for all |
//!
//! Public keys are minisign's base64. MUST: no key stands twice in a role (for one channel); at most 64 keys.
//!
//! Version N+1 MUST be signed by the thresholds of the root roles of N and of N+1, and follow N by exactly one.
//!
//! # Example
//!
//! ```text
//! lamplighter-root,1
//! app,org.example.app
//! version,1
//! issued,2026-01-01T00:00:00Z
//! expires,2031-01-01T00:00:00Z
//! threshold,root,1
//! threshold,release,1
//! threshold,channel,1
//! key,root,RWQ…
//! key,release,RWQ…
//! key,channel,RWQ…,*
//! end
//! ```
//!
//! # Changelog
//!
//! * 1: first.

use super::document::{Body, BodyWriter, DocumentError, Record};
use super::signed::{PublicKey, SignedDocument};
use super::text::{Time, is_app_id, is_token};

/// Most bytes a root document may have, signatures included.
pub const ROOT_BYTES_MAX: u64 = 64 << 10;

/// First cell of the first line.
pub const TYPE: &str = "lamplighter-root";

const KEYS_MAX: usize = 64;

/// Keys and threshold of one role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// How many distinct keys must sign.
    pub threshold: u64,
    /// The keys.
    pub keys: Vec<PublicKey>,
}

impl Role {
    /// Whether enough of the role's keys signed `document`.
    pub fn accepts(&self, document: &SignedDocument) -> bool {
        self.threshold > 0 && document.count_signers(&self.keys) as u64 >= self.threshold
    }
}

/// A channel key and what it may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelKey {
    /// The key.
    pub key: PublicKey,
    /// A channel, or `*` for all.
    pub channel: String,
}

/// A root document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The app it speaks for.
    pub app: String,
    /// Its version, from 1.
    pub version: u64,
    /// When it was made.
    pub issued: Time,
    /// When it ends.
    pub expires: Time,
    /// Names the roles.
    pub root: Role,
    /// Authorises releases.
    pub release: Role,
    /// Distinct channel keys that must sign a head.
    pub channel_threshold: u64,
    /// Who may sign heads.
    pub channel: Vec<ChannelKey>,
}

impl Root {
    /// Parses the body of a root whose signatures are judged by the caller.
    ///
    /// # Errors
    /// Any rule of the specification broken.
    pub fn parse(body: &[u8]) -> Result<Self, DocumentError> {
        let body = Body::parse(body, TYPE, &["app", "version", "issued", "expires"], &["threshold", "key"])?;
        let channel: Result<Vec<_>, _> = body.all("key").filter(|r| r.text(0) == "channel").map(channel_key).collect();
        let root = Self {
            app: body.one("app")?.word(0, "an app id", is_app_id)?,
            version: body.one("version")?.number(0)?,
            issued: body.one("issued")?.time(0)?,
            expires: body.one("expires")?.time(0)?,
            root: role(&body, "root")?,
            release: role(&body, "release")?,
            channel_threshold: threshold(&body, "channel")?,
            channel: channel?,
        };
        root.check()?;
        Ok(root)
    }

    /// The body's bytes.
    pub fn to_body(&self) -> Vec<u8> {
        let mut out = BodyWriter::new(TYPE);
        out.push(&["app", &self.app]).push(&["version", &self.version.to_string()]);
        out.push(&["issued", &self.issued.to_string()]).push(&["expires", &self.expires.to_string()]);
        out.push(&["threshold", "root", &self.root.threshold.to_string()]);
        out.push(&["threshold", "release", &self.release.threshold.to_string()]);
        out.push(&["threshold", "channel", &self.channel_threshold.to_string()]);
        for key in &self.root.keys {
            out.push(&["key", "root", &key.to_base64()]);
        }
        for key in &self.release.keys {
            out.push(&["key", "release", &key.to_base64()]);
        }
        for key in &self.channel {
            out.push(&["key", "channel", &key.key.to_base64(), &key.channel]);
        }
        out.finish()
    }

    /// The role that signs heads of `channel`.
    pub fn channel_role(&self, channel: &str) -> Role {
        let bound = self.channel.iter().filter(|k| k.channel == "*" || k.channel == channel);
        Role { threshold: self.channel_threshold, keys: bound.map(|k| k.key.clone()).collect() }
    }

    fn check(&self) -> Result<(), DocumentError> {
        let rule = |text: &str| Err(DocumentError::Rule(text.to_owned()));
        if self.version == 0 {
            return rule("a root's version starts at 1");
        }
        if self.issued > self.expires {
            return rule("a root expires before it is issued");
        }
        if self.root.keys.len() + self.release.keys.len() + self.channel.len() > KEYS_MAX {
            return rule("a root names more than 64 keys");
        }
        let twice =
            |keys: &[PublicKey]| (1..keys.len()).any(|i| keys[..i].iter().any(|k| k.as_bytes() == keys[i].as_bytes()));
        let channel_twice = (1..self.channel.len()).any(|i| {
            let key = &self.channel[i];
            self.channel[..i].iter().any(|k| k.key.as_bytes() == key.key.as_bytes() && k.channel == key.channel)
        });
        if twice(&self.root.keys) || twice(&self.release.keys) || channel_twice {
            return rule("a root names a key twice in one role");
        }
        let roles = [
            (self.root.threshold, self.root.keys.len()),
            (self.release.threshold, self.release.keys.len()),
            (self.channel_threshold, self.channel.len()),
        ];
        if roles.iter().any(|(threshold, keys)| *threshold == 0 || *threshold > *keys as u64) {
            return rule("a root's threshold is zero or more than the role has keys");
        }
        Ok(())
    }
}

fn threshold(body: &Body, role: &'static str) -> Result<u64, DocumentError> {
    let mut records = body.all("threshold").filter(|r| r.text(0) == role);
    match (records.next(), records.next()) {
        (Some(record), None) => record.number(1),
        (None, _) => Err(DocumentError::Missing { key: "threshold" }),
        (_, Some(second)) => Err(second.error(0, "one threshold a role")),
    }
}

fn role(body: &Body, name: &'static str) -> Result<Role, DocumentError> {
    let keys: Result<Vec<_>, _> = body.all("key").filter(|r| r.text(0) == name).map(public_key).collect();
    Ok(Role { threshold: threshold(body, name)?, keys: keys? })
}

fn public_key(record: &Record) -> Result<PublicKey, DocumentError> {
    record.parse(1, "a minisign public key", |text| PublicKey::parse(text).ok())
}

fn channel_key(record: &Record) -> Result<ChannelKey, DocumentError> {
    let channel = record.word(2, "a channel, or *", |text| text == "*" || is_token(text))?;
    Ok(ChannelKey { key: public_key(record)?, channel })
}

#[cfg(test)]
pub(crate) mod testing {
    //! Roots for the tests of this crate.
    use super::super::signed::testing::TestKey;
    use super::*;

    /// A root of app `org.example.app`, one key a role: seeds 1 (root), 2 (release), 3 (channel, all).
    pub(crate) fn root(version: u64) -> Root {
        let role = |seed| Role { threshold: 1, keys: vec![TestKey::new(seed).public()] };
        Root {
            app: "org.example.app".into(),
            version,
            issued: Time::from_seconds(1_000_000),
            expires: Time::from_seconds(900_000_000),
            root: role(1),
            release: role(2),
            channel_threshold: 1,
            channel: vec![ChannelKey { key: TestKey::new(3).public(), channel: "*".into() }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::root;
    use super::*;

    #[test]
    fn written_and_read_back() {
        let mut root = root(3);
        root.channel.push(ChannelKey { key: root.root.keys[0].clone(), channel: "beta".into() });
        assert_eq!(Root::parse(&root.to_body()), Ok(root.clone()));
        assert_eq!(root.channel_role("beta").keys.len(), 2);
        assert_eq!(root.channel_role("stable").keys.len(), 1);
    }

    #[test]
    fn rules_hold() {
        let broken = |change: fn(&mut Root)| {
            let mut root = root(1);
            change(&mut root);
            Root::parse(&root.to_body()).is_err()
        };
        assert!(!broken(|_| ()));
        assert!(broken(|r| r.version = 0));
        assert!(broken(|r| r.expires = r.issued.plus(-1)));
        assert!(broken(|r| r.root.threshold = 0));
        assert!(broken(|r| r.release.threshold = 2));
        assert!(broken(|r| r.root.keys.push(r.root.keys[0].clone())));
        assert!(broken(|r| r.channel.push(r.channel[0].clone())));
        assert!(broken(|r| r.channel.clear()));
        assert!(broken(|r| r.app = "a/b".into()));
        assert!(broken(|r| r.channel[0].channel = "A B".into()));
    }
}
