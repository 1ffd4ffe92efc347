//! Documents of a history: what they say and who signed them, as bytes for the client and as facts for somebody else.

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::{Head, HeadRelease};
use lamplighter_client::format::release::Release;
use lamplighter_client::format::root::{ChannelKey, Role, Root};
use lamplighter_client::format::text::Time;
use serde_json::{Value, json};

use crate::keys::{Key, publics, signed};
pub(crate) use crate::plain::{APP, PLATFORM};
use crate::plain::{plain_head, plain_release};

pub(crate) const CHANNEL: &str = "stable";

/// Keys, by seed, and how many must sign.
#[derive(Clone, PartialEq)]
pub(crate) struct Keys {
    pub(crate) threshold: u64,
    pub(crate) seeds: Vec<u8>,
}

impl Keys {
    fn role(&self) -> Role {
        Role { threshold: self.threshold, keys: publics(&self.seeds) }
    }

    fn json(&self) -> Value {
        json!({"threshold": self.threshold, "keys": self.seeds})
    }
}

#[derive(Clone)]
pub(crate) struct RootFacts {
    pub(crate) app: &'static str,
    pub(crate) version: u64,
    pub(crate) expires: i64,
    pub(crate) root: Keys,
    pub(crate) release: Keys,
    pub(crate) channel_threshold: u64,
    /// A key and the channel it is bound to, or `*`.
    pub(crate) channel: Vec<(u8, &'static str)>,
    pub(crate) signers: Vec<u8>,
    /// Its second half is missing.
    pub(crate) cut: bool,
}

impl RootFacts {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let channel = self
            .channel
            .iter()
            .map(|(seed, channel)| ChannelKey { key: Key::new(*seed).public(), channel: (*channel).into() });
        let root = Root {
            app: self.app.into(),
            version: self.version,
            issued: Time::from_seconds(0),
            expires: Time::from_seconds(self.expires),
            root: self.root.role(),
            release: self.release.role(),
            channel_threshold: self.channel_threshold,
            channel: channel.collect(),
        };
        halved(signed(root.to_body(), &self.signers), self.cut)
    }

    /// The keys that may sign heads of the channel that is followed.
    pub(crate) fn channel_keys(&self) -> Keys {
        let bound = self.channel.iter().filter(|(_, channel)| *channel == "*" || *channel == CHANNEL);
        Keys { threshold: self.channel_threshold, seeds: bound.map(|(seed, _)| *seed).collect() }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "app": self.app, "version": self.version, "expires": self.expires, "root": self.root.json(),
            "release": self.release.json(), "channel": self.channel_keys().json(), "channel_keys": self.channel.len(),
            "signers": self.signers, "cut": self.cut,
        })
    }
}

#[derive(Clone)]
pub(crate) struct HeadFacts {
    pub(crate) app: &'static str,
    pub(crate) channel: &'static str,
    pub(crate) sequence: u64,
    pub(crate) issued: i64,
    pub(crate) expires: i64,
    pub(crate) root: u64,
    pub(crate) build: u64,
    /// Index of the release it names by length and digest.
    pub(crate) release: usize,
    pub(crate) halted: bool,
    pub(crate) bad: bool,
    pub(crate) signers: Vec<u8>,
}

impl HeadFacts {
    pub(crate) fn bytes(&self, releases: &[ReleaseFacts]) -> Vec<u8> {
        let offered = HeadRelease {
            platform: PLATFORM.into(),
            build: self.build,
            version: format!("1.{}", self.build),
            file: FileRef::of(&releases[self.release].bytes()),
        };
        let head = Head {
            app: self.app.into(),
            channel: self.channel.into(),
            expires: Time::from_seconds(self.expires),
            root_version: self.root,
            releases: vec![offered],
            halts: if self.halted { vec!["*".into()] } else { Vec::new() },
            bad_builds: if self.bad { vec![("*".into(), self.build)] } else { Vec::new() },
            ..plain_head(self.sequence, Time::from_seconds(self.issued))
        };
        signed(head.to_body(), &self.signers)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "app": self.app, "channel": self.channel, "sequence": self.sequence, "issued": self.issued,
            "expires": self.expires, "root": self.root, "build": self.build, "release": self.release,
            "halted": self.halted, "bad": self.bad, "signers": self.signers,
        })
    }
}

#[derive(Clone)]
pub(crate) struct ReleaseFacts {
    pub(crate) app: &'static str,
    pub(crate) platform: &'static str,
    pub(crate) build: u64,
    pub(crate) minimum: u64,
    /// Stands for its whole content.
    pub(crate) content: u64,
    pub(crate) signers: Vec<u8>,
}

impl ReleaseFacts {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let file = FileRef { length: 1, blake3: Blake3::of(&self.content.to_le_bytes()) };
        let release = Release {
            app: self.app.into(),
            platform: self.platform.into(),
            version: format!("1.{}", self.build),
            minimum_build: self.minimum,
            ..plain_release(self.build, Time::from_seconds(0), file)
        };
        signed(release.to_body(), &self.signers)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "app": self.app, "platform": self.platform, "build": self.build, "minimum": self.minimum,
            "content": self.content, "signers": self.signers,
        })
    }
}

/// All of `bytes`, or the first half.
pub(crate) fn halved(mut bytes: Vec<u8>, cut: bool) -> Vec<u8> {
    bytes.truncate(if cut { bytes.len() / 2 } else { bytes.len() });
    bytes
}
