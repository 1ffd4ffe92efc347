//! The only way a path of a manifest becomes a path on disk.
//!
//! # Specification: path rules
//!
//! The same on every system, so that a release that is legal anywhere is legal everywhere. A path
//!
//! 1. is UTF-8 in Unicode normalisation form C, 1 to 1024 bytes long, with at most 32 components divided by `/`;
//! 2. has no empty, `.` or `..` component, no leading or trailing `/`;
//! 3. has components of at most 255 bytes and 255 UTF-16 units;
//! 4. holds none of `\ : < > " | ? *`, no control characters, no bidirectional controls, no zero-width characters;
//! 5. has no component that begins with a space or ends with a space or a dot;
//! 6. has no component whose part before the first dot is, in any case, a DOS device: `con prn aux nul conin$ conout$
//!    com0`–`com9 com¹ com² com³ lpt0`–`lpt9 lpt¹ lpt² lpt³`;
//! 7. has no component that looks like an 8.3 alias (1 to 6 characters without a dot, `~`, a digit);
//! 8. does not begin with the component `.lamplighter`, in any case.
//!
//! For a set of paths: no two are equal after NFKC and case folding of each component, and none lies below another
//! that is not a directory.
//!
//! A link's destination is relative, divided by `/`; its `..` come first; the other components obey rules 1–7; and
//! resolved from the link's own directory it stays in the tree and outside `.lamplighter`.
//!
//! # Changelog
//!
//! * 1: first.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::text::is_invisible;

/// Name of the state directory inside a tree; no manifest may name it.
pub const STATE_DIR: &str = ".lamplighter";

const PATH_BYTES_MAX: usize = 1024;
const COMPONENTS_MAX: usize = 32;
const COMPONENT_UNITS_MAX: usize = 255;

/// A relative path that obeys the path rules: safe to join to the root of a tree on any system.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(String);

/// Why text is not a path of a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path {path:?} is not allowed: {rule}")]
pub struct PathError {
    /// The offending text.
    pub path: String,
    /// The rule it breaks.
    pub rule: PathRule,
}

/// The rule a path breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PathRule {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than 1024 bytes")]
    TooLong,
    #[error("it has more than 32 components")]
    TooDeep,
    #[error("it is not in Unicode normalisation form C")]
    NotNfc,
    #[error("it is absolute, or has an empty component")]
    EmptyComponent,
    #[error("it has a '.' or '..' component")]
    DotComponent,
    #[error("a component is longer than 255 bytes or UTF-16 units")]
    ComponentTooLong,
    #[error("it holds one of \\ : < > \" | ? *")]
    ForbiddenCharacter,
    #[error("it holds a control, bidirectional or zero-width character")]
    InvisibleCharacter,
    #[error("a component begins with a space, or ends with a space or a dot")]
    TrimmedBySystems,
    #[error("a component is the name of a DOS device")]
    DosDevice,
    #[error("a component looks like an 8.3 alias")]
    ShortAlias,
    #[error("it lies in the state directory .lamplighter")]
    StateDirectory,
    #[error("the link leaves the tree")]
    LeavesTree,
    #[error("the link points at itself or its own directory")]
    LinkToSelf,
}

