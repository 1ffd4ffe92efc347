//! Figures of a run, kept where `make scoreboard` finds them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Leaves `figures`, an object, with its name in `target/scoreboard/<name>.json`, or the directory `LAMPLIGHTER_FIGURES`, and
/// prints it.
///
/// That it cannot be left there fails no test: figures are for reading.
#[allow(clippy::print_stdout, reason = "a figure is told with the result")]
pub(crate) fn note(name: &str, mut figures: Value) {
    figures["name"] = json!(name);
    println!("{figures}");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the build directory");
    let directory = std::env::var_os("LAMPLIGHTER_FIGURES").map_or_else(|| target.join("scoreboard"), PathBuf::from);
    let _ = fs::create_dir_all(&directory)
        .and_then(|()| fs::write(directory.join(format!("{name}.json")), format!("{figures}\n")));
}
