//! Random sites with random histories, pruned again and again.

use std::collections::{BTreeMap, BTreeSet};

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::layout;
use lamplighter_client::format::text::Time;
use proptest::prelude::*;

use super::keep::{Id, Offer, Published, Rules, Why, keep};
use super::sweep::{File, Plan, Reach, sweep};
use crate::bases;

const DAY: i64 = 86_400;
const GRACE_DAYS: i64 = 7;

/// What happens to a site.
#[derive(Debug, Clone)]
enum Step {
    Wait {
        days: i64,
    },
    /// Builds a release with some of the objects there are, and moves the channel to it, if to any.
    Release {
        platform: usize,
        channel: Option<usize>,
        objects: Vec<u8>,
        bases: usize,
    },
    Prune {
        keep: usize,
        keep_days: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let release = (0..2usize, prop::option::weighted(0.8, 0..2usize), prop::collection::vec(0..30u8, 1..6), 0..4usize);
    prop_oneof![
        2 => (0..9i64).prop_map(|days| Step::Wait { days }),
        4 => release.prop_map(|(platform, channel, objects, bases)| Step::Release { platform, channel, objects, bases }),
        2 => (0..4usize, prop_oneof![Just(0i64), 0..30i64])
            .prop_map(|(keep, keep_days)| Step::Prune { keep, keep_days }),
    ]
}

#[derive(Debug, Clone)]
struct Signed {
    published: Published,
    objects: BTreeSet<String>,
}

/// A site as its documents describe it, and the files that lie there.
#[derive(Debug, Clone, Default)]
struct Site {
    now: i64,
    build: u64,
    signed: BTreeMap<Id, Signed>,
    /// Name and when it was written.
    files: BTreeMap<String, i64>,
    /// What each channel offers on each platform.
    heads: BTreeMap<(usize, String), u64>,
    /// Everything a channel ever offered, and until when.
    left: Vec<(Id, i64)>,
}

impl Site {
    fn release(&mut self, platform: usize, channel: Option<usize>, objects: &[u8], bases_max: usize) {
        self.build += 1;
        let (platform, build) = (["linux", "windows"][platform].to_owned(), self.build);
        let own: Vec<u64> = self.signed.keys().filter(|id| id.0 == platform).map(|id| id.1).collect();
        let offered: Vec<u64> = self.heads.iter().filter(|((_, p), _)| *p == platform).map(|(_, b)| *b).collect();
        // What channels offer always gets a pack here: it is what the grace is traced by.
        let most = bases_max.max(offered.iter().collect::<BTreeSet<_>>().len());
        let pack = |base: u64| (base, layout::pack(&Blake3::of(format!("{platform} {base} {build}").as_bytes())));
        let packs: Vec<_> = bases::choose(build, 0, &own, &offered, most).into_iter().map(pack).collect();
        let objects: BTreeSet<String> = objects.iter().map(|n| layout::object(&Blake3::of(&[*n]))).collect();
        let documents = [layout::release(build, &platform), layout::manifest(build, &platform)];
        let more = [layout::objects(build, &platform), layout::notes(build, &platform, "en")];
        let written = documents.into_iter().chain(more).chain(packs.iter().map(|(_, name)| name.clone()));
        for name in written.chain(objects.iter().cloned()) {
            self.files.entry(name).or_insert(self.now);
        }
        let id = (platform.clone(), build);
        let published = Published { id: id.clone(), issued: Time::from_seconds(self.now * DAY), packs };
        self.signed.insert(id, Signed { published, objects });
        if let Some(channel) = channel
            && let Some(last) = self.heads.insert((channel, platform.clone()), build)
        {
            self.left.push(((platform, last), self.now));
        }
    }

    fn rules(&self, keep: usize, keep_days: i64) -> Rules {
        let now = Time::from_seconds(self.now * DAY);
        Rules { keep, keep_seconds: keep_days * DAY, grace_seconds: GRACE_DAYS * DAY, now }
    }

