//! Passwords of secret keys: what is derived from one, and where one comes from.
//!
//! The derivation is scrypt with r = 8 and N and p chosen from two limits as libsodium's `pickparams` does it. The stock
//! program's limits are `Limits::STOCK`: N = 2²⁰, p = 1, one GiB of memory, a second or more. A key file names its own
//! limits, and may be hostile: more than the stock program ever asks for is refused before any memory is taken.

use std::path::Path;

use scrypt::Params;
use zeroize::Zeroizing;

use super::keyfile::{COVERED_BYTES, KeyFile, SecretKey};
use super::{KeySources, Role, SignError, read_small};

/// Bytes of the salt.
pub(super) const SALT_BYTES: usize = 32;

/// Memory granted to a derivation: that of the stock program and a little more.
const MEMORY_BYTES_MAX: u64 = (1 << 30) + (64 << 20);
/// Work granted to a derivation, as N · r · p: four times that of the stock program.
const WORK_MAX: u64 = 4 << 23;
const R: u64 = 8;
const TRIES: usize = 3;

/// What a derivation may cost, in libsodium's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Operations.
    pub(super) operations: u64,
    /// Memory.
    pub(super) memory_bytes: u64,
}

impl Limits {
    /// What the stock program writes.
    pub(super) const STOCK: Limits = Limits { operations: 1 << 25, memory_bytes: 1 << 30 };

    /// log₂ N and p, as libsodium picks them.
    fn pick(self) -> (u8, u64) {
        let operations = self.operations.max(32_768);
        let log_n = |n_max: u64| (1..63).find(|log| 1_u64 << log > n_max / 2).unwrap_or(63);
        if operations < self.memory_bytes / 32 {
            return (log_n(operations / (R * 4)), 1);
        }
        let log = log_n(self.memory_bytes / (R * 128));
        (log, ((operations / 4) >> log).min(0x3fff_ffff) / R)
    }

    /// The bytes that cover a key, from its password.
    ///
    /// # Errors
    /// The limits are beyond what is granted, or make no sense; the machine lacks the memory.
    pub(super) fn derive(
        self,
        password: &str,
        salt: &[u8; SALT_BYTES],
        origin: &str,
    ) -> Result<Zeroizing<[u8; COVERED_BYTES]>, SignError> {
        let (log_n, p) = self.pick();
        let n = 1_u64 << log_n;
        let (memory, work) = (n.saturating_mul(128 * R), n.saturating_mul(R).saturating_mul(p));
        let costly = || SignError::TooCostly { origin: origin.to_owned() };
        if p == 0 || memory > MEMORY_BYTES_MAX || work > WORK_MAX {
            return Err(costly());
        }
        let params = Params::new(log_n, R as u32, p as u32).map_err(|_| costly())?;
        // The derivation itself would end the process where memory is short: it is asked for once before.
        let room = usize::try_from(memory).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
        if !room {
            return Err(SignError::NoMemory { origin: origin.to_owned(), memory_mib: memory >> 20 });
        }
        let mut stream = Zeroizing::new([0; COVERED_BYTES]);
        scrypt::scrypt(password.as_bytes(), salt, &params, &mut *stream).map_err(|_| costly())?;
        Ok(stream)
    }
}

/// The key in `file`, with the password of `role` where it needs one.
///
/// A password is looked for in the role's variable, in the variable for all roles, in the password file, and at last asked
/// for, up to three times.
///
/// # Errors
/// There is none, or it is wrong; the file is damaged.
pub(super) fn open(file: &KeyFile, role: Role, sources: &KeySources) -> Result<SecretKey, SignError> {
    if !file.is_protected() {
        return file.open();
    }
    let origin = || file.origin().to_owned();
    if let Some((password, from)) = given(role, sources)? {
        return file.unlock(&password)?.ok_or_else(|| SignError::WrongPassword { origin: origin(), from });
    }
    let Some(ask) = sources.ask else { return Err(SignError::NoPassword { origin: origin(), role }) };
    for _ in 0..TRIES {
        let asked = ask(&format!("Password of {}: ", file.origin()));
        let password = asked.map_err(|_| SignError::NoPassword { origin: origin(), role })?;
        if let Some(key) = file.unlock(&password)? {
            return Ok(key);
        }
    }
    Err(SignError::WrongPassword { origin: origin(), from: "the terminal".to_owned() })
}

