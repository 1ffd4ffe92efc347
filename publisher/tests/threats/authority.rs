//! Who may say what: A1, A11 to A14.

use lamplighter_client::format::document::FileRef;
use lamplighter_client::format::head::HeadRelease;
use lamplighter_client::format::root::Root;
use lamplighter_client::format::text::{NUMBER_MAX, Time};

use super::keys::{publics, signed};
use super::scene::{DAY, HEAD, NOW, PLATFORM, RELEASE, ROOT, STRANGER, Scene, channel_key, rollout, root};
use crate::Table;

pub(crate) fn cases(table: &mut Table) {
    unauthorised(table);
    mixed(table);
    foreign(table);
    stolen_channel_key(table);
    rotations(table);
    after_rotations(table);
    random_rotations(table);
}

fn scene(
    table: &mut Table,
    row: &'static str,
    name: &str,
    expected: &str,
    change: impl FnOnce(&mut Scene) + Send + 'static,
) {
    table.expect(row, name, expected, move || Scene::with(change).outcome());
}

fn unauthorised(table: &mut Table) {
    let row = "A1";
    scene(table, row, "all in order", "offer", |_| {});
    scene(table, row, "a head by a stranger", "E_SIGNATURE", |s| s.head_signers = vec![STRANGER]);
    scene(table, row, "a head by the release key", "E_SIGNATURE", |s| s.head_signers = vec![RELEASE]);
    scene(table, row, "a head by the root key", "E_SIGNATURE", |s| s.head_signers = vec![ROOT]);
    scene(table, row, "a release by a stranger", "E_SIGNATURE", |s| s.release_signers = vec![STRANGER]);
    scene(table, row, "a release by the channel key", "E_SIGNATURE", |s| s.release_signers = vec![HEAD]);
    scene(table, row, "a release by the root key", "E_SIGNATURE", |s| s.release_signers = vec![ROOT]);
    scene(table, row, "a head without signatures", "E_NOT_OURS", |s| s.alter_head = Some(body_only));
    scene(table, row, "a release without signatures", "E_NOT_OURS", |s| s.alter_release = Some(body_only));
    scene(table, row, "an empty head", "E_NOT_OURS", |s| s.alter_head = Some(|_| Vec::new()));
    scene(table, row, "an empty release", "E_NOT_OURS", |s| s.alter_release = Some(|_| Vec::new()));
    scene(table, row, "a head of zero bytes", "E_NOT_OURS", |s| s.alter_head = Some(|b| vec![0; b.len()]));
    scene(table, row, "signatures of another body", "E_SIGNATURE", |s| {
        s.alter_head = Some(|bytes| {
            let text = String::from_utf8(bytes).expect("text");
            text.replace("sequence,20", "sequence,21").into_bytes()
        });
    });
    scene(table, row, "a stranger's signature beside the right one does no harm", "offer", |s| {
        s.head_signers = vec![STRANGER, HEAD];
    });
}

fn body_only(bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.windows(5).position(|w| w == b"\nend\n").expect("an end") + 5;
    bytes[..end].to_vec()
}

fn mixed(table: &mut Table) {
    let row = "A11";
    // The head goes on naming build 10; what lies there is another well-signed release.
    let served = |change: fn(&mut Scene)| {
        move |s: &mut Scene| {
            s.head.releases = vec![s.row()];
            s.names_release = false;
            change(s);
        }
    };
    scene(table, row, "an older release in its place", "E_RELEASE_DIGEST", served(|s| s.release.build = 9));
    scene(table, row, "a newer release in its place", "E_RELEASE_DIGEST", served(|s| s.release.build = 11));
    scene(table, row, "another manifest", "E_RELEASE_DIGEST", served(|s| s.release.manifest = FileRef::of(b"other")));
    scene(table, row, "other objects", "E_RELEASE_DIGEST", served(|s| s.release.objects = FileRef::of(b"other")));
    scene(table, row, "the same body with one more signature", "E_RELEASE_DIGEST", {
        served(|s| s.release_signers = vec![RELEASE, STRANGER])
    });
    scene(table, row, "a byte less", "E_RELEASE_DIGEST", served(|s| s.alter_release = Some(|b| b[1..].to_vec())));
    scene(
        table,
        row,
        "a byte more",
        "E_RELEASE_DIGEST",
        served(|s| s.alter_release = Some(|b| [&b[..], b"\n"].concat())),
    );
    // The head names the very file, under another build or version.
    for (name, build, version) in [("build", 11, "1.0"), ("version", 10, "1.1"), ("build and version", 12, "2.0")] {
        scene(table, row, &format!("the right file under another {name}"), "E_WRONG_RELEASE", move |s| {
            let file = FileRef::of(&s.release_bytes());
            s.names_release = false;
            let (platform, version) = (PLATFORM.to_owned(), version.to_owned());
            s.head.releases = vec![HeadRelease { platform, build, version, file }];
        });
    }
}

