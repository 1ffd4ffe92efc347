//! Programs that a test wrote a moment ago.

use std::process::{Command, Output, Stdio};

use lamplighter_client::process;

/// Runs one to its end, though another test may have started a process while it was being written.
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    process::spawn(command).and_then(|child| child.wait_with_output()).expect("the program runs")
}
