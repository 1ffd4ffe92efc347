//! Heads, which go last: whether they may go at all, and what to do about the head that is there.

use lamplighter_client::format::layout;
use lamplighter_client::format::objects::ObjectsIndex;
use lamplighter_client::format::release::Release;

use super::UploadError;
use crate::head::accepted;
use crate::site::documents::{manifest, named};
use crate::site::{SignedHead, Site, SiteError, Trust};

/// What becomes of the head of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// It is there already, byte for byte.
    Same,
    /// There is none yet, or an older one.
    Write,
    /// The one that is there is as new or newer.
    Behind,
}

/// Decides whether `local` may follow `remote`, a head the same roots accept.
pub fn decide(local: &SignedHead, remote: Option<&SignedHead>) -> Move {
    match remote {
        None => Move::Write,
        Some(remote) if remote.bytes == local.bytes => Move::Same,
        Some(remote) if rank(remote) < rank(local) => Move::Write,
        Some(_) => Move::Behind,
    }
}

/// What keys of the newest root signed goes before all that was signed earlier; then the sequence counts.
fn rank(signed: &SignedHead) -> (bool, u64) {
    (signed.current, signed.head.sequence)
}

/// The head of `channel`, if any root of the chain accepts it.
///
/// # Errors
/// None does.
pub fn local(site: &Site, trust: &Trust, channel: &str) -> Result<SignedHead, SiteError> {
    trust.last_head(site, channel)?.ok_or_else(|| SiteError::NoHead { channel: channel.to_owned() })
}

/// Checks that clients would take `signed` and what it offers.
///
/// # Errors
/// It is not signed as the newest root asks; a client would refuse a release it names.
pub fn require_accepted(site: &Site, trust: &Trust, signed: &SignedHead) -> Result<(), SiteError> {
    let channel = &signed.head.channel;
    trust.check_head(channel, signed.bytes.clone())?;
    let accept = |row| accepted(site, trust, channel, &signed.bytes, row, signed.head.issued);
    signed.head.releases.iter().try_for_each(accept)
}

/// Names and lengths of all that the signed `release` names, but for packs from bases `has_base` says no to: pruning takes
/// a pack with its base.
///
/// # Errors
/// Its manifest or its index cannot be read, or is another.
pub fn names(site: &Site, release: &Release, has_base: impl Fn(u64) -> bool) -> Result<Vec<(String, u64)>, SiteError> {
    let (build, platform) = (release.build, &release.platform);
    let index_name = layout::objects(build, platform);
    let index = ObjectsIndex::parse(&named(site, &index_name, &release.objects)?, &manifest(site, release)?)
        .map_err(|e| SiteError::damaged(&index_name, e))?;
    let mut names =
        vec![(layout::manifest(build, platform), release.manifest.length), (index_name, release.objects.length)];
    names.extend(release.notes.iter().map(|n| (layout::notes(build, platform, &n.language), n.file.length)));
    names.extend(index.objects().iter().map(|o| (layout::object(&o.blake3), o.length)));
    let packs = release.packs.iter().filter(|p| has_base(p.base_build));
    names.extend(packs.map(|p| (layout::pack(&p.header.blake3), p.length)));
    Ok(names)
}

/// The head that was read, if the roots at hand accept it.
///
/// # Errors
/// They do not: who cannot judge a head must not replace it.
pub fn remote(trust: &Trust, channel: &str, bytes: Vec<u8>, location: &str) -> Result<SignedHead, UploadError> {
    trust.check_last_head(channel, bytes).map_err(|e| UploadError::ForeignHead {
        channel: channel.to_owned(),
        location: location.to_owned(),
        detail: e.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lamplighter_client::format::head::Head;
    use lamplighter_client::format::text::Time;

    fn head(sequence: u64, current: bool, bytes: &[u8]) -> SignedHead {
        let time = Time::from_seconds(0);
        let head = Head {
            app: "app".to_owned(),
            channel: "stable".to_owned(),
            sequence,
            issued: time,
            expires: time,
            root_version: 1,
            releases: Vec::new(),
            rollouts: Vec::new(),
            halts: Vec::new(),
            bad_builds: Vec::new(),
            mirrors: Vec::new(),
        };
        SignedHead { head, bytes: bytes.to_vec(), current }
    }

    #[test]
    fn a_head_only_ever_moves_forward() {
        let ours = head(5, true, b"ours");
        assert_eq!(decide(&ours, None), Move::Write);
        assert_eq!(decide(&ours, Some(&head(5, true, b"ours"))), Move::Same);
        assert_eq!(decide(&ours, Some(&head(4, true, b"old"))), Move::Write);
        assert_eq!(decide(&ours, Some(&head(6, true, b"new"))), Move::Behind);
        assert_eq!(
            decide(&ours, Some(&head(5, true, b"theirs"))),
            Move::Behind,
            "two publishers signed the same number"
        );
        assert_eq!(decide(&ours, Some(&head(9, false, b"old keys"))), Move::Write, "replaced keys bind nobody");
    }
}
