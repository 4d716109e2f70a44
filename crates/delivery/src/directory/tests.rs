use super::*;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn domain(name: &str, mailboxes: &[&str], aliases: &[(&str, &[&str])]) -> DomainSettings {
    DomainSettings {
        name: Domain::parse(name).unwrap(),
        mailboxes: mailboxes.iter().map(ToString::to_string).collect(),
        aliases: aliases
            .iter()
            .map(|(name, targets)| Alias {
                name: (*name).into(),
                targets: targets.iter().map(|target| mailbox(target)).collect(),
            })
            .collect(),
        catch_all: vec![],
        separator: Some('+'),
    }
}

fn build(domains: Vec<DomainSettings>) -> Result<Directory, Vec<DirectoryError>> {
    Directory::build(&DirectorySettings { domains, unlisted: Unlisted::Refuse })
}

fn complaint(domains: Vec<DomainSettings>) -> String {
    let errors = build(domains).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What an address means, as text: mailboxes, `unknown` or `not ours`.
fn means(directory: &Directory, address: &str) -> String {
    match directory.resolve(&ForwardPath::parse(&format!("<{address}>")).unwrap()) {
        Resolution::Deliver(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        Resolution::NoSuchMailbox => "unknown".into(),
        Resolution::NotOurs => "not ours".into(),
    }
}

#[test]
fn names_are_found_in_any_case_and_with_a_detail() {
    let directory = build(vec![
        domain(
            "Example.org",
            &["Bob", "carol", "bob+lists", "a b"],
            &[
                ("sales", &["bob@example.org", "CAROL@example.org"]),
                ("all", &["sales@example.org", "bob@example.org"]),
            ],
        ),
        DomainSettings { separator: None, ..domain("example.net", &["dave"], &[]) },
    ])
    .unwrap();
    for (address, expected) in [
        ("bob@example.org", "Bob@Example.org"),
        ("BOB@EXAMPLE.ORG", "Bob@Example.org"),
        ("bob+x@example.org", "Bob@Example.org"),
        ("bob+x+y@example.org", "Bob@Example.org"),
        ("bob+LISTS@example.org", "bob+lists@Example.org"),
        ("sales+x@example.org", "Bob@Example.org carol@Example.org"),
        ("all@example.org", "Bob@Example.org carol@Example.org"),
        ("\"a b\"@example.org", "\"a b\"@Example.org"),
        ("+x@example.org", "unknown"),
        ("eve@example.org", "unknown"),
        ("dave+x@example.net", "unknown"),
        ("bob@example.com", "not ours"),
        ("bob@sub.example.org", "not ours"),
    ] {
        assert_eq!(means(&directory, address), expected, "{address}");
    }
}

#[test]
fn both_forms_of_an_international_domain_are_one_domain() {
    let u_label = domain("Bücher.example", &["Änne"], &[("all", &["änne@xn--bcher-kva.example"])]);
    let directory = build(vec![u_label.clone()]).unwrap();
    for address in [
        "änne@bücher.example",
        "ÄNNE@BÜCHER.EXAMPLE",
        "änne@bu\u{308}cher.example",
        "a\u{308}nne@BU\u{308}CHER.example",
        "änne@xn--bcher-kva.example",
        "änne@XN--BCHER-KVA.Example",
        "all@bücher.example",
    ] {
        assert_eq!(means(&directory, address), "Änne@Bücher.example", "{address}");
    }
    let a_label = domain("xn--bcher-kva.example", &["anna"], &[]);
    let directory = build(vec![a_label.clone()]).unwrap();
    assert_eq!(means(&directory, "anna@bücher.example"), "anna@xn--bcher-kva.example");
    for other in ["anna@bucher.example", "anna@xn--bcher.example", "anna@xn--bcher-kva.test"] {
        assert_eq!(means(&directory, other), "not ours", "{other}");
    }
    assert!(complaint(vec![u_label, a_label]).contains("xn--bcher-kva.example is there twice"));

    let take = Directory::build(&DirectorySettings { unlisted: Unlisted::Take, ..Default::default() });
    assert_eq!(means(&take.unwrap(), "anna@BÜCHER.example"), "anna@bücher.example");
}

#[test]
fn a_domain_that_is_no_international_name_is_compared_as_it_is_written() {
    for (name, key) in [
        ("Example.ORG", "example.org"),
        ("_x.Example", "_x.example"),
        ("xn--.example", "xn--.example"),
        ("XN--Zz!.example", "xn--zz!.example"),
        ("_x.Bücher.example", "_x.xn--bcher-kva.example"),
        ("a\u{ff20}b.example", "a\u{ff20}b.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
    ] {
        let domain = Domain::parse(name).unwrap_or_else(|_| Domain::Name(name.into()));
        assert_eq!(domain_key(&domain), key, "{name}");
    }
}

#[test]
fn postmaster_always_works() {
    let directory = build(vec![
        domain("first.example", &["anna", "ben"], &[]),
        domain("alias.example", &["carl"], &[("PostMaster", &["ben@first.example"])]),
        domain("own.example", &["carl", "postmaster"], &[]),
        DomainSettings {
            catch_all: vec![mailbox("ben@first.example")],
            ..domain("all.example", &["dora"], &[])
        },
        domain("empty.example", &[], &[]),
    ])
    .unwrap();
    assert_eq!(means(&directory, "Postmaster"), "anna@first.example");
    for (address, expected) in [
        ("postmaster@first.example", "anna@first.example"),
        ("POSTMASTER+x@first.example", "anna@first.example"),
        ("postmaster@alias.example", "ben@first.example"),
        ("postmaster@own.example", "postmaster@own.example"),
        ("postmaster@all.example", "ben@first.example"),
        ("postmaster@empty.example", "anna@first.example"),
    ] {
        assert_eq!(means(&directory, address), expected, "{address}");
    }
    assert_eq!(complaint(vec![]), "there is no domain: name at least one, for its postmaster");
    assert!(complaint(vec![domain("empty.example", &[], &[])]).contains("needs a mailbox"));
}

#[test]
fn a_catch_all_takes_the_rest_of_its_domain_only() {
    let directory = build(vec![
        DomainSettings {
            catch_all: vec![mailbox("bob@a.example")],
            ..domain("a.example", &["bob", "carol"], &[])
        },
        domain("b.example", &["dave"], &[]),
    ])
    .unwrap();
    assert_eq!(means(&directory, "carol@a.example"), "carol@a.example");
    assert_eq!(means(&directory, "whoever@a.example"), "bob@a.example");
    assert_eq!(means(&directory, "whoever@b.example"), "unknown");
}

#[test]
fn any_recipient_mode_takes_every_address_and_keeps_what_is_listed() {
    let settings = DirectorySettings {
        domains: vec![domain("a.example", &["bob"], &[("sales", &["bob@a.example", "x@elsewhere.example"])])],
        unlisted: Unlisted::Take,
    };
    let directory = Directory::build(&settings).unwrap();
    assert_eq!(means(&directory, "sales@a.example"), "bob@a.example x@elsewhere.example");
    assert_eq!(means(&directory, "Eve@a.example"), "eve@a.example");
    assert_eq!(means(&directory, "Eve@Other.example"), "eve@other.example");
    let bare = Directory::build(&DirectorySettings { domains: vec![], unlisted: Unlisted::Take }).unwrap();
    assert_eq!(means(&bare, "Postmaster"), "postmaster@localhost");
    assert_eq!(means(&bare, "postmaster@x.example"), "postmaster@x.example");
}

#[test]
fn loops_are_told_with_their_way() {
    let circle = domain(
        "a.example",
        &["bob"],
        &[("x", &["y@a.example"]), ("y", &["bob@a.example", "Z@a.example"]), ("z", &["x@a.example"])],
    );
    assert_eq!(
        complaint(vec![circle]),
        "aliases go round in a circle: x@a.example -> y@a.example -> Z@a.example -> x@a.example"
    );
    let alone = domain("a.example", &["bob"], &[("x", &["x@a.example"])]);
    assert_eq!(complaint(vec![alone]), "aliases go round in a circle: x@a.example -> x@a.example");
}

#[test]
fn an_alias_may_keep_a_copy_for_the_mailbox_of_its_name() {
    let directory = build(vec![domain(
        "a.example",
        &["bob", "archive"],
        &[("bob", &["bob@a.example", "archive@a.example"]), ("team", &["bob@a.example"])],
    )])
    .unwrap();
    assert_eq!(means(&directory, "bob@a.example"), "bob@a.example archive@a.example");
    assert_eq!(means(&directory, "team@a.example"), "bob@a.example archive@a.example");
}

#[test]
fn wrong_settings_are_all_named() {
    let wrong = domain(
        "a.example",
        &["bob", "BOB", ""],
        &[("r", &["x@far.example"]), ("n", &["nobody@a.example"]), ("e", &[])],
    );
    let said = complaint(vec![wrong, domain("A.example", &[], &[])]);
    for part in [
        "BOB@a.example is there twice",
        "the domain A.example is there twice",
        "\"\" cannot be a name",
        "alias r@a.example: x@far.example is not in a domain served here",
        "alias n@a.example: there is no mailbox or alias nobody@a.example",
        "the alias e@a.example has no target",
    ] {
        assert!(said.contains(part), "{part:?} is missing in {said:?}");
    }
}

#[test]
fn depth_and_width_of_aliases_are_bounded() {
    let chain = |length: usize| {
        let mut settings = domain("a.example", &["bob"], &[]);
        for n in 0..length {
            let next = if n + 1 == length { "bob@a.example".into() } else { format!("n{}@a.example", n + 1) };
            settings.aliases.push(Alias { name: format!("n{n}"), targets: vec![mailbox(&next)] });
        }
        build(vec![settings])
    };
    assert_eq!(means(&chain(MAX_DEPTH).unwrap(), "n0@a.example"), "bob@a.example");
    assert_eq!(chain(MAX_DEPTH + 1).unwrap_err(), [DirectoryError::TooDeep("alias n0@a.example".into())]);

    let mut wide = domain("a.example", &[], &[]);
    wide.mailboxes = (0..=MAX_TARGETS).map(|n| format!("m{n}")).collect();
    let targets = wide.mailboxes.iter().map(|name| mailbox(&format!("{name}@a.example"))).collect();
    wide.aliases.push(Alias { name: "all".into(), targets });
    assert_eq!(
        build(vec![wide]).unwrap_err(),
        [DirectoryError::TooManyTargets("alias all@a.example".into())]
    );
}

#[test]
fn a_lattice_of_aliases_is_walked_once() {
    // each layer names both of the next: 2^15 ways, 30 names
    let mut settings = domain("a.example", &["bob"], &[]);
    for layer in 0..15 {
        for side in ["l", "r"] {
            let targets = if layer == 14 {
                vec![mailbox("bob@a.example")]
            } else {
                ["l", "r"].map(|next| mailbox(&format!("{next}{}@a.example", layer + 1))).to_vec()
            };
            settings.aliases.push(Alias { name: format!("{side}{layer}"), targets });
        }
    }
    assert_eq!(means(&build(vec![settings]).unwrap(), "l0@a.example"), "bob@a.example");
}

#[test]
fn each_mailbox_gets_one_delivery() {
    let directory = build(vec![domain(
        "a.example",
        &["bob", "carol"],
        &[("sales", &["bob@a.example", "carol@a.example"])],
    )])
    .unwrap();
    let accepted =
        ["<BOB@a.example>", "<sales@a.example>", "<carol+x@a.example>", "<Postmaster>"].map(|text| {
            let path = ForwardPath::parse(text).unwrap();
            let mailboxes = directory.resolve(&path).mailboxes().unwrap();
            (path, mailboxes)
        });
    let recipients = final_recipients(accepted);
    assert_eq!(
        recipients,
        [
            Recipient { mailbox: mailbox("bob@a.example"), original: None },
            Recipient { mailbox: mailbox("carol@a.example"), original: Some(mailbox("sales@a.example")) },
        ]
    );
    let postmaster = final_recipients([(ForwardPath::Postmaster, vec![mailbox("bob@a.example")])]);
    assert_eq!(postmaster[0].original, Some(mailbox("postmaster@a.example")));
    let refusal = directory.resolve(&ForwardPath::parse("<eve@a.example>").unwrap()).mailboxes().unwrap_err();
    assert_eq!(refusal.reply().code(), 550);
    let refusal = directory.resolve(&ForwardPath::parse("<eve@b.example>").unwrap()).mailboxes().unwrap_err();
    assert_eq!(refusal.reply().to_string(), "550 5.7.1 Relay denied: that domain is not served here");
}
