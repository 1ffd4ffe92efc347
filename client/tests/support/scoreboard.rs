//! Figures of a run, kept where `make scoreboard` finds them.

use std::fs;
use std::path::Path;

/// Writes `figures` to `target/scoreboard/<name>.json`. That it cannot does not fail a test: they are for reading.
pub(crate) fn note(name: &str, figures: &[(&str, usize)]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/scoreboard");
    let cells: Vec<String> = figures.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
    let text = format!("{{\"name\": \"{name}\", {}}}\n", cells.join(", "));
    let _ = fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(format!("{name}.json")), text));
}
