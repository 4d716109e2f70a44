//! What keeps the server from starting: one clear message, the right exit code, nothing touched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

mod support;

use std::fs;
use std::path::Path;
use support::{GOOD, Ran, Serving, run, snapshot};

/// Runs `serve`, which must fail and leave all as it was.
#[track_caller]
fn fails(dir: &Path, text: &str, code: i32, says: &[&str]) {
    fs::write(dir.join("postroad.toml"), text).unwrap();
    fails_with(dir, &["serve", "--config", "postroad.toml"], code, says);
}

#[track_caller]
fn fails_with(dir: &Path, line: &[&str], code: i32, says: &[&str]) {
    // What a server beside it writes is not this one's doing.
    let all = |path: &Path| !path.starts_with(dir.join("data/spool/log")) && path != dir.join("log");
    let still = |dir: &Path| -> Vec<_> { snapshot(dir).into_iter().filter(|(path, _)| all(path)).collect() };
    let before = still(dir);
    let Ran { code: found, out, err } = run(dir, line);
    assert_eq!((found, out.as_str()), (code, ""), "{err}");
    for text in says {
        assert!(err.contains(text), "no {text:?} in: {err}");
    }
    assert!(!err.contains("panicked"), "{err}");
    let told = err.lines().filter(|line| !line.contains(" INFO ")).count();
    assert_eq!(told, 1, "one message: {err}");
    let after = still(dir);
    let touched: Vec<_> =
        after.iter().filter(|entry| !before.contains(entry)).map(|(path, _)| path).collect();
    assert!(touched.is_empty() && before.len() == after.len(), "touched: {touched:?}");
}

#[test]
fn a_faulty_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fails(
        dir,
        &format!("{GOOD}mailboxs = []\n"),
        78,
        &["postroad.toml:10:", "\"mailboxs\"", "did you mean \"mailboxes\"?"],
    );
    fails(dir, &format!("{GOOD}plus = 7\n"), 78, &["postroad.toml:10:", "plus is 7", "one character"]);
    fails(dir, &format!("{GOOD}[limits\n"), 78, &["postroad.toml:10:"]);
    fails_with(dir, &["serve", "--config", "none.toml"], 66, &["none.toml", "No such file"]);
    fails_with(dir, &["serve", "--set", "limits.recipients=many"], 78, &["--set limits.recipients=many"]);
    fails_with(dir, &["serve", "--listen", "localhost"], 78, &["--listen localhost"]);
    let twice = GOOD.replace("[spool]", "[[listener]]\naddress = \"127.0.0.1:0\"\n[spool]");
    fails(dir, &twice, 78, &["listener.1.address 127.0.0.1:0 is taken by", "listener.0"]);
    let twice = GOOD
        .replace("127.0.0.1:0", "0.0.0.0:2525")
        .replace("[spool]", "[[listener]]\naddress = \"127.0.0.1:2525\"\n[spool]");
    fails(dir, &twice, 78, &["listener.1.address 127.0.0.1:2525 is taken by 0.0.0.0:2525 of listener.0"]);
    assert!(!dir.join("data").exists());
}

#[test]
fn a_port_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let says = [address.as_str(), "in use", "another program has the port", "--listen"];
    fails(dir.path(), &GOOD.replace("127.0.0.1:0", &address), 69, &says);
    let http = format!("{GOOD}[http]\nlisten = \"{address}\"\n");
    fails(dir.path(), &http, 69, &[&address, "in use", "http.listen"]);
    let elsewhere = GOOD.replace("127.0.0.1:0", "192.0.2.1:25");
    fails(dir.path(), &elsewhere, 69, &["192.0.2.1:25", "this machine does not have the address"]);
    fails(dir.path(), &GOOD.replace("127.0.0.1:0", "fd:smtp"), 69, &["fd:smtp", "service manager"]);
    let socket =
        GOOD.replace("address = \"127.0.0.1:0\"", "address = \"unix:postroad.toml\"\nkind = \"lmtp\"");
    fails(dir.path(), &socket, 69, &["postroad.toml", "in use", "a file of another kind"]);
    let nowhere = socket.replace("unix:postroad.toml", "unix:no/such.sock");
    fails(dir.path(), &nowhere, 69, &["no/such.sock", "its directory is not there"]);
}