fn foreign(table: &mut Table) {
    let row = "A12";
    scene(table, row, "a head of another app", "E_WRONG_APP", |s| s.head.app = "org.example.other".into());
    scene(table, row, "a head of another channel", "E_WRONG_CHANNEL", |s| s.head.channel = "beta".into());
    scene(table, row, "a release of another app", "E_WRONG_APP", |s| s.release.app = "org.example.other".into());
    scene(table, row, "a root of another app", "E_WRONG_APP", |s| {
        s.rotate(&[ROOT], |root| root.app = "org.example.other".into());
    });
    // What documents of one kind come to where another kind is expected; all are signed by every key.
    let all: &[u8] = &[ROOT, RELEASE, HEAD];
    type Kind = (&'static str, fn() -> Vec<u8>);
    let kinds: [Kind; 4] = [
        ("root", || root(1, &[ROOT], &[RELEASE], &[HEAD]).to_body()),
        ("head", || Scene::new().head.to_body()),
        ("release", || Scene::new().release.to_body()),
        ("state", || b"lamplighter-state,1\nend\n".to_vec()),
    ];
    for (name, body) in kinds {
        if name != "head" {
            scene(table, row, &format!("a {name} as head"), "E_DOCUMENT", move |s| {
                s.served_head = Some(signed(body(), all));
            });
        }
        if name != "release" {
            scene(table, row, &format!("a {name} as release"), "E_DOCUMENT", move |s| {
                s.served_release = Some(signed(body(), all));
            });
        }
    }
    for platform in ["windows-x86_64", "linux-aarch64", "any", "linux-x86_6"] {
        scene(table, row, &format!("only {platform} is offered"), "no-release", move |s| {
            s.release.platform = platform.into();
        });
        scene(table, row, &format!("the release of {platform} under this platform"), "E_WRONG_PLATFORM", move |s| {
            s.release.platform = platform.into();
            let file = FileRef::of(&s.release_bytes());
            s.names_release = false;
            let (platform, version) = (PLATFORM.to_owned(), s.release.version.clone());
            s.head.releases = vec![HeadRelease { platform, build: 10, version, file }];
        });
    }
    for (channel, bound, expected) in [
        ("beta", "stable", "E_SIGNATURE"),
        ("beta", "beta", "offer"),
        ("beta", "*", "offer"),
        ("stable", "beta", "E_SIGNATURE"),
    ] {
        scene(table, row, &format!("a head of {channel} by a key bound to {bound}"), expected, move |s| {
            s.first.channel = vec![channel_key(HEAD, bound)];
            s.channel = channel.into();
            s.head.channel = channel.into();
        });
    }
}

fn stolen_channel_key(table: &mut Table) {
    let row = "A13";
    // What it may do: choose among signed releases above the floor, halt, roll out.
    scene(table, row, "it offers a signed build", "offer", |s| s.offer(6, 21));
    scene(table, row, "it halts", "halted", |s| s.head.halts = vec!["*".into()]);
    scene(table, row, "it rolls out to nobody", "not-yet", |s| s.head.rollouts = vec![rollout(0)]);
    scene(table, row, "it marks a build bad", "bad-build", |s| s.head.bad_builds = vec![("*".into(), 10)]);
    scene(table, row, "it lets a head expire", "stale", |s| s.head.expires = s.head.issued.plus(1));
    // What it may not.
    scene(table, row, "it signs a release", "E_SIGNATURE", |s| s.release_signers = vec![HEAD]);
    scene(table, row, "it signs a root", "E_ROOT_SIGNATURE", |s| s.rotate(&[HEAD], |_| {}));
    scene(table, row, "it goes below the installed build", "below-floor", |s| s.offer(4, 21));
    scene(table, row, "it goes below the compiled-in build", "below-floor", |s| {
        s.installed = None;
        s.floor_build = 11;
    });
    scene(table, row, "it goes below the highest build seen", "below-floor", |s| {
        s.offer(12, 21);
        s.remember();
        s.offer(11, 22);
    });
    scene(table, row, "it names a minimum nobody signed", "offer", |s| {
        // An unknown key in the head is read by nobody: the minimum stands in the release.
        let body = String::from_utf8(body_of(s)).expect("text").replace("\nend\n", "\nminimum,99\nend\n");
        s.served_head = Some(signed(body.into_bytes(), &[HEAD]));
    });
    scene(table, row, "it signs for another channel", "E_SIGNATURE", |s| {
        s.first.channel = vec![channel_key(HEAD, "beta")];
    });
}

fn body_of(scene: &Scene) -> Vec<u8> {
    body_only(scene.head_bytes())
}

fn rotations(table: &mut Table) {
    let row = "A14";
    let keys = |seeds: &'static [u8]| move |root: &mut Root| root.root.keys = publics(seeds);
    scene(table, row, "root key rotated, signed by both", "offer", move |s| s.rotate(&[ROOT, 11], keys(&[11])));
    scene(table, row, "signed by the old one only", "E_ROOT_SIGNATURE", move |s| s.rotate(&[ROOT], keys(&[11])));
    scene(table, row, "signed by the new one only", "E_ROOT_SIGNATURE", move |s| s.rotate(&[11], keys(&[11])));
    scene(table, row, "signed by nobody known", "E_ROOT_SIGNATURE", move |s| s.rotate(&[STRANGER], keys(&[11])));
    scene(table, row, "a version left out", "E_ROOT_VERSION", |s| s.rotate(&[ROOT], |root| root.version = 3));
    scene(table, row, "a version repeated", "E_ROOT_VERSION", |s| {
        s.head.root_version = 2;
        let again = s.first.clone();
        s.later.push((again, vec![ROOT]));
    });
    scene(table, row, "a chain of twenty", "offer", |s| (0..20).for_each(|_| s.rotate(&[ROOT], |_| {})));
    scene(table, row, "a broken link in the middle of a chain", "E_ROOT_SIGNATURE", |s| {
        (0..20).for_each(|n| s.rotate(&[if n == 10 { STRANGER } else { ROOT }], |_| {}));
    });
    scene(table, row, "threshold two of two, both signed", "offer", |s| {
        s.rotate(&[ROOT, 11], |root| {
            root.root.keys = publics(&[ROOT, 11]);
            root.root.threshold = 2;
        });
    });
    scene(table, row, "threshold two of two, one signed", "E_ROOT_SIGNATURE", |s| {
        s.rotate(&[ROOT], |root| {
            root.root.keys = publics(&[ROOT, 11]);
            root.root.threshold = 2;
        });
    });
    scene(table, row, "a threshold above the keys", "E_DOCUMENT", |s| {
        s.rotate(&[ROOT], |root| root.root.threshold = 2)
    });
    scene(table, row, "a threshold of zero", "E_DOCUMENT", |s| s.rotate(&[ROOT], |root| root.channel_threshold = 0));
}

/// What a rotation puts an end to, and what it does not.
fn after_rotations(table: &mut Table) {
    let row = "A14";
    scene(table, row, "a stolen release key is replaced: its releases are refused", "E_SIGNATURE", |s| {
        s.rotate(&[ROOT], |root| root.release.keys = publics(&[12]));
    });
    scene(table, row, "and those signed again are taken", "offer", |s| {
        s.rotate(&[ROOT], |root| root.release.keys = publics(&[12]));
        s.release_signers = vec![12];
    });
    scene(table, row, "a stolen channel key is replaced: its heads are refused", "E_SIGNATURE", |s| {
        s.rotate(&[ROOT], |root| root.channel = vec![channel_key(13, "*")]);
    });
    scene(table, row, "and those of the new one are taken", "offer", |s| {
        s.rotate(&[ROOT], |root| root.channel = vec![channel_key(13, "*")]);
        s.head_signers = vec![13];
    });
    scene(table, row, "who holds the old channel key hides the new root for a week at most", "E_SIGNATURE", |s| {
        s.rotate(&[ROOT], |root| root.channel = vec![channel_key(13, "*")]);
        s.head.root_version = 1;
        s.clock = NOW + 7 * DAY - 1;
        assert_eq!(s.outcome(), "offer", "until then nothing asks for the new root");
        s.head.issued = Time::from_seconds(NOW + 7 * DAY);
        s.head.expires = Time::from_seconds(NOW + 14 * DAY);
        s.clock = NOW + 7 * DAY;
    });
    scene(table, row, "an expired root is stale, not forged", "root-expired", |s| {
        s.first.expires = Time::from_seconds(NOW);
    });
    scene(table, row, "an expired root is followed to one that is not", "offer", |s| {
        s.first.expires = Time::from_seconds(NOW);
        s.rotate(&[ROOT], |root| root.expires = Time::from_seconds(NOW + 100 * DAY));
        s.head.root_version = 1;
    });
    scene(table, row, "a stored root that was edited is believed as far as it verifies", "offer", |s| {
        s.rotate(&[ROOT], |_| {});
        s.remember();
        s.state.roots[0][40] ^= 1;
    });
    scene(table, row, "a head may name a root that is to come", "offer", |s| s.head.root_version = 40);
    scene(table, row, "a head may not name numbers beyond what is read", "E_DOCUMENT", |s| {
        let body = String::from_utf8(body_of(s)).expect("text");
        let bad = body.replace("\nroot,1\n", &format!("\nroot,{}\n", NUMBER_MAX + 1));
        assert_ne!(bad, body);
        s.served_head = Some(signed(bad.into_bytes(), &[HEAD]));
    });
}

/// Chains of ten roots with keys and thresholds by chance, and with signers by chance; a few lines tell whether they hold.
fn random_rotations(table: &mut Table) {
    for seed in 0..100u64 {
        table.run("A14", format!("random history {seed}"), move || {
            let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            let mut scene = Scene::new();
            let (mut keys, mut threshold, mut holds) = (vec![ROOT], 1u64, true);
            for _ in 0..10 {
                let count = 1 + dice.below(5);
                let new: Vec<u8> = (0..count).map(|n| 20 + n as u8 + dice.below(2) as u8 * 10).collect();
                let new_threshold = 1 + dice.below(count.min(3)) as u64;
                // Mostly enough signers, sometimes one too few of one side.
                let mut signers: Vec<u8> = keys.iter().chain(&new).copied().collect();
                if dice.below(12) == 0 {
                    let lost = signers[dice.below(signers.len())];
                    signers.retain(|signer| *signer != lost);
                }
                // Without any signature it would be no signed document at all.
                signers.push(STRANGER);
                let enough = |keys: &[u8], threshold: u64| {
                    keys.iter().filter(|key| signers.contains(key)).count() as u64 >= threshold
                };
                holds &= enough(&keys, threshold) && enough(&new, new_threshold);
                scene.rotate(&signers, |root| {
                    root.root.keys = publics(&new);
                    root.root.threshold = new_threshold;
                });
                (keys, threshold) = (new, new_threshold);
            }
            let (expected, found) = (if holds { "offer" } else { "E_ROOT_SIGNATURE" }, scene.outcome());
            if found == expected { Ok(()) } else { Err(format!("expected {expected}, found {found}")) }
        });
    }
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}
