//! `client status`

use lamplighter_client::error::Error;
use serde_json::json;

use super::open;
use crate::args::TreeArgs;
use crate::exit::Exit;
use crate::network::Network;
use crate::output::Output;

pub(super) fn run(args: TreeArgs, output: &Output) -> Result<Exit, Error> {
    let updater = open(args, Network::default(), output)?;
    let (status, held) = (updater.status()?, updater.held()?);
    let installed = status.installed.as_ref().map(|i| json!({"build": i.build, "version": i.version}));
    let fields = json!({
        "site": status.settings.site, "app": status.settings.app, "channel": status.settings.channel,
        "platform": status.settings.platform, "installed": installed, "unfinished": status.unfinished,
        "given_up": status.given_up,
        "root_version": status.root_version, "root_expires": status.root_expires.to_string(),
        "last_issued": status.last_issued.map(|t| t.to_string()), "sequence": status.sequence,
        "held": held,
    });
    let what = status.installed.map_or("nothing recorded".into(), |i| format!("{} (build {})", i.version, i.build));
    let mut text = format!(
        "app        {}\nchannel    {}\nplatform   {}\nsite       {}\ninstalled  {what}\nroot       {}, expires {}",
        status.settings.app,
        status.settings.channel,
        status.settings.platform,
        status.settings.site,
        status.root_version,
        status.root_expires,
    );
    if let (Some(issued), Some(sequence)) = (status.last_issued, status.sequence) {
        text.push_str(&format!("\nhead       {sequence}, issued {issued}"));
    }
    if held.is_some() {
        text.push_str("\nthis build is held; `client hold --off` lets go of it");
    }
    if status.given_up {
        text.push_str("\nan update could be neither finished nor undone; `client heal` makes the files whole");
    } else if status.unfinished {
        text.push_str("\nan update was interrupted; the next command that changes the tree finishes or undoes it");
    }
    output.result("status", fields, &text);
    Ok(Exit::Done)
}
