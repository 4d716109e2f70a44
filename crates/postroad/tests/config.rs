//! `postroad config` run as a process: what it prints and how it exits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const GOOD: &str = "hostname = \"mx.example.org\"\ndata = \"data\"\n[[listener]]\naddress = \"0.0.0.0:25\"\n\
                    [domain.\"example.org\"]\nmailboxes = [\"postmaster\"]\n";

struct Ran {
    code: i32,
    out: String,
    err: String,
}

fn run(dir: &Path, line: &[&str]) -> Ran {
    let ran = Command::new(env!("CARGO_BIN_EXE_postroad")).args(line).current_dir(dir).output().unwrap();
    Ran {
        code: ran.status.code().unwrap(),
        out: String::from_utf8(ran.stdout).unwrap(),
        err: String::from_utf8(ran.stderr).unwrap(),
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn check_tells_right_from_wrong_from_missing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.toml"), GOOD).unwrap();
    fs::write(dir.path().join("bad.toml"), format!("{GOOD}mailboxs = []\nplus = 7\n")).unwrap();

    let good = run(dir.path(), &["config", "check", "--config", "good.toml"]);
    assert_eq!((good.code, good.out.as_str(), good.err.as_str()), (0, "good.toml: nothing is wrong\n", ""));

    let bad = run(dir.path(), &["config", "check", "--config", "bad.toml"]);
    assert_eq!((bad.code, bad.out.as_str()), (78, ""));
    assert_eq!(
        bad.err,
        "bad.toml:7: unknown key \"mailboxs\" in [domain.\"example.org\"]; did you mean \"mailboxes\"?\n\
         bad.toml:8: domain.\"example.org\".plus is 7; it takes one character such as \"+\" or \"-\", or \"\" for none\n\
         2 problems\n"
    );

    let missing = run(dir.path(), &["config", "check", "--config", "none.toml"]);
    assert_eq!(missing.code, 66);
    assert_eq!(missing.err, "postroad: none.toml: cannot be read: No such file or directory (os error 2)\n");

    let unknown = run(dir.path(), &["config", "chekc"]);
    assert_eq!(unknown.code, 64, "{}", unknown.err);
    let help = run(dir.path(), &["config", "check", "--help"]);
    assert_eq!(help.code, 0);
    assert!(help.out.contains("neither ./postroad.toml nor /etc/postroad/postroad.toml"), "{}", help.out);
}

#[test]
fn a_file_in_the_working_directory_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("postroad.toml"), "rubbish").unwrap();
    let ran = run(dir.path(), &["config", "check"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "the local instance: nothing is wrong\n"), "{}", ran.err);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn check_looks_for_files_unless_told_not_to() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("{GOOD}[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    fs::write(dir.path().join("p.toml"), text).unwrap();
    let probed = run(dir.path(), &["config", "check", "--config", "p.toml"]);
    assert_eq!(probed.code, 78);
    assert!(probed.err.starts_with("p.toml:8: tls.certificate: cannot read "), "{}", probed.err);
    assert_eq!(run(dir.path(), &["config", "check", "--no-probe", "--config", "p.toml"]).code, 0);
}

#[test]
fn json_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.toml"), GOOD).unwrap();
    fs::write(dir.path().join("bad.toml"), format!("{GOOD}plus = 7\n")).unwrap();

    let good = run(dir.path(), &["config", "check", "--json", "--config", "good.toml"]);
    assert_eq!(json(&good.out), serde_json::json!({ "ok": true, "problems": [] }));

    let bad = run(dir.path(), &["config", "check", "--json", "--config", "bad.toml"]);
    assert_eq!((bad.code, bad.err.as_str()), (78, ""));
    let told = json(&bad.out);
    assert_eq!(told["ok"], false);
    let place = serde_json::json!({ "from": "file", "file": "bad.toml", "line": 7 });
    assert_eq!(told["problems"][0]["place"], place);

    let missing = run(dir.path(), &["config", "check", "--json", "--config", "none.toml"]);
    assert_eq!((missing.code, json(&missing.out)["ok"].clone()), (66, Value::Bool(false)));

    let effective = run(dir.path(), &["config", "effective", "--json", "--config", "good.toml"]);
    let settings = json(&effective.out)["settings"].as_array().unwrap().clone();
    let of = |key: &str| settings.iter().find(|one| one["key"] == key).unwrap().clone();
    assert_eq!(of("limits.recipients")["value"], 1000);
    assert_eq!(of("limits.recipients")["origin"]["from"], "default");
    assert_eq!(of("listener.0.address")["origin"]["line"], 4);
    assert_eq!(of("domain.\"example.org\".mailboxes")["value"], serde_json::json!(["postmaster"]));

    let why =
        run(dir.path(), &["config", "why", "limits.recipients", "--json", "--set", "limits.recipients=200"]);
    let why = json(&why.out);
    assert_eq!(why["settings"][0]["value"], 200);
    assert_eq!(why["settings"][0]["origin"]["option"], "--set limits.recipients=200");
    assert_eq!(why["default"], "1000");
}

