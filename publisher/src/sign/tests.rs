use super::password::Limits;
use super::*;
use base64::prelude::{BASE64_STANDARD, Engine};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

fn pairs() -> (tempfile::TempDir, Vec<(Role, PublicKey)>) {
    let dir = tempfile::tempdir().expect("a directory");
    let pairs = generate_pairs(dir.path(), &Role::ALL, None).expect("written");
    (dir, pairs)
}

fn parse(text: &str, origin: &str) -> Result<SecretKey, SignError> {
    KeyFile::parse(text, origin)?.open()
}

fn minisign() -> Command {
    Command::new("minisign")
}

fn run(command: &mut Command) {
    let output = command.output().expect("the stock minisign program is installed");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn pairs_are_written_once_and_read_back() {
    let (dir, pairs) = pairs();
    for (role, public) in &pairs {
        let signers = Signers::load(*role, Some(dir.path())).expect("a key");
        assert_eq!(signers.publics(), std::slice::from_ref(public));
        assert_eq!(public_keys(*role, Some(dir.path())).expect("a key"), std::slice::from_ref(public));
    }
    let before = std::fs::read(dir.path().join("release.key")).expect("there");
    assert!(matches!(generate_pairs(dir.path(), &[Role::Release], None), Err(SignError::Exists { .. })));
    assert_eq!(std::fs::read(dir.path().join("release.key")).expect("there"), before);
}

#[cfg(unix)]
#[test]
fn secret_keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, _) = pairs();
    let mode = dir.path().join("root.key").metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn stock_minisign_verifies_our_signatures_and_uses_our_keys() {
    let (dir, pairs) = pairs();
    let body = b"lamplighter-test,1\nend\n".to_vec();
    let signers = Signers::load(Role::Release, Some(dir.path())).expect("a key");
    let document = signers.sign(body.clone(), "release", Time::from_seconds(1_700_000_000)).expect("signed");
    std::fs::write(dir.path().join("b"), &body).expect("written");
    std::fs::write(dir.path().join("b.minisig"), document.signatures[0].to_text()).expect("written");
    let public = &pairs[1].1;
    run(minisign().current_dir(&dir).args(["-V", "-m", "b", "-P", &public.to_base64()]));
    run(minisign().current_dir(&dir).args(["-V", "-m", "b", "-p", "release.pub"]));
    // Its own signature with our key is ours, byte for byte.
    let comment = &document.signatures[0].trusted_comment;
    run(minisign().current_dir(&dir).args(["-S", "-s", "release.key", "-m", "b", "-x", "stock", "-t", comment]));
    let stock = std::fs::read_to_string(dir.path().join("stock")).expect("written");
    let ours = document.signatures[0].to_text();
    assert_eq!(stock.lines().skip(1).collect::<Vec<_>>(), ours.lines().skip(1).collect::<Vec<_>>());
}

#[test]
fn stock_minisign_keys_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    run(minisign().current_dir(&dir).args(["-G", "-W", "-p", "root.pub", "-s", "root.key"]));
    let signers = Signers::load(Role::Root, Some(dir.path())).expect("a key");
    assert_eq!(signers.publics(), public_keys(Role::Root, Some(dir.path())).expect("a key"));
}

#[test]
fn what_is_no_usable_key_is_refused_by_name() {
    let (dir, _) = pairs();
    let text = read_small(&dir.path().join("root.key")).expect("there");
    let line = text.lines().nth(1).expect("two lines");
    let bytes = BASE64_STANDARD.decode(line).expect("base64");
    let altered = |at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        parse(&BASE64_STANDARD.encode(bytes), "k").err()
    };
    assert!(parse(&text, "k").is_ok() && altered(126, &[0; 32]).is_none());
    assert!(matches!(altered(2, b"Sc"), Some(SignError::NotAKey { found: "a key protected by a password", .. })));
    assert!(matches!(altered(2, b"Xy"), Some(SignError::NotAKey { .. })));
    assert!(matches!(altered(0, b"RS"), Some(SignError::NotAKey { .. })));
    assert!(matches!(altered(70, &[bytes[70] ^ 1]), Some(SignError::NotAKey { .. })));
    let public = std::fs::read_to_string(dir.path().join("root.pub")).expect("there");
    for bad in ["", "untrusted comment: x\n", "hello", "aGVsbG8=", &public] {
        let error = parse(bad, "the origin").expect_err(bad).to_string();
        assert!(error.contains("the origin"), "{error}");
    }
    let none = Signers::load(Role::Root, Some(&dir.path().join("none"))).expect_err("no keys").to_string();
    assert!(none.contains("root.key") && none.contains("LAMPLIGHTER_ROOT_KEY"), "{none}");
}

