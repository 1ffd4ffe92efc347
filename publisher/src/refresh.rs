//! Signs heads again before they are stale, with the channel key alone: the work of a scheduled job.
//!
//! A head that is good for long enough is left as it is, so a job may run as often as it likes. Nothing but dates, sequence
//! and root version changes; an expired head is signed again as well. Each is judged by the client's code first.

use std::sync::Arc;

use lamplighter_client::format::text::Time;
use lamplighter_client::trust::ROOT_WARNING_SECONDS;

use crate::channel::{Access, Opened};
use crate::error::Error;
use crate::init::days_in_seconds;
use crate::site::{SignedHead, SiteError};
use crate::watch::Watch;

/// What is to be refreshed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The site.
    pub access: Access<'a>,
    /// The channel; all that have a head where none is named.
    pub channel: Option<&'a str>,
    /// A head is signed again when it is good for less than this, in seconds.
    pub left_seconds: i64,
    /// Sign all of them, however long they are good.
    pub force: bool,
}

/// When a head is signed again, unless something else is said: less than two thirds of the days a new one gets are left. A
/// daily job then never lets one come near its end, and one that fails has days to be mended.
pub fn left_seconds_default(expires_days: u64) -> i64 {
    days_in_seconds(expires_days) / 3 * 2
}

/// What became of one head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The channel.
    pub channel: String,
    /// Sequence of its head now.
    pub sequence: u64,
    /// When it is stale now.
    pub expires: Time,
    /// False if it was left as it was.
    pub changed: bool,
}

/// Refreshes heads, one after the other, and gives each to `done`. One that fails keeps no other from it.
///
/// # Errors
/// The first: no head at all, or not of the channel named; keys clients do not trust; a head clients would refuse.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>, mut done: impl FnMut(&Refreshed)) -> Result<(), Error> {
    let opened = request.access.open(watch.clone())?;
    warn_of_root(&opened, request.access.time, &*watch);
    let channels = match request.channel {
        Some(channel) => vec![channel.to_owned()],
        None => opened.writer.site().channels()?,
    };
    if channels.is_empty() {
        return Err(SiteError::NoChannel.into());
    }
    let mut first = Ok(());
    for channel in channels {
        match one(request, &opened, &channel) {
            Ok(refreshed) => done(&refreshed),
            Err(error) if first.is_ok() => first = Err(error),
            Err(error) => watch.notice("not-refreshed", &channel, &error.to_string()),
        }
    }
    first
}

fn one(request: &Request<'_>, opened: &Opened<'_>, channel: &str) -> Result<Refreshed, Error> {
    let signed = opened.trust.last_head(opened.writer.site(), channel)?;
    let SignedHead { head, current, .. } = signed.ok_or_else(|| SiteError::NoHead { channel: channel.to_owned() })?;
    // One that replaced keys signed is due whatever its dates say: no client believes it any more.
    let changed = request.force || !current || is_due(head.expires, request.access.time, request.left_seconds);
    let head = match changed {
        true => opened.mover(&opened.signers(channel)?).renew(head, &request.access.terms(channel))?,
        false => head,
    };
    Ok(Refreshed { channel: channel.to_owned(), sequence: head.sequence, expires: head.expires, changed })
}

fn is_due(expires: Time, now: Time, left_seconds: i64) -> bool {
    expires.seconds().saturating_sub(now.seconds()) < left_seconds
}

/// A root cannot be renewed by a job, so people must hear of it in time.
fn warn_of_root(opened: &Opened<'_>, now: Time, watch: &dyn Watch) {
    let root = opened.trust.root();
    if root.expires <= now.plus(ROOT_WARNING_SECONDS) {
        let text = format!("root version {} expires at {}; sign a newer one", root.version, root.expires);
        watch.notice("root-expires", "root", &text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_due_when_less_than_two_thirds_are_left() {
        let left = left_seconds_default(7);
        let due = |days: i64| is_due(Time::from_seconds(days * 86_400), Time::from_seconds(0), left);
        assert_eq!([-1, 0, 4, 5, 7].map(due), [true, true, true, false, false]);
    }
}
