//! When one flush of a whole volume may stand for a flush of each file.
//!
//! `syncfs` makes everything durable on all file systems named here. That it also tells of what could not be written is so
//! since Linux 5.8 (syncfs(2), "Notes"); before, it may report success after a loss.

use std::os::fd::OwnedFd;

use rustix::fs;

/// From so many files on. A flush of the volume waits for what other programs have written, too, and so is not worth it for
/// few: a flush of one file takes half a millisecond on a fast disk, and ten on a slow one.
pub(super) const FILES_MIN: usize = 256;

/// ext4, xfs, btrfs, f2fs, tmpfs, by the numbers of statfs(2).
const KNOWN: [u32; 5] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x0102_1994];

/// Whether one flush makes everything on the volume of `dir` durable, and tells if it did not.
pub(super) fn tells_of_losses(dir: &OwnedFd) -> bool {
    let is_known = fs::fstatfs(dir).is_ok_and(|stat| KNOWN.contains(&(stat.f_type as u32)));
    is_known && is_recent(&rustix::system::uname().release().to_string_lossy())
}

/// Whether a kernel that calls itself so is 5.8 or later.
fn is_recent(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (5, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_their_numbers() {
        assert!(
            ["5.8.0", "5.8", "5.15.0-91-generic", "6.1.0-18-amd64", "10.0"].iter().all(|release| is_recent(release))
        );
        assert!(
            ["5.7.19", "4.19.0-26", "3.10.0-1160.el7", "5", "", "unknown"].iter().all(|release| !is_recent(release))
        );
    }
}
