//! Keys, thresholds and signatures.

use super::*;

/// Keys of a role, its threshold, and who signs.
type Version = (&'static [u8], u64, &'static [u8]);

const FIVE: &[u8] = &[10, 11, 12, 13, 14];
const ONE_OTHER: &[u8] = &[10, 11, 13, 14, 15];
const THREE: &[u8] = &[11, 12, 13];

/// Mirrors `test_root_rotation`: its cases by name, the roots one after another, and whether the last is accepted.
const ROOT_ROTATIONS: &[(&str, &[Version], bool)] = &[
    ("1-of-1-key-rotation", &[(&[11], 1, &[11]), (&[12], 1, &[12, 11]), (&[12], 1, &[12])], true),
    (
        "1-of-1-key-rotation-unused-signatures",
        &[(&[11], 1, &[13, 11, 14]), (&[12], 1, &[13, 12, 11, 14]), (&[12], 1, &[13, 12, 14])],
        true,
    ),
    (
        "3-of-5-sign-with-different-keycombos",
        &[(FIVE, 3, &[10, 12, 14]), (FIVE, 3, &[10, 14, 11]), (FIVE, 3, &[10, 11, 13]), (FIVE, 3, &[10, 11, 13])],
        true,
    ),
    ("3-of-5-one-key-rotated", &[(FIVE, 3, &[10, 12, 14]), (ONE_OTHER, 3, &[10, 14, 11])], true),
    (
        "3-of-5-one-key-rotated-with-intermediate-step",
        &[(FIVE, 3, &[10, 12, 14]), (ONE_OTHER, 3, &[10, 12, 14, 15]), (ONE_OTHER, 3, &[10, 14, 15])],
        true,
    ),
    (
        "3-of-5-all-keys-rotated-with-intermediate-step",
        &[
            (FIVE, 3, &[10, 12, 14]),
            (&[15, 16, 17, 18, 19], 3, &[10, 12, 14, 15, 16, 17]),
            (&[15, 16, 17, 18, 19], 3, &[15, 16, 17]),
        ],
        true,
    ),
    ("1-of-3-threshold-increase-to-2-of-3", &[(THREE, 1, &[11]), (THREE, 2, &[11, 12])], true),
    ("2-of-3-threshold-decrease-to-1-of-3", &[(THREE, 2, &[11, 12]), (THREE, 1, &[11, 12]), (THREE, 1, &[11])], true),
    ("1-of-2-threshold-increase-to-2-of-2", &[(&[11], 1, &[11]), (&[11, 12], 2, &[11, 12])], true),
    ("1-of-1-key-rotation-fail-not-signed-with-old-key", &[(&[11], 1, &[11]), (&[12], 1, &[12, 13, 14])], false),
    ("1-of-1-key-rotation-fail-not-signed-with-new-key", &[(&[11], 1, &[11]), (&[12], 1, &[11, 13, 14])], false),
    (
        "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys",
        &[(FIVE, 3, &[10, 12, 14]), (ONE_OTHER, 3, &[10, 12, 14])],
        false,
    ),
    (
        "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys",
        &[(FIVE, 3, &[10, 12, 14]), (ONE_OTHER, 3, &[10, 14, 15])],
        false,
    ),
    ("1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached", &[(THREE, 1, &[11]), (THREE, 2, &[12])], false),
    (
        "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-eached",
        &[(THREE, 2, &[11, 12]), (THREE, 1, &[11])],
        false,
    ),
];

#[test]
fn roots_follow_each_other_by_the_thresholds_of_both() {
    for (name, versions, accepted) in ROOT_ROTATIONS {
        let mut world = World::new();
        let documents: Vec<Vec<u8>> = (1..)
            .zip(*versions)
            .map(|(version, (keys, threshold, signers))| {
                let root = Root { root: role(*threshold, keys), ..root(version) };
                signed(root.to_body(), signers)
            })
            .collect();
        world.pin.root.clone_from(&documents[0]);
        world.roots = documents[1..].to_vec();
        let last = versions.len() as u64;
        world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| head.root_version = last);
        if *accepted {
            assert_eq!(world.accepts(), 2, "{name}");
            assert_eq!(world.state.roots, world.roots, "{name}");
        } else {
            assert_eq!(world.refuses(), "E_ROOT_SIGNATURE", "{name}");
            world.roots.pop();
            world.publish_as(2, 2, &[CHANNEL], &[RELEASE], |head| head.root_version = last - 1);
            assert_eq!(world.accepts(), 2, "{name}: those before it stand");
        }
    }
}

/// Mirrors `test_non_root_rotations`: its cases by name, and whether the document is accepted.
const OTHER_ROTATIONS: &[(&str, Version, bool)] = &[
    ("1-of-1-key-rotation", (&[12], 1, &[12]), true),
    ("1-of-1-key-rotation-unused-signatures", (&[11], 1, &[13, 11, 14]), true),
    ("1-of-1-key-rotation-fail-not-signed-with-new-key", (&[12], 1, &[11, 13, 14]), false),
    ("3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys", (ONE_OTHER, 3, &[10, 12, 14]), false),
    ("2-of-5-one-key-signature-mising-threshold-not-reached", (ONE_OTHER, 3, &[10, 14]), false),
    ("3-of-5-sign-first-combo", (FIVE, 3, &[10, 12, 14]), true),
    ("3-of-5-sign-second-combo", (FIVE, 3, &[10, 14, 11]), true),
    ("3-of-5-sign-third-combo", (FIVE, 3, &[10, 11, 13]), true),
    ("3-of-5-sign-fourth-combo", (FIVE, 3, &[11, 12, 13]), true),
    ("3-of-5-sign-fifth-combo", (FIVE, 3, &[12, 13, 14]), true),
];

