//! What installers are made from: scripts with the values of a release filled in, beside its tree.
//!
//! Each template is a text with `@KEY@` where a value belongs; a value is spelled as the language of the text wants it. All
//! install for one user, or make each user a copy: updates write into the tree, and what a user may not write cannot be
//! updated without an administrator.

use lamplighter_client::format::release::Release;

use super::archive::Entry;
use super::{BundleError, Request, entry_of};

/// A kind of installer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Template {
    Nsis,
    Inno,
    Deb,
    Macos,
}

/// How a value is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// Within double quotes of an NSIS script.
    Nsis,
    /// Within double quotes of an Inno Setup script.
    Inno,
    /// Within single quotes of a shell script.
    Shell,
    /// A line of a Debian control file or a desktop entry.
    Line,
}

impl Spelling {
    fn spell(self, value: &str) -> String {
        match self {
            Spelling::Nsis => value.replace('$', "$$").replace('"', "$\\\""),
            Spelling::Inno => value.replace('{', "{{").replace('"', "\"\""),
            Spelling::Shell => value.replace('\'', "'\\''"),
            Spelling::Line => value.replace('\\', "\\\\").replace('%', "%%"),
        }
    }
}

/// What is filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values {
    package: String,
    values: Vec<(&'static str, String)>,
}

impl Values {
    /// The values of `release`, whose tree is called `name`.
    pub(super) fn new(
        request: &Request<'_>,
        name: &str,
        release: &Release,
        content_bytes: u64,
    ) -> Result<Self, BundleError> {
        let (entry, package) = (entry_of(release)?, package_name(name));
        let values = vec![
            ("NAME", name.to_owned()),
            ("APP", release.app.clone()),
            ("BUILD", release.build.to_string()),
            ("VERSION", release.version.clone()),
            ("ENTRY_WINDOWS", entry.replace('/', "\\")),
            ("ENTRY", entry),
            ("URL", request.url.to_owned()),
            ("CHANNEL", request.channel.to_owned()),
            ("PACKAGE", package.clone()),
            ("DEB_VERSION", deb_version(release.build, &release.version)),
            ("DEB_ARCH", deb_architecture(&release.platform).to_owned()),
            ("SIZE_KIB", content_bytes.div_ceil(1024).to_string()),
            ("ISSUED_SECONDS", release.issued.seconds().to_string()),
        ];
        Ok(Self { package, values })
    }

    fn fill(&self, text: &str, spelling: Spelling) -> String {
        // In one pass: a value that looks like a key is a value.
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('@') {
            let (before, after) = rest.split_at(at);
            filled.push_str(before);
            let known =
                self.values.iter().find(|(key, _)| after[1..].strip_prefix(key).is_some_and(|r| r.starts_with('@')));
            match known {
                Some((key, value)) => {
                    filled.push_str(&spelling.spell(value));
                    rest = &after[key.len() + 2..];
                }
                None => {
                    filled.push('@');
                    rest = &after[1..];
                }
            }
        }
        filled + rest
    }
}

