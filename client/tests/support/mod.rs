//! Help for integration tests.

// Each test program uses a part of it; a panic here is a failed test.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

#[cfg(feature = "http")]
pub mod hostile;
#[cfg(feature = "http")]
pub mod proxy;
#[cfg(feature = "http")]
pub mod setting;
#[cfg(feature = "http")]
pub mod tls;
