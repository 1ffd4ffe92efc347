//! `publisher keygen`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use lamplighter_publisher::error::Error;
use lamplighter_publisher::sign::{self, KeySources, Role};
use serde_json::json;

use crate::term::Term;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for the files ROLE.key (for their owner only) and ROLE.pub; existing files are never overwritten.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Make a pair for this role only; may be given more than once.
    #[arg(long, value_enum)]
    role: Vec<RoleArg>,
    /// Protect the secret keys by a password: from the variables, from --password-file, or asked for.
    #[arg(long)]
    password: bool,
    /// File whose first line is that password.
    #[arg(long, value_name = "FILE", requires = "password")]
    password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleArg {
    Root,
    Release,
    Channel,
}

impl From<RoleArg> for Role {
    fn from(role: RoleArg) -> Self {
        match role {
            RoleArg::Root => Role::Root,
            RoleArg::Release => Role::Release,
            RoleArg::Channel => Role::Channel,
        }
    }
}

pub(crate) fn run(args: &Args, term: &Term) -> Result<ExitCode, Error> {
    let mut roles: Vec<Role> = Vec::new();
    for role in args.role.iter().map(|r| Role::from(*r)) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    let roles = if roles.is_empty() { Role::ALL.to_vec() } else { roles };
    let sources = KeySources { password_file: args.password_file.clone(), ask: term.ask(), ..KeySources::default() };
    for (role, public) in sign::generate_pairs(&args.out, &roles, args.password.then_some(&sources))? {
        let file = args.out.join(format!("{role}.key"));
        let text = format!("{role:<8} {}  {}", public.to_base64(), file.display());
        let event = json!({
            "event": "key", "role": role.name(), "public": public.to_base64(), "id": public.id_hex(), "file": file,
        });
        term.result(&text, &event);
    }
    term.note("keep-offline", "keep root.key offline: whoever has it names all other keys");
    Ok(ExitCode::SUCCESS)
}
