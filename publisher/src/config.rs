//! `publisher.toml`: everything the flags say, and what would be too much for flags.
//!
//! # Specification
//!
//! ```toml
//! site = "site"                    # --site: a directory, or the address of a bucket or a web server
//! cache = "cache"                  # --cache: where what is needed of a site elsewhere is kept
//! app = "org.example.app"          # --app
//! channel = "stable"               # --channel
//! build = 7                        # --build
//! version = "1.2.3"                # --version
//! keys = "keys"                    # --keys: a directory of minisign files
//! password_file = "password"       # --password-file: its first line is the password of protected keys
//! sign_timeout_seconds = 60        # how long a command of [signers] may take, 1 to 3600
//! bases = 5                        # --bases: how many old releases get a pack
//! jobs = 4                         # --jobs: threads
//! memory_mib = 8192                # --memory: what patches may take together, in MiB
//! effort = 5                       # --effort: how hard packs are worked on, 1 (fast) to 9 (smallest)
//! deflate_bytes_per_second = 1000000  # what a second of a client's time must save, for archives to be patched inside;
//!                                  # 0: whatever it costs
//! budget_seconds = 600             # --budget-seconds: after so long no further pack is begun; results then depend on the machine
//! budget_bytes = 500000000         # --budget-bytes: what the packs of one run may take, in bytes
//! patch_cache = "cache"            # --patch-cache: a directory of patches, so that they are not computed again
//! patch_cache_mib = 4096           # --patch-cache-mib: what it may take, in MiB
//! minimum_build = 3                # --minimum-build: older builds must download afresh
//! expires_days = 7                 # --expires-days: how long the head is good for
//! rollout = "1%, 100% after 2d"    # --rollout: shares of users over time ([`crate::rollout`])
//! url = "https://example.org/app/" # --url: where clients find the site, for `publisher bundle`
//! mirrors = ["https://m.example/"] # --mirror: other places that hand out this site; `[]` names none
//! no_channel = false               # --no-channel
//! scratch = "/big/disk"            # --scratch: where trees of old releases are rebuilt
//! upload_to = "s3://bucket/app"   # --to, for `publisher upload`
//! connections = 8                  # --connections: files under way at once in an upload
//! listen = "127.0.0.1:8080"        # --listen, for `publisher serve`
//! exclude = [".DS_Store"]          # --exclude: globs for every platform, beside its own
//! executable = []                  # --executable
//! keep = []                        # --keep
//!
//! [notes]                          # --notes en=FILE
//! en = "notes/en.md"
//!
//! [prune]                          # for `publisher prune`
//! keep = 5                         # --keep: newest releases of each platform that stay
//! keep_days = 0                    # --keep-days: days every release stays
//! grace_days = 7                   # --grace-days: days that what is not offered any more stays
//!
//! [signers]                        # commands that sign, for keys that never come here (see `sign/command.rs`)
//! release = ["kms-sign", "--key", "release"]   # LAMPLIGHTER_RELEASE_SIGN wins over it
//!
//! [platform.linux-x86_64]
//! dir = "dist/linux"               # --platform linux-x86_64=dist/linux
//! entry = "bin/app"                # what a launcher starts
//! patcher = "bin/patcher"          # finishes updates while the app is closed
//! minimum_os = "glibc 2.31"
//! exclude = ["*.pdb", "tests"]     # never published
//! executable = ["bin/*"]           # 0755 whatever the file system says
//! keep = ["settings.ini"]          # installed once, never replaced if the user edited it
//! ```
//!
//! * Every key is optional in the file; a flag wins over it. An unknown key is an error that names file and key.
//! * Relative paths start at the directory of the file.
//! * A glob without `/` matches names at any depth, one with `/` the whole path below the platform's directory; `*` and
//!   `?` never match `/`, `**` does. A glob that matches a directory means everything in it.
//! * If `--platform` is given at all, only the platforms given so are built; `--platform NAME` alone takes the directory
//!   from the file.

mod packs;
mod places;
mod prune;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_client::format::release::is_language;
use lamplighter_client::format::text::{NUMBER_MAX, Time, is_app_id, is_display_version, is_token, number};
use serde::Deserialize;

pub use prune::PruneConfig;

use crate::rollout::Curve;
use crate::sign::{AskPassword, KeySources, Role};
use crate::store::is_remote;

