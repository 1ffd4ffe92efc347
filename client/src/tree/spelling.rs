//! Whether a name is spelled on disk as it is asked for: some file systems ignore case or Unicode form and find it anyway.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};

use unicode_normalization::UnicodeNormalization;

use super::fs::{Fs, FsError, Place};

/// Looks names up in the listings of their directories, each of which is read once.
pub(crate) struct Spelling<'a> {
    fs: &'a dyn Fs,
    listed: HashMap<Place, HashSet<OsString>>,
    /// The form in which two names are compared.
    form: fn(&OsStr) -> OsString,
}

impl<'a> Spelling<'a> {
    pub(crate) fn new(fs: &'a dyn Fs) -> Self {
        Self { fs, listed: HashMap::new(), form: normal }
    }

    /// The same to the byte: neither do names that differ in Unicode form alone have the same spelling.
    pub(super) fn to_the_byte(fs: &'a dyn Fs) -> Self {
        Self { form: OsStr::to_owned, ..Self::new(fs) }
    }

    /// True if every component of `at`, which must be there, has exactly the spelling of its directory's entry.
    pub(crate) fn is_exact(&mut self, at: &Place) -> Result<bool, FsError> {
        let (Some(parent), Some(name)) = (at.parent(), at.name()) else { return Ok(true) };
        if !self.listed.contains_key(&parent) {
            let names = self.fs.list(&parent)?;
            self.listed.insert(parent.clone(), names.iter().map(|name| (self.form)(name)).collect());
        }
        Ok(self.listed[&parent].contains(&(self.form)(name)) && self.is_exact(&parent)?)
    }
}

/// True if the directory of `at` holds an entry spelled as its last component.
pub(super) fn has_exact_name(fs: &dyn Fs, at: &Place) -> Result<bool, FsError> {
    let (Some(parent), Some(name)) = (at.parent(), at.name()) else { return Ok(true) };
    Ok(fs.list(&parent)?.iter().any(|found| normal(found) == normal(name)))
}

/// The name in the form that manifests have, whatever form it is stored in.
fn normal(name: &OsStr) -> OsString {
    match name.to_str() {
        Some(text) => text.nfc().collect::<String>().into(),
        None => name.to_owned(),
    }
}
