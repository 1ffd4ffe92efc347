//! What a fleet costs a month: requests, bytes and money, beside what full downloads would, and the peak of requests.
//!
//! The sizes are those of the site: its heads, and the updates to the newest release of each platform from those before it,
//! as [`crate::explain`] tells them. The rest is [`fleet`]'s. [`sheet`] is pure; [`simulate`] has the peaks.

pub mod fleet;
pub mod simulate;

use std::time::Duration;

use lamplighter_client::format::layout;
use lamplighter_client::watch::Schedule;

use crate::build_release::prior::Loaded;
use crate::config::ConfigError;
use crate::error::Error;
use crate::explain::{self, Way};
use crate::site::{Site, SiteError, Trust};
use fleet::Fleet;
use simulate::{Crowd, Peaks};

/// Days of a month.
pub const MONTH_DAYS: u64 = 30;

/// Requests and bytes of one download.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Download {
    /// Requests, without that of the head.
    pub requests: u64,
    /// Bytes of the bodies.
    pub bytes: u64,
}

/// What the site says of one platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Platform token.
    pub platform: String,
    /// The newest build.
    pub build: u64,
    /// The update from the release 1, 2, 3 … before it.
    pub updates: Vec<Download>,
    /// All of it, for who has nothing of use.
    pub full: Download,
}

/// What one kind of traffic comes to in a month.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Traffic {
    /// Requests.
    pub requests: f64,
    /// Bytes.
    pub bytes: f64,
}

/// The sheet.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// Asking whether there is something new.
    pub checks: Traffic,
    /// Updates.
    pub updates: Traffic,
    /// The same updates, each a full download in one request.
    pub full_updates: Traffic,
    /// First installs.
    pub installs: Traffic,
    /// Requests a second, on average.
    pub mean_rate: f64,
    /// Peaks with the jitter of the fleet.
    pub with_jitter: Peaks,
    /// Peaks without.
    pub without_jitter: Peaks,
}

impl Traffic {
    fn add(&mut self, times: f64, download: Download, overhead_bytes: u64) {
        let overhead = download.requests as f64 * overhead_bytes as f64;
        self.requests += times * download.requests as f64;
        self.bytes += times * (download.bytes as f64 + overhead);
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self { requests: self.requests + other.requests, bytes: self.bytes + other.bytes }
    }

    /// What it costs at the fleet's prices.
    pub fn money(self, fleet: &Fleet) -> f64 {
        self.bytes / 1e9 * fleet.prices.per_gb + self.requests / 1e4 * fleet.prices.per_10000_requests
    }
}

/// Length of the longest head, and the facts of every platform `fleet` has clients on.
///
/// # Errors
/// The site is broken; it has no release for a platform the fleet names.
pub fn read(site: &Site, fleet: &Fleet) -> Result<(u64, Vec<Facts>), Error> {
    let trust = Trust::read(site)?;
    let heads = site.channels()?;
    let head_bytes = heads.iter().filter_map(|channel| site.length(&layout::head(channel))).max();
    let head_bytes = head_bytes.ok_or(SiteError::NoChannel)?;
    let releases = site.releases()?;
    let mut platforms: Vec<String> = releases.iter().map(|release| release.1.clone()).collect();
    platforms.sort();
    platforms.dedup();
    if let Some(unknown) = fleet.platform_percent.keys().find(|name| !platforms.contains(name)) {
        let (key, expected) = ("platform_percent".to_owned(), "platforms the site has releases for");
        return Err(ConfigError::Invalid { key, expected, found: unknown.clone() }.into());
    }
    if !fleet.platform_percent.is_empty() {
        platforms.retain(|name| fleet.platform_percent.contains_key(name));
    }
    let mut all = Vec::new();
    for platform in platforms {
        let builds: Vec<u64> =
            releases.iter().filter(|release| release.1 == platform).map(|release| release.0).collect();
        all.push(facts(site, &trust, platform, &builds, fleet.behind_percent.len())?);
    }
    Ok((head_bytes, all))
}

/// `builds` are in order, and not empty.
fn facts(site: &Site, trust: &Trust, platform: String, builds: &[u64], behind: usize) -> Result<Facts, SiteError> {
    let build = builds.last().copied().unwrap_or_default();
    let newest = Loaded::read(site, trust, build, &platform)?;
    let release = &newest.release.release;
    let release_bytes = newest.release.bytes.len() as u64;
    let documents = release_bytes + release.manifest.length + release.objects.length;
    let full =
        Download { requests: 3 + newest.index.objects().len() as u64, bytes: documents + newest.index.stored_bytes() };
    let mut updates = Vec::new();
    for base in builds.iter().rev().skip(1).take(behind) {
        let told = explain::explain(site, trust, &platform, *base, build)?;
        let requests = match told.way {
            Way::Pack => 2,
            Way::Objects => 3 + told.objects,
            Way::Same => 1,
        };
        updates.push(Download { requests, bytes: release_bytes + told.download_bytes });
    }
    Ok(Facts { platform, build, updates, full })
}

