//! Help for integration tests.

// Each test program uses a part of it.
#![allow(dead_code, unreachable_pub)]

#[cfg(feature = "http")]
pub mod hostile;
#[cfg(feature = "http")]
pub mod setting;
