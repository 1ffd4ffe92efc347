//! Flags that say how a site is reached.

use std::num::NonZeroU64;

use clap::Args as ClapArgs;
use lamplighter_client::download::RetryPolicy;
use lamplighter_client::source::{HttpOptions, Proxy};

/// How the site is reached.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct Network {
    /// Proxy URL (http, https, socks5, or socks5h to leave names to it), with credentials if need be; by default what the
    /// environment says.
    #[arg(long, value_name = "URL")]
    pub(crate) proxy: Option<String>,
    /// Header field for a private site, `Name: value`; or @FILE, which has one a line and keeps them out of the list of
    /// processes. May be given more than once. Sent to the site and mirrors of yours, to no other host.
    #[arg(long, value_name = "FIELD|@FILE", value_parser = fields)]
    pub(crate) header: Vec<Fields>,
    /// Most bytes a second to download; K and M stand for 1024 and 1024 times 1024.
    #[arg(long, value_name = "BYTES", value_parser = rate)]
    pub(crate) limit_rate: Option<NonZeroU64>,
}

/// Header fields of one flag.
#[derive(Debug, Clone)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Network {
    /// The settings for HTTP these flags give.
    pub(crate) fn http(&self) -> HttpOptions {
        let proxy = self.proxy.clone().map_or(Proxy::FromEnvironment, Proxy::Url);
        let headers = self.header.iter().flat_map(|fields| fields.0.clone()).collect();
        HttpOptions { proxy, headers, ..HttpOptions::default() }
    }

    /// The patience these flags give.
    pub(crate) fn retry(&self) -> RetryPolicy {
        RetryPolicy { bytes_per_second_max: self.limit_rate, ..RetryPolicy::default() }
    }
}

fn fields(text: &str) -> Result<Fields, String> {
    let Some(path) = text.strip_prefix('@') else { return Ok(Fields(vec![field(text)?])) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    text.lines().filter(|line| !line.trim().is_empty()).map(field).collect::<Result<_, _>>().map(Fields)
}

fn field(text: &str) -> Result<(String, String), String> {
    // What is wrong is not repeated: it may be a secret.
    let (name, value) = text.split_once(':').ok_or("expected a header field, `Name: value`")?;
    Ok((name.trim().into(), value.trim().into()))
}

fn rate(text: &str) -> Result<NonZeroU64, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1 << 10),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1), |digits| (digits, 1 << 20)),
    };
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let bytes = plain.then(|| digits.parse::<u64>().ok()?.checked_mul(factor)).flatten();
    let bytes = bytes.filter(|bytes| *bytes >= RATE_MIN).and_then(NonZeroU64::new);
    bytes.ok_or_else(|| format!("expected a number of bytes from {RATE_MIN} on, such as 250K"))
}

/// Slower than that a head does not arrive in the time it is given.
const RATE_MIN: u64 = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_with_a_unit() {
        let rate = |text| rate(text).ok().map(NonZeroU64::get);
        assert_eq!(rate("4096"), Some(4096));
        assert_eq!((rate("250K"), rate("2m")), (Some(256_000), Some(2 << 20)));
        for bad in ["", "K", "0", "1023", "-1", "+5000", "1.5M", "5 K", "18446744073709551615K"] {
            assert_eq!(rate(bad), None, "{bad}");
        }
    }

    #[test]
    fn fields_come_from_the_flag_or_from_a_file() {
        let read = |text: &str| fields(text).map(|fields| fields.0);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("X-Token: a:b "), Ok(vec![pair("X-Token", "a:b")]));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "A: 1\r\n\nB:2\n").unwrap();
        let path = format!("@{}", file.path().display());
        assert_eq!(read(&path), Ok(vec![pair("A", "1"), pair("B", "2")]));
        assert!(read("secret").is_err_and(|error| !error.contains("secret")));
        assert!(read("@no/such/file").is_err());
    }
}
