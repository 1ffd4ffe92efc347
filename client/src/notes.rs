//! Release notes for people: which language, which builds, and nothing in them that could act on a terminal.
//!
//! The notes of a release are one file a language ([`crate::format::notes`]) that covers the builds before it as well, so
//! whoever skipped five releases reads five sections after one request. Pure functions; [`crate::updater::Updater::notes`]
//! fetches.

mod clean;

use crate::format::notes::parse;
pub use crate::format::notes::{NOTES_BYTES_MAX, NotesError, NotesSection};
use crate::format::release::{Notes, Release};
pub use clean::cleaned;

/// The notes of `release` for someone who reads `language` (`de`, `pt-BR`, `pt_BR.UTF-8`): those in exactly that language,
/// else in its primary language, else in another region's form of it, else in English, else the first ones.
///
/// None if the release has no notes.
pub fn choose<'a>(release: &'a Release, language: &str) -> Option<&'a Notes> {
    let wanted = tag(language).unwrap_or_default();
    let primary = wanted.split('-').next().unwrap_or_default();
    let exactly = |tag: &str| release.notes.iter().find(|notes| notes.language == tag);
    let any_region = || release.notes.iter().find(|notes| notes.language.split('-').next() == Some(primary));
    exactly(&wanted)
        .or_else(|| exactly(primary))
        .or_else(any_region)
        .or_else(|| exactly("en"))
        .or_else(|| release.notes.first())
}

/// The sections of a verified notes file that are news to someone who has `installed` and is offered `offered`: builds above
/// the one, up to the other, newest first, [`cleaned`].
///
/// # Errors
/// The file breaks a rule of its format.
pub fn news(file: &[u8], installed: u64, offered: u64) -> Result<Vec<NotesSection>, NotesError> {
    let new = |section: &NotesSection| section.build > installed && section.build <= offered;
    let clean = |section: NotesSection| NotesSection {
        build: section.build,
        version: section.version,
        text: cleaned(&section.text),
    };
    Ok(parse(file)?.into_iter().filter(new).map(clean).collect())
}

/// The language a person has set, from the values of `LC_ALL`, `LC_MESSAGES` and `LANG`: the first that is set decides. `en`
/// where it names none.
pub fn language_of(lc_all: Option<&str>, lc_messages: Option<&str>, lang: Option<&str>) -> String {
    let set = [lc_all, lc_messages, lang].into_iter().flatten().find(|value| !value.is_empty());
    set.and_then(tag).unwrap_or_else(|| "en".into())
}

/// A language tag in lowercase with `-`, from a tag or a locale's name; none for `C` and `POSIX`, which name no language.
fn tag(locale: &str) -> Option<String> {
    let name = locale.split(['.', '@']).next()?.replace('_', "-").to_ascii_lowercase();
    let names_a_language = crate::format::release::is_language(&name) && name != "posix";
    names_a_language.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::document::FileRef;
    use crate::format::notes::to_bytes;
    use crate::format::text::Time;

    fn release(languages: &[&str]) -> Release {
        let file = FileRef::of(b"");
        Release {
            app: "a".into(),
            platform: "any".into(),
            build: 1,
            version: "1".into(),
            issued: Time::from_seconds(0),
            minimum_build: 0,
            entry: None,
            patcher: None,
            minimum_os: None,
            manifest: file,
            objects: file,
            notes: languages.iter().map(|l| Notes { language: (*l).into(), file }).collect(),
            reads_pack: 1,
            packs: Vec::new(),
        }
    }

    #[test]
    fn the_nearest_language_is_chosen() {
        let all = release(&["de", "en", "pt", "pt-br", "zh-hant"]);
        let chosen = |release: &Release, language: &str| choose(release, language).map(|n| n.language.clone());
        for (wanted, expected) in [
            ("de", "de"),
            ("de_AT.UTF-8", "de"),
            ("pt-BR", "pt-br"),
            ("pt_PT", "pt"),
            ("zh_TW", "zh-hant"),
            ("fr", "en"),
            ("", "en"),
            ("C", "en"),
            ("../../x", "en"),
        ] {
            assert_eq!(chosen(&all, wanted).as_deref(), Some(expected), "{wanted}");
        }
        assert_eq!(chosen(&release(&["ja", "ko"]), "fr").as_deref(), Some("ja"));
        assert_eq!(chosen(&release(&[]), "fr"), None);
    }

    #[test]
    fn the_language_comes_from_the_first_variable_that_is_set() {
        assert_eq!(language_of(None, None, Some("de_DE.UTF-8")), "de-de");
        assert_eq!(language_of(Some(""), Some("sr_RS@latin"), Some("de")), "sr-rs");
        assert_eq!(language_of(Some("C"), None, Some("de")), "en");
        assert_eq!(language_of(Some("C.UTF-8"), Some("POSIX"), None), "en");
        assert_eq!(language_of(Some("POSIX"), None, None), "en");
        assert_eq!(language_of(None, None, None), "en");
    }

    #[test]
    fn only_skipped_builds_are_news_and_they_come_cleaned() {
        let section =
            |build: u64| NotesSection { build, version: format!("{build}.0"), text: format!("\x1b[31m{build}\n") };
        let file = to_bytes(&[5, 4, 2, 1].map(section));
        let builds = |installed, offered| -> Vec<u64> {
            news(&file, installed, offered).expect("a good file").iter().map(|s| s.build).collect()
        };
        assert_eq!(builds(1, 5), [5, 4, 2]);
        assert_eq!(builds(2, 4), [4]);
        assert_eq!(builds(0, 9), [5, 4, 2, 1]);
        assert_eq!(builds(5, 5), [0; 0]);
        let newest = news(&file, 4, 5).expect("a good file").remove(0);
        assert_eq!((newest.version.as_str(), newest.text.as_str()), ("5.0", "5\n"));
        assert!(news(b"no marker\n", 0, 1).is_err());
        let reversed = NotesSection { version: "5\u{202e}0".into(), ..section(5) };
        assert!(news(&to_bytes(&[reversed]), 0, 5).is_err(), "versions are clean, or the file is none");
    }
}
