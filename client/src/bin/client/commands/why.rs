//! `client why`

use lamplighter_client::error::Error;
use lamplighter_client::trust::Idle;
use lamplighter_client::why::Ended;
use serde_json::json;

use super::{exit_of, open};
use crate::args::Why;
use crate::exit::Exit;
use crate::output::Output;

/// Ends as a check would, with its exit codes; but whatever went wrong is a result, not an error.
pub(super) fn run(args: Why, output: &Output) -> Result<Exit, Error> {
    let updater = open(args.tree, args.network, output)?;
    let (why, ended) = updater.why();
    let mut fields = json!({"code": why.code, "text": why.text, "advice": why.advice});
    let exit = match &ended {
        Ended::Offered(build, version) => {
            (fields["build"], fields["version"]) = (json!(build), json!(version));
            Exit::Done
        }
        Ended::Idle(idle) => {
            if let Idle::NotYetRolledOut { bucket, permille, from } = idle {
                let from = from.map(|time| time.to_string());
                fields["rollout"] = json!({"bucket": bucket, "permille": permille, "from": from});
            }
            exit_of(idle)
        }
        Ended::Failed(error) => Exit::of(error),
    };
    output.result("why", fields, &why.text);
    Ok(exit)
}
