//! Release notes of a new release: its own text in front of what the release before it says of earlier builds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use lamplighter_client::format::layout;
use lamplighter_client::format::notes::{self, NOTES_BYTES_MAX, NOTES_SECTIONS_MAX, NotesSection};
use lamplighter_client::format::release::Release;

use super::Job;
use crate::error::Error;
use crate::site::SiteError;
use crate::site::documents::named;

/// What a language without a text of its own gets.
const FALLBACK: &str = "en";

/// Sections by language.
pub(super) type Sections = BTreeMap<String, Vec<NotesSection>>;

/// Reads the author's texts and makes a section of each; a text that says nothing gives none.
///
/// # Errors
/// A file cannot be read, is too long, not UTF-8, or contains a line that only the publisher may write.
pub(super) fn read(
    files: &BTreeMap<String, PathBuf>,
    build: u64,
    version: &str,
) -> Result<BTreeMap<String, NotesSection>, Error> {
    let mut sections = BTreeMap::new();
    for (language, file) in files {
        let error = |detail: String| Error::Notes { file: file.clone(), detail };
        let length = std::fs::metadata(file).map_err(|e| error(e.to_string()))?.len();
        if length > NOTES_BYTES_MAX {
            return Err(error(format!("expected at most {NOTES_BYTES_MAX} bytes, found {length}")));
        }
        let text = std::fs::read_to_string(file).map_err(|e| error(e.to_string()))?;
        let Some(section) = NotesSection::new(build, version, &text).map_err(|e| error(e.to_string()))? else {
            continue;
        };
        if section.length() > NOTES_BYTES_MAX {
            let found = section.length();
            return Err(error(format!("expected at most {NOTES_BYTES_MAX} bytes with its heading, found {found}")));
        }
        sections.insert(language.clone(), section);
    }
    Ok(sections)
}

/// The notes files of a release, from its own sections and those of the release before it.
///
/// A language that only one side has gets the other side's text in the fallback language, so that every file speaks of every
/// build.
pub(super) fn cumulated(own: &BTreeMap<String, NotesSection>, earlier: &Sections) -> BTreeMap<String, Vec<u8>> {
    let languages: BTreeSet<&String> = own.keys().chain(earlier.keys()).collect();
    let file = |language: &String| {
        let newest = in_language(own, language).into_iter();
        let older = in_language(earlier, language).into_iter().flatten();
        (language.clone(), notes::to_bytes(&bounded(newest.chain(older))))
    };
    languages.into_iter().map(file).collect()
}

fn in_language<'a, T>(map: &'a BTreeMap<String, T>, language: &str) -> Option<&'a T> {
    map.get(language).or_else(|| map.get(FALLBACK)).or_else(|| map.values().next())
}

/// As many of the newest sections as a file may have.
fn bounded<'a>(sections: impl Iterator<Item = &'a NotesSection>) -> Vec<NotesSection> {
    let mut bytes = 0;
    let fits = |section: &&NotesSection| {
        bytes += section.length();
        bytes <= NOTES_BYTES_MAX
    };
    sections.take(NOTES_SECTIONS_MAX).take_while(fits).cloned().collect()
}

impl Job<'_> {
    /// The notes files of this run's release of `platform`.
    pub(super) fn notes(&self, platform: &str) -> BTreeMap<String, Vec<u8>> {
        cumulated(self.notes, &self.earlier_notes(platform))
    }

    /// What the newest usable release of `platform` before this one says. What cannot be used is left out with a notice.
    fn earlier_notes(&self, platform: &str) -> Sections {
        let site = self.writer.site();
        let before =
            self.authority.published.iter().rev().filter(|(build, p)| p == platform && *build < self.request.build);
        for (build, platform) in before {
            match self.authority.trust.release(site, *build, platform) {
                Ok(Some(release)) => return self.sections_of(&release.release),
                Ok(None) => {}
                Err(error) => self.left_out(&layout::release(*build, platform), &error.to_string()),
            }
        }
        Sections::new()
    }

    pub(super) fn sections_of(&self, release: &Release) -> Sections {
        let mut sections = Sections::new();
        for known in &release.notes {
            let name = layout::notes(release.build, &release.platform, &known.language);
            let parsed = named(self.writer.site(), &name, &known.file)
                .and_then(|bytes| notes::parse(&bytes).map_err(|e| SiteError::damaged(&name, e)));
            match parsed {
                Ok(parsed) => _ = sections.insert(known.language.clone(), parsed),
                Err(error) => self.left_out(&name, &error.to_string()),
            }
        }
        sections
    }

    fn left_out(&self, name: &str, why: &str) {
        self.watch.notice("notes-left-out", name, &format!("its notes do not go into the new release: {why}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(build: u64, text: &str) -> NotesSection {
        NotesSection::new(build, "1", text).expect("no marker").expect("some text")
    }

    fn builds(file: &[u8]) -> Vec<u64> {
        notes::parse(file).expect("a notes file").iter().map(|s| s.build).collect()
    }

    #[test]
    fn every_language_speaks_of_every_build() {
        let own = BTreeMap::from([("en".to_owned(), section(3, "three")), ("fr".to_owned(), section(3, "trois"))]);
        let earlier = BTreeMap::from([
            ("de".to_owned(), vec![section(2, "zwei"), section(1, "eins")]),
            ("en".to_owned(), vec![section(2, "two"), section(1, "one")]),
        ]);
        let files = cumulated(&own, &earlier);
        let texts = |language: &str| -> Vec<String> {
            notes::parse(&files[language]).expect("a file").into_iter().map(|s| s.text.trim_end().to_owned()).collect()
        };
        assert_eq!(files.keys().collect::<Vec<_>>(), ["de", "en", "fr"]);
        assert_eq!(texts("de"), ["three", "zwei", "eins"]);
        assert_eq!(texts("en"), ["three", "two", "one"]);
        assert_eq!(texts("fr"), ["trois", "two", "one"]);
        assert_eq!(
            builds(&cumulated(&BTreeMap::new(), &earlier)["de"]),
            [2, 1],
            "a release without notes passes them on"
        );
        assert!(cumulated(&BTreeMap::new(), &Sections::new()).is_empty());
    }

    #[test]
    fn the_oldest_sections_are_dropped() {
        let own = BTreeMap::from([("en".to_owned(), section(99, "new"))]);
        let earlier =
            |text: &str| Sections::from([("en".to_owned(), (1..=60).rev().map(|b| section(b, text)).collect())]);
        let many = builds(&cumulated(&own, &earlier("x"))["en"]);
        assert_eq!((many.len(), many[0], many[1], many[49]), (NOTES_SECTIONS_MAX, 99, 60, 12));
        let file = &cumulated(&own, &earlier(&"x".repeat(40_000)))["en"];
        assert_eq!(builds(file), [99, 60, 59, 58, 57, 56, 55]);
        assert!(file.len() as u64 <= NOTES_BYTES_MAX);
    }
}
