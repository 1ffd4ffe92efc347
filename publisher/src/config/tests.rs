use super::*;

fn parsed(text: &str) -> Config {
    Config::parse(text).expect("a configuration")
}

const WHOLE: &str = r#"
    site = "site"
    app = "org.example"
    build = 7
    keys = "/keys"
    [notes]
    en = "notes.md"
    [platform.linux-x86_64]
    dir = "dist"
    entry = "bin/app"
    exclude = ["*.pdb"]
    [platform.windows-x86_64]
    dir = "win"
"#;

#[test]
fn relative_paths_start_at_the_file() {
    let config = parsed(WHOLE).based_at(Path::new("/etc/p"));
    assert_eq!(config.site.as_deref(), Some(Path::new("/etc/p/site")));
    assert_eq!(config.keys.as_deref(), Some(Path::new("/keys")));
    assert_eq!(config.notes["en"], Path::new("/etc/p/notes.md"));
    assert_eq!(config.platform["windows-x86_64"].dir.as_deref(), Some(Path::new("/etc/p/win")));
}

#[test]
fn flags_win_and_choose_platforms() {
    let mut flags = Config { build: Some(8), ..Config::default() };
    let moved = PlatformConfig { dir: Some("else".into()), ..PlatformConfig::default() };
    flags.platform.insert("linux-x86_64".into(), moved);
    let config = parsed(WHOLE).with_flags(flags);
    assert_eq!((config.build, config.app.as_deref()), (Some(8), Some("org.example")));
    assert_eq!(config.platform.len(), 1);
    let linux = &config.platform["linux-x86_64"];
    assert_eq!((linux.dir.as_deref(), linux.entry.as_deref()), (Some(Path::new("else")), Some("bin/app")));
    let common = Config { exclude: vec!["tests".to_owned()], ..Config::default() };
    let platforms = config.with_flags(common).platforms().expect("platforms");
    assert_eq!(platforms["linux-x86_64"].exclude, ["tests", "*.pdb"]);
}

#[test]
fn unknown_keys_are_named_with_the_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("p.toml");
    std::fs::write(&file, "[platform.x]\nexclud = []\n").expect("written");
    let message = Config::load(Some(&file)).expect_err("unknown key").to_string();
    assert!(message.contains("exclud") && message.contains("p.toml"), "{message}");
    assert!(matches!(Config::load(Some(&dir.path().join("none"))), Err(ConfigError::Read { .. })));
}

#[test]
fn the_time_of_a_run_can_be_fixed() {
    let time = |text: &str| time_from(Some(OsStr::new(text))).map(Time::seconds).ok();
    assert_eq!((time("1700000000"), time("0")), (Some(1_700_000_000), Some(0)));
    assert_eq!((time(""), time("now"), time("-1"), time("1.5")), (None, None, None, None));
    assert!(time_from(None).is_ok_and(|t| t.seconds() > 1_700_000_000));
}

#[test]
fn values_are_checked() {
    let config = |text: &str| parsed(text);
    assert!(matches!(config("").app(), Err(ConfigError::Missing { key: "app", .. })));
    assert!(matches!(config("app = 'a b'").app(), Err(ConfigError::Invalid { .. })));
    assert!(matches!(config("channel = 'Stable'").channel(), Err(ConfigError::Invalid { .. })));
    assert!(matches!(config("build = 0").build(), Err(ConfigError::Invalid { .. })));
    assert!(Config::parse("build = -1").is_err());
    assert!(matches!(config("jobs = 0").jobs(), Err(ConfigError::Invalid { .. })));
    assert!(matches!(config("memory_mib = 63").memory_bytes(), Err(ConfigError::Invalid { .. })));
    assert_eq!(config("memory_mib = 64").memory_bytes().expect("enough"), 64 << 20);
    let signers = config("[signers]\nrelease = ['kms', 'sign']").key_sources(None).expect("a command");
    assert_eq!(signers.commands[&Role::Release], ["kms", "sign"]);
    for bad in ["[signers]\nother = ['a']", "[signers]\nroot = []", "sign_timeout_seconds = 0"] {
        assert!(matches!(config(bad).key_sources(None), Err(ConfigError::Invalid { .. })), "{bad}");
    }
    assert!(matches!(config("bases = 1001").bases(), Err(ConfigError::Invalid { .. })));
    assert!(matches!(config("minimum_build = 9").minimum_build(8), Err(ConfigError::Invalid { .. })));
    assert!(matches!(config("version = ''").version(), Err(ConfigError::Invalid { .. })));
    assert!(matches!(config("").platforms(), Err(ConfigError::NoPlatform)));
    let unknown = config("[platform.linux]\nentry = 'a'\n[platform.mac]\ndir = 'm'");
    assert!(
        matches!(unknown.platforms(), Err(ConfigError::UnknownPlatform { name, known }) if name == "linux" && known == "mac")
    );
    assert!(matches!(config("[platform.'Lin ux']\ndir='x'").platforms(), Err(ConfigError::Invalid { .. })));
}