    fn kept(&self, rules: &Rules) -> BTreeMap<Id, Why> {
        let offer = |((_, platform), build): (&(usize, String), &u64)| Offer {
            id: (platform.clone(), *build),
            rollout_start: None,
        };
        let published: Vec<Published> = self.signed.values().map(|s| s.published.clone()).collect();
        keep(&published, &self.heads.iter().map(offer).collect::<Vec<_>>(), rules)
    }

    fn plan(&self, rules: &Rules) -> Plan {
        let kept = self.kept(rules);
        let mut reach = Reach::default();
        for (id, signed) in &self.signed {
            let stays = kept.contains_key(id);
            reach.named.extend(signed.objects.iter().cloned());
            reach.named.extend(signed.published.packs.iter().map(|(_, name)| name.clone()));
            if stays {
                let has_base = |base: u64| kept.contains_key(&(id.0.clone(), base));
                let packs = signed.published.packs.iter().filter(|(base, _)| has_base(*base));
                reach.needed.extend(packs.map(|(_, name)| name.clone()).chain(signed.objects.iter().cloned()));
            }
            if stays {
                reach.kept.insert(id.clone())
            } else {
                reach.dropped.insert(id.clone())
            };
        }
        let file = |(name, day): (&String, &i64)| File {
            name: name.clone(),
            bytes: 1,
            modified: Time::from_seconds(day * DAY),
        };
        sweep(self.files.iter().map(file).collect(), &reach, rules)
    }

    fn remove(&mut self, name: &str) {
        self.files.remove(name);
        self.signed.retain(|(platform, build), _| layout::release(*build, platform) != name);
    }

    /// Documents and objects of a release: what installing it and healing take.
    fn whole(&self, id: &Id) -> Result<(), String> {
        let signed = self.signed.get(id).ok_or_else(|| format!("release {id:?} is gone"))?;
        let documents = [layout::manifest(id.1, &id.0), layout::objects(id.1, &id.0)];
        let missing = documents.iter().chain(&signed.objects).find(|name| !self.files.contains_key(*name));
        missing.map_or(Ok(()), |name| Err(format!("release {id:?} lacks {name}")))
    }

    /// As [`Site::whole`], with its packs and the releases they start from.
    fn offerable(&self, id: &Id, needs_bases: bool) -> Result<(), String> {
        self.whole(id)?;
        for (base, pack) in &self.signed[id].published.packs {
            let base = (id.0.clone(), *base);
            if needs_bases || self.signed.contains_key(&base) {
                self.whole(&base)?;
                let there = self.files.contains_key(pack);
                there.then_some(()).ok_or_else(|| format!("release {id:?} lacks the pack from {base:?}"))?;
            }
        }
        Ok(())
    }

