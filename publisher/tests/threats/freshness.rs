//! Old, late and premature documents: A4 to A8, A17.

use lamplighter_client::format::head::Rollout;
use lamplighter_client::format::text::{NUMBER_MAX, Time};
use lamplighter_client::trust::{TrustState, state};

use super::keys::publics;
use super::scene::{CHANNEL, DAY, HEAD, NOW, ROOT, Scene, channel_key, rollout};
use crate::Table;

pub(crate) fn cases(table: &mut Table) {
    replays(table);
    lost_state(table);
    freezes(table);
    fast_forward(table);
    fast_forward_of_builds(table);
    clocks(table);
    steering(table);
}

/// Six heads with six releases, each a day later.
fn history(n: usize) -> Scene {
    Scene::with(|s| {
        s.offer(10 + n as u64, 20 + n as u64);
        s.head.issued = Time::from_seconds(NOW + n as i64 * 3600);
        s.head.expires = s.head.issued.plus(7 * DAY);
        s.clock = NOW + DAY;
    })
}

fn replays(table: &mut Table) {
    for seen in 0..6 {
        for served in 0..6 {
            let expected = if served < seen { "E_OLDER_HEAD" } else { "offer" };
            table.expect("A4", format!("head {served} after head {seen}"), expected, move || {
                let mut scene = history(served);
                scene.state = history(seen).remember().state.clone();
                scene.outcome()
            });
            if served < seen {
                table.expect("A4", format!("build of head {served} over that of {seen}"), "below-floor", move || {
                    let mut scene = history(served);
                    scene.installed = Some(10 + seen as u64);
                    scene.outcome()
                });
            }
        }
    }
    table.expect("A4", "the same sequence with another body", "E_EQUIVOCATION", || {
        let mut scene = Scene::new();
        scene.remember();
        scene.head.halts = vec!["*".into()];
        scene.outcome()
    });
    table.expect("A4", "the same head again", "offer", || Scene::new().remember().outcome());
    table.expect("A4", "a higher sequence issued earlier", "E_OLDER_HEAD", || {
        let mut scene = Scene::new();
        scene.remember();
        scene.head.sequence += 1;
        scene.head.issued = Time::from_seconds(NOW - 1);
        scene.outcome()
    });
}

fn lost_state(table: &mut Table) {
    let offering = |build: u64, change: fn(&mut Scene)| {
        move || {
            let mut scene = Scene::new();
            scene.installed = Some(12);
            scene.floor_build = 8;
            scene.offer(build, 30);
            change(&mut scene);
            scene.outcome()
        }
    };
    let lost: fn(&mut Scene) = |s| s.state = TrustState::default();
    table.expect("A5", "state deleted: the installed build is the floor", "below-floor", offering(11, lost));
    table.expect("A5", "state deleted: the installed build itself", "up-to-date", offering(12, lost));
    table.expect("A5", "state deleted: newer is newer", "offer", offering(13, lost));
    table.expect("A5", "state and record deleted: the compiled-in build is the floor", "below-floor", {
        offering(7, |s| {
            s.state = TrustState::default();
            s.installed = None;
        })
    });
    table.expect("A5", "state restored from a backup: the record still counts", "below-floor", {
        offering(11, |s| {
            let mut old = history(0);
            s.state = old.remember().state.clone();
        })
    });
    table.expect("A5", "state edited to builds below", "below-floor", {
        offering(11, |s| {
            s.offer(13, 19);
            s.remember();
            s.offer(11, 30);
            s.state.channels.values_mut().for_each(|channel| channel.highest_build = 0);
        })
    });
    for (name, change) in [
        ("cut short", (|b: &mut Vec<u8>| b.truncate(b.len() / 2)) as fn(&mut Vec<u8>)),
        ("emptied", |b| b.clear()),
        ("zeroed", |b| b.fill(0)),
        ("with a byte changed", |b| b[30] ^= 1),
        ("followed by more", |b| b.push(b'\n')),
        ("without its digest", |b| {
            let at = b.windows(7).rposition(|w| w == b"blake3,").expect("a digest");
            b.truncate(at);
        }),
    ] {
        table.holds("A5", format!("state {name} is not believed"), move || {
            let mut bytes = state::to_bytes(&Scene::new().remember().state);
            change(&mut bytes);
            state::parse(&bytes).is_err()
        });
    }
}

