//! What kind of volume a directory lies on; above all whether it is a network share, where others may write and locks may
//! mean nothing.

/// What kind of share the directory `root` lies on; none on a local disk, and where the system does not tell.
pub fn system_share(root: &std::path::Path) -> Option<&'static str> {
    share_of(root)
}

/// Which file system the directory `root` lies on, as far as the system tells: `ext4`, or a number where that has no name here.
pub fn volume_kind(root: &std::path::Path) -> Option<String> {
    volume_of(root)
}

#[cfg(target_os = "linux")]
fn volume_of(root: &std::path::Path) -> Option<String> {
    let magic = rustix::fs::statfs(root).ok()?.f_type as u32;
    Some(
        volume_by_number(magic)
            .or_else(|| share_by_number(magic))
            .map_or_else(|| format!("0x{magic:x}"), str::to_owned),
    )
}

#[cfg(not(target_os = "linux"))]
fn volume_of(_: &std::path::Path) -> Option<String> {
    None
}

/// Local file systems, by the numbers of statfs(2).
#[cfg(target_os = "linux")]
fn volume_by_number(magic: u32) -> Option<&'static str> {
    const KNOWN: [(u32, &str); 14] = [
        (0xef53, "ext4"),
        (0x5846_5342, "xfs"),
        (0x9123_683e, "btrfs"),
        (0xca45_1a4e, "bcachefs"),
        (0x2fc1_2fc1, "zfs"),
        (0xf2f5_2010, "f2fs"),
        (0x0102_1994, "tmpfs"),
        (0x794c_7630, "overlay"),
        (0x4d44, "fat"),
        (0x2011_bab0, "exfat"),
        (0x5346_544e, "ntfs"),
        (0x7366_746e, "ntfs3"),
        (0x6573_5546, "fuse"),
        (0x7371_7368, "squashfs"),
    ];
    KNOWN.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

#[cfg(target_os = "linux")]
fn share_of(root: &std::path::Path) -> Option<&'static str> {
    // The type's width differs from architecture to architecture; the numbers are those of 32 bits.
    share_by_number(rustix::fs::statfs(root).ok()?.f_type as u32)
}

#[cfg(windows)]
fn share_of(root: &std::path::Path) -> Option<&'static str> {
    use std::path::{Component, Prefix};
    match root.components().next()? {
        Component::Prefix(prefix) => match prefix.kind() {
            Prefix::UNC(..) | Prefix::VerbatimUNC(..) => Some("SMB"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(not(any(target_os = "linux", windows)))]
fn share_of(_: &std::path::Path) -> Option<&'static str> {
    None
}

/// File systems that go over a network, by the numbers of statfs(2).
#[cfg(target_os = "linux")]
fn share_by_number(magic: u32) -> Option<&'static str> {
    match magic {
        0x6969 => Some("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Some("SMB"),
        0x5346_414f => Some("AFS"),
        0x00c3_6400 => Some("Ceph"),
        _ => None,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_from_local_disks() {
        assert_eq!(share_by_number(0x6969), Some("NFS"));
        assert_eq!(share_by_number(0xfe53_4d42), Some("SMB"));
        // ext4, tmpfs, btrfs
        assert!([0xef53, 0x0102_1994, 0x9123_683e].iter().all(|magic| share_by_number(*magic).is_none()));
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(system_share(dir.path()), None);
        assert_eq!(volume_by_number(0xef53), Some("ext4"));
        assert!(volume_kind(dir.path()).is_some_and(|kind| !kind.is_empty()));
    }
}