#[test]
fn heads_and_releases_need_the_keys_of_the_newest_root() {
    for (name, (keys, threshold, signers), accepted) in OTHER_ROTATIONS {
        for of_head in [true, false] {
            let mut world = World::new();
            world.accepts();
            let change = |root: &mut Root| match of_head {
                true => (root.channel, root.channel_threshold) = (bound(keys, "*"), *threshold),
                false => root.release = role(*threshold, keys),
            };
            world.rotate(change, &[ROOT]);
            let (channel, by_release) = if of_head { (*signers, &[RELEASE][..]) } else { (&[CHANNEL][..], *signers) };
            world.publish_as(2, 2, channel, by_release, |head| head.root_version = 2);
            if *accepted {
                assert_eq!(world.accepts(), 2, "{name}, head {of_head}");
            } else {
                assert_eq!(world.refuses(), "E_SIGNATURE", "{name}, head {of_head}");
            }
        }
    }
}

/// Mirrors `test_snapshot_does_not_meet_threshold`, of a head.
#[test]
fn two_of_three_are_not_three() {
    let mut world = World::new();
    world.rotate(|root| (root.channel, root.channel_threshold) = (bound(THREE, "*"), 3), &[ROOT]);
    world.publish_as(2, 2, THREE, &[RELEASE], |head| head.root_version = 2);
    assert_eq!(world.accepts(), 2);
    world.publish_as(3, 3, &THREE[..2], &[RELEASE], |head| head.root_version = 2);
    assert_eq!(world.refuses(), "E_SIGNATURE");
    assert_eq!(world.sequence(), 2);
}

/// Mirrors `test_snapshot_has_too_few_keys`; here the root itself is refused.
#[test]
fn a_root_whose_threshold_is_out_of_reach_is_refused() {
    let mut world = World::new();
    world.accepts();
    world.rotate(|root| (root.channel, root.channel_threshold) = (bound(FIVE, "*"), 6), &[ROOT]);
    world.publish_as(2, 2, FIVE, &[RELEASE], |head| head.root_version = 2);
    assert_eq!(world.refuses(), "E_DOCUMENT");
}

/// Mirrors `test_duplicate_keys`.
#[test]
fn one_key_counts_once_however_often_it_is_named_and_signs() {
    let mut world = World::new();
    world.rotate(|root| (root.channel, root.channel_threshold) = (bound(&[11; 9], "*"), 6), &[ROOT]);
    world.publish_as(2, 2, &[11; 9], &[RELEASE], |head| head.root_version = 2);
    assert_eq!(world.refuses(), "E_DOCUMENT", "a key twice in a role");
    let mut world = World::new();
    let two_ways = || [bound(&[11], "*"), bound(&[11, 12], "stable")].concat();
    world.rotate(|root| (root.channel, root.channel_threshold) = (two_ways(), 2), &[ROOT]);
    world.publish_as(2, 2, &[11, 11, 11], &[RELEASE], |head| head.root_version = 2);
    assert_eq!(world.refuses(), "E_SIGNATURE", "one key, named for all channels and for this one");
}

/// Mirrors `test_duplicate_sig_keyids`; here the signature counts once.
#[test]
fn a_signature_twice_is_one_signature() {
    let mut world = World::new();
    world.publish_as(2, 2, &[CHANNEL, CHANNEL], &[RELEASE], |_| ());
    assert_eq!(world.accepts(), 2);
    world.rotate(|root| (root.channel, root.channel_threshold) = (bound(THREE, "*"), 2), &[ROOT]);
    world.publish_as(3, 3, &[11, 11], &[RELEASE], |head| head.root_version = 2);
    assert_eq!(world.refuses(), "E_SIGNATURE");
}

/// Mirrors `test_keytype_and_scheme[ed25519]`.
#[test]
fn a_signature_that_only_looks_right_is_refused() {
    let mut world = World::new();
    world.rotate(|root| root.root = role(2, &[ROOT, 11]), &[ROOT, 11]);
    let named = |head: &mut Head| head.root_version = 2;
    world.publish_as(2, 2, &[CHANNEL], &[RELEASE], named);
    assert_eq!(world.accepts(), 2);
    let next = Root { root: role(2, &[ROOT, 11]), ..root(3) };
    let other = signed(root(3).to_body(), &[11]);
    // The body and one good signature, and one by the right key of another body.
    let signature = &other[root(3).to_body().len()..];
    world.roots.push([signed(next.to_body(), &[ROOT]), signature.to_vec()].concat());
    world.publish_as(3, 3, &[CHANNEL], &[RELEASE], |head| head.root_version = 3);
    assert_eq!(world.refuses(), "E_ROOT_SIGNATURE");
    assert_eq!(world.state.roots.len(), 1);
}

/// Mirrors `test_invalid_sig_in_valid_metadata`: a wrong signature beside enough right ones is left out of account.
#[test]
fn a_wrong_signature_beside_a_right_one_is_no_matter() {
    let mut world = World::new();
    world.rotate(|root| root.channel = bound(&[CHANNEL, 11], "*"), &[ROOT]);
    world.publish_as(2, 2, &[11], &[RELEASE], |head| head.root_version = 2);
    let mut document = world.head.take().expect("a head");
    let other = signed(root(3).to_body(), &[CHANNEL]);
    document.extend(&other[root(3).to_body().len()..]);
    world.head = Some(document);
    assert_eq!(world.accepts(), 2);
}