#[test]
fn a_place_that_cannot_be_used() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::write(dir.join("data"), "a file").unwrap();
    fails(dir, GOOD, 78, &["data", "is not a directory"]);
    fails(
        dir,
        &GOOD.replace("data = \"data\"", "data = \"data/below\""),
        78,
        &["data/below", "ot a directory"],
    );
    fs::remove_file(dir.join("data")).unwrap();
    fs::create_dir(dir.join("data")).unwrap();
    fs::write(dir.join("data/spool"), "a file").unwrap();
    fails(dir, GOOD, 74, &["data/spool", "directory"]);
    fs::remove_file(dir.join("data/spool")).unwrap();
    fs::write(dir.join("data/mail"), "a file").unwrap();
    // The spool is there by then, empty, as any start makes it.
    fs::write(dir.join("postroad.toml"), GOOD).unwrap();
    let told = run(dir, &["serve", "--config", "postroad.toml"]);
    assert_eq!(told.code, 78, "{}", told.err);
    assert!(told.err.contains("delivery.maildir") && told.err.contains("data/mail"), "{}", told.err);
}

#[test]
fn a_certificate_that_does_not_do() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let one = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    fs::write(dir.join("cert.pem"), one.cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), other.signing_key.serialize_pem()).unwrap();
    let text = format!("{GOOD}[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n");
    fails(dir, &text, 78, &["postroad.toml:11:", "cert.pem", "key.pem", "do not go together"]);
    let checked = run(dir, &["config", "check", "--config", "postroad.toml"]);
    assert_eq!(checked.code, 78);
    assert!(checked.err.contains("do not go together"), "{}", checked.err);
    fs::write(dir.join("key.pem"), one.signing_key.serialize_pem()).unwrap();
    let checked = run(dir, &["config", "check", "--config", "postroad.toml"]);
    assert_eq!(checked.code, 0, "{}", checked.err);
    fs::write(dir.join("key.pem"), "no key").unwrap();
    fails(dir, &text, 78, &["key.pem", "PEM"]);
    fs::remove_file(dir.join("key.pem")).unwrap();
    fails(dir, &text, 78, &["key.pem", "No such file"]);
    assert!(!dir.join("data").exists());
}

#[test]
fn a_spool_that_is_not_ours() {
    let dir = tempfile::tempdir().unwrap();
    // Without a ledger, which the running server writes a moment later.
    let quiet = "[delivery]\npaused = true\n[ledger]\nenabled = false\n";
    let text = format!("{GOOD}[tls]\nself_signed = true\n{quiet}");
    let mut serving = Serving::with_config(dir.path(), &text);
    serving.client().deliver(&["bob@example.org"], "safe");
    // Another one in the same place: it must not even touch the certificate or the socket.
    fs::remove_dir_all(dir.path().join("data/tls")).unwrap_or_default();
    fails(dir.path(), &text, 75, &["data/spool", "another process"]);
    let waiting = run(dir.path(), &["queue", "list", "--config", "postroad.toml"]);
    assert!(waiting.code == 0 && waiting.out.contains("1 message waiting"), "{}{}", waiting.out, waiting.err);
    assert_eq!(serving.stop(), 0);

    // A newer program was here.
    let header = newest(dir.path());
    fails(dir.path(), GOOD, 78, &["data/spool", "format", "newer program"]);
    let list = run(dir.path(), &["queue", "list", "--config", "postroad.toml"]);
    assert!(list.code == 78 && list.err.contains("newer program"), "{} {}", list.code, list.err);
    fs::write(&header.0, "\0\0\0").unwrap();
    fails(dir.path(), GOOD, 74, &["data/spool", "file `format` is damaged", "is not touched"]);
    fs::write(header.0, header.1).unwrap();
    let list = run(dir.path(), &["queue", "list", "--config", "postroad.toml"]);
    assert!(list.code == 0 && list.out.contains("bob@example.org"), "{} {}", list.out, list.err);
}

/// Raises the version in the spool's file of it; gives the file and what it held.
fn newest(dir: &Path) -> (std::path::PathBuf, Vec<u8>) {
    let path = dir.join("data/spool/format");
    let before = fs::read(&path).unwrap();
    let text = String::from_utf8(before.clone()).unwrap();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    fs::write(&path, text.replace(&digits, "4711")).unwrap();
    (path, before)
}

#[test]
fn a_queue_of_another_user_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Serving::with_config(dir.path(), GOOD).stop(), 0);
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away; what is left to see is that the owner may look.
        assert_eq!(run(dir.path(), &["queue", "list", "--config", "postroad.toml"]).code, 0);
        return;
    }
    std::os::unix::fs::chown(dir.path().join("data/spool"), Some(4711), None).unwrap();
    fails_with(
        dir.path(),
        &["queue", "list", "--config", "postroad.toml"],
        77,
        &["data/spool", "4711", "run this as that user"],
    );
}
