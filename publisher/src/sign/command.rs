//! Keys that never come here: a command signs, in front of a key service or a hardware key.
//!
//! # Protocol
//!
//! The command is run without a shell, once for each document. Its standard input is the document's body, to its last
//! line `end`: the bytes to be signed. It writes a minisign signature to its standard output, the four lines of a
//! `.minisig` file in the prehashed form `ED` (Ed25519 over the BLAKE2b-512 of the body, then the global signature over
//! signature ‖ trusted comment); or several of them, one behind the other, where it holds several keys. Its standard error
//! is shown if it fails. It inherits no variable that holds a key or a password. Others tell it what it signs:
//!
//! | variable | content |
//! | --- | --- |
//! | `LAMPLIGHTER_SIGN_ROLE` | `root`, `release` or `channel` |
//! | `LAMPLIGHTER_SIGN_NAME` | name of the document in the site, or `probe` |
//! | `LAMPLIGHTER_SIGN_COMMENT` | a trusted comment made from the run's time: with it, equal input gives equal bytes |
//!
//! Before any work it is run with a body of the type `lamplighter-probe`, which no client takes for anything: whose key it
//! holds is known by what it signs, not by what it claims. Nothing it writes is used that does not verify under a key of the
//! role.
//!
//! It comes from the variable `LAMPLIGHTER_<ROLE>_SIGN`, which holds words between spaces or, where it begins with `[`, a
//! JSON list of strings; or from the table `[signers]` of the configuration, as a list.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use lamplighter_client::format::signed::{PublicKey, Signature, SignedDocument};

use super::password::PASSWORD_VARIABLE;
use super::{Role, SignError, ids};

/// How long a command may take, unless said otherwise.
pub const COMMAND_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

const OUTPUT_BYTES_MAX: u64 = 64 << 10;
const POLL: Duration = Duration::from_millis(5);
const LINES_TOLD: usize = 3;

/// A command that signs for a role.
#[derive(Debug)]
pub(super) struct SignCommand {
    role: Role,
    words: Vec<String>,
    timeout: Duration,
    /// Keys it was seen to sign with.
    pub(super) keys: Vec<PublicKey>,
}

impl SignCommand {
    /// A command of at least one word.
    ///
    /// # Errors
    /// There is no word.
    pub(super) fn new(role: Role, words: Vec<String>, timeout: Duration) -> Result<Self, SignError> {
        let made = Self { role, words, timeout, keys: Vec::new() };
        if made.words.is_empty() { Err(made.error("it has no words")) } else { Ok(made) }
    }

