//! Looking at a tree: what it should be, and what it is.

use super::*;
use crate::tree::scan::{self, Depth, Finding, Found};

impl Updater {
    /// Compares every listed file with the installed manifest, by BLAKE3 and with `crc` by the CRC pair too.
    ///
    /// # Errors
    /// No record, or a damaged one. Damaged files are no error but the result.
    pub fn verify(&self, crc: bool) -> Result<Verified, Error> {
        if self.tree.is_unfinished()? {
            drop(self.begin()?);
        }
        let record = self.required_record()?;
        let depth = if crc { Depth::ContentAndCrc } else { Depth::Content };
        let manifest = &record.base.manifest;
        self.config.progress.event(Event::Started { phase: Phase::Verify, total_bytes: manifest.content_bytes() });
        let rows: Vec<_> = manifest.rows().iter().collect();
        let findings = scan::check(&self.tree, &rows, depth, self.config.progress.as_ref(), &self.config.cancel);
        if self.config.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let damaged = rows.iter().zip(findings).filter_map(|(row, finding)| {
            let keep = row.policy == crate::format::manifest::Policy::Keep;
            let (code, what) = describe(finding)?;
            Some(Damage { path: row.path.clone(), code, what, keep })
        });
        Ok(Verified {
            build: record.release.release.build,
            version: record.release.release.version.clone(),
            rows: manifest.rows().len(),
            read_bytes: manifest.content_bytes(),
            damaged: damaged.collect(),
        })
    }

    /// What is known without asking the site.
    ///
    /// # Errors
    /// A damaged record.
    pub fn status(&self) -> Result<Status, Error> {
        let state = self.state()?;
        let installed = self.installed_release(&state)?;
        let root = trust::newest_root(&self.facts(&state, None, Goal::Check))?;
        let channel = state.channels.get(&self.settings.channel);
        Ok(Status {
            settings: self.settings.clone(),
            installed,
            unfinished: self.tree.is_unfinished()?,
            given_up: self.tree.is_given_up()?,
            root_version: root.version,
            root_expires: root.expires,
            last_issued: channel.map(|c| c.issued),
            sequence: channel.map(|c| c.sequence),
        })
    }
}

/// What is wrong, if anything: a stable code, and words.
fn describe(finding: Finding) -> Option<(&'static str, String)> {
    Some(match finding {
        Finding::Intact => return None,
        Finding::WrongMode => ("mode", "has the wrong executable bit".into()),
        Finding::Missing => ("missing", "is missing".into()),
        Finding::Other(Found::File { size, .. }) => ("content", format!("has other content ({size} bytes)")),
        Finding::Other(Found::Link(destination)) => ("link", format!("is a link to {destination}")),
        Finding::Other(Found::Directory) => ("directory", "is a directory".into()),
        Finding::Other(Found::Special) => ("special", "is a device, socket or pipe".into()),
        Finding::Other(Found::Unreadable(error)) => ("unreadable", format!("cannot be read: {error}")),
    })
}
