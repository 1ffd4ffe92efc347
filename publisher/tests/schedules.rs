//! The ready-made scheduled jobs: each is what its scheduler reads, and the commands in it do what they are for.

#![cfg(unix)]

#[path = "support/press.rs"]
mod press;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lamplighter_client::format::head::Head;
use lamplighter_client::format::signed::SignedDocument;
use lamplighter_client::format::text::Time;
use press::{APP, Press};
use serde_json::Value;

fn template(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/schedules").join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(template(name)).expect("a template")
}

/// The template as YAML readers see it. (`on` is one of YAML's words for true.)
fn yaml(name: &str) -> Value {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let output = Command::new("python3").args(["-c", script]).arg(template(name)).output().expect("python3 runs");
    assert!(output.status.success(), "python3-yaml reads {name}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A site with one release, whose head was signed five days ago.
fn five_days_old() -> Press {
    let press = Press::new();
    press.files("one", &[("app", b"1")]);
    let then = (Time::now().seconds() - 5 * 86_400).to_string();
    let made = press.command().args(Press::release_args(1, "one")).env("SOURCE_DATE_EPOCH", then).output();
    press::Said::from(made.expect("it runs")).expect(0, &[]);
    fs::create_dir(press.path("job-keys")).expect("made");
    fs::rename(press.path("keys/channel.key"), press.path("job-keys/channel.key")).expect("moved");
    press
}

fn head(press: &Press) -> Head {
    let bytes = fs::read(press.path("site/channels/stable.head")).expect("a head");
    Head::parse(&SignedDocument::split(&bytes, 16 << 10).expect("signed").body).expect("a head")
}

/// Runs `script` as a job does, twice: the head is signed once, and is good for a week.
#[track_caller]
fn does_its_work(script: &str, needs_key_variable: bool) {
    assert!(script.contains("publisher refresh") && script.contains("publisher check-remote"), "{script}");
    let press = five_days_old();
    let bin = Path::new(env!("CARGO_BIN_EXE_publisher")).parent().expect("a directory");
    let key = fs::read_to_string(press.path("job-keys/channel.key")).expect("a key");
    for _ in 0..2 {
        let mut command = Command::new("sh");
        command.args(["-ec", script]).current_dir(press.dir.path()).env_remove("SOURCE_DATE_EPOCH");
        command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").expect("a path")));
        let site = press.path("site");
        let keys = press.path("job-keys");
        for (name, value) in [("SITE", &site), ("SITE_URL", &site), ("KEYS", &keys), ("CREDENTIALS_DIRECTORY", &keys)] {
            command.env(name, value);
        }
        command
            .env("APP", APP)
            .env("CHANNEL", "stable")
            .env("UPLOAD", "cp job/channels/stable.head \"$SITE/channels/\"");
        if needs_key_variable {
            command.env("LAMPLIGHTER_CHANNEL_KEY", &key);
        }
        let output = command.output().expect("sh runs");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let head = head(&press);
        assert_eq!(head.sequence, 2);
        assert!(head.expires.seconds() > Time::now().seconds() + 6 * 86_400);
    }
    press.verify();
}

#[test]
fn every_template_says_what_its_scheduler_does_of_its_own() {
    for name in ["github-actions.yml", "gitlab-ci.yml", "crontab", "lamplighter-refresh.service"] {
        let text = text(name);
        assert!(text.contains("from somewhere else as well"), "{name}");
        assert!(text.contains("switch") || text.contains("stop"), "{name}");
    }
}

#[test]
fn the_github_workflow_runs_daily_stays_on_and_never_beside_another() {
    let workflow = yaml("github-actions.yml");
    assert_eq!(workflow["true"]["schedule"][0]["cron"], "17 3 * * *");
    assert_eq!(workflow["concurrency"]["group"], "lamplighter-site");
    assert_eq!(workflow["permissions"], serde_json::json!({"actions": "write"}));
    let job = &workflow["jobs"]["refresh"];
    let steps = job["steps"].as_array().expect("steps");
    let runs: Vec<&str> = steps.iter().map(|step| step["run"].as_str().expect("a command")).collect();
    assert!(runs.last().is_some_and(|run| run.starts_with("gh workflow enable")));
    let with_key: Vec<bool> = steps.iter().map(|s| !s["env"]["LAMPLIGHTER_CHANNEL_KEY"].is_null()).collect();
    assert_eq!(with_key, [false, true, false, false, false], "one step alone sees the key");
    for name in ["SITE_URL", "APP", "CHANNEL", "UPLOAD"] {
        assert!(job["env"][name].is_string(), "{name}");
    }
    does_its_work(&runs[1..4].join("\n"), true);
}

#[test]
fn the_gitlab_job_runs_on_its_schedule_and_never_beside_another() {
    let job = &yaml("gitlab-ci.yml")["refresh"];
    assert_eq!(job["rules"][0]["if"], "$CI_PIPELINE_SOURCE == \"schedule\"");
    assert_eq!(job["resource_group"], "lamplighter-site");
    let script: Vec<&str> =
        job["script"].as_array().expect("a script").iter().map(|line| line.as_str().expect("a command")).collect();
    does_its_work(&script.join("\n"), true);
}

#[test]
fn the_crontab_has_one_line_a_day() {
    let text = text("crontab");
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let is_variable = |line: &&str| {
        let name = line.split_once('=').map_or("", |(name, _)| name);
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    };
    let jobs: Vec<&&str> = lines.iter().filter(|line| !is_variable(line)).collect();
    let [job] = jobs[..] else { panic!("one job: {jobs:?}") };
    let fields: Vec<&str> = job.splitn(7, ' ').collect();
    assert_eq!(fields[..6], ["17", "3", "*", "*", "*", "publisher"]);
    assert!(!fields[6].contains('%'), "cron ends a line there");
    does_its_work(fields[6], false);
}

#[test]
fn systemd_knows_the_units_and_they_do_their_work() {
    let dir = tempfile::tempdir().expect("a directory");
    let service = text("lamplighter-refresh.service");
    // Programs must be there, and users too.
    let here = service
        .replace("/usr/local/bin/publisher", env!("CARGO_BIN_EXE_publisher"))
        .replace("User=publisher", "User=root");
    fs::write(dir.path().join("lamplighter-refresh.service"), here).expect("written");
    fs::copy(template("lamplighter-refresh.timer"), dir.path().join("lamplighter-refresh.timer")).expect("copied");
    for unit in ["lamplighter-refresh.service", "lamplighter-refresh.timer"] {
        let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(dir.path().join(unit)).output();
        let output = output.expect("systemd-analyze runs");
        let said = String::from_utf8_lossy(&output.stderr);
        let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("lamplighter-refresh")).collect();
        assert!(output.status.success() && about_ours.is_empty(), "{unit}: {said}");
    }
    let commands = service.lines().filter_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
    does_its_work(&commands.collect::<Vec<_>>().join("\n"), false);
}
