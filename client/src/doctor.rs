//! A report for whoever helps a user, without anything private in it.
//!
//! The rule is a list of what may go in, not of what must stay out: numbers, times, stable codes, signed words of the release
//! (app, channel, platform, version, paths its manifest lists), names of systems, and the addresses of the site and its
//! mirrors as [`public_place`] cuts them. Text of an error or of a notice never does: it may name a directory of the user.
//! Neither does anything derived from the roll-out secret.

use std::fmt::Write;

use crate::format::last::LastOutcome;
use crate::format::text::Time;
use crate::source::Proxy;

/// Most damaged files that are named.
pub const DAMAGE_NAMED_MAX: usize = 50;

/// Everything a report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Version of the client that made it.
    pub client: &'static str,
    /// What it runs on.
    pub machine: MachineFacts,
    /// The machine's clock.
    pub clock: Time,
    /// Which proxy is used.
    pub proxy: ProxyFacts,
    /// Stable code of what kept the tree from being opened, where something did; then there is no more.
    pub trouble: Option<&'static str>,
    /// The tree and its sites.
    pub tree: Option<TreeFacts>,
}

/// What the client runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    /// Operating system and processor, as releases name platforms.
    pub platform: String,
    /// What the system calls itself, as far as it is known: `debian 13`.
    pub system: Option<String>,
    /// Version of its kernel, numbers only.
    pub kernel: Option<String>,
}

/// Which proxy is used: where the setting comes from and of which kind it is, never where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyFacts {
    /// `flag`, or the name of the variable; none where nothing sets a proxy.
    pub set_by: Option<&'static str>,
    /// `http`, `https`, `socks5`, `socks5h`, or `other`.
    pub kind: Option<&'static str>,
    /// Some hosts are left out of it.
    pub has_exceptions: bool,
}

/// What is known of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeFacts {
    /// App id.
    pub app: String,
    /// Channel followed.
    pub channel: String,
    /// Platform of the tree.
    pub platform: String,
    /// Build and version recorded as installed.
    pub installed: Option<(u64, String)>,
    /// Code of what is wrong with the record or the remembered state, if anything is.
    pub record_trouble: Option<&'static str>,
    /// A change was cut off; the next command finishes or undoes it.
    pub unfinished: bool,
    /// It could be neither, and no heal has made the tree whole since.
    pub given_up: bool,
    /// Another program holds the lock.
    pub locked: bool,
    /// Build that is staged whole.
    pub staged: Option<u64>,
    /// Build that is held.
    pub held: Option<u64>,
    /// Build a rollback leads to; the installed one is on probation as long as there is one.
    pub previous: Option<u64>,
    /// Starts of the installed build that were not confirmed.
    pub starts: u64,
    /// Builds that were taken back here.
    pub failed: Vec<u64>,
    /// Sequence, and time of issue, of the last head that was accepted.
    pub head: Option<(u64, Time)>,
    /// Version and end of the newest root known.
    pub root: Option<(u64, Time)>,
    /// How the last change ended.
    pub last: Option<LastOutcome>,
    /// The volume.
    pub disk: DiskFacts,
    /// The files, unless they were not looked at.
    pub files: Option<Result<FilesFacts, &'static str>>,
    /// The site, and each of its mirrors.
    pub places: Vec<PlaceFacts>,
}

/// The volume a tree lies on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DiskFacts {
    /// Bytes free.
    pub free_bytes: Option<u64>,
    /// Its file system, as far as the system tells.
    pub kind: Option<String>,
    /// Over which protocol, if it is a network share.
    pub share: Option<&'static str>,
    /// Whether the tree's directory can be written to.
    pub writable: bool,
}

/// What comparing the files with their manifest came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesFacts {
    /// Rows of the manifest.
    pub rows: usize,
    /// Bytes read.
    pub read_bytes: u64,
    /// Path in the release, stable name of what is wrong, and whether the user may edit that file: at most
    /// [`DAMAGE_NAMED_MAX`].
    pub damaged: Vec<(String, &'static str, bool)>,
    /// All that are not as released.
    pub damaged_count: usize,
}

/// What one place that hands out the site answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceFacts {
    /// Its address, cut by [`public_place`].
    pub place: String,
    /// `settings`, or `head` for a mirror that the publisher named.
    pub named_by: &'static str,
    /// What `client why` would say if there were this place alone.
    pub code: &'static str,
    /// Stable name of what stands in the way of reaching it: [`crate::source::SourceError::code`].
    pub obstacle: Option<&'static str>,
    /// Its head: sequence, time of issue, end.
    pub head: Option<(u64, Time, Time)>,
}