#[test]
fn only_keys_the_root_names_sign() {
    let (dir, pairs) = pairs();
    let load = || Signers::load(Role::Release, Some(dir.path())).expect("a key");
    let role = |threshold, keys: &[PublicKey]| root::Role { threshold, keys: keys.to_vec() };
    let own = &pairs[1].1;
    assert!(load().trusted_by(&role(1, std::slice::from_ref(own)), 1).is_ok());
    for refused in [role(1, &[pairs[0].1.clone()]), role(2, std::slice::from_ref(own)), role(0, &[])] {
        assert!(matches!(load().trusted_by(&refused, 1), Err(SignError::NotTrusted { .. })));
    }
    // The same key twice is one signer.
    std::fs::copy(dir.path().join("release.key"), dir.path().join("release-2.key")).expect("copied");
    assert!(load().trusted_by(&role(2, std::slice::from_ref(own)), 1).is_err());
}

#[test]
fn secrets_are_never_shown() {
    let (dir, _) = pairs();
    let signers = Signers::load(Role::Root, Some(dir.path())).expect("a key");
    let text = read_small(&dir.path().join("root.key")).expect("there");
    let shown = format!("{signers:?}");
    assert!(!shown.contains(text.lines().nth(1).expect("two lines")) && shown.len() < 200, "{shown}");
}

/// What a derivation may cost where a test makes the key.
const CHEAP: Limits = Limits { operations: 32_768, memory_bytes: 1 << 20 };

/// Runs the stock program with `typed` at its prompts.
fn type_to(command: &mut Command, typed: &str) -> std::process::Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the stock minisign program is installed");
    child.stdin.take().expect("piped").write_all(typed.as_bytes()).expect("typed");
    child.wait_with_output().expect("ends")
}

fn with_password(dir: &Path, password: &str) -> KeySources {
    let file = dir.join("password");
    std::fs::write(&file, format!("{password}\r\nmore\n")).expect("written");
    KeySources { password_file: Some(file), ..KeySources::from(Some(dir)) }
}

#[test]
fn protected_keys_of_stock_minisign_are_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut make = minisign();
    let made =
        type_to(make.current_dir(&dir).args(["-G", "-p", "root.pub", "-s", "root.key"]), "pass word\npass word\n");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let signers = Signers::load(Role::Root, with_password(dir.path(), "pass word")).expect("a key");
    assert_eq!(signers.publics(), public_keys(Role::Root, Some(dir.path())).expect("a key"));
    let wrong = Signers::load(Role::Root, with_password(dir.path(), "password")).expect_err("wrong");
    assert!(matches!(&wrong, SignError::WrongPassword { .. }), "{wrong}");
    assert!(wrong.to_string().contains("root.key") && !wrong.to_string().contains("pass word"), "{wrong}");
    let none = Signers::load(Role::Root, Some(dir.path())).expect_err("no password").to_string();
    assert!(none.contains("LAMPLIGHTER_ROOT_KEY_PASSWORD") && none.contains("--password-file"), "{none}");
}

#[test]
fn stock_minisign_uses_our_protected_keys() {
    let dir = tempfile::tempdir().expect("a directory");
    let sources = with_password(dir.path(), "pass word");
    generate_pairs(dir.path(), &[Role::Release], Some(&sources)).expect("written");
    std::fs::write(dir.path().join("b"), "lamplighter-test,1\nend\n").expect("written");
    let mut sign = minisign();
    let signed = type_to(sign.current_dir(&dir).args(["-S", "-s", "release.key", "-m", "b"]), "pass word\n");
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    run(minisign().current_dir(&dir).args(["-V", "-m", "b", "-p", "release.pub"]));
    assert!(Signers::load(Role::Release, sources).is_ok());
}

#[test]
fn a_password_is_asked_for_where_none_is_given() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = SecretKey::generate().expect("a key");
    let text = key.to_protected_file("right", CHEAP).expect("protected");
    std::fs::write(dir.path().join("root.key"), text.as_bytes()).expect("written");
    let asking = |ask: AskPassword| {
        let sources = KeySources { ask: Some(ask), ..KeySources::from(Some(dir.path())) };
        Signers::load(Role::Root, sources)
    };
    let publics = asking(|_| Ok(Zeroizing::new("right".to_owned()))).expect("opened").publics();
    assert_eq!(publics, [key.public().clone()]);
    let wrong = asking(|_| Ok(Zeroizing::new("wrong".to_owned())));
    assert!(matches!(wrong, Err(SignError::WrongPassword { .. })));
    let closed = asking(|_| Err(std::io::ErrorKind::UnexpectedEof.into()));
    assert!(matches!(closed, Err(SignError::NoPassword { .. })));
    // Every byte of what the password covers is under the checksum, or is the checksum.
    let line = text.lines().nth(1).expect("two lines");
    let bytes = BASE64_STANDARD.decode(line).expect("base64");
    for at in 54..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        let file = KeyFile::parse(&BASE64_STANDARD.encode(&bytes), "k").expect("the form is right");
        assert!(file.unlock("right").expect("tried").is_none(), "byte {at}");
    }
}

