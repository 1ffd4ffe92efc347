//! What somebody who holds the site, or some of its keys, hands out in place of what the publisher made.

use super::{DAY, POOLS, STRANGERS, Served, Story};
use crate::documents::{APP, CHANNEL, HeadFacts, Keys, RootFacts};

const SEQUENCE_MAX: u64 = (1 << 53) - 1;

impl Story {
    /// The honest site, or something else.
    pub(super) fn serve(&mut self) -> Served {
        let mut served = Served {
            roots: self.chain[1..].to_vec(),
            head: self.newest_head,
            release: self.newest_release,
            head_cut: false,
            release_cut: false,
        };
        if self.dice.chance(25) {
            self.attack_roots(&mut served);
        }
        if self.dice.chance(35) {
            self.attack_head(&mut served);
        }
        if self.dice.chance(18) {
            self.attack_release(&mut served);
        }
        served
    }

    fn attack_roots(&mut self, served: &mut Served) {
        let keep = self.dice.below(served.roots.len() as u64 + 1) as usize;
        if self.dice.chance(30) {
            served.roots.truncate(keep);
            return;
        }
        // New keys throughout are what a forger wants, and what tells apart by whose keys a root is judged.
        let stolen = std::mem::replace(&mut self.stolen[0], self.dice.chance(50));
        let mut root = self.next_root();
        self.stolen[0] = stolen;
        self.spoil_root(&mut root);
        let index = self.roots.len();
        self.roots.push(root);
        match self.dice.below(4) {
            0 if keep < served.roots.len() => served.roots[keep] = index,
            1 => served.roots.insert(keep, index),
            _ => served.roots.push(index),
        }
        // Makes the client look, if it believes the head.
        if self.dice.chance(60) {
            let head = HeadFacts { root: self.roots[index].version, ..self.next_head() };
            served.head = self.put(head);
        }
    }

    fn spoil_root(&mut self, root: &mut RootFacts) {
        let old = self.root().clone();
        match self.dice.below(18) {
            0..=2 => root.signers = self.dice.some(&old.root.seeds, 5),
            13..=15 => root.signers = self.dice.some(&root.root.seeds, 5),
            16 => drop(root.signers.pop()),
            3 => root.version -= 1,
            4 => root.version += 1,
            5 => root.signers = vec![root.signers[0]; 4],
            6 => root.cut = true,
            7 => root.signers = STRANGERS.to_vec(),
            8 => root.app = "org.example.other",
            9 => root.release.threshold = root.release.seeds.len() as u64 + 1,
            10 => root.channel_threshold = root.channel.len() as u64 + 1,
            11 => root.root.seeds.push(root.root.seeds[0]),
            12 => root.root.threshold = 0,
            _ => root.signers = [root.release.seeds.clone(), old.channel_keys().seeds].concat(),
        }
        // A document without a signature is not written at all.
        if root.signers.is_empty() {
            root.signers.push(STRANGERS[0]);
        }
        // The one signature twice: neither more nor less than once.
        if self.dice.chance(5) {
            root.signers.push(root.signers[0]);
        }
    }

    fn put(&mut self, head: HeadFacts) -> usize {
        self.heads.push(head);
        self.heads.len() - 1
    }

    fn attack_head(&mut self, served: &mut Served) {
        let mut head = self.next_head();
        let newest = self.heads[self.newest_head].clone();
        let keys = self.root().channel_keys();
        match self.dice.below(24) {
            0..=3 => {
                served.head = self.dice.below(self.heads.len() as u64) as usize;
                served.release = self.heads[served.head].release;
                return;
            }
            4 => head.signers = too_few(&keys),
            5 => head.signers = STRANGERS.to_vec(),
            6 => head.signers = self.root().release.seeds.clone(),
            7 => head.signers = self.root().root.seeds.clone(),
            8 => head.signers = POOLS[2].clone().chain([29]).filter(|seed| !keys.seeds.contains(seed)).collect(),
            9 => (head.sequence, head.expires) = (newest.sequence, newest.expires + self.dice.between(0, 1)),
            10 => head.issued = newest.issued - 1,
            11 => (head.issued, head.expires) = (self.now - 9 * DAY, self.now - self.dice.between(0, 1)),
            12 | 13 => {
                head.sequence = SEQUENCE_MAX;
                self.stolen[2] = self.dice.chance(80);
            }
            14 => head.signers.push(head.signers[0]),
            15 if self.dice.chance(50) => head.app = "org.example.other",
            15 => head.channel = "beta",
            16 => head.root += 1,
            17 => {
                (head.issued, head.expires) = (self.now + 50 * DAY, self.now + 57 * DAY);
                self.stolen[2] = self.dice.chance(80);
            }
            18 => head.sequence = self.dice.below(newest.sequence) + 1,
            // A channel key alone points at a release of the past.
            19..=22 => {
                head.release = self.dice.below(self.releases.len() as u64) as usize;
                head.build = self.releases[head.release].build;
                served.release = head.release;
            }
            _ => served.head_cut = true,
        }
        served.head = self.put(head);
    }

    fn attack_release(&mut self, served: &mut Served) {
        match self.dice.below(12) {
            0 => {
                served.release = self.dice.below(self.releases.len() as u64) as usize;
                return;
            }
            1 => {
                served.release_cut = true;
                return;
            }
            _ => (),
        }
        let mut release = self.releases[self.newest_release].clone();
        let (keys, channel) = (self.root().release.clone(), self.root().channel_keys().seeds);
        release.content += 1000;
        let mut named = release.build;
        match self.dice.below(10) {
            0 => release.signers = too_few(&keys),
            1 => release.signers = STRANGERS.to_vec(),
            2 => release.signers = channel,
            3 => release.platform = "windows-x86_64",
            4 => release.app = "org.example.other",
            5 => release.minimum = release.build,
            6 => release.signers.push(release.signers[0]),
            7 => release.build = 1 + self.dice.below(release.build),
            8 => {
                (release.build, self.stolen[1]) = (1_000_000, self.dice.chance(80));
                named = release.build;
            }
            // The channel's key offers what the release key never called by this number.
            _ => named += 1,
        }
        if release.build < named && self.dice.chance(50) {
            named = release.build;
        }
        if release.signers.is_empty() {
            release.signers.push(STRANGERS[0]);
        }
        served.release = self.releases.len();
        self.releases.push(release);
        let head = HeadFacts { app: APP, channel: CHANNEL, build: named, release: served.release, ..self.next_head() };
        served.head = self.put(head);
    }
}

/// One signer less than the role needs; a stranger stands in if none is left.
fn too_few(keys: &Keys) -> Vec<u8> {
    let mut signers: Vec<u8> = keys.seeds.iter().copied().take(keys.threshold as usize - 1).collect();
    if signers.is_empty() {
        signers.push(STRANGERS[1]);
    }
    signers
}
