//! Moves a channel once every job of a matrix has signed its platform's release: to all of them, or not at all.

use std::sync::Arc;

use crate::error::Error;
use crate::head::Moved;
use crate::promote::{Request, move_channel, published};
use crate::site::SiteError;
use crate::watch::Watch;

/// Moves the channel to the build on every platform of `request`, all of which must have signed it.
///
/// Platforms that have the build and are not asked for stay as they are, and a notice names them: a job that was added to
/// the matrix and not to the list would be forgotten otherwise.
///
/// # Errors
/// [`SiteError::Unfinished`] names the platforms that are missing; those of [`crate::promote::run`]. Nothing is changed then.
pub fn run(request: &Request<'_>, watch: Arc<dyn Watch>) -> Result<Moved, Error> {
    let opened = request.access.open(watch.clone())?;
    let found = published(opened.writer.site(), request.build)?;
    let (missing, more) = compare(request.platforms, &found);
    if request.platforms.is_empty() || !missing.is_empty() {
        let channel = request.channel.to_owned();
        return Err(SiteError::Unfinished { channel, build: request.build, missing, found }.into());
    }
    for platform in more {
        let text =
            format!("build {} is there, and not among the platforms to finish: it is not offered", request.build);
        watch.notice("not-finished", &platform, &text);
    }
    move_channel(&opened, request)
}

/// What of `expected` is not in `found`, and what of `found` was not expected.
fn compare(expected: &[String], found: &[String]) -> (Vec<String>, Vec<String>) {
    let without = |a: &[String], b: &[String]| a.iter().filter(|name| !b.contains(name)).cloned().collect();
    (without(expected, found), without(found, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lists_are_told_apart() {
        let names = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        assert_eq!(compare(&names("a b c"), &names("b d")), (names("a c"), names("d")));
        assert_eq!(compare(&names("a"), &names("a")), (names(""), names("")));
    }
}