    fn offers_stand(&self) -> Result<(), String> {
        self.heads.iter().try_for_each(|((_, platform), build)| self.offerable(&(platform.clone(), *build), true))
    }
}

/// Prunes `site`, dying before every removal in turn, and looks at what is left.
fn prune(site: &mut Site, newest: usize, keep_days: i64) -> Result<(), String> {
    let rules = site.rules(newest, keep_days);
    let (plan, kept) = (site.plan(&rules), site.kept(&rules));
    for name in plan.files().map(|file| file.name.clone()) {
        site.offers_stand()?;
        for id in site.signed.keys() {
            site.offerable(id, false).map_err(|text| format!("before {name} goes: {text}"))?;
        }
        site.remove(&name);
    }
    site.offers_stand()?;
    // A release that was no more than a base for a while may have lost the packs from what went.
    kept.keys().try_for_each(|id| site.offerable(id, false))?;
    // The grace of whatever a channel offered until a moment ago.
    for (id, until) in &site.left {
        if site.now - until < GRACE_DAYS {
            site.offerable(id, true).map_err(|text| format!("{} days ago: {text}", site.now - until))?;
        }
    }
    let again = site.plan(&rules);
    if again.files().next().is_some() || !again.unknown.is_empty() {
        return Err(format!("it is not done with once: {again:?}"));
    }
    Ok(())
}

/// Long after the last change nothing is left but what is offered, what lies ahead, the newest, and their bases.
fn nothing_is_left_over(site: &Site, newest: usize) -> Result<(), String> {
    let mut later = site.clone();
    later.now += 1000;
    prune(&mut later, newest, 0)?;
    let mut expected = BTreeSet::new();
    for id in site.signed.keys() {
        let own: Vec<u64> = site.signed.keys().filter(|other| other.0 == id.0).map(|other| other.1).collect();
        let offered: Vec<u64> = site.heads.iter().filter(|((_, p), _)| *p == id.0).map(|(_, b)| *b).collect();
        let is_newest = own.iter().rev().take(newest).any(|build| *build == id.1);
        if is_newest || offered.contains(&id.1) || offered.iter().all(|build| id.1 > *build) {
            expected.insert(id.clone());
            expected.extend(site.signed[id].published.packs.iter().map(|(base, _)| (id.0.clone(), *base)));
        }
    }
    let expected: BTreeSet<Id> = expected.into_iter().filter(|id| site.signed.contains_key(id)).collect();
    let found: BTreeSet<Id> = later.signed.keys().cloned().collect();
    if expected != found {
        return Err(format!("expected {expected:?}, found {found:?}"));
    }
    let objects: BTreeSet<&String> = later.signed.values().flat_map(|s| &s.objects).collect();
    let left = later.files.keys().find(|name| {
        let named = later.signed.values().flat_map(|s| &s.published.packs).any(|(_, pack)| pack == *name);
        !(name.starts_with("releases/") || objects.contains(name) || named)
    });
    left.map_or(Ok(()), |name| Err(format!("{name} is left over")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_a_head_reaches_stays_and_all_else_goes_after_the_grace(steps in prop::collection::vec(step(), 1..40), newest in 0..3usize) {
        let mut site = Site::default();
        for step in steps {
            match step {
                Step::Wait { days } => site.now += days,
                Step::Release { platform, channel, objects, bases } => site.release(platform, channel, &objects, bases),
                Step::Prune { keep, keep_days } => prune(&mut site, keep, keep_days).map_err(TestCaseError::fail)?,
            }
        }
        nothing_is_left_over(&site, newest).map_err(TestCaseError::fail)?;
    }
}

#[test]
fn files_of_runs_under_way_wait_for_the_grace_and_foreign_ones_for_ever() {
    let object = layout::object(&Blake3::of(b"an object"));
    let fan_of_another = object.replacen(&object[8..10], "zz", 1);
    let names = [
        object.as_str(),
        "releases/7/linux/manifest.csv",
        "root/1.root",
        "index.html",
        "channels/stable.head",
        "channels/.htaccess",
        "releases/7/linux/notes.en.md",
        "releases/07/linux/release",
        "objects/ab/short",
        "robots.txt",
        fan_of_another.as_str(),
    ];
    let rules = Rules { keep: 0, keep_seconds: 0, grace_seconds: 7 * DAY, now: Time::from_seconds(100 * DAY) };
    let swept = |day: i64| {
        let file = |name: &&str| File { name: (*name).to_owned(), bytes: 3, modified: Time::from_seconds(day * DAY) };
        let plan = sweep(names.iter().map(file).collect(), &Reach::default(), &rules);
        let gone: Vec<String> = plan.files().map(|f| f.name.clone()).collect();
        (gone, plan.unknown, plan.kept_files)
    };
    let (gone, unknown, kept) = swept(94);
    assert_eq!((gone.len(), kept), (0, 6));
    let mut foreign =
        vec!["channels/.htaccess", "objects/ab/short", "releases/07/linux/release", "robots.txt", &fan_of_another];
    foreign.sort_unstable();
    assert_eq!(unknown, foreign);
    let (gone, unknown, kept) = swept(93);
    assert_eq!(gone, ["releases/7/linux/manifest.csv", "releases/7/linux/notes.en.md", &object]);
    assert_eq!((unknown.len(), kept), (5, 3));
}
