//! Paths of entries found on disk, which may break the path rules, in a form that text can hold.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::format::path::{RelPath, STATE_DIR};

/// A path in a tree with any names a file system allows, in its escaped form.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryPath(String);

impl EntryPath {
    /// The path of an entry found on disk; nothing if this format cannot hold it.
    pub fn from_path(path: &Path) -> Option<Self> {
        let mut escaped = Vec::new();
        for component in path.components() {
            let Component::Normal(name) = component else { return None };
            escaped.push(escape(name_bytes(name)?));
        }
        Self::parse(&escaped.join("/")).ok()
    }

    /// Parses the escaped form.
    ///
    /// # Errors
    /// The rule it breaks, in words.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        for component in text.split('/') {
            let bytes = unescape(component).ok_or("escapes exactly where they must be")?;
            if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&0) || bytes.contains(&b'/') {
                return Err("components that are names");
            }
        }
        if text.split('/').next().is_some_and(|first| first.eq_ignore_ascii_case(STATE_DIR)) {
            return Err("a path outside .lamplighter");
        }
        Ok(Self(text.to_owned()))
    }

    /// The path in the system's own form, relative; nothing if it is not one on this system.
    pub fn to_path(&self) -> Option<PathBuf> {
        self.0.split('/').map(|component| os_name(unescape(component)?)).collect()
    }

    /// The path without escapes; nothing if it is not UTF-8.
    pub fn to_plain(&self) -> Option<String> {
        let plain: Option<Vec<String>> = self.0.split('/').map(|c| String::from_utf8(unescape(c)?).ok()).collect();
        plain.map(|components| components.join("/"))
    }

    /// The same path under the path rules; nothing if it breaks them.
    pub fn to_rel(&self) -> Option<RelPath> {
        RelPath::parse(&self.to_plain()?).ok()
    }

    /// The escaped form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True where `self` lies somewhere below `directory`.
    pub fn is_below(&self, directory: &EntryPath) -> bool {
        self.0.strip_prefix(&directory.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The key under which lax file systems may see this path; the path itself if it breaks the path rules.
    pub fn fold_key(&self) -> String {
        self.to_rel().map_or_else(|| self.0.clone(), |path| path.fold_key())
    }
}

impl From<&RelPath> for EntryPath {
    fn from(path: &RelPath) -> Self {
        Self(path.as_str().replace('%', "%25"))
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn must_escape(c: char) -> bool {
    c == '%' || c.is_control() || c == '\u{feff}'
}

fn escape(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    let push = |bytes: &[u8], text: &mut String| {
        bytes.iter().for_each(|b| text.push_str(&format!("%{b:02X}")));
    };
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            if must_escape(c) { push(c.encode_utf8(&mut [0; 4]).as_bytes(), &mut text) } else { text.push(c) }
        }
        push(chunk.invalid(), &mut text);
    }
    text
}

/// The bytes of an escaped component; nothing unless escaping them gives the component back.
fn unescape(component: &str) -> Option<Vec<u8>> {
    if !component.contains('%') {
        return (!component.chars().any(must_escape)).then(|| component.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(component.len());
    let mut rest = component.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    (escape(&bytes) == component).then_some(bytes)
}

#[cfg(unix)]
fn name_bytes(name: &OsStr) -> Option<&[u8]> {
    Some(std::os::unix::ffi::OsStrExt::as_bytes(name))
}

#[cfg(not(unix))]
fn name_bytes(name: &OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

#[cfg(unix)]
fn os_name(bytes: Vec<u8>) -> Option<OsString> {
    Some(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

#[cfg(not(unix))]
fn os_name(bytes: Vec<u8>) -> Option<OsString> {
    let name = String::from_utf8(bytes).ok()?;
    (!name.contains(['\\', ':'])).then(|| name.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_canonical() {
        for (name, text) in [
            (&b"a b"[..], "a b"),
            (b"50%", "50%25"),
            (b"a\nb", "a%0Ab"),
            (b"\xff\xfe", "%FF%FE"),
            ("ü\u{85}".as_bytes(), "ü%C2%85"),
        ] {
            assert_eq!(escape(name), text);
            assert_eq!(unescape(text).as_deref(), Some(name));
        }
        for bad in ["%", "%4", "%41", "%ff", "%zz", "a\n", "%+1"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_names_only() {
        for bad in ["", "/a", "a/", "a//b", ".", "a/..", "a/%2F", "%00", ".lamplighter", ".LampLighter/x"] {
            assert!(EntryPath::parse(bad).is_err(), "{bad:?}");
        }
        let odd = EntryPath::parse("d/C:x~1 %25").expect("names");
        assert_eq!((odd.to_rel(), odd.fold_key()), (None, "d/C:x~1 %25".into()));
        let rel = RelPath::parse("A/50%").expect("a legal path");
        assert_eq!(EntryPath::from(&rel).as_str(), "A/50%25");
        assert_eq!(EntryPath::from(&rel).to_rel(), Some(rel.clone()));
        assert_eq!(EntryPath::from(&rel).fold_key(), "a/50%");
        assert_eq!(EntryPath::from_path(&rel.to_path()), Some(EntryPath::from(&rel)));
    }

    #[cfg(unix)]
    proptest::proptest! {
        #[test]
        fn any_name_goes_there_and_back(name in proptest::collection::vec(1u8.., 1..40)) {
            use std::os::unix::ffi::OsStringExt;
            let name: Vec<u8> = name.into_iter().filter(|b| *b != b'/').collect();
            let path = PathBuf::from(OsString::from_vec(name.clone()));
            if let Some(entry) = EntryPath::from_path(&path) {
                proptest::prop_assert_eq!(entry.to_path(), Some(path));
                proptest::prop_assert_eq!(EntryPath::parse(entry.as_str()), Ok(entry));
            } else {
                proptest::prop_assert!(matches!(&name[..], b"" | b"." | b".."));
            }
        }
    }
}
