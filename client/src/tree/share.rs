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

#[cfg(target_os = "macos")]
fn volume_of(root: &std::path::Path) -> Option<String> {
    let name = rustix::fs::statfs(root).ok()?.f_fstypename;
    let name: Vec<u8> = name.iter().map(|c| c.to_ne_bytes()[0]).take_while(|byte| *byte != 0).collect();
    String::from_utf8(name).ok().filter(|name| !name.is_empty())
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
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

#[cfg(target_os = "macos")]
fn share_of(root: &std::path::Path) -> Option<&'static str> {
    share_by_name(&volume_of(root)?)
}

/// The canonical path of what lies on a drive letter that stands for a share is the share's.
#[cfg(windows)]
fn share_of(root: &std::path::Path) -> Option<&'static str> {
    share_by_path(&root.canonicalize().unwrap_or_else(|_| root.to_owned()))
}

#[cfg(windows)]
fn share_by_path(root: &std::path::Path) -> Option<&'static str> {
    use std::path::{Component, Prefix};
    match root.components().next()? {
        Component::Prefix(prefix) => match prefix.kind() {
            Prefix::UNC(..) | Prefix::VerbatimUNC(..) => Some("SMB"),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
fn share_of(_: &std::path::Path) -> Option<&'static str> {
    None
}

/// File systems that go over a network, by the names macOS mounts them under.
#[cfg(any(target_os = "macos", test))]
fn share_by_name(name: &str) -> Option<&'static str> {
    match name {
        "nfs" => Some("NFS"),
        "smbfs" => Some("SMB"),
        "afpfs" => Some("AFP"),
        "webdav" => Some("WebDAV"),
        "ftp" => Some("FTP"),
        _ => None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_from_local_disks() {
        assert_eq!(["nfs", "smbfs", "afpfs"].map(share_by_name), [Some("NFS"), Some("SMB"), Some("AFP")]);
        assert!(["apfs", "hfs", "msdos", "exfat"].iter().all(|name| share_by_name(name).is_none()));
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(system_share(dir.path()), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn file_systems_are_known_by_their_numbers() {
        assert_eq!(share_by_number(0x6969), Some("NFS"));
        assert_eq!(share_by_number(0xfe53_4d42), Some("SMB"));
        // ext4, tmpfs, btrfs
        assert!([0xef53, 0x0102_1994, 0x9123_683e].iter().all(|magic| share_by_number(*magic).is_none()));
        assert_eq!(volume_by_number(0xef53), Some("ext4"));
        let dir = tempfile::tempdir().expect("a directory");
        assert!(volume_kind(dir.path()).is_some_and(|kind| !kind.is_empty()));
    }

    #[cfg(windows)]
    #[test]
    fn paths_of_shares_are_known() {
        let share = |path: &str| share_by_path(std::path::Path::new(path));
        assert_eq!([r"\\host\games\app", r"\\?\UNC\host\games\app"].map(share), [Some("SMB"); 2]);
        assert_eq!([r"C:\games", r"\\?\C:\games"].map(share), [None; 2]);
    }
}