/// A location as it may be told: an address without user, password, query and fragment; of a directory only that it is one.
pub fn public_place(location: &str) -> String {
    let Some((scheme, rest)) = location.split_once("://") else { return "a directory".into() };
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return "a directory".into();
    }
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').map_or((rest, String::new()), |(a, path)| (a, format!("/{path}")));
    let host = authority.rsplit('@').next().unwrap_or_default();
    // One that is left in the path belongs to a password with a slash in it.
    match path.rfind('@') {
        Some(at) if authority == host => format!("{scheme}://{}", &path[at + 1..]),
        _ => format!("{scheme}://{host}{path}"),
    }
}

/// Which of these proxy settings counts. `variable` gives the value of an environment variable.
pub fn proxy_facts(proxy: &Proxy, variable: impl Fn(&str) -> Option<String>) -> ProxyFacts {
    const VARIABLES: [&str; 6] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
    let set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    match proxy {
        Proxy::None => ProxyFacts::default(),
        Proxy::Url(url) => ProxyFacts { set_by: Some("flag"), kind: Some(proxy_kind(url)), has_exceptions: false },
        Proxy::FromEnvironment => {
            let set_by = VARIABLES.into_iter().find(|name| set(name));
            let kind = set_by.and_then(&variable).map(|url| proxy_kind(&url));
            let has_exceptions = set_by.is_some() && (set("NO_PROXY") || set("no_proxy"));
            ProxyFacts { set_by, kind, has_exceptions }
        }
    }
}

fn proxy_kind(url: &str) -> &'static str {
    let scheme = url.split_once("://").map_or("http", |(scheme, _)| scheme).to_ascii_lowercase();
    ["http", "https", "socks5", "socks5h"].into_iter().find(|kind| *kind == scheme).unwrap_or("other")
}

/// A name of a system as it may be told: short, and without anything but letters, digits and `. _ -`.
pub fn public_word(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ' ')).take(40).collect()
}

/// The leading numbers of a kernel's version: what follows is chosen by whoever built it.
pub fn kernel_numbers(text: &str) -> String {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].trim_end_matches('.').to_owned()
}

impl Report {
    /// Seconds the clock is ahead of the newest time the publisher signed; below 0 it must be wrong.
    pub fn clock_ahead_seconds(&self) -> Option<i64> {
        let tree = self.tree.as_ref()?;
        let heads = tree.places.iter().filter_map(|place| place.head.map(|(_, issued, _)| issued));
        let newest = heads.chain(tree.head.map(|(_, issued)| issued)).max()?;
        Some(self.clock.seconds() - newest.seconds())
    }

    /// The report for people, a line a fact.
    pub fn to_text(&self) -> String {
        let mut text = Lines(String::new());
        text.line("client", self.client);
        let MachineFacts { platform, system, kernel } = &self.machine;
        let named = [Some(platform), system.as_ref(), kernel.as_ref()].into_iter().flatten().map(String::as_str);
        text.line("machine", &named.collect::<Vec<_>>().join(", "));
        text.line("clock", &self.clock.to_string());
        if let Some(ahead) = self.clock_ahead_seconds() {
            let note = if ahead < 0 { ": the clock is wrong" } else { "" };
            text.line("", &format!("{ahead} s after the newest head was signed{note}"));
        }
        text.line("proxy", &self.proxy.to_string());
        if let Some(trouble) = self.trouble {
            text.line("tree", &format!("cannot be opened: {trouble}"));
        }
        if let Some(tree) = &self.tree {
            tree.tell(&mut text);
        }
        text.0.truncate(text.0.trim_end().len());
        text.0
    }
}

impl std::fmt::Display for ProxyFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.set_by, self.kind) {
            (Some(set_by), Some(kind)) => {
                write!(f, "{kind}, set by {set_by}{}", if self.has_exceptions { ", not for all hosts" } else { "" })
            }
            _ => f.write_str("none set"),
        }
    }
}

/// Lines of a name and what is said of it.
struct Lines(String);

impl Lines {
    fn line(&mut self, name: &str, what: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{name:<10} {what}");
    }
}

