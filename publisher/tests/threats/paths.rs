//! Names in a tree: B1, B2, B3, and destinations of links and modes as far as text goes: B4, B5.

use lamplighter_client::format::digest::Blake3;
use lamplighter_client::format::manifest::Manifest;
use lamplighter_client::format::path::{LinkDestination, RelPath};

use crate::Table;

const HEADER: &str = "filename,crc32,crc32_reversed,size,blake3,mode,link,policy\n";

/// Names that leave the tree on some system.
const LEAVING: &[&str] = &[
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "./x",
    "a/./b",
    "/",
    "/etc/passwd",
    "//server/share",
    "a//b",
    "a/",
    "",
    ".",
    "\\x",
    "a\\b",
    "..\\x",
    "\\\\srv\\share\\x",
    "\\\\?\\C:\\x",
    "\\\\.\\COM1",
    "/\\x",
    "\\/x",
    "C:",
    "C:x",
    "C:/x",
    "C:\\x",
    "c:..\\x",
    "file:///x",
    "a:b",
    "a/C:x",
    "...",
    "....",
    "a/...",
    "a/.. /x",
    "a/..\u{200b}/x",
    "\u{2024}\u{2024}/x\u{202e}",
    "x\0y",
    "x\ny",
    "x\ry",
    "x\ty",
    "\u{1b}[2Jx",
    "x\u{7f}",
    "x\u{85}",
    "x\u{2028}",
    "x\u{202e}gpj.exe",
    "x\u{200d}y",
    "\u{feff}x",
    ".lamplighter",
    ".lamplighter/state",
    ".LAMPLIGHTER/x",
    ".Lamplighter",
    "ab~c~1",
    "%2e%2e/x\u{0}",
];

/// Names Windows takes for something else, or spells otherwise; refused everywhere.
const WINDOWS: &[&str] = &[
    "con",
    "CON",
    "Con.txt",
    "aux",
    "aux.tar.gz",
    "nul",
    "NUL.",
    "prn",
    "com0",
    "com1",
    "COM9.log",
    "com\u{b9}",
    "com\u{b2}.x",
    "com\u{b3}",
    "lpt0",
    "lpt1",
    "LPT9",
    "lpt\u{b9}",
    "conin$",
    "CONOUT$",
    "d/con",
    "d/aux.h/x",
    "a::$DATA",
    "a:stream",
    "dir::$INDEX_ALLOCATION",
    "dir:$I30:$INDEX_ALLOCATION/x",
    "x.",
    "x ",
    "x. ",
    "d./x",
    "d /x",
    " x",
    "d/ x",
    "PROGRA~1",
    "progra~1/x",
    "a~1.txt",
    "x<y",
    "x>y",
    "x\"y",
    "x|y",
    "x?y",
    "x*y",
    "con .txt",
    "nul\u{20}",
    "COM1.",
];

/// Ordinary names that must not be refused by mistake.
const GOOD: &[&str] = &[
    "a",
    "a.b",
    ".hidden",
    "..a",
    "a..b",
    "con1",
    "console",
    "auxiliary.txt",
    "com",
    "com10",
    "lpt",
    "nullable",
    "a b",
    "a'b",
    "\u{e4}\u{f6}\u{fc}.txt",
    "\u{65e5}\u{672c}\u{8a9e}/\u{8aac}\u{660e}.txt",
    "emoji-\u{1f3ae}.png",
    "a~b",
    "backup~",
    "x~y1~",
    "[x]{y}(z)",
    "a+b=c;d,e",
    "#1",
    "100%",
    "$HOME",
    "a&b",
    "@",
    "!x",
    "lamplighter",
    "d/.lamplighter",
    "Contents/MacOS/App",
];

pub(crate) fn cases(table: &mut Table) {
    for (row, names) in [("B1", LEAVING), ("B2", WINDOWS)] {
        for name in names {
            table.holds(row, format!("{name:?}"), || RelPath::parse(name).is_err());
        }
    }
    for name in GOOD {
        table.holds("B1", format!("{name:?} is a name"), || RelPath::parse(name).is_ok());
    }
    limits(table);
    collisions(table);
    destinations(table);
    modes(table);
}