fn freezes(table: &mut Table) {
    for (seconds, expected) in [(-DAY, "offer"), (-1, "offer"), (0, "stale"), (1, "stale"), (400 * DAY, "stale")] {
        table.expect("A6", format!("{seconds} seconds after the head expired"), expected, move || {
            Scene::with(|s| s.clock = NOW + 7 * DAY + seconds).outcome()
        });
        table.expect(
            "A6",
            format!("{seconds} seconds after the root expired"),
            if seconds < 0 { "offer" } else { "root-expired" },
            move || {
                Scene::with(|s| {
                    s.first.expires = Time::from_seconds(NOW + 3 * DAY);
                    s.head.expires = Time::from_seconds(NOW + 1000 * DAY);
                    s.clock = NOW + 3 * DAY + seconds;
                })
                .outcome()
            },
        );
    }
    table.expect("A6", "what is stale is not remembered", "offer", || {
        let mut scene = Scene::new();
        scene.clock = NOW + 8 * DAY;
        assert!(scene.judge().expect("judged").state.is_none());
        scene.clock = NOW + DAY;
        scene.outcome()
    });
    table.expect("A6", "a head that expires before it is issued", "E_DOCUMENT", || {
        Scene::with(|s| s.head.expires = s.head.issued.plus(-1)).outcome()
    });
}

fn fast_forward(table: &mut Table) {
    let poisoned = |rotate: Option<fn(&mut Scene)>| {
        move || {
            let mut scene = Scene::new();
            scene.head.sequence = NUMBER_MAX;
            scene.remember();
            if let Some(rotate) = rotate {
                rotate(&mut scene);
            }
            scene.head.sequence = 21;
            scene.outcome()
        }
    };
    table.expect("A7", "sequence at its end, no rotation", "E_OLDER_HEAD", poisoned(None));
    table.expect("A7", "sequence at its end, channel key rotated", "offer", {
        poisoned(Some(|s| {
            s.rotate(&[ROOT], |root| root.channel = vec![channel_key(33, "*")]);
            s.head_signers = vec![33];
        }))
    });
    table.expect("A7", "sequence at its end, release key rotated", "E_OLDER_HEAD", {
        poisoned(Some(|s| {
            s.rotate(&[ROOT], |root| root.release.keys = publics(&[32]));
            s.release_signers = vec![32];
        }))
    });
    table.expect("A7", "sequence at its end, root key rotated", "E_OLDER_HEAD", {
        poisoned(Some(|s| s.rotate(&[ROOT, 31], |root| root.root.keys = publics(&[31]))))
    });
    table.expect("A7", "sequence at its end, the key of another channel rotated", "E_OLDER_HEAD", {
        poisoned(Some(|s| s.rotate(&[ROOT], |root| root.channel.push(channel_key(34, "beta")))))
    });
}