/// The file that is read where no other is named and this one exists.
pub const FILE_NAME: &str = "publisher.toml";

/// Old releases that get a pack, unless said otherwise.
pub const BASES_DEFAULT: usize = 5;
/// Days a head is good for, unless said otherwise.
pub const EXPIRES_DAYS_DEFAULT: u64 = 7;
/// Effort of packs, unless said otherwise.
pub const EFFORT_DEFAULT: u8 = 5;
/// Where `serve` listens, unless said otherwise.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:8080";

const JOBS_MAX: usize = 1024;
const MIRRORS_MAX: usize = 16;
const EXPIRES_DAYS_MAX: u64 = 3650;

/// Why there is no usable configuration.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum ConfigError {
    #[error("cannot read the configuration {file}: {source}")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("configuration {file} is not as expected: {detail}")]
    Parse { file: PathBuf, detail: String },
    #[error("{key} is missing: give --{flag} or set `{key}` in {FILE_NAME}")]
    Missing { key: &'static str, flag: &'static str },
    #[error("{key}: expected {expected}, found {found:?}")]
    Invalid { key: String, expected: &'static str, found: String },
    #[error(
        "platform {name:?} has no directory: expected one of those in {FILE_NAME} ({known}), or --platform {name}=DIR"
    )]
    UnknownPlatform { name: String, known: String },
    #[error("no platform to build: give --platform NAME=DIR or a [platform.NAME] table in {FILE_NAME}")]
    NoPlatform,
    #[error("SOURCE_DATE_EPOCH: expected seconds since 1970, found {found:?}")]
    SourceDate { found: String },
}

impl ConfigError {
    fn invalid(key: impl Into<String>, expected: &'static str, found: impl ToString) -> Self {
        Self::Invalid { key: key.into(), expected, found: found.to_string() }
    }
}

/// What a file or the flags say, as they say it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Config {
    pub site: Option<PathBuf>,
    pub cache: Option<PathBuf>,
    pub app: Option<String>,
    pub channel: Option<String>,
    pub build: Option<u64>,
    pub version: Option<String>,
    pub keys: Option<PathBuf>,
    pub password_file: Option<PathBuf>,
    pub sign_timeout_seconds: Option<u64>,
    #[serde(default)]
    pub signers: BTreeMap<String, Vec<String>>,
    pub bases: Option<usize>,
    pub jobs: Option<usize>,
    pub memory_mib: Option<u64>,
    pub effort: Option<u8>,
    pub deflate_bytes_per_second: Option<u64>,
    pub budget_seconds: Option<u64>,
    pub budget_bytes: Option<u64>,
    pub patch_cache: Option<PathBuf>,
    pub patch_cache_mib: Option<u64>,
    pub minimum_build: Option<u64>,
    pub expires_days: Option<u64>,
    pub rollout: Option<String>,
    pub url: Option<String>,
    pub mirrors: Option<Vec<String>>,
    pub no_channel: Option<bool>,
    pub scratch: Option<PathBuf>,
    pub upload_to: Option<String>,
    pub connections: Option<usize>,
    pub listen: Option<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub executable: Vec<String>,
    #[serde(default)]
    pub keep: Vec<String>,
    #[serde(default)]
    pub notes: BTreeMap<String, PathBuf>,
    #[serde(default)]
    pub prune: PruneConfig,
    #[serde(default)]
    pub platform: BTreeMap<String, PlatformConfig>,
    /// Platforms the file has a directory for, chosen or not; for errors.
    #[serde(skip)]
    pub known_platforms: Vec<String>,
}

/// One `[platform.NAME]` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PlatformConfig {
    pub dir: Option<PathBuf>,
    pub entry: Option<String>,
    pub patcher: Option<String>,
    pub minimum_os: Option<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub executable: Vec<String>,
    #[serde(default)]
    pub keep: Vec<String>,
}