#[test]
fn why_explains_a_key() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p.toml"), format!("{GOOD}[limits]\nrecipients = 200\n")).unwrap();
    let why = run(dir.path(), &["config", "why", "limits.recipients", "--config", "p.toml"]);
    assert_eq!(
        (why.code, why.out.as_str()),
        (
            0,
            "limits.recipients = 200\n  set by p.toml:8\n\
             Recipients of one message; the surplus gets 452 4.5.3. At least 100 must be taken \
             (RFC 5321 §4.5.3.1.8).\n\
             Takes a whole number from 100 to 1000000. Default: 1000\n"
        )
    );
    let wrong = run(dir.path(), &["config", "why", "recipient"]);
    assert_eq!(wrong.code, 64);
    assert_eq!(wrong.err, "postroad: there is no key \"recipient\"; did you mean limits.recipients?\n");
}

#[test]
fn effective_prints_a_file_that_loads() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("one.toml"), GOOD).unwrap();
    let one = run(dir.path(), &["config", "effective", "--config", "one.toml", "--set", "log.level=debug"]);
    assert!(one.out.contains("\nlevel = \"debug\"  # --set log.level=debug\n"), "{}", one.out);
    fs::write(dir.path().join("two.toml"), &one.out).unwrap();
    let two = run(dir.path(), &["config", "effective", "--config", "two.toml"]);
    let settings = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
    };
    assert_eq!(settings(&one.out), settings(&two.out));
}

#[test]
fn init_writes_a_file_that_checks_clean_and_overwrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let init = |more: &[&str]| {
        let mut line = vec!["config", "init", "--domain", "example.org", "--hostname", "mx.example.org"];
        line.extend(more);
        run(dir.path(), &line)
    };
    for (file, more) in [("minimal.toml", &["--minimal"] as &[&str]), ("full.toml", &[])] {
        let mut line = vec!["--output", file];
        line.extend(more);
        assert_eq!(init(&line).code, 0);
        let text = fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(init(more).out, text);
        let check = run(dir.path(), &["config", "check", "--no-probe", "--config", file]);
        assert_eq!(check.code, 0, "{}", check.err);

        fs::write(dir.path().join(file), "mine").unwrap();
        let again = init(&line);
        assert_eq!(again.code, 73);
        assert_eq!(again.err, format!("postroad: {file} is there already; --force overwrites it\n"));
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), "mine");
        line.push("--force");
        assert_eq!(init(&line).code, 0);
        assert_eq!(fs::read_to_string(dir.path().join(file)).unwrap(), text);
    }
    let international = ["config", "init", "--domain", "bücher.example", "--minimal", "--output", "b.toml"];
    assert_eq!(run(dir.path(), &international).code, 0);
    let checked = run(dir.path(), &["config", "check", "--no-probe", "--config", "b.toml"]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""));
    let text = fs::read_to_string(dir.path().join("b.toml")).unwrap();
    assert!(text.contains("hostname = \"mx.xn--bcher-kva.example\""), "{text}");

    let empty = run(dir.path(), &["config", "init", "--domain", ""]);
    assert_eq!(empty.code, 64);
    assert!(empty.err.contains("--domain is empty; name the domain"), "{}", empty.err);
    let wrong = run(dir.path(), &["config", "init", "--domain", "exa mple"]);
    assert_eq!(wrong.code, 64);
    assert!(
        wrong.err.starts_with("postroad: --domain exa mple: the domain must be letters"),
        "{}",
        wrong.err
    );
}