/// A command line that runs `script` in `dir`, and the role it signs for.
fn command(dir: &Path, script: &str, timeout_ms: u64) -> KeySources {
    let words = ["sh", "-c", &format!("cd '{}' && {script}", dir.display())].map(str::to_owned).to_vec();
    let commands = [(Role::Release, words)].into();
    let command_timeout = Some(Duration::from_millis(timeout_ms));
    KeySources { commands, command_timeout, ..KeySources::from(Some(dir)) }
}

const STOCK: &str =
    "cat > body && minisign -S -s release.key -m body -x sig -t \"$LAMPLIGHTER_SIGN_COMMENT\" >&2 && cat sig";

#[test]
fn a_command_signs_as_the_key_would() {
    let (dir, pairs) = pairs();
    let role = root::Role { threshold: 1, keys: vec![pairs[1].1.clone()] };
    let (body, time) = (b"lamplighter-test,1\nend\n".to_vec(), Time::from_seconds(7));
    let sign = |signers: Signers| {
        signers.trusted_by(&role, 1).expect("trusted").sign(body.clone(), "x", time).expect("signed")
    };
    let by_command = sign(Signers::load(Role::Release, command(dir.path(), STOCK, 20_000)).expect("a command"));
    assert_eq!(by_command, sign(Signers::load(Role::Release, Some(dir.path())).expect("a key")));
    // It is known by what it signs: of a role without its key it holds nothing.
    let other = root::Role { threshold: 1, keys: vec![pairs[0].1.clone()] };
    let refused = Signers::load(Role::Release, command(dir.path(), STOCK, 20_000)).expect("a command");
    let refused = refused.trusted_by(&other, 1).expect_err("another key").to_string();
    assert!(refused.contains(&pairs[1].1.id_hex()) && refused.contains(&pairs[0].1.id_hex()), "{refused}");
}

#[test]
fn a_command_that_misbehaves_is_named() {
    let (dir, pairs) = pairs();
    let role = root::Role { threshold: 1, keys: vec![pairs[1].1.clone()] };
    let refused = |script: &str| {
        let signers = Signers::load(Role::Release, command(dir.path(), script, 600)).expect("a command");
        let error = signers.trusted_by(&role, 1).expect_err(script);
        assert!(matches!(error, SignError::Command { .. }), "{error}");
        error.to_string()
    };
    assert!(refused("echo token missing >&2; exit 3").contains("token missing"));
    assert!(refused("exec sleep 60").contains("no answer"));
    assert!(refused("echo hello").contains("no signature"));
    assert!(refused("true").contains("found nothing"));
    assert!(refused("exec yes").contains("more than 65536 bytes"));
    assert!(refused("head -c 2000 /dev/zero").contains("no signature"));
    assert!(refused("sleep 5 & true").contains("did not end"));
    let legacy = "cat > body && minisign -S -l -s release.key -m body -x sig >&2 && cat sig";
    assert!(refused(legacy).contains("prehashed"));
    let once = "if [ \"$LAMPLIGHTER_SIGN_NAME\" = probe ]; then";
    let later = command(
        dir.path(),
        &format!("{once} {STOCK}; else echo other > body; minisign -S -s release.key -m body -x s >&2; cat s; fi"),
        20_000,
    );
    let signers = Signers::load(Role::Release, later).expect("a command").trusted_by(&role, 1).expect("trusted");
    let error = signers.sign(b"x\nend\n".to_vec(), "x", Time::from_seconds(1)).expect_err("another body").to_string();
    assert!(error.contains("no valid signature of x"), "{error}");
    let missing =
        KeySources { commands: [(Role::Release, vec!["/none/such".to_owned()])].into(), ..KeySources::default() };
    let error =
        Signers::load(Role::Release, missing).expect("a command").among(&role.keys).expect_err("none").to_string();
    assert!(error.contains("/none/such") && error.contains("cannot be run"), "{error}");
}