impl Config {
    /// Reads `explicit`, or else `publisher.toml` where it exists, or else nothing.
    ///
    /// # Errors
    /// A named file that cannot be read; TOML that is not a configuration.
    pub fn load(explicit: Option<&Path>) -> Result<Self, ConfigError> {
        let file = explicit.unwrap_or(Path::new(FILE_NAME));
        if explicit.is_none() && !file.exists() {
            return Ok(Self::default());
        }
        let text =
            std::fs::read_to_string(file).map_err(|source| ConfigError::Read { file: file.to_owned(), source })?;
        let parsed = Self::parse(&text)
            .map_err(|e| ConfigError::Parse { file: file.to_owned(), detail: e.to_string().trim_end().to_owned() })?;
        Ok(parsed.based_at(file.parent().unwrap_or(Path::new(""))))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    fn based_at(mut self, dir: &Path) -> Self {
        let platforms = self.platform.values_mut().filter_map(|p| p.dir.as_mut());
        let is_address = |path: &PathBuf| path.to_str().is_some_and(is_remote);
        let own = [&mut self.cache, &mut self.keys, &mut self.password_file, &mut self.scratch, &mut self.patch_cache];
        let single = own.into_iter().flatten();
        for path in single.chain(self.notes.values_mut()).chain(platforms) {
            *path = dir.join(&*path);
        }
        if let Some(site) = self.site.as_mut().filter(|site| !is_address(site)) {
            *site = dir.join(&*site);
        }
        if let Some(to) = self.upload_to.as_mut().filter(|to| !is_remote(to)) {
            *to = dir.join(&*to).to_string_lossy().into_owned();
        }
        self
    }

    /// Puts `flags` on top: what they say wins.
    pub fn with_flags(self, flags: Config) -> Self {
        let mut notes = self.notes;
        notes.extend(flags.notes);
        Self {
            site: flags.site.or(self.site),
            cache: flags.cache.or(self.cache),
            app: flags.app.or(self.app),
            channel: flags.channel.or(self.channel),
            build: flags.build.or(self.build),
            version: flags.version.or(self.version),
            keys: flags.keys.or(self.keys),
            password_file: flags.password_file.or(self.password_file),
            sign_timeout_seconds: flags.sign_timeout_seconds.or(self.sign_timeout_seconds),
            signers: if flags.signers.is_empty() { self.signers } else { flags.signers },
            bases: flags.bases.or(self.bases),
            jobs: flags.jobs.or(self.jobs),
            memory_mib: flags.memory_mib.or(self.memory_mib),
            effort: flags.effort.or(self.effort),
            deflate_bytes_per_second: flags.deflate_bytes_per_second.or(self.deflate_bytes_per_second),
            budget_seconds: flags.budget_seconds.or(self.budget_seconds),
            budget_bytes: flags.budget_bytes.or(self.budget_bytes),
            patch_cache: flags.patch_cache.or(self.patch_cache),
            patch_cache_mib: flags.patch_cache_mib.or(self.patch_cache_mib),
            minimum_build: flags.minimum_build.or(self.minimum_build),
            expires_days: flags.expires_days.or(self.expires_days),
            rollout: flags.rollout.or(self.rollout),
            url: flags.url.or(self.url),
            mirrors: flags.mirrors.or(self.mirrors),
            no_channel: flags.no_channel.or(self.no_channel),
            scratch: flags.scratch.or(self.scratch),
            upload_to: flags.upload_to.or(self.upload_to),
            connections: flags.connections.or(self.connections),
            listen: flags.listen.or(self.listen),
            exclude: [self.exclude, flags.exclude].concat(),
            executable: [self.executable, flags.executable].concat(),
            keep: [self.keep, flags.keep].concat(),
            prune: self.prune.with_flags(flags.prune),
            notes,
            known_platforms: with_directory(&self.platform),
            platform: with_platform_flags(self.platform, flags.platform),
        }
    }

    /// The app id, checked.
    ///
    /// # Errors
    /// It is not given, or not an app id.
    pub fn app(&self) -> Result<&str, ConfigError> {
        let app = self.app.as_deref().ok_or(ConfigError::Missing { key: "app", flag: "app" })?;
        let expected = "1 to 128 letters, digits, '.', '_' or '-'";
        if is_app_id(app) { Ok(app) } else { Err(ConfigError::invalid("app", expected, app)) }
    }

    /// Where keys come from; `ask` asks for passwords that are found nowhere.
    ///
    /// # Errors
    /// A table of signers that names no role, or a timeout out of range.
    pub fn key_sources(&self, ask: Option<AskPassword>) -> Result<KeySources, ConfigError> {
        let mut commands = BTreeMap::new();
        for (name, words) in &self.signers {
            let role = Role::parse(name).filter(|_| !words.is_empty());
            let expected = "root, release or channel, each with a list of words";
            let role = role.ok_or_else(|| ConfigError::invalid("signers", expected, name))?;
            commands.insert(role, words.clone());
        }
        let in_time = |seconds| in_range("sign_timeout_seconds", seconds, 1, 3600, "1 to 3600 seconds");
        let timeout = self.sign_timeout_seconds.map(in_time).transpose()?;
        Ok(KeySources {
            dir: self.keys.clone(),
            password_file: self.password_file.clone(),
            commands,
            command_timeout: timeout.map(Duration::from_secs),
            ask,
        })
    }

    /// The channel, checked.
    ///
    /// # Errors
    /// It is not given, or not a token.
    pub fn channel(&self) -> Result<&str, ConfigError> {
        let channel = self.channel.as_deref().ok_or(ConfigError::Missing { key: "channel", flag: "channel" })?;
        token("channel", channel)
    }

    /// The build number, checked.
    ///
    /// # Errors
    /// It is not given, or not between 1 and 2⁵³ − 1.
    pub fn build(&self) -> Result<u64, ConfigError> {
        let build = self.build.ok_or(ConfigError::Missing { key: "build", flag: "build" })?;
        in_range("build", build, 1, NUMBER_MAX, "a number from 1 to 2^53 - 1")
    }

    /// How many threads work.
    ///
    /// # Errors
    /// None or too many are asked for.
    pub fn jobs(&self) -> Result<usize, ConfigError> {
        let default = || std::thread::available_parallelism().map_or(1, usize::from);
        in_range("jobs", self.jobs.unwrap_or_else(default), 1, JOBS_MAX, "1 to 1024 threads")
    }

    /// How long a new head is good for, in days.
    ///
    /// # Errors
    /// No day, or more than ten years.
    pub fn expires_days(&self) -> Result<u64, ConfigError> {
        let days = self.expires_days.unwrap_or(EXPIRES_DAYS_DEFAULT);
        in_range("expires_days", days, 1, EXPIRES_DAYS_MAX, "1 to 3650 days")
    }

    /// How a new release reaches its users; all at once where nothing is said.
    ///
    /// # Errors
    /// Not a growing curve ([`crate::rollout`]).
    pub fn rollout(&self) -> Result<Option<Curve>, ConfigError> {
        let parse = |text: &String| {
            let expected = "shares and times, both growing, such as 1%, 10% after 1d, 100% after 3d";
            Curve::parse(text).ok_or_else(|| ConfigError::invalid("rollout", expected, text))
        };
        self.rollout.as_ref().map(parse).transpose()
    }

    /// Mirrors heads are to name; none where they are to stay.
    ///
    /// # Errors
    /// One that is no URL of a web server, or too many.
    pub fn mirrors(&self) -> Result<Option<&[String]>, ConfigError> {
        let Some(mirrors) = &self.mirrors else { return Ok(None) };
        in_range("mirrors", mirrors.len(), 0, MIRRORS_MAX, "at most 16 mirrors")?;
        let is_url = |url: &str| {
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            rest.is_some_and(|rest| {
                !rest.is_empty() && !url.contains(['?', '#', ' ']) && !url.contains(char::is_control)
            })
        };
        match mirrors.iter().find(|url| !is_url(url)) {
            Some(bad) => Err(ConfigError::invalid("mirrors", "a URL such as https://mirror.example/app/", bad)),
            None => Ok(Some(mirrors)),
        }
    }

    /// Where clients find the site.
    ///
    /// # Errors
    /// It is not given.
    pub fn url(&self) -> Result<&str, ConfigError> {
        self.url.as_deref().ok_or(ConfigError::Missing { key: "url", flag: "url" })
    }

    /// The version as people see it, checked.
    ///
    /// # Errors
    /// It is not given, or not fit to be shown.
    pub fn version(&self) -> Result<&str, ConfigError> {
        let version = self.version.as_deref().ok_or(ConfigError::Missing { key: "version", flag: "version" })?;
        let expected = "1 to 64 characters, none of them a control character";
        if is_display_version(version) { Ok(version) } else { Err(ConfigError::invalid("version", expected, version)) }
    }

    /// The lowest build that may update; 0 where all may.
    ///
    /// # Errors
    /// It lies above `build`, the one to be published.
    pub fn minimum_build(&self, build: u64) -> Result<u64, ConfigError> {
        let minimum = self.minimum_build.unwrap_or(0);
        in_range("minimum_build", minimum, 0, build, "at most the build itself")
    }

    /// Platforms to build, each with a directory and all globs that matter to it.
    ///
    /// # Errors
    /// None at all; a name that is no platform's; one without a directory.
    pub fn platforms(&self) -> Result<BTreeMap<String, PlatformConfig>, ConfigError> {
        if self.platform.is_empty() {
            return Err(ConfigError::NoPlatform);
        }
        for (name, platform) in &self.platform {
            token("platform", name)?;
            if platform.dir.is_none() {
                let known = [&self.known_platforms[..], &with_directory(&self.platform)].concat();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                return Err(ConfigError::UnknownPlatform { name: name.clone(), known });
            }
            if let Some(bad) = platform.minimum_os.as_deref().filter(|text| !is_display_version(text)) {
                let key = format!("platform.{name}.minimum_os");
                return Err(ConfigError::invalid(key, "1 to 64 characters, none of them a control character", bad));
            }
        }
        let with_common = |platform: &PlatformConfig| PlatformConfig {
            exclude: [&self.exclude[..], &platform.exclude].concat(),
            executable: [&self.executable[..], &platform.executable].concat(),
            keep: [&self.keep[..], &platform.keep].concat(),
            ..platform.clone()
        };
        Ok(self.platform.iter().map(|(name, platform)| (name.clone(), with_common(platform))).collect())
    }

    /// Names of the platforms to build, in order.
    ///
    /// # Errors
    /// None at all; a name that is no platform's.
    pub fn platform_names(&self) -> Result<Vec<String>, ConfigError> {
        if self.platform.is_empty() {
            return Err(ConfigError::NoPlatform);
        }
        self.platform.keys().map(|name| token("platform", name).map(str::to_owned)).collect()
    }

    /// Release notes files by language.
    ///
    /// # Errors
    /// A language that is no tag.
    pub fn notes(&self) -> Result<&BTreeMap<String, PathBuf>, ConfigError> {
        match self.notes.keys().find(|language| !is_language(language)) {
            Some(bad) => Err(ConfigError::invalid("notes", "a language tag such as en or pt-br", bad)),
            None => Ok(&self.notes),
        }
    }
}

/// The time of a run: the seconds of `source_date_epoch` where it is set, or the clock.
///
/// # Errors
/// It is set to something else than seconds.
pub fn time_from(source_date_epoch: Option<&OsStr>) -> Result<Time, ConfigError> {
    let Some(text) = source_date_epoch else { return Ok(Time::now()) };
    let seconds = text.to_str().and_then(number).and_then(|n| i64::try_from(n).ok());
    let found = || ConfigError::SourceDate { found: text.to_string_lossy().into_owned() };
    seconds.map(Time::from_seconds).ok_or_else(found)
}

fn with_directory(platforms: &BTreeMap<String, PlatformConfig>) -> Vec<String> {
    platforms.iter().filter(|(_, platform)| platform.dir.is_some()).map(|(name, _)| name.clone()).collect()
}

/// Flags choose among the file's platforms, and may move their directories.
fn with_platform_flags(
    mut file: BTreeMap<String, PlatformConfig>,
    flags: BTreeMap<String, PlatformConfig>,
) -> BTreeMap<String, PlatformConfig> {
    if flags.is_empty() {
        return file;
    }
    let chosen = |(name, flag): (String, PlatformConfig)| {
        let mut platform = file.remove(&name).unwrap_or_default();
        platform.dir = flag.dir.or(platform.dir);
        (name, platform)
    };
    flags.into_iter().map(chosen).collect()
}

fn token<'a>(key: &str, text: &'a str) -> Result<&'a str, ConfigError> {
    let expected = "1 to 64 of a-z, 0-9, '_' and '-'";
    if is_token(text) { Ok(text) } else { Err(ConfigError::invalid(key, expected, text)) }
}

fn in_range<T: PartialOrd + ToString>(
    key: &str,
    value: T,
    least: T,
    most: T,
    expected: &'static str,
) -> Result<T, ConfigError> {
    if value >= least && value <= most {
        Ok(value)
    } else {
        Err(ConfigError::invalid(key, expected, value.to_string()))
    }
}

#[cfg(test)]
mod tests;
