//! Why keys are not accepted: whose they are instead, and which are missing.

use lamplighter_client::format::root::{self, Root};
use lamplighter_client::format::signed::PublicKey;

use super::{Role, ids};

/// The keys and threshold of `role` in `root`; for channel keys, of those that may sign `channel`.
pub(super) fn role_of(root: &Root, role: Role, channel: &str) -> root::Role {
    match role {
        Role::Root => root.root.clone(),
        Role::Release => root.release.clone(),
        Role::Channel => root.channel_role(channel),
    }
}

/// How many signers are missing, and who they may be.
pub(super) fn missing(trusted: &root::Role, held: &[PublicKey]) -> String {
    let absent: Vec<PublicKey> = trusted.keys.iter().filter(|key| !has(held, key)).cloned().collect();
    let present = (trusted.keys.len() - absent.len()) as u64;
    match trusted.threshold.saturating_sub(present) {
        0 => String::new(),
        _ if absent.is_empty() => "; the role has fewer keys than its threshold".to_owned(),
        more => format!("; missing: {more} more of {}", ids(&absent)),
    }
}

/// What each of `held` is in the verified chain `roots`, where it is no `role` key of the newest.
pub fn hints(roots: &[Root], role: Role, channel: &str, held: &[PublicKey]) -> String {
    let Some(newest) = roots.last() else { return String::new() };
    let strangers = held.iter().filter(|key| !has(&role_of(newest, role, channel).keys, key));
    strangers.map(|key| format!("; {}", hint(roots, newest, role, key))).collect()
}

fn hint(roots: &[Root], newest: &Root, role: Role, key: &PublicKey) -> String {
    let id = key.id_hex();
    let bound: Vec<&str> =
        newest.channel.iter().filter(|k| k.key.as_bytes() == key.as_bytes()).map(|k| k.channel.as_str()).collect();
    if role == Role::Channel && !bound.is_empty() {
        return format!("{id} may sign the channel {} alone", bound.join(" and "));
    }
    if let Some(other) = Role::ALL.into_iter().find(|other| has(&all_of(newest, *other), key)) {
        return format!("{id} is a {other} key");
    }
    let last = roots.iter().rev().find(|root| has(&all_of(root, role), key));
    match last {
        Some(last) => format!("{id} is no {role} key any more since root version {}", last.version + 1),
        None => format!("{id} is in none of the site's roots"),
    }
}

fn all_of(root: &Root, role: Role) -> Vec<PublicKey> {
    match role {
        Role::Root => root.root.keys.clone(),
        Role::Release => root.release.keys.clone(),
        Role::Channel => root.channel.iter().map(|k| k.key.clone()).collect(),
    }
}

fn has(keys: &[PublicKey], key: &PublicKey) -> bool {
    keys.iter().any(|k| k.as_bytes() == key.as_bytes())
}