/// The same with build numbers and times.
fn fast_forward_of_builds(table: &mut Table) {
    let built = |rotate: fn(&mut Scene)| {
        move || {
            let mut scene = Scene::new();
            scene.offer(NUMBER_MAX, 20);
            scene.remember();
            rotate(&mut scene);
            scene.offer(11, 21);
            scene.outcome()
        }
    };
    table.expect("A7", "build at its end, no rotation", "below-floor", built(|_| {}));
    table.expect("A7", "build at its end, channel key rotated", "below-floor", {
        built(|s| {
            s.rotate(&[ROOT], |root| root.channel = vec![channel_key(33, "*")]);
            s.head_signers = vec![33];
        })
    });
    table.expect("A7", "build at its end, release key rotated", "offer", {
        built(|s| {
            s.rotate(&[ROOT], |root| root.release.keys = publics(&[32]));
            s.release_signers = vec![32];
        })
    });
    table.expect("A7", "but never below what is installed", "below-floor", {
        built(|s| {
            s.rotate(&[ROOT], |root| root.release.keys = publics(&[32]));
            s.release_signers = vec![32];
            s.installed = Some(12);
        })
    });
    table.expect("A7", "nor below the compiled-in build", "below-floor", {
        built(|s| {
            s.rotate(&[ROOT], |root| root.release.keys = publics(&[32]));
            s.release_signers = vec![32];
            s.floor_build = 12;
        })
    });
    table.expect("A7", "numbers end at 2^53 - 1", "E_DOCUMENT", || {
        Scene::with(|s| s.head.sequence = NUMBER_MAX + 1).outcome()
    });
    table.expect("A7", "issued far ahead, channel key rotated", "offer", || {
        let mut scene = Scene::new();
        scene.head.issued = Time::from_seconds(NOW + 900 * DAY);
        scene.head.expires = Time::from_seconds(NOW + 950 * DAY);
        scene.remember();
        scene.rotate(&[ROOT], |root| root.channel = vec![channel_key(33, "*")]);
        scene.head_signers = vec![33];
        scene.offer(11, 21);
        scene.head.issued = Time::from_seconds(NOW + DAY);
        scene.head.expires = Time::from_seconds(NOW + 8 * DAY);
        scene.clock = NOW + 2 * DAY;
        scene.outcome()
    });
}

fn clocks(table: &mut Table) {
    // The client was built 30 days before the head was issued; it has seen a head of a day ago.
    for (name, seconds, expected) in [
        ("ten years behind", -3650 * DAY, "offer"),
        ("a day behind", -DAY, "offer"),
        ("right", 3600, "offer"),
        ("a day ahead", DAY, "offer"),
        ("ten years ahead", 3650 * DAY, "root-expired"),
    ] {
        table.expect("A8", format!("a clock {name}"), expected, move || {
            Scene::with(|s| s.clock = NOW + seconds).outcome()
        });
        table.expect("A8", format!("a clock {name}, then right"), "offer", move || {
            let mut scene = Scene::with(|s| s.clock = NOW + seconds);
            if let Ok(judgement) = scene.judge() {
                scene.state = judgement.state.unwrap_or(scene.state);
            }
            scene.clock = NOW + 3600;
            scene.outcome()
        });
        table.expect(
            "A8",
            format!("a clock {name} and an expired head the client has seen a later one of"),
            if seconds > 1000 * DAY { "root-expired" } else { "E_OLDER_HEAD" },
            move || {
                let mut scene = Scene::new();
                scene.offer(11, 21);
                scene.remember();
                scene.offer(10, 20);
                scene.head.issued = Time::from_seconds(NOW - 20 * DAY);
                scene.head.expires = Time::from_seconds(NOW - 13 * DAY);
                scene.clock = NOW + seconds;
                scene.outcome()
            },
        );
    }
    table.expect("A8", "a clock behind does not revive a head older than the client", "stale", || {
        Scene::with(|s| {
            s.head.issued = Time::from_seconds(NOW - 60 * DAY);
            s.head.expires = Time::from_seconds(NOW - 53 * DAY);
            s.clock = NOW - 55 * DAY;
        })
        .outcome()
    });
    table.expect("A8", "a clock behind does not revive what the last head makes stale", "stale", || {
        let mut scene = Scene::new();
        scene.head.issued = Time::from_seconds(NOW);
        scene.remember();
        scene.offer(11, 21);
        scene.head.issued = Time::from_seconds(NOW);
        scene.head.expires = Time::from_seconds(NOW);
        scene.clock = NOW - 20 * DAY;
        scene.outcome()
    });
    table.expect("A8", "a walk noted under a clock ahead is made again", "E_SIGNATURE", || {
        let mut scene = Scene::new();
        scene.state.roots_walked = Some(Time::from_seconds(NOW + 3000 * DAY));
        scene.rotate(&[ROOT], |root| root.channel = vec![channel_key(33, "*")]);
        scene.head.root_version = 1;
        scene.outcome()
    });
}