impl TreeFacts {
    fn tell(&self, text: &mut Lines) {
        text.line("app", &format!("{}, channel {}, platform {}", self.app, self.channel, self.platform));
        let installed = self.installed.as_ref();
        text.line(
            "installed",
            &installed.map_or("nothing".into(), |(build, version)| format!("{version} (build {build})")),
        );
        if let Some(trouble) = self.record_trouble {
            text.line("", &format!("the record or what is remembered cannot be used: {trouble}"));
        }
        for (is_so, what) in [
            (self.unfinished, "a change was cut off"),
            (self.given_up, "it could be neither finished nor undone: `client heal` makes the files whole"),
            (self.locked, "another program holds the lock"),
        ] {
            if is_so {
                text.line("", what);
            }
        }
        for (build, what) in [(self.staged, "is staged"), (self.held, "is held"), (self.previous, "is the way back")] {
            if let Some(build) = build {
                text.line("", &format!("build {build} {what}"));
            }
        }
        if self.starts > 0 {
            text.line("", &format!("started {} time(s) without being confirmed", self.starts));
        }
        if !self.failed.is_empty() {
            let builds: Vec<_> = self.failed.iter().map(u64::to_string).collect();
            text.line("", &format!("taken back here: {}", builds.join(", ")));
        }
        if let Some(last) = &self.last {
            let build = if last.build > 0 { format!(" (build {})", last.build) } else { String::new() };
            text.line("last", &format!("{}: {}{build}, since {}", last.what, last.code, last.since));
        }
        if let Some((version, expires)) = self.root {
            text.line("root", &format!("version {version}, good until {expires}"));
        }
        if let Some((sequence, issued)) = self.head {
            text.line("head", &format!("sequence {sequence}, issued {issued}"));
        }
        self.disk.tell(text);
        match &self.files {
            None => text.line("files", "not looked at"),
            Some(Err(code)) => text.line("files", &format!("could not be compared: {code}")),
            Some(Ok(files)) => files.tell(text),
        }
        self.places.iter().for_each(|place| place.tell(text));
    }
}

impl DiskFacts {
    fn tell(&self, text: &mut Lines) {
        let free = self.free_bytes.map_or("unknown".into(), |bytes| format!("{bytes} bytes free"));
        let kind = self.kind.as_ref().map(|kind| format!(", {kind}")).unwrap_or_default();
        let share = self.share.map(|share| format!(", a network share ({share})")).unwrap_or_default();
        let writable = if self.writable { "" } else { ", cannot be written to" };
        text.line("disk", &format!("{free}{kind}{share}{writable}"));
    }
}

impl FilesFacts {
    fn tell(&self, text: &mut Lines) {
        let (rows, bytes, count) = (self.rows, self.read_bytes, self.damaged_count);
        text.line("files", &format!("{rows} listed, {bytes} bytes, {count} not as released"));
        for (path, code, keep) in &self.damaged {
            let keep = if *keep { " (may be edited)" } else { "" };
            text.line("", &format!("{code}: {path}{keep}"));
        }
        if count > self.damaged.len() {
            text.line("", &format!("and {} more", count - self.damaged.len()));
        }
    }
}

impl PlaceFacts {
    fn tell(&self, text: &mut Lines) {
        let by = if self.named_by == "head" { " (named by the head)" } else { "" };
        let obstacle = self.obstacle.map(|obstacle| format!(", {obstacle}")).unwrap_or_default();
        let head = self
            .head
            .map(|(sequence, issued, expires)| format!("; head {sequence}, issued {issued}, good until {expires}"));
        text.line("site", &format!("{}{by}: {}{obstacle}{}", self.place, self.code, head.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_what_is_private() {
        for (location, told) in [
            ("https://example.org/app/", "https://example.org/app/"),
            ("https://user:pass@example.org:8443/app?token=1#x", "https://example.org:8443/app"),
            ("https://us@er:pa@ss@example.org", "https://example.org"),
            ("http://user:pa/ss@example.org/app", "http://example.org/app"),
            ("HTTPS://U:P@example.org", "HTTPS://example.org"),
            ("https://example.org?secret=/a@b", "https://example.org"),
            ("/srv/alice/site", "a directory"),
            ("file:///home/alice/site", "a directory"),
            ("C:\\Users\\alice", "a directory"),
            ("\\\\server\\share", "a directory"),
        ] {
            assert_eq!(public_place(location), told, "{location}");
        }
    }

    #[test]
    fn a_proxy_is_a_kind_and_a_name() {
        let env =
            |name: &'static str, value: &'static str| move |asked: &str| (asked == name).then(|| value.to_owned());
        let facts = |proxy: Proxy, set_by| {
            let facts = proxy_facts(&proxy, env("ALL_PROXY", "socks5h://u:p@inner:1080"));
            assert_eq!(facts.set_by, set_by);
            facts.kind
        };
        assert_eq!(facts(Proxy::FromEnvironment, Some("ALL_PROXY")), Some("socks5h"));
        assert_eq!(facts(Proxy::Url("u:p@host:3128".into()), Some("flag")), Some("http"));
        assert_eq!(facts(Proxy::None, None), None);
        assert_eq!(proxy_facts(&Proxy::FromEnvironment, |_| Some(String::new())), ProxyFacts::default());
    }

    #[test]
    fn words_of_the_system_are_cut() {
        assert_eq!(kernel_numbers("6.1.0-13-amd64-of-alice"), "6.1.0");
        assert_eq!(kernel_numbers("alice"), "");
        assert_eq!(public_word("debian 13\n/home/alice"), "debian 13homealice");
        assert!(public_word(&"x".repeat(100)).len() == 40);
    }
}
