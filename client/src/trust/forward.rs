//! What to remember where two runs have learned something of one tree: nothing either has seen is lost.

use super::chain::Chain;
use super::{ChannelState, Facts, TrustState};

/// What to remember after a run that came to `judged`, where `known` is remembered already: by `judged`'s own beginning or by
/// a run beside it. Pure.
///
/// Nothing goes back: the longer of the two chains of roots stays, and of each channel the later head and the highest build,
/// unless a root of that chain has replaced the keys that stood behind them. The private secret stays the one of `known`, so
/// that no two runs of one install have different places in a rollout. A run that nothing came beside gets what it judged.
///
/// `facts` are those of the run; its state is not looked at.
pub fn forward(facts: &Facts<'_>, known: &TrustState, judged: TrustState) -> TrustState {
    let chain = |state| Chain::verify(&Facts { state, ..*facts });
    let (Ok(known_chain), Ok(judged_chain)) = (chain(known), chain(&judged)) else { return judged };
    let known_is_longer = known_chain.all.len() > judged_chain.all.len();
    let chain = if known_is_longer { &known_chain } else { &judged_chain };
    let mut channels = known.channels.clone();
    for (name, found) in &judged.channels {
        let later = channels.get(name).map_or_else(|| found.clone(), |before| later(chain, name, before, found));
        channels.insert(name.clone(), later);
    }
    let heads_of_known = channels.get(facts.channel).is_some_and(|channel| {
        let is = |state: &TrustState| state.channels.get(facts.channel).is_some_and(|c| c.body == channel.body);
        is(known) && !is(&judged)
    });
    TrustState {
        roots: if known_is_longer { known.roots.clone() } else { judged.roots },
        roots_walked: if known_is_longer { known.roots_walked } else { judged.roots_walked },
        channels,
        rollout_secret: known.rollout_secret,
        mirrors: if heads_of_known { known.mirrors.clone() } else { judged.mirrors },
    }
}

/// The later of what two runs know of the channel `name`, where the roots of `chain` judge.
fn later(chain: &Chain, name: &str, known: &ChannelState, judged: &ChannelState) -> ChannelState {
    let since = known.root_version.min(judged.root_version);
    // A version that no root has tells nothing of what was replaced since.
    let known_is_newer = known.root_version > judged.root_version && known.root_version <= chain.newest().version;
    let newer = if known_is_newer { known } else { judged };
    let mut later = newer.clone();
    // What replaced keys have signed does not count any more.
    if !chain.rotated_since(since, |root| root.channel_role(name)) {
        let head = if judged.sequence > known.sequence { judged } else { known };
        (later.sequence, later.body, later.issued) = (head.sequence, head.body, known.issued.max(judged.issued));
    }
    if !chain.rotated_since(since, |root| root.release.clone()) {
        later.highest_build = known.highest_build.max(judged.highest_build);
    }
    later
}
