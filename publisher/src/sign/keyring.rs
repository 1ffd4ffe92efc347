//! Where keys lie, and how new ones get there.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_client::format::signed::PublicKey;
use zeroize::Zeroizing;

use super::command::{COMMAND_TIMEOUT_DEFAULT, SignCommand};
use super::password::{self, Limits};
use super::{Role, SecretKey, SignError, Signers, read_small};

/// Asks a person for a password; the argument is the prompt.
pub type AskPassword = fn(&str) -> std::io::Result<Zeroizing<String>>;

/// Where keys and their passwords come from, beside the environment.
#[derive(Debug, Clone, Default)]
pub struct KeySources {
    /// Directory of key files; `keys` where it is not said.
    pub dir: Option<PathBuf>,
    /// File whose first line is the password of protected keys.
    pub password_file: Option<PathBuf>,
    /// Commands that sign, as lists of words; the role's variable wins.
    pub commands: BTreeMap<Role, Vec<String>>,
    /// How long such a command may take; a minute where it is not said.
    pub command_timeout: Option<Duration>,
    /// Asks for a password that is found nowhere.
    pub ask: Option<AskPassword>,
}

impl<P: AsRef<Path> + ?Sized> From<Option<&P>> for KeySources {
    fn from(dir: Option<&P>) -> Self {
        Self { dir: dir.map(|dir| dir.as_ref().to_owned()), ..Self::default() }
    }
}

impl From<&KeySources> for KeySources {
    fn from(sources: &KeySources) -> Self {
        sources.clone()
    }
}

impl KeySources {
    /// The directory of key files.
    pub fn dir(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new("keys"))
    }

    /// `<role>.<suffix>` and `<role>-<anything>.<suffix>` of the directory, in order of their names.
    pub(super) fn files(&self, role: Role, suffix: &str) -> Vec<PathBuf> {
        let is_key = |name: &str| {
            let stem = name.strip_suffix(&format!(".{suffix}")).and_then(|n| n.strip_prefix(role.name()));
            stem.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let entries = std::fs::read_dir(self.dir()).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> =
            entries.filter(|e| e.file_name().to_str().is_some_and(is_key)).map(|e| e.path()).collect();
        files.sort();
        files
    }

    /// The command that signs for `role`, from its variable or the configuration.
    pub(super) fn command(&self, role: Role) -> Result<Option<SignCommand>, SignError> {
        let timeout = self.command_timeout.unwrap_or(COMMAND_TIMEOUT_DEFAULT);
        if let Some(text) = super::variable(role.command_variable())? {
            return SignCommand::parse(role, &text, timeout).map(Some);
        }
        let words = self.commands.get(&role);
        words.map(|words| SignCommand::new(role, words.clone(), timeout)).transpose()
    }
}

/// Makes a pair a role in `dir`: `<role>.key`, readable by the owner only, and `<role>.pub`. Secret keys are protected
/// where `passwords` says where their passwords come from.
///
/// # Errors
/// A file of that name exists (nothing is written then); no password; the disk.
pub fn generate_pairs(
    dir: &Path,
    roles: &[Role],
    passwords: Option<&KeySources>,
) -> Result<Vec<(Role, PublicKey)>, SignError> {
    let files = |role: &Role| [dir.join(format!("{role}.key")), dir.join(format!("{role}.pub"))];
    if let Some(file) = roles.iter().flat_map(files).find(|file| file.symlink_metadata().is_ok()) {
        return Err(SignError::Exists { file });
    }
    let mut made = Vec::new();
    for role in roles {
        let key = SecretKey::generate()?;
        let text = match passwords {
            None => key.to_file(),
            Some(sources) => key.to_protected_file(&password::new(*role, sources)?, Limits::STOCK)?,
        };
        made.push((*role, key.public().clone(), text));
    }
    std::fs::create_dir_all(dir).map_err(|source| SignError::Write { file: dir.to_owned(), source })?;
    for (role, public, text) in &made {
        let [secret_file, public_file] = files(role);
        write_new(&secret_file, text.as_bytes(), 0o600)?;
        write_new(&public_file, public.to_file().as_bytes(), 0o644)?;
    }
    Ok(made.into_iter().map(|(role, public, _)| (role, public)).collect())
}

fn write_new(file: &Path, content: &[u8], mode: u32) -> Result<(), SignError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let written = options.open(file).and_then(|mut f| {
        f.write_all(content)?;
        f.sync_all()
    });
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => SignError::Exists { file: file.to_owned() },
        _ => SignError::Write { file: file.to_owned(), source },
    })
}

/// Public keys of `role`: from `<role>.pub` and `<role>-<anything>.pub` in the directory, or else from the secret keys at
/// hand.
///
/// # Errors
/// There is neither, one that cannot be read, or one twice.
pub fn public_keys(role: Role, sources: impl Into<KeySources>) -> Result<Vec<PublicKey>, SignError> {
    let sources = sources.into();
    let mut keys: Vec<(PublicKey, PathBuf)> = Vec::new();
    for file in sources.files(role, "pub") {
        let key = read_public(&file)?;
        if let Some((_, twin)) = keys.iter().find(|(k, _)| k.as_bytes() == key.as_bytes()) {
            let files = Box::new([twin.clone(), file]);
            return Err(SignError::Twice { role, id: key.id_hex(), files });
        }
        keys.push((key, file));
    }
    if keys.is_empty() {
        let publics = Signers::load(role, &sources)?.publics();
        let file = sources.dir().join(format!("{role}.pub"));
        return if publics.is_empty() { Err(SignError::NoPublic { role, file }) } else { Ok(publics) };
    }
    Ok(keys.into_iter().map(|(key, _)| key).collect())
}

/// The key in a minisign `.pub` file.
///
/// # Errors
/// It cannot be read, or is something else.
pub fn read_public(file: &Path) -> Result<PublicKey, SignError> {
    let found = "something other than a minisign public key";
    let origin = || file.display().to_string();
    PublicKey::parse_file(&read_small(file)?).map_err(|_| SignError::NotAKey { origin: origin(), found })
}