impl Template {
    /// All there are, by name.
    pub const NAMES: [(&'static str, Template); 4] =
        [("nsis", Template::Nsis), ("inno", Template::Inno), ("deb", Template::Deb), ("macos", Template::Macos)];

    /// Directory of the tree, below that of the template.
    pub(super) const fn tree_dir(self) -> &'static str {
        match self {
            Template::Nsis | Template::Inno => "tree",
            Template::Deb => "package/opt",
            Template::Macos => "volume",
        }
    }

    /// What root owns must be for all to read, or no user could make a copy of it.
    pub(super) fn open_to_all(self, entry: Entry) -> Entry {
        let mode = if self == Template::Deb {
            entry.mode | (entry.mode & 0o500) >> 3 | (entry.mode & 0o500) >> 6
        } else {
            entry.mode
        };
        Entry { mode, ..entry }
    }

    /// Files beside the tree: name, permissions, text.
    pub(super) fn files(self, values: &Values) -> Vec<(String, u32, String)> {
        let file = |name: String, mode, text, spelling| (name, mode, values.fill(text, spelling));
        let package = &values.package;
        match self {
            Template::Nsis => {
                vec![file(
                    "installer.nsi".into(),
                    0o644,
                    include_str!("../../templates/nsis/installer.nsi"),
                    Spelling::Nsis,
                )]
            }
            Template::Inno => {
                vec![file(
                    "installer.iss".into(),
                    0o644,
                    include_str!("../../templates/inno/installer.iss"),
                    Spelling::Inno,
                )]
            }
            Template::Deb => vec![
                file("build.sh".into(), 0o755, include_str!("../../templates/deb/build.sh"), Spelling::Shell),
                file(
                    "package/DEBIAN/control".into(),
                    0o644,
                    include_str!("../../templates/deb/control"),
                    Spelling::Line,
                ),
                file(
                    format!("package/usr/bin/{package}"),
                    0o755,
                    include_str!("../../templates/deb/start.sh"),
                    Spelling::Shell,
                ),
                file(
                    format!("package/usr/share/applications/{package}.desktop"),
                    0o644,
                    include_str!("../../templates/deb/start.desktop"),
                    Spelling::Line,
                ),
            ],
            Template::Macos => {
                vec![file("image.sh".into(), 0o755, include_str!("../../templates/macos/image.sh"), Spelling::Shell)]
            }
        }
    }
}

/// `name` as Debian spells packages: lower case, digits, `+`, `-` and `.`, at least two characters.
fn package_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "+-.".contains(c) { c.to_ascii_lowercase() } else { '-' };
    let text: String = name.chars().map(plain).collect();
    let text = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if text.len() < 2 { format!("app-{text}").trim_end_matches('-').to_owned() } else { text.to_owned() }
}

/// A version that grows as builds do: that of people may say anything.
fn deb_version(build: u64, version: &str) -> String {
    let plain: String = version.chars().filter(|c| c.is_ascii_alphanumeric() || ".+~".contains(*c)).collect();
    if plain.is_empty() { build.to_string() } else { format!("{build}+{plain}") }
}

fn deb_architecture(platform: &str) -> &'static str {
    match platform.rsplit('-').next() {
        Some("x86_64") => "amd64",
        Some("aarch64") => "arm64",
        Some("x86") => "i386",
        Some("arm") => "armhf",
        _ => "all",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_spelled_for_the_language_they_stand_in() {
        let values = vec![("NAME", "it's \"{$x}\" 50% @APP@".to_owned()), ("APP", "a".to_owned())];
        let filled = |spelling| {
            let values = Values { package: String::new(), values: values.clone() };
            values.fill("<@NAME@|@APP@|me@example.org|@>", spelling)
        };
        assert_eq!(filled(Spelling::Shell), "<it'\\''s \"{$x}\" 50% @APP@|a|me@example.org|@>");
        assert_eq!(filled(Spelling::Nsis), "<it's $\\\"{$$x}$\\\" 50% @APP@|a|me@example.org|@>");
        assert_eq!(filled(Spelling::Inno), "<it's \"\"{{$x}\"\" 50% @APP@|a|me@example.org|@>");
        assert_eq!(filled(Spelling::Line), "<it's \"{$x}\" 50%% @APP@|a|me@example.org|@>");
    }

    #[test]
    fn debian_gets_names_and_versions_it_takes() {
        assert_eq!(package_name("Org.Example App_2"), "org.example-app-2");
        assert_eq!((package_name("ä").as_str(), package_name("_x").as_str()), ("app", "app-x"));
        assert_eq!((deb_version(7, "1.2-rc 1"), deb_version(7, "ü")), ("7+1.2rc1".to_owned(), "7".to_owned()));
        assert_eq!((deb_architecture("linux-aarch64"), deb_architecture("any")), ("arm64", "all"));
    }
}