fn limits(table: &mut Table) {
    for (name, text, good) in [
        ("a component of 255 bytes", "x".repeat(255), true),
        ("a component of 256 bytes", "x".repeat(256), false),
        ("a component of 128 letters of two bytes", "\u{e4}".repeat(128), false),
        ("a path of 1024 bytes", format!("{}x", "abcdefghijklmnopqrstuvwxyz01234/".repeat(31) + &"y".repeat(31)), true),
        (
            "a path of 1025 bytes",
            format!("{}xz", "abcdefghijklmnopqrstuvwxyz01234/".repeat(31) + &"y".repeat(31)),
            false,
        ),
        ("32 components", ["d"; 32].join("/"), true),
        ("33 components", ["d"; 33].join("/"), false),
        ("text that is not NFC", "e\u{301}".to_owned(), false),
    ] {
        table.run("B1", name, move || match RelPath::parse(&text) {
            Ok(_) if good => Ok(()),
            Err(_) if !good => Ok(()),
            other => Err(format!("{} bytes: {other:?}", text.len())),
        });
    }
}

fn manifest(names: &[&str]) -> Result<Manifest, String> {
    let mut names = names.to_vec();
    names.sort_unstable();
    let rows: String = names.iter().map(|name| format!("{name},0,0,0,{},0644,,\n", Blake3::of(b""))).collect();
    Manifest::parse(format!("{HEADER}{rows}").as_bytes()).map_err(|error| error.to_string())
}

fn collisions(table: &mut Table) {
    for pair in [
        ["Foo", "foo"],
        ["FOO", "foo"],
        ["d/Foo", "d/foo"],
        ["D/x", "d/y"],
        ["\u{c4}", "\u{e4}"],
        ["stra\u{df}e", "STRASSE"],
        ["\u{fb01}le", "file"],
        ["\u{212a}", "k"],
        ["\u{3c3}", "\u{3c2}"],
        ["\u{2460}", "1"],
        ["\u{ff21}", "a"],
        ["x\u{b2}", "x2"],
        ["\u{1e9e}", "ss"],
        ["a", "a/b"],
        ["A", "a/b"],
        ["d/a", "d/A/b"],
    ] {
        table.holds("B3", format!("{} beside {}", pair[0], pair[1]), move || manifest(&pair).is_err());
    }
    for pair in [["a", "b"], ["a.b", "a"], ["ab", "a-b"], ["d/a", "e/a"], ["i", "\u{131}"], ["a", "\u{e4}"]] {
        table.run("B3", format!("{} beside {} is no collision", pair[0], pair[1]), move || manifest(&pair).map(drop));
    }
}

fn destinations(table: &mut Table) {
    let link = |at: &'static str, to: &'static str| LinkDestination::parse(&RelPath::parse(at).expect("a path"), to);
    for (at, to) in [
        ("l", "../x"),
        ("d/l", "../../x"),
        ("a/b/l", "../../../x"),
        ("l", "/etc/passwd"),
        ("l", "C:\\x"),
        ("l", "C:x"),
        ("l", "\\\\srv\\x"),
        ("l", ""),
        ("l", "."),
        ("l", ".."),
        ("d/l", ".."),
        ("l", "a\0b"),
        ("l", "a\nb"),
        ("l", "a//b"),
        ("l", "a/"),
        ("l", ".lamplighter"),
        ("l", ".lamplighter/state"),
        ("d/l", "../.lamplighter/installed/release"),
        ("d/l", "../.Lamplighter/x"),
        ("l", "d/../../x"),
        ("l", "con"),
    ] {
        table.holds("B4", format!("a link {at} to {to:?}"), move || link(at, to).is_err());
    }
    for (at, to) in [("l", "x"), ("l", "d/x"), ("d/l", "../x"), ("a/b/l", "../../x"), ("Versions/Current", "A")] {
        table.holds("B4", format!("a link {at} to {to:?} stays in the tree"), move || link(at, to).is_ok());
    }
}

fn modes(table: &mut Table) {
    let row = |mode: &str| format!("{HEADER}a,0,0,0,{},{mode},,\n", Blake3::of(b""));
    for mode in [
        "", "0", "644", "0600", "0700", "0666", "0777", "04755", "02755", "01777", "4755", "0755 ", "rwx", "file",
        "LINK", "Dir", "-1",
    ] {
        let text = row(mode);
        table.holds("B5", format!("mode {mode:?}"), move || Manifest::parse(text.as_bytes()).is_err());
    }
    for mode in ["0644", "0755", "dir"] {
        let text = row(mode);
        table.holds("B5", format!("mode {mode:?} is one"), move || Manifest::parse(text.as_bytes()).is_ok());
    }
}
