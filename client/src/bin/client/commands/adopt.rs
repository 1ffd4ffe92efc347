//! `client adopt`

use lamplighter_client::error::Error;
use lamplighter_client::updater::Updater;
use serde_json::json;

use super::origin;
use crate::args::Origin;
use crate::exit::Exit;
use crate::output::Output;

pub(super) fn run(args: Origin, output: &Output) -> Result<Exit, Error> {
    let (config, origin) = origin(args, output)?;
    let adopted = Updater::adopt(config, &origin)?;
    let fields = json!({
        "build": adopted.build, "version": adopted.version,
        "rows_intact": adopted.rows_intact, "rows": adopted.rows,
    });
    let text = format!(
        "adopted {} (build {}): {} of {} files are as released",
        adopted.version, adopted.build, adopted.rows_intact, adopted.rows
    );
    output.result("adopted", fields, &text);
    Ok(Exit::Done)
}
