//! The signed documents of a site, verified before anything in them is believed.

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::{HEAD_BYTES_MAX, Head};
use lamplighter_client::format::layout;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::release::{RELEASE_BYTES_MAX, Release};
use lamplighter_client::format::root::{ROOT_BYTES_MAX, Role, Root};
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use lamplighter_client::trust::VerifiedRelease;

use super::{Site, SiteError};

/// The root chain of a site, every step verified.
#[derive(Debug, Clone)]
pub struct Trust {
    roots: Vec<Root>,
    documents: Vec<Vec<u8>>,
}

/// A verified head and its bytes.
#[derive(Debug, Clone)]
pub struct SignedHead {
    /// What it says.
    pub head: Head,
    /// The file.
    pub bytes: Vec<u8>,
    /// Whether the newest root accepts it; else a root before does.
    pub current: bool,
}

impl Trust {
    /// Walks `root/1.root`, `root/2.root` … and verifies each step.
    ///
    /// # Errors
    /// A root that is malformed, speaks of another app than the one before, or is not signed as the chain asks.
    pub fn read(site: &Site) -> Result<Self, SiteError> {
        let mut roots: Vec<Root> = Vec::new();
        let mut documents = Vec::new();
        loop {
            let version = roots.len() as u64 + 1;
            let name = layout::root(version);
            let Some(bytes) = site.read(&name, ROOT_BYTES_MAX)? else { break };
            let document = split(&name, &bytes, ROOT_BYTES_MAX)?;
            // A root speaks of its own keys, so its body is read before its signatures can be judged. It is believed
            // only if the one before it says so too; the first is what clients carry.
            let root = Root::parse(&document.body).map_err(|e| SiteError::damaged(&name, e))?;
            require(&name, "its own root role", &root.root, &document)?;
            if let Some(last) = roots.last() {
                require(&name, &format!("root version {}", last.version), &last.root, &document)?;
                if last.app != root.app {
                    let detail = format!("expected app {}, found {}", last.app, root.app);
                    return Err(SiteError::damaged(&name, detail));
                }
            }
            if root.version != version {
                let detail = format!("expected version {version}, found {}", root.version);
                return Err(SiteError::damaged(&name, detail));
            }
            roots.push(root);
            documents.push(bytes);
        }
        if roots.is_empty() {
            let found = "nothing of that name".to_owned();
            return Err(SiteError::NotASite { dir: site.dir().to_owned(), found });
        }
        Ok(Self { roots, documents })
    }

    /// The newest root.
    pub fn root(&self) -> &Root {
        // `read` makes no empty chain.
        &self.roots[self.roots.len() - 1]
    }

    /// All roots, from the first to the newest.
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The first root and those after it, as they lie in the site.
    pub fn documents(&self) -> (&[u8], &[Vec<u8>]) {
        // `read` makes no empty chain.
        (&self.documents[0], &self.documents[1..])
    }

    /// Checks that the site belongs to `app`.
    ///
    /// # Errors
    /// It does not.
    pub fn require_app(&self, site: &Site, app: &str) -> Result<(), SiteError> {
        let found = &self.root().app;
        if found == app {
            return Ok(());
        }
        let (expected, found) = (app.to_owned(), found.clone());
        Err(SiteError::OtherApp { dir: site.dir().to_owned(), expected, found })
    }

    /// Checks that clients still believe the newest root at `time`.
    ///
    /// # Errors
    /// It has expired.
    pub fn require_fresh(&self, time: Time) -> Result<(), SiteError> {
        let root = self.root();
        if time <= root.expires {
            return Ok(());
        }
        Err(SiteError::RootExpired { version: root.version, expired: root.expires.to_string() })
    }

    /// The head of `channel`, or none where it has none yet. An expired one is still what the channel says.
    ///
    /// # Errors
    /// It is malformed, not signed by the channel's keys, or another app's or channel's.
    pub fn head(&self, site: &Site, channel: &str) -> Result<Option<SignedHead>, SiteError> {
        let bytes = site.read(&layout::head(channel), HEAD_BYTES_MAX)?;
        bytes.map(|bytes| self.check_head(channel, bytes)).transpose()
    }

    /// As [`Trust::head`], if any root of the chain accepts it: what the next head is made from, when keys were replaced.
    ///
    /// # Errors
    /// Those of [`Trust::head`].
    pub fn last_head(&self, site: &Site, channel: &str) -> Result<Option<SignedHead>, SiteError> {
        let bytes = site.read(&layout::head(channel), HEAD_BYTES_MAX)?;
        bytes.map(|bytes| self.check_last_head(channel, bytes)).transpose()
    }

    /// Verifies `bytes`, the content of the head of `channel`.
    ///
    /// # Errors
    /// Those of [`Trust::head`].
    pub fn check_head(&self, channel: &str, bytes: Vec<u8>) -> Result<SignedHead, SiteError> {
        head_under(self.root(), channel, bytes)
    }

    /// As [`Trust::check_head`], if any root of the chain accepts it.
    ///
    /// What replaced keys said of sequence and time binds nobody: clients forgot both with the keys. So absurd values do not
    /// reach the next head: a time after the newest root's, a sequence beyond 2⁵².
    ///
    /// # Errors
    /// Those of [`Trust::head`].
    pub fn check_last_head(&self, channel: &str, bytes: Vec<u8>) -> Result<SignedHead, SiteError> {
        const SEQUENCE_MAX: u64 = 1 << 52;
        let newest = match self.check_head(channel, bytes.clone()) {
            Err(error @ SiteError::NotTrusted { .. }) => error,
            head => return head,
        };
        let before = self.roots.iter().rev().skip(1);
        let past = before.filter_map(|root| head_under(root, channel, bytes.clone()).ok()).next();
        let mut signed = past.ok_or(newest)?;
        signed.current = false;
        signed.head.issued = signed.head.issued.min(self.root().issued);
        signed.head.sequence = if signed.head.sequence < SEQUENCE_MAX { signed.head.sequence } else { 0 };
        Ok(signed)
    }

