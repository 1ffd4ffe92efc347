//! Which provider a location means, and how it is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};

use super::StoreError;
use super::count::{Counted, Counts};

const RETRIES_MAX: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(120);
/// One request, body included: what a slow line needs for the largest piece that is sent at once.
const REQUEST_TIMEOUT: &str = "600s";

/// Where a site lies that is read and written through a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// `s3://bucket/prefix`: S3 and what speaks its protocol.
    S3 {
        /// Bucket.
        bucket: String,
        /// What stands before every name; may be empty.
        prefix: String,
    },
    /// `gs://bucket/prefix`: Google Cloud Storage.
    Gcs {
        /// Bucket.
        bucket: String,
        /// What stands before every name; may be empty.
        prefix: String,
    },
    /// `az://container/prefix`: Azure Blob Storage.
    Azure {
        /// Container.
        container: String,
        /// What stands before every name; may be empty.
        prefix: String,
    },
    /// A directory.
    Directory(PathBuf),
}

impl Location {
    /// Reads a location as it is typed.
    ///
    /// # Errors
    /// [`StoreError::BadLocation`]: another scheme, no bucket, a prefix with empty or dotted parts.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        let bad = |detail: &str| StoreError::BadLocation { location: text.to_owned(), detail: detail.to_owned() };
        let Some((scheme, rest)) = text.split_once("://") else {
            return if text.is_empty() { Err(bad("found nothing")) } else { Ok(Self::Directory(text.into())) };
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let (bucket, prefix) = (bucket.to_owned(), prefix.trim_end_matches('/').to_owned());
        if bucket.is_empty() {
            return Err(bad("found no bucket"));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(plain);
        if !is_part(&bucket) || !(prefix.is_empty() || prefix.split('/').all(is_part)) {
            return Err(bad("found a bucket or prefix of other characters than letters, digits, '.', '_' and '-'"));
        }
        match scheme {
            "s3" => Ok(Self::S3 { bucket, prefix }),
            "gs" => Ok(Self::Gcs { bucket, prefix }),
            "az" => Ok(Self::Azure { container: bucket, prefix }),
            "http" | "https" => Err(bad("a web server can only be read; give the place it is written at")),
            _ => Err(bad("found another scheme")),
        }
    }

    /// What stands before every name of the site.
    pub(super) fn prefix(&self) -> &str {
        match self {
            Self::S3 { prefix, .. } | Self::Gcs { prefix, .. } | Self::Azure { prefix, .. } => prefix,
            Self::Directory(_) => "",
        }
    }

    /// Opens it with what the environment says of credentials and endpoints. Nothing is asked for yet.
    pub(super) fn open(&self, text: &str, counts: &Arc<Counts>) -> Result<Arc<dyn ObjectStore>, StoreError> {
        let failed = |e: object_store::Error| StoreError::settings(text, &e);
        let connector = Counted(counts.clone());
        if !matches!(self, Self::Directory(_)) {
            // The process's provider of cryptography; one that was installed before stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        Ok(match self {
            Self::S3 { bucket, .. } => {
                let builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry());
                let key = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
                let builder = match is_set("AWS_TIMEOUT") {
                    true => builder,
                    false => builder.with_config(key, REQUEST_TIMEOUT),
                };
                Arc::new(builder.with_http_connector(connector).build().map_err(failed)?)
            }
            Self::Gcs { bucket, .. } => {
                let builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket).with_retry(retry());
                let builder = builder.with_config(GoogleConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
                Arc::new(builder.with_http_connector(connector).build().map_err(failed)?)
            }
            Self::Azure { container, .. } => {
                let builder = MicrosoftAzureBuilder::from_env().with_container_name(container).with_retry(retry());
                let builder = builder.with_config(AzureConfigKey::Client(ClientConfigKey::Timeout), REQUEST_TIMEOUT);
                Arc::new(builder.with_http_connector(connector).build().map_err(failed)?)
            }
            Self::Directory(dir) => {
                std::fs::create_dir_all(dir).map_err(|source| StoreError::Directory { dir: dir.clone(), source })?;
                Arc::new(LocalFileSystem::new_with_prefix(dir).map_err(failed)?.with_fsync(true))
            }
        })
    }
}

/// Whether `text` is the address of a store or a web server rather than a directory.
pub fn is_remote(text: &str) -> bool {
    text.contains("://")
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some()
}

fn retry() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(10), base: 2.0 };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read() {
        let s3 = |bucket: &str, prefix: &str| Location::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() };
        for (text, expected) in [
            ("s3://rel", s3("rel", "")),
            ("s3://rel/", s3("rel", "")),
            ("s3://rel/app/v1/", s3("rel", "app/v1")),
            ("gs://b/p", Location::Gcs { bucket: "b".to_owned(), prefix: "p".to_owned() }),
            ("az://c/p", Location::Azure { container: "c".to_owned(), prefix: "p".to_owned() }),
            ("out/site", Location::Directory("out/site".into())),
        ] {
            assert_eq!(Location::parse(text).expect("a location"), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for text in
            ["", "s3://", "s3:///p", "s3://b/a//c", "s3://b/../c", "ftp://b", "https://x/y", "s3://b/ä", "s3://u:p@b/x"]
        {
            assert!(matches!(Location::parse(text), Err(StoreError::BadLocation { .. })), "{text}");
        }
    }
}
