//! A fleet as a person describes it, in TOML: how many clients, how often they ask, how far behind they are, what a provider
//! asks for.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::config::ConfigError;

/// A fleet, and prices.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Installs that ask for updates.
    pub clients: u64,
    /// Hours between two checks of one client.
    #[serde(default = "six")]
    pub check_interval_hours: f64,
    /// By how many percent each wait is longer or shorter, by chance.
    #[serde(default = "twenty")]
    pub jitter_percent: u32,
    /// Releases a month, each of which every client gets.
    pub releases_per_month: f64,
    /// Percent of clients that are 1, 2, 3 … releases behind when they update; the others have none of these, and fetch all.
    #[serde(default = "all_one_behind")]
    pub behind_percent: Vec<f64>,
    /// First installs a month.
    #[serde(default)]
    pub installs_per_month: u64,
    /// Minutes within which the whole fleet begins to ask: a morning, or the end of an outage.
    #[serde(default = "sixty")]
    pub start_window_minutes: u64,
    /// What every request takes beside its body, in bytes: headers, and what lies below HTTP.
    #[serde(default)]
    pub overhead_bytes: u64,
    /// Percent of the clients on each platform; the same on each where none is named.
    #[serde(default)]
    pub platform_percent: BTreeMap<String, f64>,
    /// What a provider asks for.
    pub prices: Prices,
}

/// List prices.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// For 10⁹ bytes that leave.
    pub per_gb: f64,
    /// For 10,000 requests.
    pub per_10000_requests: f64,
    /// In what.
    #[serde(default = "usd")]
    pub currency: String,
}

fn six() -> f64 {
    6.0
}

fn twenty() -> u32 {
    20
}

fn sixty() -> u64 {
    60
}

fn all_one_behind() -> Vec<f64> {
    vec![100.0]
}

fn usd() -> String {
    "USD".to_owned()
}

const CLIENTS_MAX: u64 = 100_000_000_000;
const BEHIND_MAX: usize = 50;

impl Fleet {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML of this form, or says what cannot be.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Invalid {
            key: "--fleet".to_owned(),
            expected: "a file that can be read",
            found: format!("{name}: {error}"),
        })?;
        Self::parse(&text).map_err(|(key, expected, found)| ConfigError::Invalid {
            key: format!("{name}, {key}"),
            expected,
            found,
        })
    }

    /// Parses and checks it; gives the key, what was expected there, and what was found.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str) -> Result<Self, (&'static str, &'static str, String)> {
        let fleet: Self =
            toml::from_str(text).map_err(|e| ("the file", "a description of a fleet", e.message().to_owned()))?;
        let wrong = |key, truth: bool, expected, found: &dyn ToString| match truth {
            true => Ok(()),
            false => Err((key, expected, found.to_string())),
        };
        let percents = |mut percents: Box<dyn Iterator<Item = &f64> + '_>| {
            let mut sum = 0.0;
            percents.all(|percent| {
                sum += percent;
                *percent >= 0.0 && sum <= 100.000_001
            })
        };
        let hours = fleet.check_interval_hours;
        wrong("clients", (1..=CLIENTS_MAX).contains(&fleet.clients), "1 to 10^11", &fleet.clients)?;
        wrong("check_interval_hours", (0.02..=8760.0).contains(&hours), "0.02 to 8760", &hours)?;
        wrong("jitter_percent", fleet.jitter_percent <= 100, "at most 100", &fleet.jitter_percent)?;
        let rate = fleet.releases_per_month;
        wrong("releases_per_month", (0.0..=10_000.0).contains(&rate), "0 to 10000", &rate)?;
        let behind = &fleet.behind_percent;
        let behind_fits = behind.len() <= BEHIND_MAX && percents(Box::new(behind.iter()));
        wrong("behind_percent", behind_fits, "at most 50 shares, together at most 100", &format!("{behind:?}"))?;
        let window = fleet.start_window_minutes;
        wrong("start_window_minutes", window <= 10_080, "at most a week", &window)?;
        let platforms = &fleet.platform_percent;
        wrong(
            "platform_percent",
            percents(Box::new(platforms.values())),
            "together at most 100",
            &format!("{platforms:?}"),
        )?;
        let Prices { per_gb, per_10000_requests, .. } = fleet.prices;
        let prices_fit = [per_gb, per_10000_requests].iter().all(|price| (0.0..=1e6).contains(price));
        wrong("prices", prices_fit, "from 0 to 10^6", &format!("{per_gb}, {per_10000_requests}"))?;
        Ok(fleet)
    }

    /// Seconds between two checks of one client.
    pub fn interval_seconds(&self) -> u64 {
        (self.check_interval_hours * 3600.0).round() as u64
    }
}