    /// The release of `build` on `platform`, or none where there is none, if the newest root accepts it: one that may be
    /// offered.
    ///
    /// # Errors
    /// It is malformed, not signed by the release role, or another app's, platform's or build's.
    pub fn release(&self, site: &Site, build: u64, platform: &str) -> Result<Option<VerifiedRelease>, SiteError> {
        let name = layout::release(build, platform);
        site.checked(&name, RELEASE_BYTES_MAX, |bytes| self.check_release(&name, bytes, build, platform))
    }

    /// As [`Trust::release`], if any root of the chain accepts it: what was installed before keys were replaced stays
    /// installed, and is what updates start from.
    ///
    /// # Errors
    /// Those of [`Trust::release`].
    pub fn past_release(&self, site: &Site, build: u64, platform: &str) -> Result<Option<VerifiedRelease>, SiteError> {
        let name = layout::release(build, platform);
        site.checked(&name, RELEASE_BYTES_MAX, |bytes| {
            let document = split(&name, &bytes, RELEASE_BYTES_MAX)?;
            let accepting = self.roots.iter().rev().find(|root| root.release.accepts(&document));
            check_release(accepting.unwrap_or(self.root()), &name, bytes, build, platform)
        })
    }

    /// Verifies `bytes`, the content of the release file `name`, under the newest root.
    ///
    /// # Errors
    /// Those of [`Trust::release`].
    pub fn check_release(
        &self,
        name: &str,
        bytes: Vec<u8>,
        build: u64,
        platform: &str,
    ) -> Result<VerifiedRelease, SiteError> {
        let past = |bytes: &[u8]| {
            let document = SignedDocument::split(bytes, RELEASE_BYTES_MAX).ok()?;
            self.roots.iter().rev().skip(1).find(|root| root.release.accepts(&document)).map(|root| root.version)
        };
        let signed_before = if self.roots.len() > 1 { past(&bytes) } else { None };
        check_release(self.root(), name, bytes, build, platform).map_err(|error| match (error, signed_before) {
            (SiteError::NotTrusted { name, by, .. }, Some(version)) => {
                SiteError::KeysReplaced { name, by, version, build, platform: platform.to_owned() }
            }
            (error, _) => error,
        })
    }
}

fn head_under(root: &Root, channel: &str, bytes: Vec<u8>) -> Result<SignedHead, SiteError> {
    let name = layout::head(channel);
    let document = split(&name, &bytes, HEAD_BYTES_MAX)?;
    require(&name, &format!("root version {}", root.version), &root.channel_role(channel), &document)?;
    let head = Head::parse(&document.body).map_err(|e| SiteError::damaged(&name, e))?;
    if (head.app.as_str(), head.channel.as_str()) != (root.app.as_str(), channel) {
        let detail =
            format!("expected app {} and channel {channel}, found {} and {}", root.app, head.app, head.channel);
        return Err(SiteError::damaged(&name, detail));
    }
    Ok(SignedHead { head, bytes, current: true })
}

fn check_release(
    root: &Root,
    name: &str,
    bytes: Vec<u8>,
    build: u64,
    platform: &str,
) -> Result<VerifiedRelease, SiteError> {
    let document = split(name, &bytes, RELEASE_BYTES_MAX)?;
    require(name, &format!("root version {}", root.version), &root.release, &document)?;
    let release = Release::parse(&document.body).map_err(|e| SiteError::damaged(name, e))?;
    let expected = format!("app {}, {platform}, build {build}", root.app);
    let found = format!("app {}, {}, build {}", release.app, release.platform, release.build);
    if found != expected {
        return Err(SiteError::damaged(name, format!("expected {expected}, found {found}")));
    }
    Ok(VerifiedRelease { bytes, release })
}

/// The manifest `release` names.
///
/// # Errors
/// It is missing, or not the one that was signed.
pub fn manifest(site: &Site, release: &Release) -> Result<Manifest, SiteError> {
    let name = layout::manifest(release.build, &release.platform);
    let bytes = named(site, &name, &release.manifest)?;
    Manifest::parse(&bytes).map_err(|e| SiteError::damaged(&name, e))
}

/// Reads the file `name`, which must be `file`.
///
/// # Errors
/// It is missing or has other bytes.
pub fn named(site: &Site, name: &str, file: &FileRef) -> Result<Vec<u8>, SiteError> {
    let check = |bytes: Vec<u8>| {
        let found = FileRef::of(&bytes);
        if found == *file {
            return Ok(bytes);
        }
        let detail = format!(
            "expected {} bytes with BLAKE3 {}, found {} with {}",
            file.length, file.blake3, found.length, found.blake3
        );
        Err(SiteError::damaged(name, detail))
    };
    site.checked(name, file.length, check)?.ok_or_else(|| SiteError::damaged(name, "it is missing"))
}

fn split(name: &str, bytes: &[u8], cap_bytes: u64) -> Result<SignedDocument, SiteError> {
    SignedDocument::split(bytes, cap_bytes).map_err(|e| SiteError::damaged(name, e))
}

fn require(name: &str, by: &str, role: &Role, document: &SignedDocument) -> Result<(), SiteError> {
    if role.accepts(document) {
        return Ok(());
    }
    let detail = format!(
        "expected {} of its keys, found valid signatures of {}",
        role.threshold,
        document.count_signers(&role.keys)
    );
    Err(SiteError::NotTrusted { name: name.to_owned(), by: by.to_owned(), detail })
}
