//! `postroad serve` as a process: signals, reload, the queue beside it, the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use support::{GOOD, Serving, eventually, mail_in, run};

const CONFIG: [&str; 2] = ["--config", "postroad.toml"];

fn with_dave() -> String {
    GOOD.replace("\"carol\"", "\"carol\", \"dave\"")
}

#[test]
fn sigterm_finishes_content_and_exits_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), GOOD);
    let mut idle = serving.client();
    let mut busy = serving.client();
    busy.until_content(&["bob@example.org"]);
    busy.send("Subject: x\r\n\r\nhalf");
    // A reply that comes later shows that this was taken; another session sees the signal's effect.
    serving.signal(Signal::TERM);
    idle.expect("421 4.3.2");
    busy.say(" and half\r\n.", "250 2.0.0");
    busy.expect("421 4.3.2");
    assert_eq!(serving.stop(), 0);
    assert!(serving.log().contains("stopped"), "{}", serving.log());
    let mut again = Serving::with_config(dir.path(), GOOD);
    let bob = dir.path().join("data/mail/example.org/bob");
    eventually("it is delivered", || !mail_in(&bob).is_empty());
    assert_eq!(again.stop(), 0);
    let mail = mail_in(&bob);
    assert!(mail.len() == 1 && mail[0].ends_with("half and half\r\n"), "{mail:?}");
    assert!(!dir.path().join("data/control.sock").exists());
}

#[test]
fn a_stalled_content_phase_is_cut_off_and_the_exit_is_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), &format!("{GOOD}[limits]\nstop_timeout = \"1s\"\n"));
    let mut stalled = serving.client();
    stalled.until_content(&["bob@example.org"]);
    stalled.send("Subject: x\r\n\r\nnever finis");
    let mut other = serving.client();
    let id = other.deliver(&["carol@example.org"], "just before");
    assert_eq!(serving.stop(), 0);
    assert!(serving.log().contains("cut off"), "{}", serving.log());
    assert!(serving.log().contains(&id), "{}", serving.log());
    let mut again = Serving::with_config(dir.path(), GOOD);
    let carol = dir.path().join("data/mail/example.org/carol");
    eventually("it is delivered", || !mail_in(&carol).is_empty());
    assert_eq!(again.stop(), 0);
    assert_eq!(mail_in(&carol).len(), 1);
    assert!(mail_in(&dir.path().join("data/mail/example.org/bob")).is_empty());
}

#[test]
fn a_kill_loses_nothing_that_was_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), &format!("{GOOD}[delivery]\npaused = true\n"));
    let mut client = serving.client();
    for n in 0..10 {
        client.deliver(&["bob@example.org"], &format!("number {n}"));
    }
    serving.signal(Signal::KILL);
    assert_eq!(serving.stop(), -1);
    // The socket file is still there, and in nobody's way.
    assert!(dir.path().join("data/control.sock").exists());
    let list = run(dir.path(), &["queue", "list", "--config", "postroad.toml", "--json"]);
    let items: Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(items.as_array().unwrap().len(), 10, "{}", list.err);
    let mut again = Serving::with_config(dir.path(), GOOD);
    let bob = dir.path().join("data/mail/example.org/bob");
    eventually("they are delivered", || mail_in(&bob).len() >= 10);
    assert_eq!(again.stop(), 0);
    assert_eq!(mail_in(&bob).len(), 10);
}

#[test]
fn sighup_and_reload() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), GOOD);
    let mut client = serving.client();
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<a@client.example>", "250");
    client.say("RCPT TO:<dave@example.org>", "550 5.1.1");
    fs::write(dir.path().join("postroad.toml"), with_dave()).unwrap();
    serving.signal(Signal::HUP);
    eventually("the reload is told", || serving.log().contains("read again and is in force"));
    let id = serving.client().deliver(&["dave@example.org"], "by SIGHUP");
    assert!(!id.is_empty());

    // A fault: everything stays, both say why.
    fs::write(dir.path().join("postroad.toml"), format!("{GOOD}mailboxs = []\n")).unwrap();
    serving.signal(Signal::HUP);
    eventually("the fault is told", || serving.log().contains("did you mean"));
    assert!(serving.log().contains("the one in force stays"), "{}", serving.log());
    let told = run(dir.path(), &["reload", CONFIG[0], CONFIG[1]]);
    assert_eq!((told.code, told.out.as_str()), (78, ""), "{}", told.err);
    assert!(told.err.contains("mailboxs") && told.err.contains("stays"), "{}", told.err);
    serving.client().deliver(&["dave@example.org"], "still");

    // A fault that only the server can find.
    let taken = std::net::TcpListener::bind("127.0.0.3:0").unwrap();
    let beside = format!("[[listener]]\naddress = \"{}\"\n[spool]", taken.local_addr().unwrap());
    fs::write(dir.path().join("postroad.toml"), GOOD.replace("[spool]", &beside)).unwrap();
    let told = run(dir.path(), &["reload", CONFIG[0], CONFIG[1]]);
    assert_eq!(told.code, 78, "{}", told.err);
    assert!(told.err.contains("the one in force stays") && told.err.contains("in use"), "{}", told.err);

    fs::write(dir.path().join("postroad.toml"), GOOD).unwrap();
    let told = run(dir.path(), &["reload", CONFIG[0], CONFIG[1]]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert!(told.out.contains("in force"), "{}", told.out);
    let mut client = serving.client();
    client.say("EHLO client.example", "250");
    client.say("MAIL FROM:<a@client.example>", "250");
    client.say("RCPT TO:<dave@example.org>", "550 5.1.1");
    assert_eq!(serving.stop(), 0);
    let nobody = run(dir.path(), &["reload", CONFIG[0], CONFIG[1]]);
    assert_eq!(nobody.code, 69);
    assert!(
        nobody.err.contains("no server runs there") && nobody.err.contains("control.sock"),
        "{}",
        nobody.err
    );
}

