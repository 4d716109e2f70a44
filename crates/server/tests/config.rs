//! The configuration as an operator meets it: what is wrong is said in full, what is right is taken.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_proto::addr::{Domain, Mailbox};
use postroad_server::config::{
    Config, Identity, ListenAddress, ListenerKind, ListenerTls, LoadError, Loaded, Network, Origin, Sources,
    Value, explain, full_file, fuzz_parse, minimal_file, reference,
};
use proptest::prelude::*;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

const GOOD: &str = r#"hostname = "mx.example.org"
data = "/srv/mail"
[[listener]]
address = "0.0.0.0:25"
[domain."example.org"]
mailboxes = ["postmaster", "alice", "bob"]
"#;

fn load_in(dir: &Path, text: &str, set: &[&str]) -> Result<Loaded, Vec<String>> {
    let file = dir.join("postroad.toml");
    fs::write(&file, text).unwrap();
    let sources = Sources {
        file: Some(file),
        set: set.iter().map(|&one| one.to_owned()).collect(),
        ..Sources::default()
    };
    sources.load().map_err(|error| {
        let here = format!("{}/", dir.display());
        error.to_string().replace(&here, "").lines().map(str::to_owned).collect()
    })
}

fn load(text: &str) -> Result<Loaded, Vec<String>> {
    load_in(tempfile::tempdir().unwrap().path(), text, &[])
}

