//! The socket runner, against the smallest server that can be: a host behind a listener.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test")]

use postroad_proto::server::Offer;
use postroad_testkit::dialogue::Dialogue;
use postroad_testkit::host::{Host, Link};
use postroad_testkit::play::Cut;
use postroad_testkit::tcp::play_tcp;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

/// Serves as many connections as are told of, one after the other, then ends.
fn serve(connections: usize) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            let mut host = Host::new(Offer::new("mx.example.org"), &[]);
            let mut buffer = [0; 4096];
            loop {
                let mut out = Vec::new();
                while let Some(reply) = host.next_reply() {
                    reply.write_to(&mut out);
                }
                // A peer that went away is no failure of the server.
                if stream.write_all(&out).is_err() || host.link() != Link::Open {
                    break;
                }
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(octets) => host.feed(&buffer[..octets]),
                }
            }
        }
    });
    (address, thread)
}

#[test]
fn plain_dialogues_play_over_a_socket() {
    let corpus = postroad_testkit::corpus().unwrap();
    let plain: Vec<&Dialogue> = corpus.iter().filter(|dialogue| dialogue.is_plain()).collect();
    assert!(plain.len() > 50, "only {} dialogues are plain", plain.len());
    let cuts = [Cut::AsWritten, Cut::Whole, Cut::Random(7)];
    let plays: Vec<(&Dialogue, Cut)> = plain
        .iter()
        .flat_map(|&dialogue| cuts.map(|cut| (dialogue, cut)))
        .filter(|(d, cut)| d.allows(*cut))
        .collect();
    let (address, thread) = serve(plays.len());
    let mut failures = Vec::new();
    for (dialogue, cut) in plays {
        let stream = TcpStream::connect(address).unwrap();
        failures.extend(play_tcp(&stream, dialogue, cut).err().map(|mismatch| mismatch.to_string()));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    thread.join().unwrap();
}

#[test]
fn a_wrong_reply_is_told_with_its_line() {
    let text = "# RFC 5321 §3.1: A test.\nS: 220 mx.example.org ESMTP Postroad\nC: NOOP\nS: 250 2.0.0 Else\n";
    let dialogue = Dialogue::parse("x.smtp", text).unwrap();
    let (address, thread) = serve(1);
    let stream = TcpStream::connect(address).unwrap();
    let mismatch = play_tcp(&stream, &dialogue, Cut::AsWritten).unwrap_err();
    assert!(mismatch.to_string().starts_with("x.smtp:4 "), "{mismatch}");
    drop(stream);
    thread.join().unwrap();
}