#[test]
fn the_queue_tells_why_with_the_server_and_without() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("data/mail/example.org");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("bob"), "a file where a directory should be").unwrap();
    let text = format!("{GOOD}plus = \"+\"\n[delivery]\nretry = [\"1h\"]\n");
    let mut serving = Serving::with_config(dir.path(), &text);
    let nothing = run(dir.path(), &["queue", "list", CONFIG[0], CONFIG[1]]);
    assert_eq!((nothing.code, nothing.out.as_str(), nothing.err.as_str()), (0, "Nothing waits.\n", ""));
    let id = serving.client().deliver(&["bob+tag@example.org", "carol@example.org"], "both");
    let list = || run(dir.path(), &["queue", "list", CONFIG[0], CONFIG[1]]);
    eventually("it is deferred", || list().out.contains("4.3.0"));
    let show = |json: bool| {
        let mut line = vec!["queue", "show", id.as_str(), CONFIG[0], CONFIG[1]];
        line.extend(json.then_some("--json"));
        run(dir.path(), &line)
    };
    let mut seen = Vec::new();
    for _ in ["with the server", "without"] {
        let told = list();
        assert_eq!((told.code, told.err.as_str()), (0, ""), "{}", told.err);
        assert!(told.out.contains(&id) && told.out.contains("1 message waiting."), "{}", told.out);
        assert!(
            told.out.contains("to <bob@example.org>: 451 4.3.0") && told.out.contains("next attempt 20"),
            "{}",
            told.out
        );
        assert!(!told.out.contains("carol"), "{}", told.out);
        let told = show(false);
        assert!(told.out.contains("(sent to <bob+tag@example.org>): 451 4.3.0"), "{}", told.out);
        assert!(told.out.contains("/bob") && told.out.contains("directory"), "{}", told.out);
        assert!(told.out.contains("to         <carol@example.org>: delivered"), "{}", told.out);
        let item: Value = serde_json::from_str(&show(true).out).unwrap();
        assert_eq!(item["id"], id);
        assert_eq!(item["sender"], "alice@client.example");
        assert_eq!(item["recipients"][0]["state"], "deferred");
        assert_eq!(item["recipients"][1]["state"], "delivered");
        let items: Value =
            serde_json::from_str(&run(dir.path(), &["queue", "list", CONFIG[0], CONFIG[1], "--json"]).out)
                .unwrap();
        assert_eq!(items, Value::Array(vec![item.clone()]));
        seen.push(item);
        let other = run(dir.path(), &["queue", "show", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", CONFIG[0], CONFIG[1]]);
        assert!(other.code == 69 && other.err.contains("no message"), "{} {}", other.code, other.err);
        let wrong = run(dir.path(), &["queue", "show", "what", CONFIG[0], CONFIG[1]]);
        assert_eq!(wrong.code, 64, "{}", wrong.err);
        if seen.len() == 1 {
            assert_eq!(serving.stop(), 0);
        }
    }
    assert_eq!(seen[0], seen[1]);
    let nowhere = run(dir.path(), &["queue", "list", "--data", "elsewhere"]);
    assert_eq!(nowhere.code, 69, "{}", nowhere.err);
    assert!(!dir.path().join("elsewhere").exists());
}

#[test]
fn a_message_that_was_damaged_on_disk_is_told_of_and_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), &format!("{GOOD}[delivery]\npaused = true\n"));
    let id = serving.client().deliver(&["bob@example.org"], "this is the damaged one");
    assert_eq!(serving.stop(), 0);
    let mut flipped = 0;
    for entry in fs::read_dir(dir.path().join("data/spool/log")).unwrap() {
        let file = entry.unwrap().path();
        let mut bytes = fs::read(&file).unwrap();
        if let Some(at) = bytes.windows(11).position(|window| window == b"the damaged") {
            bytes[at] ^= 1;
            fs::write(&file, bytes).unwrap();
            flipped += 1;
        }
    }
    assert_eq!(flipped, 1);
    let mut serving = Serving::with_config(dir.path(), GOOD);
    eventually("the log tells", || serving.log().contains("cannot be read back"));
    let log = serving.log();
    let line = log.lines().find(|line| line.contains("cannot be read back")).unwrap();
    for part in ["ERROR", &id, "alice@client.example", "bob@example.org", "spool/quarantine/", ".bin"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!log.contains("deferred"), "{log}");
    for runs in [true, false] {
        let list = run(dir.path(), &["queue", "list", CONFIG[0], CONFIG[1]]);
        assert_eq!((list.code, list.out.as_str()), (0, "Nothing waits.\n"));
        assert!(list.err.contains("1 record that") && list.err.contains("spool/quarantine"), "{}", list.err);
        let json = run(dir.path(), &["queue", "list", CONFIG[0], CONFIG[1], "--json"]);
        assert_eq!((json.out.as_str(), json.err.as_str()), ("[]\n", list.err.as_str()));
        let show = run(dir.path(), &["queue", "show", &id, CONFIG[0], CONFIG[1]]);
        assert_eq!(show.code, 69);
        assert!(show.err.contains("set aside") && show.err.contains(".bin"), "{}", show.err);
        assert!(!show.err.contains("was delivered"), "{}", show.err);
        let other = run(dir.path(), &["queue", "show", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", CONFIG[0], CONFIG[1]]);
        assert!(other.err.contains("never accepted here"), "{}", other.err);
        if runs {
            assert_eq!(serving.stop(), 0);
        }
    }
}

/// What strangers send must not reach a terminal or break a line of the log.
fn talk(serving: &Serving) {
    let mut client = serving.client();
    for line in [
        "EHLO \u{1b}[31mred\u{7}",
        "EHLO a\rb",
        "EHLO client.example",
        "MAIL FROM:<\u{1b}[2J@x>",
        "MAIL FROM:<alice@client.example> SMTPUTF8",
        "RCPT TO:<\"no\\\u{1b}body\"@example.org>",
        "RCPT TO:<nob\u{9b}ody@example.org>",
        "RCPT TO:<nobody\u{202e}x@example.org>",
        "RCPT TO:<secret.person@example.org>",
        "RCPT TO:<\"secret person\"@example.org>",
        "RCPT TO:<secret.person@elsewhere.example>",
    ] {
        client.say(line, "");
    }
    client.say("RCPT TO:<bob@example.org>", "250");
    client.say("DATA", "354");
    client.say("Subject: x\r\n\r\nx\r\n.", "250");
    client.say("QUIT", "221");
}

fn clean(log: &str) {
    let odd: Vec<char> = log
        .chars()
        .filter(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c))
        .collect();
    assert!(odd.is_empty(), "{odd:?} in {log}");
}