/// A password for a new key of `role`; asked for twice where none is given.
///
/// # Errors
/// There is none, it is empty, or the two differ.
pub(super) fn new(role: Role, sources: &KeySources) -> Result<Zeroizing<String>, SignError> {
    let origin = || format!("the new {role} key");
    let password = match (given(role, sources)?, sources.ask) {
        (Some((password, _)), _) => password,
        (None, None) => return Err(SignError::NoPassword { origin: origin(), role }),
        (None, Some(ask)) => {
            let asked = |prompt: String| ask(&prompt).map_err(|_| SignError::NoPassword { origin: origin(), role });
            let password = asked(format!("Password for {}: ", origin()))?;
            if *asked("The same again: ".to_owned())? != *password {
                return Err(SignError::WrongPassword {
                    origin: origin(),
                    from: "the terminal, typed twice".to_owned(),
                });
            }
            password
        }
    };
    if password.is_empty() { Err(SignError::NoPassword { origin: origin(), role }) } else { Ok(password) }
}

/// The password that is given without asking, and where.
fn given(role: Role, sources: &KeySources) -> Result<Option<(Zeroizing<String>, String)>, SignError> {
    for variable in [role.password_variable(), PASSWORD_VARIABLE] {
        if let Some(password) = super::variable(variable)? {
            return Ok(Some((password, variable.to_owned())));
        }
    }
    let from_file = |file: &Path| Ok((first_line(&read_small(file)?), file.display().to_string()));
    sources.password_file.as_deref().map(from_file).transpose()
}

/// The variable that holds the password of all keys whose role has none of its own.
pub const PASSWORD_VARIABLE: &str = "LAMPLIGHTER_KEY_PASSWORD";

fn first_line(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_picked_as_libsodium_picks_them() {
        assert_eq!(Limits::STOCK.pick(), (20, 1));
        // libsodium's limits for interactive use.
        assert_eq!(Limits { operations: 524_288, memory_bytes: 16 << 20 }.pick(), (14, 1));
        assert_eq!(Limits { operations: 32_768, memory_bytes: 16 << 20 }.pick(), (10, 1));
        assert_eq!(Limits { operations: 1 << 25, memory_bytes: 16 << 20 }.pick(), (14, 64));
        assert_eq!(Limits { operations: 0, memory_bytes: 0 }.pick(), (1, 512));
    }

    #[test]
    fn hostile_limits_are_refused_before_memory_is_taken() {
        let derive = |operations, memory_bytes| Limits { operations, memory_bytes }.derive("p", &[0; 32], "k");
        for (operations, memory_bytes) in
            [(u64::MAX, u64::MAX), (1 << 40, 1 << 30), (u64::MAX, 0), (1 << 26, 1 << 32), (1 << 27, 1 << 62)]
        {
            let refused = derive(operations, memory_bytes);
            assert!(matches!(refused, Err(SignError::TooCostly { .. })), "{operations} {memory_bytes}");
        }
        assert!(derive(32_768, 1 << 20).is_ok());
    }

    /// RFC 7914 has no vector for r = 8, p = 1 of 104 bytes; its third has N = 2^14, r = 8, p = 1.
    #[test]
    fn the_derivation_is_scrypt() {
        let mut out = [0; 64];
        let params = Params::new(14, 8, 1).expect("good parameters");
        scrypt::scrypt(b"pleaseletmein", b"SodiumChloride", &params, &mut out).expect("derived");
        assert_eq!(out[..8], [0x70, 0x23, 0xbd, 0xcb, 0x3a, 0xfd, 0x73, 0x48]);
    }
}
