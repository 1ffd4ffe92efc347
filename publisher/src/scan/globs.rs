//! Globs over the paths of a tree.

use std::sync::atomic::{AtomicBool, Ordering};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use lamplighter_client::format::path::RelPath;

use super::ScanError;
use crate::watch::Watch;

/// A list of globs by the rules of [`crate::config`], which remembers the globs that never matched.
#[derive(Debug)]
pub struct Globs {
    key: &'static str,
    set: GlobSet,
    patterns: Vec<(String, AtomicBool)>,
}

impl Globs {
    /// Compiles `patterns`, the value of `key` in the configuration.
    ///
    /// # Errors
    /// The first that is no glob.
    pub fn new(key: &'static str, patterns: &[String]) -> Result<Self, ScanError> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let error = |detail: String| ScanError::Glob { key, pattern: pattern.clone(), detail };
            let glob = GlobBuilder::new(&anywhere(pattern)).literal_separator(true).backslash_escape(true).build();
            set.add(glob.map_err(|e| error(e.kind().to_string()))?);
        }
        let error = |e: globset::Error| ScanError::Glob { key, pattern: String::new(), detail: e.to_string() };
        let patterns = patterns.iter().map(|p| (p.clone(), AtomicBool::new(false))).collect();
        Ok(Self { key, set: set.build().map_err(error)?, patterns })
    }

    /// Whether a glob matches `path` or a directory it lies in.
    pub fn matches(&self, path: &RelPath) -> bool {
        if self.patterns.is_empty() {
            return false;
        }
        let mut any = self.matches_text(path.as_str());
        for above in path.ancestors() {
            any |= self.matches_text(above.as_str());
        }
        any
    }

    /// Whether a glob matches exactly `text`, be it a legal path or not.
    pub fn matches_text(&self, text: &str) -> bool {
        let hits = self.set.matches(text);
        hits.iter().for_each(|index| self.patterns[*index].1.store(true, Ordering::Relaxed));
        !hits.is_empty()
    }

    /// Reports the globs that matched nothing: as a rule, a slip of the pen.
    pub fn notice_unused(&self, watch: &dyn Watch) {
        for (pattern, _) in self.patterns.iter().filter(|(_, hit)| !hit.load(Ordering::Relaxed)) {
            watch.notice("unused-glob", pattern, &format!("this glob of {} matches nothing", self.key));
        }
    }
}

/// A pattern without `/` means a name at any depth; a leading `/` ties it to the top.
fn anywhere(pattern: &str) -> String {
    let trimmed = pattern.trim_end_matches('/');
    match trimmed.strip_prefix('/') {
        Some(top) => top.to_owned(),
        None if trimmed.contains('/') => trimmed.to_owned(),
        None => format!("**/{trimmed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_at_any_depth_and_paths_from_the_top() {
        let globs = |p: &str| Globs::new("exclude", &[p.to_owned()]).expect("a glob");
        let path = |p: &str| RelPath::parse(p).expect("a path");
        assert!(globs("*.pdb").matches(&path("a/b/c.pdb")) && globs("*.pdb").matches(&path("c.pdb")));
        assert!(globs("bin/*").matches(&path("bin/x")) && !globs("bin/*").matches(&path("a/bin/x")));
        assert!(globs("bin/*").matches(&path("bin/x/y")), "everything in a directory that matches");
        assert!(!globs("/x").matches(&path("a/x")) && globs("/x").matches(&path("x/a")));
        assert!(globs("tests/").matches(&path("a/tests/b")) && globs("a/**/z").matches(&path("a/b/c/z")));
        assert!(matches!(Globs::new("keep", &["a[".to_owned()]), Err(ScanError::Glob { .. })));
    }
}
