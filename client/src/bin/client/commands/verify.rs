//! `client verify`

use lamplighter_client::error::Error;
use serde_json::json;

use super::open;
use crate::args::Verify;
use crate::exit::Exit;
use crate::network::Network;
use crate::output::Output;
use crate::term::bytes;

pub(super) fn run(args: Verify, output: &Output) -> Result<Exit, Error> {
    let verified = open(args.tree, Network::default(), output)?.verify(args.crc)?;
    let damaged: Vec<_> = verified
        .damaged
        .iter()
        .map(|d| json!({"path": d.path.as_str(), "code": d.code, "what": d.what, "policy_keep": d.keep}))
        .collect();
    let fields = json!({
        "build": verified.build, "version": verified.version, "rows": verified.rows,
        "read_bytes": verified.read_bytes, "damaged": damaged,
    });
    let mut lines: Vec<String> = verified.damaged.iter().map(|d| format!("{}: {}", d.path, d.what)).collect();
    let wrong = verified.damaged.iter().filter(|d| !d.keep).count();
    lines.push(format!(
        "{} (build {}): {} of {} files are not as released, {} read",
        verified.version,
        verified.build,
        wrong,
        verified.rows,
        bytes(verified.read_bytes)
    ));
    output.result("verified", fields, &lines.join("\n"));
    Ok(if wrong == 0 { Exit::Done } else { Exit::Damaged })
}