#[test]
fn a_command_line_is_words_or_a_list() {
    let words = |text: &str| SignCommand::parse(Role::Root, text, Duration::ZERO).map(|c| format!("{c:?}"));
    assert!(words(" kms  sign\n").expect("words").contains(r#"["kms", "sign"]"#));
    assert!(words(r#"["a b", "c"]"#).expect("a list").contains(r#"["a b", "c"]"#));
    for bad in ["", "[]", "[1]", "[kms", "{}[", "  "] {
        let refused = words(bad);
        assert!(refused.is_err() || bad == "{}[", "{bad:?}");
    }
}

#[test]
fn keys_that_are_not_accepted_are_told_apart() {
    let dir = |name: &str| {
        let dir = tempfile::tempdir().expect(name);
        let pairs = generate_pairs(dir.path(), &Role::ALL, None).expect("written");
        (dir, pairs)
    };
    let ((dir, ours), (_, theirs)) = (dir("ours"), dir("theirs"));
    let role = |keys: &[&PublicKey]| root::Role { threshold: 1, keys: keys.iter().map(|k| (*k).clone()).collect() };
    let channel = |key: &PublicKey, channel: &str| root::ChannelKey { key: key.clone(), channel: channel.to_owned() };
    let root = |version, release: &[&PublicKey], bound: &str| Root {
        app: "app".to_owned(),
        version,
        issued: Time::from_seconds(0),
        expires: Time::from_seconds(1),
        root: role(&[&theirs[0].1]),
        release: role(release),
        channel_threshold: 1,
        channel: vec![channel(&ours[2].1, bound), channel(&ours[0].1, "other")],
    };
    let refused = |kind, roots: &[Root]| {
        let signers = Signers::load(kind, Some(dir.path())).expect("a key");
        signers.authorised(roots, "stable").expect_err("refused").to_string()
    };
    let gone = [root(1, &[&ours[1].1], "*"), root(2, &[&theirs[1].1], "*"), root(3, &[&theirs[1].1], "beta")];
    let text = refused(Role::Release, &gone);
    let id = |key: &PublicKey| key.id_hex();
    assert!(text.contains(&format!("{} is no release key any more since root version 2", id(&ours[1].1))), "{text}");
    assert!(text.contains(&format!("missing: 1 more of {}", id(&theirs[1].1))), "{text}");
    let text = refused(Role::Channel, &gone);
    assert!(text.contains(&format!("{} may sign the channel beta alone", id(&ours[2].1))), "{text}");
    let text = refused(Role::Root, &gone);
    assert!(text.contains(&format!("{} is a channel key", id(&ours[0].1))), "{text}");
    let text = refused(Role::Release, &gone[1..]);
    assert!(text.contains("is in none of the site's roots"), "{text}");
    let signers = || Signers::load(Role::Channel, Some(dir.path())).expect("a key");
    assert!(signers().authorised(&gone, "beta").is_ok() && signers().authorised(&gone[..2], "stable").is_ok());
}

/// Two key files of one key, without and with a password, as bytes.
fn key_files() -> [Vec<u8>; 2] {
    let key = SecretKey::generate().expect("random bytes");
    let protected = key.to_protected_file("password", Limits { operations: 1 << 15, memory_bytes: 1 << 24 });
    [key.to_file(), protected.expect("memory")].map(|file| {
        let line = file.lines().nth(1).expect("two lines");
        BASE64_STANDARD.decode(line).expect("base64")
    })
}

#[test]
fn key_files_altered_anywhere_are_read_or_refused() {
    for bytes in key_files() {
        let last = bytes.len();
        for at in 0..last {
            for change in [1u8, 0x20, 0x80, 0xff] {
                let mut altered = bytes.clone();
                altered[at] ^= change;
                let text = BASE64_STANDARD.encode(&altered);
                // Only the salt, the limits and what they are for go unseen by a key without a password.
                let opened = parse(&text, "k").is_ok();
                assert!(!opened || (6..54).contains(&at), "byte {at}");
            }
            assert!(parse(&BASE64_STANDARD.encode(&bytes[..at]), "k").is_err());
        }
        let text = BASE64_STANDARD.encode(&bytes);
        assert!((0..text.len()).all(|at| parse(&text[..at], "k").is_err()));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_is_taken_for_a_key_or_a_signature(text in "\\PC{0,400}", lines in "[ -~\n]{0,600}") {
        for text in [&text, &lines] {
            proptest::prop_assert!(parse(text, "k").is_err());
            let _ = with_signatures(b"lamplighter-test,1\nend\n", text.as_bytes());
            let _ = PublicKey::parse_file(text);
        }
    }
}
