//! Cargo, called by a test for what it does not build for that test.

use std::path::Path;
use std::process::Command;

/// `cargo build` of the workspace, with the profile and the features of this test, so that nothing is compiled a second time: an
/// example among what is `wanted` brings in what only tests depend on.
pub(crate) fn build(wanted: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--locked", "--workspace"]).args(wanted).current_dir(env!("CARGO_MANIFEST_DIR"));
    if Path::new(env!("CARGO_BIN_EXE_publisher")).parent().is_some_and(|dir| dir.ends_with("release")) {
        build.arg("--release");
    }
    // What cargo tells a test of its own package would make build scripts run again.
    let told = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(told)) {
        build.env_remove(name);
    }
    build
}
