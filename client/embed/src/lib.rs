//! The client as a C library: what a launcher in C, C++, C#, Python, JavaScript or any language that can call C needs.
//!
//! `include/lamplighter.h` is the interface and its documentation; it is generated from `abi`, `types` and the head comment in
//! `cbindgen.toml`. `docs/embedding.md` shows it in use.
//!
//! # Invariants
//!
//! * Only `abi` meets foreign pointers; it checks them, and hands on values. Everything else is safe code.
//! * No panic crosses the interface: it ends the call with a status of its own.
//! * A handle is a number, looked up in a table: one that was closed, or never opened, is an error.
//! * Callbacks are made on the thread that made the call, one at a time.
//! * The interface only grows: functions are added, structs get fields at their end, numbers keep their meaning.

mod abi;
mod bridge;
mod calls;
mod fault;
mod handles;
mod json;
mod launching;
mod types;

pub use abi::*;
pub use types::*;