#[test]
fn the_log_escapes_what_peers_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), &format!("{GOOD}[log]\nlevel = \"trace\"\n"));
    talk(&serving);
    eventually("it is delivered", || serving.log().contains("delivered"));
    assert_eq!(serving.stop(), 0);
    let log = serving.log();
    clean(&log);
    assert!(log.contains("secret.person@example.org") && log.contains("bob@example.org"), "{log}");
}

#[test]
fn the_log_as_json_is_one_object_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), &format!("{GOOD}[log]\nformat = \"json\"\n"));
    talk(&serving);
    eventually("it is delivered", || serving.log().contains("delivered"));
    assert_eq!(serving.stop(), 0);
    let log = serving.log();
    clean(&log);
    let mut messages = Vec::new();
    for line in log.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(event["timestamp"].is_string() && event["level"].is_string(), "{line}");
        messages.push(event["message"].as_str().unwrap().to_owned());
    }
    for message in
        ["the spool is open", "listening", "refused", "accepted", "delivered", "stopping", "stopped"]
    {
        assert!(messages.iter().any(|one| one == message), "no {message:?} in {messages:?}");
    }
}

#[test]
fn the_log_hides_addresses_where_it_is_to() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("data/mail/example.org");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("carol"), "a file where a directory should be").unwrap();
    let text = format!("{GOOD}[log]\nhide_addresses = true\nlevel = \"trace\"\n");
    let mut serving = Serving::with_config(dir.path(), &text);
    talk(&serving);
    serving.client().deliver(&["carol@example.org", "bob@example.org"], "x");
    eventually("both were tried", || {
        serving.log().contains("deferred") && serving.log().contains("delivered")
    });
    assert_eq!(serving.stop(), 0);
    let log = serving.log();
    clean(&log);
    for person in ["bob", "carol", "alice", "secret", "person", "nobody"] {
        assert!(!log.contains(person), "{person} in {log}");
    }
    assert!(log.contains("@example.org") && log.contains("550 5.1.1") && log.contains("451 4.3.0"), "{log}");
}