    /// A command as a variable holds it.
    ///
    /// # Errors
    /// No words, or a list that is no list of strings.
    pub(super) fn parse(role: Role, text: &str, timeout: Duration) -> Result<Self, SignError> {
        let words = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|_| {
                let detail = format!("{} begins with '[' and is no JSON list of strings", role.command_variable());
                SignError::Command { role, command: text.to_owned(), detail }
            })?
        } else {
            text.split_whitespace().map(str::to_owned).collect()
        };
        Self::new(role, words, timeout)
    }

    /// Runs it once, and notes which of `candidates` it holds.
    ///
    /// # Errors
    /// It fails, or signs with none of them.
    pub(super) fn probe(&mut self, candidates: &[PublicKey]) -> Result<(), SignError> {
        let body = format!("lamplighter-probe,1\nrole,{}\nend\n", self.role).into_bytes();
        let document = self.call(&body, "probe", "probe")?;
        let signed = |key: &&PublicKey| document.signatures.iter().any(|s| key.verifies(&document.body, s));
        self.keys = candidates.iter().filter(signed).cloned().collect();
        if self.keys.is_empty() {
            let claimed: Vec<String> = document.signatures.iter().map(claimed_id).collect();
            let detail = format!(
                "its signature claims key {}, and verifies under none of {}",
                claimed.join(", "),
                ids(candidates)
            );
            return Err(self.error(detail));
        }
        Ok(())
    }

    /// Signatures of `body`, one by each of its keys.
    ///
    /// # Errors
    /// It fails, or a key it held before does not sign.
    pub(super) fn sign(&self, body: &[u8], name: &str, comment: &str) -> Result<Vec<Signature>, SignError> {
        let document = self.call(body, name, comment)?;
        let of = |key: &PublicKey| document.signatures.iter().find(|s| key.verifies(body, s)).cloned();
        let signed = |key: &PublicKey| {
            of(key)
                .ok_or_else(|| self.error(format!("it printed no valid signature of {name} by key {}", key.id_hex())))
        };
        self.keys.iter().map(signed).collect()
    }

    /// `body` with what the command printed behind it.
    fn call(&self, body: &[u8], name: &str, comment: &str) -> Result<SignedDocument, SignError> {
        let printed = self.run(body, name, comment).map_err(|detail| self.error(detail))?;
        parse_signatures(body, &printed)
            .map_err(|detail| self.error(format!("what it printed is no signature: {detail}")))
    }

    fn run(&self, body: &[u8], name: &str, comment: &str) -> Result<Vec<u8>, String> {
        let deadline = Instant::now() + self.timeout;
        let mut command = Command::new(&self.words[0]);
        let secrets = Role::ALL.into_iter().flat_map(|role| [role.variable(), role.password_variable()]);
        secrets.chain([PASSWORD_VARIABLE]).for_each(|secret| {
            command.env_remove(secret);
        });
        let mut child = command
            .args(&self.words[1..])
            .env("LAMPLIGHTER_SIGN_ROLE", self.role.name())
            .env("LAMPLIGHTER_SIGN_NAME", name)
            .env("LAMPLIGHTER_SIGN_COMMENT", comment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("it cannot be run: {e}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            let body = body.to_vec();
            // A command that closes its input early is judged by what it prints.
            thread::spawn(move || drop(stdin.write_all(&body)));
        }
        let (printed, told) = (read_all(child.stdout.take()), read_all(child.stderr.take()));
        let status = wait(&mut child, deadline)?;
        let late = || format!("its output did not end within {} s", self.timeout.as_secs());
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let too_much = || format!("it printed more than {OUTPUT_BYTES_MAX} bytes");
        let is_too_much = |printed: &Vec<u8>| printed.len() as u64 > OUTPUT_BYTES_MAX;
        if !status.success() {
            if printed.try_recv().is_ok_and(|printed| is_too_much(&printed)) {
                return Err(too_much());
            }
            let told = told.recv_timeout(left()).unwrap_or_default();
            return Err(format!("it ended with {status}{}", last_lines(&told)));
        }
        let printed = printed.recv_timeout(left()).map_err(|_| late())?;
        if is_too_much(&printed) { Err(too_much()) } else { Ok(printed) }
    }

    fn error(&self, detail: impl Into<String>) -> SignError {
        SignError::Command { role: self.role, command: self.words.join(" "), detail: detail.into() }
    }
}

/// `body` and the signatures in `text`, one or more `.minisig` files; line ends may be those of Windows.
///
/// # Errors
/// What was expected instead.
pub(super) fn parse_signatures(body: &[u8], text: &[u8]) -> Result<SignedDocument, String> {
    let text = std::str::from_utf8(text).map_err(|_| "expected text".to_owned())?.replace("\r\n", "\n");
    if text.trim().is_empty() {
        return Err("expected four lines, found nothing".to_owned());
    }
    let bytes = [body, text.trim_end().as_bytes(), b"\n"].concat();
    SignedDocument::split(&bytes, bytes.len() as u64).map_err(|e| e.to_string())
}

fn claimed_id(signature: &Signature) -> String {
    format!("{:016X}", u64::from_le_bytes(signature.key_id))
}

/// Reads in a thread of its own, which is left alone where the other end never closes.
fn read_all(from: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read before an error is all there is.
            let _ = from.take(OUTPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
        }
        // The caller may have given up.
        let _ = sender.send(bytes);
    });
    receiver
}

fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus, String> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                let seconds = began.elapsed().as_secs();
                return Err(format!("it gave no answer within {seconds} s and was ended"));
            }
            Err(e) => return Err(format!("it cannot be waited for: {e}")),
        }
    }
}

fn last_lines(told: &[u8]) -> String {
    let text = String::from_utf8_lossy(told);
    let clean = |line: &str| line.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
    let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(LINES_TOLD)..];
    if last.is_empty() { String::new() } else { format!(": {}", last.join(" / ")) }
}