impl RelPath {
    /// Checks `text` against the path rules.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = |rule| PathError { path: text.chars().take(200).collect(), rule };
        check_components(text).map_err(error)?;
        let first = text.split('/').next().unwrap_or_default();
        if fold_component(first) == STATE_DIR {
            return Err(error(PathRule::StateDirectory));
        }
        Ok(Self(text.to_owned()))
    }

    /// The path with `/` between components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its components, at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// Last component.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The directory it lies in; none at the root of the tree.
    pub fn parent(&self) -> Option<RelPath> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// Every directory above it, outermost first.
    pub fn ancestors(&self) -> impl Iterator<Item = RelPath> + '_ {
        self.0.match_indices('/').map(|(at, _)| Self(self.0[..at].to_owned()))
    }

    /// True where `self` lies somewhere below `directory`.
    pub fn is_below(&self, directory: &RelPath) -> bool {
        self.0.strip_prefix(&directory.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The path in the system's own form, still relative.
    pub fn to_path(&self) -> PathBuf {
        self.components().collect()
    }

    /// The key under which case-insensitive and normalising file systems may see this path.
    pub fn fold_key(&self) -> String {
        self.components().map(fold_component).collect::<Vec<_>>().join("/")
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Destination of a link in a tree: relative, and inside the tree from where the link lies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinkDestination(String);

impl LinkDestination {
    /// Checks `destination` for a link that lies at `link`.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn parse(link: &RelPath, destination: &str) -> Result<Self, PathError> {
        let error = |rule| PathError { path: destination.chars().take(200).collect(), rule };
        let mut base: Vec<&str> = link.components().collect();
        base.pop();
        let mut rest = destination;
        while let Some(after) = rest.strip_prefix("..") {
            if !(after.is_empty() || after.starts_with('/')) {
                break;
            }
            if base.pop().is_none() {
                return Err(error(PathRule::LeavesTree));
            }
            rest = after.strip_prefix('/').unwrap_or(after);
        }
        if rest.is_empty() {
            let rule = if destination.is_empty() { PathRule::Empty } else { PathRule::LinkToSelf };
            return Err(error(rule));
        }
        check_components(rest).map_err(error)?;
        base.extend(rest.split('/'));
        let resolved = base.join("/");
        if resolved == link.as_str() || link.as_str().starts_with(&format!("{resolved}/")) {
            return Err(error(PathRule::LinkToSelf));
        }
        RelPath::parse(&resolved).map_err(|e| error(e.rule))?;
        Ok(Self(destination.to_owned()))
    }

    /// The destination as the link holds it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Two paths that cannot live in one tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum PathConflict {
    #[error("{first} and {second} are one name on systems that ignore case or Unicode form")]
    SameName { first: RelPath, second: RelPath },
    #[error("{below} lies below {above}, which is not a directory")]
    BelowFile { above: RelPath, below: RelPath },
}

/// Finds all conflicts in a set of paths; `leaf` says whether nothing may lie below a path.
///
/// Directories implied by the paths take part: `a/x` and `A/y` conflict.
pub fn find_conflicts<'a>(paths: impl Iterator<Item = (&'a RelPath, bool)>) -> Vec<PathConflict> {
    let mut conflicts = Vec::new();
    let mut names: HashMap<String, Name> = HashMap::new();
    for (path, leaf) in paths {
        let folds: Vec<String> = path.components().map(fold_component).collect();
        let mut end = 0;
        for (depth, component) in path.components().enumerate() {
            end += component.len() + usize::from(depth > 0);
            let own = depth + 1 == folds.len();
            let here = Name { text: path.as_str()[..end].to_owned(), listed: own, leaf: own && leaf };
            match names.get_mut(&folds[..=depth].join("/")) {
                None => {
                    names.insert(folds[..=depth].join("/"), here);
                }
                Some(seen) if seen.text != here.text || (seen.listed && here.listed) => {
                    conflicts
                        .push(PathConflict::SameName { first: RelPath(seen.text.clone()), second: RelPath(here.text) });
                    break;
                }
                Some(seen) => {
                    if seen.leaf || here.leaf {
                        let above = RelPath(seen.text.clone());
                        conflicts.push(PathConflict::BelowFile { above, below: path.clone() });
                        break;
                    }
                    seen.listed |= here.listed;
                }
            }
        }
    }
    conflicts
}

struct Name {
    text: String,
    listed: bool,
    leaf: bool,
}

fn check_components(text: &str) -> Result<(), PathRule> {
    if text.is_empty() {
        return Err(PathRule::Empty);
    }
    if text.len() > PATH_BYTES_MAX {
        return Err(PathRule::TooLong);
    }
    if text.split('/').count() > COMPONENTS_MAX {
        return Err(PathRule::TooDeep);
    }
    text.split('/').try_for_each(check_component)?;
    if !is_nfc(text) {
        return Err(PathRule::NotNfc);
    }
    Ok(())
}

fn check_component(component: &str) -> Result<(), PathRule> {
    match component {
        "" => return Err(PathRule::EmptyComponent),
        "." | ".." => return Err(PathRule::DotComponent),
        _ => {}
    }
    if component.len() > COMPONENT_UNITS_MAX || component.encode_utf16().count() > COMPONENT_UNITS_MAX {
        return Err(PathRule::ComponentTooLong);
    }
    if component.contains(['\\', ':', '<', '>', '"', '|', '?', '*']) {
        return Err(PathRule::ForbiddenCharacter);
    }
    if component.chars().any(is_invisible) {
        return Err(PathRule::InvisibleCharacter);
    }
    if component.starts_with(' ') || component.ends_with([' ', '.']) {
        return Err(PathRule::TrimmedBySystems);
    }
    if is_dos_device(component) {
        return Err(PathRule::DosDevice);
    }
    if is_short_alias(component) {
        return Err(PathRule::ShortAlias);
    }
    Ok(())
}

/// The part before the first dot decides, with the spaces Windows strips from its end.
fn is_dos_device(component: &str) -> bool {
    let stem = component.split('.').next().unwrap_or_default().trim_end_matches(' ').to_lowercase();
    if matches!(stem.as_str(), "con" | "prn" | "aux" | "nul" | "conin$" | "conout$") {
        return true;
    }
    let Some(port) = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt")) else { return false };
    let mut digits = port.chars();
    matches!((digits.next(), digits.next()), (Some('0'..='9' | '¹' | '²' | '³'), None))
}

fn is_short_alias(component: &str) -> bool {
    component.match_indices('~').any(|(at, _)| {
        let (stem, rest) = (&component[..at], &component[at + 1..]);
        (1..=6).contains(&stem.chars().count()) && !stem.contains('.') && rest.starts_with(|c: char| c.is_ascii_digit())
    })
}