fn steering(table: &mut Table) {
    let row = "A17";
    let mut scene = |name: &str, expected: &str, change: fn(&mut Scene)| {
        table.expect(row, name, expected, move || Scene::with(change).outcome());
    };
    scene("halted for all", "halted", |s| s.head.halts = vec!["*".into()]);
    scene("halted here", "halted", |s| s.head.halts = vec!["linux-x86_64".into()]);
    scene("halted elsewhere", "offer", |s| s.head.halts = vec!["windows-x86_64".into()]);
    scene("halted, and what is installed is what is offered", "up-to-date", |s| {
        s.head.halts = vec!["*".into()];
        s.installed = Some(10);
    });
    scene("bad for all", "bad-build", |s| s.head.bad_builds = vec![("*".into(), 10)]);
    scene("bad here", "bad-build", |s| s.head.bad_builds = vec![("linux-x86_64".into(), 10)]);
    scene("bad elsewhere", "offer", |s| s.head.bad_builds = vec![("windows-x86_64".into(), 10)]);
    scene("another build is bad", "offer", |s| s.head.bad_builds = vec![("*".into(), 9)]);
    scene("rolled out to nobody", "not-yet", |s| s.head.rollouts = vec![rollout(0)]);
    scene("rolled out to all", "offer", |s| s.head.rollouts = vec![rollout(1000)]);
    scene("a rollout that has not begun", "not-yet", |s| {
        s.head.rollouts = vec![Rollout { start: Time::from_seconds(NOW + DAY), ..rollout(1000) }];
    });
    scene("a rollout elsewhere", "offer", |s| {
        s.head.rollouts = vec![Rollout { platform: "windows-x86_64".into(), ..rollout(0) }];
    });
    scene("a release whose minimum is above what is installed", "E_BELOW_MINIMUM", |s| s.release.minimum_build = 6);
    scene("a minimum that is met", "offer", |s| s.release.minimum_build = 5);
    scene("a minimum above the release's own build", "E_DOCUMENT", |s| s.release.minimum_build = 11);
    for permille in [1u64, 10, 250, 500, 750, 999] {
        table.run(row, format!("{permille} of 1000 take part, and stay"), move || {
            let (now, later) = (rollout(permille), rollout(permille + 1));
            let bucket = |n: u32| now.bucket(&std::array::from_fn(|i| n.to_le_bytes()[i % 4] ^ i as u8));
            let part = (0..20_000).filter(|n| bucket(*n) < permille).count() as f64 / 20.0;
            let grows = (0..20_000).all(|n| bucket(n) >= permille || bucket(n) < later.permille_at(later.start));
            let near = (part - permille as f64).abs() < 15.0;
            if grows && near { Ok(()) } else { Err(format!("{part} of 1000 take part")) }
        });
    }
    table.expect(row, "a halt is felt at the next check", "halted", || {
        let mut scene = Scene::new();
        scene.remember();
        scene.head.sequence += 1;
        scene.head.halts = vec!["*".into()];
        let found = scene.outcome();
        assert!(scene.judge().expect("judged").state.expect("remembered").channels.contains_key(CHANNEL));
        found
    });
    table.expect(row, "and its head cannot be taken back by an older one", "E_OLDER_HEAD", || {
        let mut scene = Scene::new();
        scene.head.sequence += 1;
        scene.head.halts = vec!["*".into()];
        scene.remember();
        scene.head.sequence -= 1;
        scene.head.halts.clear();
        scene.head_signers = vec![HEAD];
        scene.outcome()
    });
}