#[test]
fn the_local_instance_needs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::start(
        dir.path(),
        &["--listen", "127.0.0.1:0", "--set", "spool.ring=64MiB", "--set", "spool.reserve=1MiB"],
    );
    serving.client().deliver(&["anyone@anywhere.example"], "hello");
    let maildir = dir.path().join("postroad-data/Maildir");
    eventually("it is delivered", || !mail_in(&maildir).is_empty());
    assert_eq!(serving.stop(), 0);
    let printed = serving.printed();
    assert!(printed.contains("mail arrives") && printed.contains("relays nothing"), "{printed}");
    assert!(mail_in(&maildir)[0].contains("Delivered-To: anyone@anywhere.example"));
}

#[test]
fn a_socket_of_the_service_manager() {
    let dir = tempfile::tempdir().unwrap();
    // Named, but not handed to this process.
    fs::write(dir.path().join("postroad.toml"), GOOD.replace("127.0.0.1:0", "fd:smtp")).unwrap();
    let failed = std::process::Command::new(env!("CARGO_BIN_EXE_postroad"))
        .args(["serve", CONFIG[0], CONFIG[1]])
        .current_dir(dir.path())
        .env("LISTEN_FDNAMES", "smtp")
        .env("LISTEN_FDS", "1")
        .env("LISTEN_PID", "1")
        .output()
        .unwrap();
    let told = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(69), "{told}");
    assert!(told.contains("fd:smtp") && told.contains("service manager"), "{told}");
    assert!(!dir.path().join("data").exists());
}

#[test]
fn doctor_disk_measures_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let before = support::snapshot(dir.path());
    let text = run(dir.path(), &["doctor", "disk", "--data", "data", "--flushes", "10"]);
    let json = run(dir.path(), &["doctor", "disk", "--data", "data", "--flushes", "10", "--json"]);
    assert_eq!(support::snapshot(dir.path()), before);
    for word in ["p50", "p99", "10 flushes measured"] {
        assert!(text.out.contains(word), "{}", text.out);
    }
    // Whether this disk is a good one is not ours to say; but what is said and the code agree.
    let warned = text.out.contains("warning: ");
    assert_eq!((text.code, text.err.as_str()), (if warned { 69 } else { 0 }, ""));
    let found: Value = serde_json::from_str(&json.out).unwrap();
    let warned = !found["warnings"].as_array().unwrap().is_empty();
    assert_eq!((json.code, json.err.as_str()), (if warned { 69 } else { 0 }, ""));
    assert_eq!(found["flushes"], 10);
    assert!(found["flush_p50_us"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["flush_p50_us"].as_f64() <= found["flush_p99_us"].as_f64(), "{found}");
    let wrong = run(dir.path(), &["doctor", "disk", "--flushes", "1"]);
    assert_eq!(wrong.code, 64, "{}", wrong.err);
    if std::path::Path::new("/dev/shm").is_dir() {
        let memory = run(dir.path(), &["doctor", "disk", "--data", "/dev/shm", "--flushes", "10"]);
        assert_eq!(memory.code, 69, "{}", memory.out);
        assert!(memory.out.contains("lives in memory"), "{}", memory.out);
    }
    fs::write(dir.path().join("file"), "").unwrap();
    let odd = run(dir.path(), &["doctor", "disk", "--data", "file"]);
    assert_eq!(odd.code, 73, "{}{}", odd.out, odd.err);
}

#[test]
fn output_that_nobody_reads_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let mut serving = Serving::with_config(dir.path(), &format!("{GOOD}[delivery]\npaused = true\n"));
    serving.client().deliver(&["bob@example.org"], "x");
    for line in [["queue", "list"], ["doctor", "disk"]] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_postroad"))
            .args(line)
            .args(CONFIG)
            .current_dir(dir.path())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let told = String::from_utf8(ended.stderr).unwrap();
        assert!(!told.contains("panicked") && ended.status.code() != Some(101), "{line:?}: {told}");
    }
    assert_eq!(serving.stop(), 0);
}