/// What is put after line 2, 4 or 6 of the good file (0: in place of all of it), and what is said.
const FAULTS: &[(usize, &str, &[&str])] = &[
    (
        6,
        "mailboxs = []",
        &[r#"postroad.toml:7: unknown key "mailboxs" in [domain."example.org"]; did you mean "mailboxes"?"#],
    ),
    (
        2,
        "recipients = 5",
        &[r#"postroad.toml:3: unknown key "recipients" at the top of the file; it belongs in [limits]"#],
    ),
    (6, "[limit]\nrecipients = 5", &[r#"postroad.toml:7: unknown section [limit]; did you mean "limits"?"#]),
    (
        6,
        "[limits]\nrecipients = \"many\"",
        &[r#"postroad.toml:8: limits.recipients is "many"; it takes a whole number from 100 to 1000000"#],
    ),
    (
        6,
        "[limits]\nrecipients = 99",
        &["postroad.toml:8: limits.recipients is 99; it takes a whole number from 100 to 1000000"],
    ),
    (
        6,
        "[limits]\nrecipients = -1",
        &["postroad.toml:8: limits.recipients is -1; it takes a whole number from 100 to 1000000"],
    ),
    (
        6,
        "[limits]\nrecipients = 99999999999999999999",
        &[
            "postroad.toml:8: limits.recipients is a number that is too large; it takes a whole number from 100 to 1000000",
        ],
    ),
    (
        6,
        "[limits]\nmessage_size = \"50MB\"",
        &[
            r#"postroad.toml:8: limits.message_size is "50MB", which has an unknown unit; it takes a size such as "50MiB", from 64KiB to 1TiB (units B, KiB, MiB, GiB, TiB; a plain number is octets)"#,
        ],
    ),
    (
        6,
        "[limits]\nmessage_size = \"99999999TiB\"",
        &[
            r#"postroad.toml:8: limits.message_size is "99999999TiB", which is too large; it takes a size such as "50MiB", from 64KiB to 1TiB (units B, KiB, MiB, GiB, TiB; a plain number is octets)"#,
        ],
    ),
    (
        6,
        "[limits]\ncommand_timeout = \"soon\"",
        &[
            r#"postroad.toml:8: limits.command_timeout is "soon"; it takes a time such as "5m", from 1s to 1d (units s, m, h, d; a plain number is seconds)"#,
        ],
    ),
    (
        6,
        "[log]\nlevel = \"loud\"",
        &[r#"postroad.toml:8: log.level is "loud"; it takes "error", "warn", "info", "debug" or "trace""#],
    ),
    (6, "[delivery]\npaused = 1", &["postroad.toml:8: delivery.paused is 1; it takes true or false"]),
    (
        6,
        "[delivery]\nretry = []",
        &[
            r#"postroad.toml:8: delivery.retry has 0 elements; it takes a list of 1 to 100 elements, each a time such as "5m", from 1s to 30d (units s, m, h, d; a plain number is seconds)"#,
        ],
    ),
    (
        6,
        "[delivery]\nmaildir = \"{data}/{user}\"",
        &[
            "postroad.toml:8: delivery.maildir cannot be used: \"{user}\" cannot be part of the path: a placeholder stands alone between slashes, and .. is not allowed; it takes a path that begins with {data} or / and may have {domain} and {local}",
        ],
    ),
    (
        6,
        "[delivery]\nmaildir = \"{data}/mail\"",
        &["postroad.toml:8: delivery.maildir has no {local}, so that mailboxes would share a Maildir"],
    ),
    (
        6,
        "[http]\nlisten = \"localhost\"",
        &[
            r#"postroad.toml:8: http.listen is "localhost"; it takes an address such as "127.0.0.1:9025", or "" for none"#,
        ],
    ),
    (
        6,
        "[[listener]]\naddress = \"0.0.0.0:25\"",
        &[
            "postroad.toml:8: listener.1.address 0.0.0.0:25 is taken by 0.0.0.0:25 of listener.0 (postroad.toml:4); change or remove one",
        ],
    ),
    (
        6,
        "[[listener]]\naddress = \"127.0.0.1:25\"",
        &[
            "postroad.toml:8: listener.1.address 127.0.0.1:25 is taken by 0.0.0.0:25 of listener.0 (postroad.toml:4); change or remove one",
        ],
    ),
    (
        6,
        "[[listener]]\naddress = \"25\"",
        &[
            r#"postroad.toml:8: listener.1.address is "25"; it takes an address such as "0.0.0.0:25", "[::]:25", "unix:/run/postroad/lmtp.sock" or "fd:NAME""#,
        ],
    ),
    (
        6,
        "[[listener]]\nkind = \"lmtp\"",
        &[r#"postroad.toml:7: listener.1 has no address; add address = "0.0.0.0:25""#],
    ),
    (
        6,
        "[[listener]]\naddress = \"unix:/run/x\"",
        &[r#"postroad.toml:8: listener.1 is a socket file, which is for LMTP; add kind = "lmtp""#],
    ),
    (
        4,
        "kind = \"lmtp\"",
        &[
            "postroad.toml:4: listener.0 speaks LMTP on port 25, which RFC 2033 §5 forbids; take another, such as 24",
        ],
    ),
    (
        4,
        "tls = \"starttls\"",
        &[
            r#"postroad.toml:5: listener.0.tls is "starttls" and there is no certificate; set certificate and key in [tls], or self_signed = true"#,
        ],
    ),
    (
        4,
        "proxy = \"required\"",
        &[
            r#"postroad.toml:5: listener.0.proxy is "required" and anyone could send a PROXY header; name the networks of the proxies in proxy_from"#,
        ],
    ),
    (
        4,
        "proxy_from = [\"10.0.0.0/8\"]",
        &[r#"postroad.toml:5: listener.0.proxy_from has no effect; add proxy = "required""#],
    ),
    (
        4,
        "proxy = \"required\"\nproxy_from = [\"10.0.0.1/8\"]",
        &[
            r#"postroad.toml:6: listener.0.proxy_from has "10.0.0.1/8", which has bits set past its prefix; it takes a list of networks such as ["10.0.0.0/8", "2001:db8::1"]"#,
        ],
    ),
    (
        4,
        "limits.recipient = 200",
        &[r#"postroad.toml:5: unknown key "recipient" in [listener.0.limits]; did you mean "recipients"?"#],
    ),
    (
        4,
        "limits.recipients = 20",
        &["postroad.toml:5: listener.0.limits.recipients is 20; it takes a whole number from 100 to 1000000"],
    ),
    (
        4,
        "limits.connections = 20",
        &[r#"postroad.toml:5: unknown key "connections" in [listener.0.limits]; it belongs in [limits]"#],
    ),
    (
        6,
        "[tls]\ncertificate = \"/c.pem\"",
        &["postroad.toml:8: tls.certificate is set without tls.key; name the file of its private key"],
    ),
    (
        6,
        "[tls]\nkey = \"/k.pem\"",
        &["postroad.toml:8: tls.key is set without tls.certificate; name the file of its certificate"],
    ),
    (
        6,
        "[tls]\nself_signed = true\nkey = \"/k.pem\"",
        &[
            "postroad.toml:8: tls.self_signed is true beside tls.certificate or tls.key; keep one or the other",
        ],
    ),
    (
        6,
        "aliases = { sales = [\"alcie\"] }",
        &[
            r#"postroad.toml:7: alias "sales" of [domain."example.org"] goes to "alcie", which is neither a mailbox nor an alias of [domain."example.org"]; did you mean "alice"?"#,
        ],
    ),
    (
        6,
        "aliases = { sales = \"bob@elsewhere.net\" }",
        &[
            r#"postroad.toml:7: alias "sales" of [domain."example.org"] goes to "bob@elsewhere.net", which is in no domain of ours"#,
        ],
    ),
    (
        6,
        "aliases = { a = \"b\", b = \"a\" }",
        &[
            r#"postroad.toml:7: alias "a" of [domain."example.org"] never reaches a mailbox: its targets are aliases of one another"#,
            r#"postroad.toml:7: alias "b" of [domain."example.org"] never reaches a mailbox: its targets are aliases of one another"#,
        ],
    ),
    (
        6,
        "aliases = { sales = [] }",
        &[r#"postroad.toml:7: alias "sales" of [domain."example.org"] goes to nobody; name a mailbox"#],
    ),
    (
        6,
        "aliases = { Bob = \"alice\" }",
        &[r#"postroad.toml:7: "Bob" is both a mailbox and an alias of [domain."example.org"]"#],
    ),
    (
        6,
        "catch_all = \"carol\"",
        &[
            r#"postroad.toml:7: catch_all of [domain."example.org"] goes to "carol", which is neither a mailbox nor an alias of [domain."example.org"]"#,
        ],
    ),
    (
        6,
        "plus = \"++\"",
        &[
            r#"postroad.toml:7: domain."example.org".plus is "++"; it takes one character such as "+" or "-", or "" for none"#,
        ],
    ),
    (
        6,
        "quota.bop = \"1GiB\"",
        &[
            r#"postroad.toml:7: quota for "bop", which is no mailbox of [domain."example.org"]; did you mean "bob"?"#,
        ],
    ),
    (
        6,
        "mailboxes_file = \"people\"",
        &[
            r#"postroad.toml:7: domain."example.org".mailboxes_file: cannot read DIR/people: No such file or directory (os error 2)"#,
        ],
    ),
    (
        6,
        "[domain.\"example.net\"]\nmailboxes = [\"carol\"]",
        &[
            r#"postroad.toml:7: [domain."example.net"] has no postmaster, which RFC 5321 §4.5.1 requires; add aliases = { postmaster = ["carol"] }"#,
        ],
    ),
    (
        6,
        "[domain.\"Example.ORG\"]",
        &[r#"postroad.toml:7: [domain."Example.ORG"] is there already as [domain."example.org"]"#],
    ),
    (
        6,
        "[domain.example.net]\nmailboxes = []",
        &[
            r#"postroad.toml:7: [domain.example] has a section net; put the domain in quotes, such as [domain."example.org"]"#,
        ],
    ),
    (
        6,
        "[domain.\"-\"]\n",
        &[
            "postroad.toml:7: [domain.-]: the domain must be letters, digits and hyphens in dot-separated labels",
        ],
    ),
    (
        2,
        "postmaster = \"zoe@example.org\"",
        &[r#"postroad.toml:3: postmaster "zoe@example.org" is no mailbox or alias in a domain of ours"#],
    ),
    (
        2,
        "accept_any = true",
        &[
            "postroad.toml:5: listener.0.address 0.0.0.0:25 can be reached from other machines, and accept_any would take mail for every domain there; listen on 127.0.0.1 or [::1], or set accept_any = false and name your domains",
        ],
    ),
    (
        2,
        "x = 1\nx = 2\nhostname =",
        &[
            "postroad.toml:4: not TOML: duplicate key",
            "postroad.toml:5: not TOML: duplicate key",
            "postroad.toml:5: not TOML: string values must be quoted, expected literal string",
        ],
    ),
    (
        0,
        "hostname = \"m x\"\nlistener = 5",
        &[
            "postroad.toml:1: hostname is \"m x\": the domain must be letters, digits and hyphens in dot-separated labels; it takes a host name such as \"mx.example.org\"",
            "postroad.toml:2: listeners are sections with two brackets: [[listener]]",
        ],
    ),
    (
        0,
        "",
        &[
            r#"postroad.toml: no listener; add [[listener]] and below it address = "0.0.0.0:25""#,
            r#"postroad.toml: no domain to take mail for; add [domain."example.org"] and below it mailboxes = ["postmaster"]"#,
        ],
    ),
];

#[test]
fn each_fault_is_told_with_its_line_and_what_would_be_right() {
    let mut wrong = String::new();
    for (after, text, said) in FAULTS {
        let mut lines: Vec<&str> = if *after == 0 { Vec::new() } else { GOOD.lines().collect() };
        lines.insert(*after, text);
        let dir = tempfile::tempdir().unwrap();
        let found = load_in(dir.path(), &lines.join("\n"), &[]).err().unwrap_or_default();
        let said: Vec<String> = said.iter().map(|line| line.replace("DIR/", "")).collect();
        if found != said {
            writeln!(wrong, "for\n{text}\nsaid\n  {}\nnot\n  {}\n", found.join("\n  "), said.join("\n  "))
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let faults = load(
        "hostnam = \"x\"\n[limits]\nrecipients = 5\n[[listener]]\naddress = \"0.0.0.0:25\"\n[[listener]]\n\
         address = \"0.0.0.0:25\"\ntls = \"implicit\"\n[domain.\"example.org\"]\ncatch_all = \"x\"\n",
    )
    .unwrap_err();
    let lines: Vec<&str> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
    assert_eq!(
        lines,
        ["postroad.toml:1", "postroad.toml:3", "postroad.toml:7", "postroad.toml:8", "postroad.toml:10"],
        "{faults:#?}"
    );
}

#[test]
fn options_are_checked_like_the_file() {
    for (set, said) in [
        (
            "limits.recipients=5",
            "--set limits.recipients=5: limits.recipients is 5; it takes a whole number from 100 to 1000000",
        ),
        (
            "limits.recipient=500",
            "--set limits.recipient=500: unknown key \"recipient\" in [limits]; did you mean \"recipients\"?",
        ),
        ("limits", "--set limits: write KEY=VALUE, such as limits.recipients=200"),
        ("a b=1", "--set a b=1: \"a b\" is not a key such as limits.recipients"),
        ("hostname.x=1", "--set hostname.x=1: hostname is a value, not a section"),
        (
            "listener.1.kind=mx",
            "--set listener.1.kind=mx: listener is a list of 1; say which by its number, from 0",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load_in(dir.path(), GOOD, &[set]).unwrap_err(), [said], "{set}");
    }
    let dir = tempfile::tempdir().unwrap();
    let sets = [
        "limits.recipients=200",
        "hostname=mail.example.net",
        "listener.0.address='127.0.0.1:2525'",
        "domain.\"example.org\".catch_all=alice",
        "delivery.retry=[60, '1h']",
    ];
    let loaded = load_in(dir.path(), GOOD, &sets).unwrap();
    assert_eq!(loaded.config.listeners[0].limits.recipients, 200);
    assert_eq!(loaded.config.hostname.to_string(), "mail.example.net");
    assert_eq!(loaded.config.listeners[0].address, ListenAddress::Tcp("127.0.0.1:2525".parse().unwrap()));
    assert_eq!(loaded.config.delivery.retry, [Duration::from_mins(1), Duration::from_hours(1)]);
    let alice = Mailbox::parse("alice@example.org").unwrap();
    assert_eq!(loaded.config.domains["example.org"].catch_all, Some(vec![alice]));
    assert_eq!(
        loaded.settings.get("limits.recipients").unwrap().origin,
        Origin::Option("--set limits.recipients=200".into())
    );
}

#[test]
fn names_lead_to_mailboxes() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("people"), "# staff\nCarol\ndave@example.org # on leave\n\n").unwrap();
    fs::write(dir.path().join("names"), "all: team, dave\nteam: alice, bob, alice\n").unwrap();
    let text = "[domain.\"example.net\"]\naliases = { postmaster = \"all@example.org\" }\n";
    let text =
        format!("{GOOD}mailboxes_file = \"people\"\naliases_file = \"names\"\nquota.bob = \"2GiB\"\n{text}");
    let config = load_in(dir.path(), &text, &[]).unwrap().config;
    let home = &config.domains["example.org"];
    assert!(home.mailboxes.iter().eq(["alice", "bob", "carol", "dave", "postmaster"]));
    let shown = |list: &[Mailbox]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(shown(&home.aliases["all"]), ["alice@example.org", "bob@example.org", "dave@example.org"]);
    assert_eq!(home.quota["bob"], 2 << 30);
    assert_eq!(config.domains["example.net"].postmaster, home.aliases["all"]);
    assert_eq!(config.postmaster.to_string(), "postmaster@example.net");

    fs::write(dir.path().join("names"), "all: alice\n\nall bob\nall: bob\nteam: zoe\n").unwrap();
    assert_eq!(
        load_in(dir.path(), &text, &[]).unwrap_err(),
        [
            "names:3: \"all bob\" is not \"name: target, target\"",
            "names:4: alias \"all\" of [domain.\"example.org\"] is already at names:1",
            "names:5: alias \"team\" of [domain.\"example.org\"] goes to \"zoe\", which is neither a mailbox nor an \
             alias of [domain.\"example.org\"]",
        ]
    );
}

#[test]
fn listeners_come_out_as_they_are_meant() {
    let text = r#"
        [tls]
        certificate = "cert.pem"
        key = "key.pem"
        [limits]
        recipients = 500
        [[listener]]
        address = "[::]:25"
        [[listener]]
        address = "unix:lmtp.sock"
        kind = "lmtp"
        [listener.limits]
        recipients = 5000
        [[listener]]
        address = "fd:smtps"
        tls = "implicit"
        proxy = "required"
        proxy_from = ["10.0.0.0/8", "2001:db8::1"]
        [domain."example.org"]
        mailboxes = ["postmaster"]
    "#;
    let dir = tempfile::tempdir().unwrap();
    let config = load_in(dir.path(), text, &[]).unwrap().config;
    let [mx, lmtp, smtps] = config.listeners.as_slice() else { panic!("three listeners") };
    assert_eq!((mx.kind, mx.tls, mx.limits.recipients), (ListenerKind::Mx, ListenerTls::Starttls, 500));
    assert_eq!((lmtp.kind, lmtp.tls, lmtp.limits.recipients), (ListenerKind::Lmtp, ListenerTls::Off, 5000));
    assert_eq!(lmtp.address, ListenAddress::Unix(dir.path().join("lmtp.sock")));
    assert_eq!(smtps.address, ListenAddress::Inherited("smtps".to_owned()));
    let networks = smtps.proxy.as_ref().unwrap();
    let allowed = |peer: &str| networks.iter().any(|network| network.contains(peer.parse().unwrap()));
    for (peer, inside) in [
        ("10.255.0.1", true),
        ("::ffff:10.1.1.1", true),
        ("11.0.0.1", false),
        ("2001:db8::1", true),
        ("2001:db8::2", false),
        ("::10.1.1.1", false),
    ] {
        assert_eq!(allowed(peer), inside, "{peer}");
    }
    assert!(Network::parse("0.0.0.0/0").unwrap().contains("192.0.2.1".parse().unwrap()));
    assert!(!Network::parse("0.0.0.0/0").unwrap().contains("2001:db8::1".parse().unwrap()));
    assert!(Network::parse("::/0").unwrap().contains("2001:db8::1".parse().unwrap()));
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    assert_eq!(config.tls.identity, Identity::Files { certificate, key });
}

#[test]
fn without_a_file_it_is_a_safe_local_instance() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::local(dir.path()).unwrap();
    assert!(config.accept_any);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address, ListenAddress::Tcp("127.0.0.1:2525".parse().unwrap()));
    assert_eq!(config.listeners[0].tls, ListenerTls::Off);
    assert_eq!(config.data, dir.path());
    assert_eq!(config.control_socket(), dir.path().join("control.sock"));
    let maildir = config.delivery.maildir.within(&config.data).to_string();
    assert_eq!(Path::new(&maildir), dir.path().join("Maildir"));
    assert_eq!(config.spool.reserve, 64 << 20);

    let open = Sources { listen: vec!["0.0.0.0:2525".to_owned()], ..Sources::default() };
    let LoadError::Wrong(problems) = open.load().unwrap_err() else { panic!("it was read") };
    assert!(problems[0].to_string().starts_with(
        "--listen 0.0.0.0:2525: listener.0.address 0.0.0.0:2525 can be reached from other machines"
    ));

    let tls =
        Sources { set: vec!["tls.self_signed=true".to_owned()], ..Sources::default() }.load().unwrap().config;
    assert_eq!((tls.tls.identity, tls.listeners[0].tls), (Identity::SelfSigned, ListenerTls::Starttls));
}

#[test]
fn what_is_in_force_loads_as_the_same() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("people"), "carol\n").unwrap();
    let rich = format!(
        "postmaster = \"alice@example.org\"\n{GOOD}mailboxes_file = \"people\"\n\
         aliases = {{ sales = [\"alice\", \"carol\"], \"q.t\" = \"bob\" }}\nquota.bob = 1500\ncatch_all = \"bob\"\n\
         plus = \"-\"\n[[listener]]\naddress = \"unix:l\\u0031\"\nkind = \"lmtp\"\n[listener.limits]\n\
         message_size = 70000\n[tls]\nself_signed = true\n[delivery]\nretry = [61, \"36h\"]\npaused = true\n\
         [http]\nlisten = \"127.0.0.1:9025\"\n[limits]\nmin_rate = 0\n"
    );
    for text in [GOOD, &rich] {
        let first = load_in(dir.path(), text, &[]).unwrap();
        let second = load_in(dir.path(), &first.effective(), &[]).unwrap();
        assert_eq!(first.config, second.config);
        assert_eq!(first.settings.iter().count(), second.settings.iter().count());
    }
    let local = Sources::default().load().unwrap();
    assert_eq!(load_in(dir.path(), &local.effective(), &[]).unwrap().config, local.config);
}

#[test]
fn new_files_are_right_as_they_are() {
    let (domain, hostname) =
        (Domain::parse("example.org").unwrap(), Domain::parse("mx.example.org").unwrap());
    let minimal = minimal_file(&domain, &hostname);
    let full = full_file(&domain, &hostname);
    assert!(minimal.lines().count() < 25, "{minimal}");
    let (minimal, short) = (load(&minimal).unwrap(), minimal);
    assert_eq!(minimal.config, load(&full).unwrap().config);
    assert_eq!(minimal.config.hostname, hostname);
    assert!(!short.contains("reserve"));
    // every default, uncommented, is what is in force anyway
    let mut spelled_out = String::new();
    for line in full.lines() {
        let setting = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ")
                .is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        });
        writeln!(spelled_out, "{}", setting.unwrap_or(line)).unwrap();
    }
    assert_eq!(load(&spelled_out).unwrap().config, minimal.config);
    assert!(spelled_out.contains("\nreserve = \"512MiB\"\n"), "{spelled_out}");
}

#[test]
fn why_names_the_line() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "{GOOD}[limits]\nrecipients = 500\n[[listener]]\naddress = \"[::]:25\"\nlimits.recipients = 600\n"
    );
    let loaded = load_in(dir.path(), &text, &[]).unwrap();
    let why = |name: &str| {
        let told = explain(name, &loaded.settings).unwrap();
        let here = format!("{}/", dir.path().display());
        let places = told.settings.iter().map(|one| {
            format!("{} = {} at {}", one.key(), one.value, one.origin.to_string().replace(&here, ""))
        });
        places.collect::<Vec<_>>()
    };
    assert_eq!(
        why("limits.recipients"),
        [
            "listener.1.limits.recipients = 600 at postroad.toml:11",
            "limits.recipients = 500 at postroad.toml:8",
        ]
    );
    assert_eq!(
        why("listener.1.limits.recipients"),
        ["listener.1.limits.recipients = 600 at postroad.toml:11"]
    );
    assert_eq!(why("listener.0.limits.recipients"), ["limits.recipients = 500 at postroad.toml:8"]);
    assert_eq!(why("listener.1.address"), ["listener.1.address = \"[::]:25\" at postroad.toml:10"]);
    assert_eq!(
        why("listener.address"),
        [
            "listener.0.address = \"0.0.0.0:25\" at postroad.toml:4",
            "listener.1.address = \"[::]:25\" at postroad.toml:10",
        ]
    );
    assert_eq!(why("domain.plus"), ["domain.\"example.org\".plus = \"+\" at default"]);
    assert_eq!(why("domain.\"example.org\".plus"), ["domain.\"example.org\".plus = \"+\" at default"]);
    assert_eq!(why("hostname"), ["hostname = \"mx.example.org\" at postroad.toml:1"]);
    for (name, said) in [
        ("recipients", "there is no key \"recipients\"; did you mean limits.recipients?"),
        ("limits.recipient", "there is no key \"limits.recipient\"; did you mean limits.recipients?"),
        (
            "domain.example.org.mailboxes",
            "put the name of the domain in quotes: 'domain.\"example.org\".mailboxes'",
        ),
        ("domain.example.org", "put the name of the domain in quotes: 'domain.\"example.org\".KEY'"),
        ("x y", "\"x y\" is not a key such as limits.recipients"),
    ] {
        assert_eq!(explain(name, &loaded.settings).unwrap_err(), said);
    }
    for (name, section, key) in [
        ("tls", "tls", "tls.certificate"),
        ("limits", "limits", "limits.recipients"),
        ("listener", "listener", "listener.address"),
        ("listener.0", "listener", "listener.address"),
        ("listener.1.limits", "limits", "limits.recipients"),
        ("domain", "domain", "domain.mailboxes"),
        ("domain.\"example.org\"", "domain", "domain.mailboxes"),
    ] {
        let said = explain(name, &loaded.settings).unwrap_err();
        assert!(said.starts_with(&format!("\"{section}\" is a section; its keys are ")), "{said}");
        assert!(said.contains(key), "{said}");
    }
    assert_eq!(loaded.settings.get("limits.min_rate").unwrap().value, Value::Text("500B".to_owned()));
}

#[test]
fn the_manual_is_in_step_with_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    if std::env::var_os("POSTROAD_WRITE_DOCS").is_some() {
        fs::write(&path, reference()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(
        written == reference(),
        "run this test with POSTROAD_WRITE_DOCS=1 and commit docs/configuration.md"
    );
}

#[test]
fn a_probe_finds_what_is_not_there_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("postroad.toml");
    let text =
        GOOD.replace("/srv/mail", "data") + "[tls]\ncertificate = \"c.pem\"\nkey = \"postroad.toml\"\n";
    fs::write(&file, &text).unwrap();
    let loaded = Sources { file: Some(file), ..Sources::default() }.load().unwrap();
    let here = format!("{}/", dir.path().display());
    let said: Vec<String> = loaded.probe().iter().map(|one| one.to_string().replace(&here, "")).collect();
    assert_eq!(
        said,
        [
            "postroad.toml:8: tls.certificate: cannot read c.pem: No such file or directory (os error 2)",
            "postroad.toml:9: tls.key: postroad.toml holds nothing in PEM form (-----BEGIN …)",
        ]
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    fs::write(dir.path().join("data"), "").unwrap();
    assert!(loaded.probe()[0].to_string().ends_with("data is not a directory; name another"));
}

#[test]
fn nothing_makes_it_panic_or_overflow() {
    for (dots, stray) in [(78, ""), (15, "]"), (15, "}"), (15, "] }")] {
        let mut deep = String::from("1");
        for _ in 0..78 {
            deep = format!("{{ {}a = {stray} {deep} }}", "a.".repeat(dots));
        }
        assert!(fuzz_parse(format!("x = {deep}").as_bytes()).is_err());
        let opened = format!("{{ {}a = {stray} ", "a.".repeat(dots)).repeat(2000);
        assert!(fuzz_parse(format!("x = {opened}").as_bytes()).is_err());
    }
    assert!(fuzz_parse(format!("{}x = 1", "a.".repeat(200_000)).as_bytes()).is_err());
    assert!(fuzz_parse(format!("x = {}", "[".repeat(200_000)).as_bytes()).is_err());
    assert!(fuzz_parse(b"\xff").is_err());
    assert!(fuzz_parse(GOOD.as_bytes()).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_give_problems_or_a_configuration(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Err(problems) = fuzz_parse(&bytes) {
            prop_assert!(!problems.is_empty());
        }
    }

    #[test]
    fn any_value_of_any_key_gives_problems_or_a_configuration(
        key in "[a-z_]{0,12}(\\.[a-z_0-9\"]{1,12}){0,3}",
        value in "(\"[ -~]{0,20}\"|[0-9]{1,20}|\\[[\"0-9a-z, ]{0,20}\\]|\\{[a-z =0-9\"]{0,20}\\}|true)",
        line in 0_usize..6,
    ) {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        lines.insert(line, format!("{key} = {value}"));
        if let Err(problems) = fuzz_parse(lines.join("\n").as_bytes()) {
            prop_assert!(!problems.is_empty());
        }
    }
}