/// What the fleet comes to in a month, with heads of `head_bytes`.
pub fn sheet(fleet: &Fleet, head_bytes: u64, platforms: &[Facts]) -> Sheet {
    let (clients, interval) = (fleet.clients as f64, fleet.interval_seconds() as f64);
    let mut checks = Traffic::default();
    let rounds = clients * (MONTH_DAYS * 86_400) as f64 / interval;
    checks.add(rounds, Download { requests: 1, bytes: head_bytes }, fleet.overhead_bytes);
    let (mut updates, mut full_updates, mut installs) = (Traffic::default(), Traffic::default(), Traffic::default());
    for facts in platforms {
        let even = 1.0 / platforms.len() as f64;
        let share = fleet.platform_percent.get(&facts.platform).map_or(even, |percent| percent / 100.0);
        let all = clients * share * fleet.releases_per_month;
        let mut others = 100.0;
        for (behind, percent) in fleet.behind_percent.iter().enumerate() {
            let update = facts.updates.get(behind).copied().unwrap_or(facts.full);
            updates.add(all * percent / 100.0, update, fleet.overhead_bytes);
            others -= percent;
        }
        updates.add(all * others.max(0.0) / 100.0, facts.full, fleet.overhead_bytes);
        let archive = Download { requests: 1, bytes: facts.full.bytes };
        full_updates.add(all, archive, fleet.overhead_bytes);
        installs.add(fleet.installs_per_month as f64 * share, facts.full, fleet.overhead_bytes);
    }
    let peaks = |jitter_percent| {
        let schedule = Schedule { interval: Duration::from_secs(fleet.interval_seconds()), jitter_percent };
        Crowd { clients: fleet.clients, window_seconds: fleet.start_window_minutes * 60, schedule }.peaks()
    };
    let (with_jitter, without_jitter) = (peaks(fleet.jitter_percent), peaks(0));
    Sheet { checks, updates, full_updates, installs, mean_rate: clients / interval, with_jitter, without_jitter }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLEET: &str = "
        clients = 1000
        check_interval_hours = 6
        releases_per_month = 2
        behind_percent = [80, 15]
        installs_per_month = 10
        start_window_minutes = 0
        overhead_bytes = 100
        prices = { per_gb = 0.05, per_10000_requests = 0.01 }
    ";

    fn facts(platform: &str) -> Facts {
        let updates = vec![Download { requests: 2, bytes: 10_000 }, Download { requests: 2, bytes: 20_000 }];
        Facts { platform: platform.to_owned(), build: 3, updates, full: Download { requests: 13, bytes: 1_000_000 } }
    }

    #[test]
    fn the_sheet_is_what_is_worked_out_by_hand() {
        let fleet = Fleet::parse(FLEET).expect("a fleet");
        let sheet = sheet(&fleet, 900, &[facts("a"), facts("b")]);
        // 1,000 clients, 4 a day, 30 days; 900 bytes and 100.
        assert_eq!(sheet.checks, Traffic { requests: 120_000.0, bytes: 120_000_000.0 });
        // 2,000 updates: 1,600 of 10,200 bytes, 300 of 20,200, 100 of 1,001,300 in 13 requests.
        let bytes = 1600.0 * 10_200.0 + 300.0 * 20_200.0 + 100.0 * 1_001_300.0;
        assert_eq!(sheet.updates, Traffic { requests: 1600.0 * 2.0 + 300.0 * 2.0 + 100.0 * 13.0, bytes });
        assert_eq!(sheet.full_updates, Traffic { requests: 2000.0, bytes: 2000.0 * 1_000_100.0 });
        assert_eq!(sheet.installs, Traffic { requests: 130.0, bytes: 10.0 * 1_001_300.0 });
        // 0.12 GB at 0.05 and 12 times 10,000 requests at 0.01.
        assert!((sheet.checks.money(&fleet) - (0.006 + 0.12)).abs() < 1e-12);
        assert!((sheet.mean_rate - 1000.0 / 21_600.0).abs() < 1e-12);
        assert_eq!(sheet.without_jitter, Peaks { first_day: 1000.0 / 60.0, last_day: 1000.0 / 60.0 });
        assert!(sheet.with_jitter.last_day < sheet.without_jitter.last_day);
    }

    #[test]
    fn platforms_and_releases_that_are_missing_count_as_told() {
        let text = FLEET.replace("prices", "platform_percent = { a = 30, b = 70 }\nprices");
        let fleet = Fleet::parse(&text).expect("a fleet");
        let mut young = facts("b");
        young.updates.clear();
        let sheet = sheet(&fleet, 900, &[facts("a"), young]);
        // All 1,400 updates of b are in full, and 30 of a.
        let bytes = 480.0 * 10_200.0 + 90.0 * 20_200.0 + 1430.0 * 1_001_300.0;
        assert!((sheet.updates.bytes - bytes).abs() < 1e-3, "{}", sheet.updates.bytes);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let key = |from: &str, to: &str| Fleet::parse(&FLEET.replace(from, to)).map_err(|wrong| wrong.0).err();
        assert_eq!(key("clients = 1000", "clients = 0"), Some("clients"));
        assert_eq!(key("[80, 15]", "[80, 25]"), Some("behind_percent"));
        assert_eq!(key("[80, 15]", "[-1]"), Some("behind_percent"));
        assert_eq!(key("= 6", "= 0"), Some("check_interval_hours"));
        assert_eq!(key("= 6", "= nan"), Some("check_interval_hours"));
        assert_eq!(key("per_gb = 0.05", "per_gb = -1"), Some("prices"));
        assert_eq!(key("clients", "klients"), Some("the file"));
        assert_eq!(key("= 2\n", "= 2\nmore = 1\n"), Some("the file"));
        assert_eq!(key("", ""), None);
    }
}