/// One component as the laxest file system sees it: NFKC, case folding, and NFKC again, since folding may undo it.
fn fold_component(component: &str) -> String {
    if component.is_ascii() {
        return component.to_ascii_lowercase();
    }
    caseless::default_case_fold_str(&component.nfkc().collect::<String>()).nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Option<PathRule> {
        RelPath::parse(text).err().map(|e| e.rule)
    }

    fn path(text: &str) -> RelPath {
        RelPath::parse(text).expect("a legal path")
    }

    #[test]
    fn ordinary_names_are_allowed() {
        for name in [
            "a",
            "bin/app.exe",
            ".hidden",
            "a b/c,d",
            "日本/ü",
            "a~b",
            "con1.txt",
            "common",
            "x.con",
            "com",
            "com10",
            "longname~1.x",
            "~1",
        ] {
            assert_eq!(rule(name), None, "{name}");
        }
        assert_eq!(rule(&vec!["d"; 32].join("/")), None);
        assert_eq!(rule(&"n".repeat(255)), None);
    }

    #[test]
    fn each_rule_refuses() {
        use PathRule as R;
        let cases: &[(&str, PathRule)] = &[
            ("", R::Empty),
            ("/a", R::EmptyComponent),
            ("a//b", R::EmptyComponent),
            ("a/", R::EmptyComponent),
            (".", R::DotComponent),
            ("a/../b", R::DotComponent),
            ("../a", R::DotComponent),
            ("a\\b", R::ForbiddenCharacter),
            ("C:a", R::ForbiddenCharacter),
            ("f::$DATA", R::ForbiddenCharacter),
            ("\\\\srv\\x", R::ForbiddenCharacter),
            ("a?", R::ForbiddenCharacter),
            ("a\"b", R::ForbiddenCharacter),
            ("a\nb", R::InvisibleCharacter),
            ("a\u{0}", R::InvisibleCharacter),
            ("a\u{202e}b", R::InvisibleCharacter),
            ("a\u{200b}", R::InvisibleCharacter),
            ("\u{7f}", R::InvisibleCharacter),
            (" a", R::TrimmedBySystems),
            ("a ", R::TrimmedBySystems),
            ("a./b", R::TrimmedBySystems),
            ("...", R::TrimmedBySystems),
            ("CON", R::DosDevice),
            ("aux.txt", R::DosDevice),
            ("x/nul", R::DosDevice),
            ("COM¹", R::DosDevice),
            ("lpt0.log", R::DosDevice),
            ("conout$", R::DosDevice),
            ("com1 .txt", R::DosDevice),
            ("PROGRA~1", R::ShortAlias),
            ("a~2.txt", R::ShortAlias),
            (".lamplighter", R::StateDirectory),
            (".LampLighter/x", R::StateDirectory),
            (".lampligh\u{287}er", R::StateDirectory),
            ("e\u{301}", R::NotNfc),
        ];
        for (text, expected) in cases {
            if *text == ".lampligh\u{287}er" {
                assert_eq!(rule(text), None, "a look-alike is another name");
                continue;
            }
            assert_eq!(rule(text), Some(*expected), "{text:?}");
        }
        assert_eq!(rule(&"n".repeat(256)), Some(R::ComponentTooLong));
        assert_eq!(rule(&vec!["d"; 33].join("/")), Some(R::TooDeep));
        assert_eq!(rule(&vec!["n".repeat(200); 6].join("/")), Some(R::TooLong));
        assert_eq!(rule(".lam\u{ff50}lighter"), Some(R::StateDirectory), "full-width p");
    }

    #[test]
    fn names_that_meet_on_lax_systems_conflict() {
        let find = |names: &[&str]| {
            let paths: Vec<RelPath> = names.iter().map(|n| path(n)).collect();
            find_conflicts(paths.iter().map(|p| (p, true))).len()
        };
        assert_eq!(find(&["a", "b", "c/d", "c/e"]), 0);
        assert_eq!(find(&["Foo", "foo"]), 1);
        assert_eq!(find(&["ß", "ss"]), 1);
        assert_eq!(find(&["\u{fb01}x", "fix"]), 1);
        assert_eq!(find(&["a/x", "A/y"]), 1);
        assert_eq!(find(&["a", "a/b"]), 1);
        assert_eq!(find(&["a/b", "a"]), 1);
        assert_eq!(find(&["x", "x"]), 1);
    }

    #[test]
    fn links_stay_in_the_tree() {
        let link = path("a/b/link");
        for good in ["x", "../x", "../../c", "sub/y", "../b/z"] {
            assert!(LinkDestination::parse(&link, good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc",
            "../../../x",
            "x/../y",
            "..",
            "../..",
            "../../.lamplighter/x",
            "../b/link",
            "C:x",
            "../../a",
            "./x",
        ] {
            assert!(LinkDestination::parse(&link, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn relations() {
        let p = path("a/b/c");
        assert_eq!(p.ancestors().map(|a| a.0).collect::<Vec<_>>(), ["a", "a/b"]);
        assert!(p.is_below(&path("a")) && !p.is_below(&path("a/b/c")) && !path("ab").is_below(&path("a")));
        assert_eq!((p.parent(), p.file_name()), (Some(path("a/b")), "c"));
    }
}
