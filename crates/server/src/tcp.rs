//! What the system knows of a connection's packets: evidence for why a session stood still.
//!
//! A silence has two causes that look the same from above: the client sends nothing, or the network loses what
//! it sends. TCP can tell them apart: segments that came while one before them was missing, segments of ours
//! that nobody confirmed, a path that takes only small ones. On Linux the figures of `TCP_INFO` come from the
//! system's socket diagnosis (netlink, `sock_diag(7)`): `getsockopt` gives them only to code that is not safe
//! Rust, and `/proc/net/tcp` is as long as the machine has connections. It is one question about one
//! connection, answered from the system's hash table at once and without any right. Where there is no such
//! answer, a segment's size remains. Never fails: what is not known is left out.

use socket2::SockRef;
use tokio::net::TcpStream;

/// Figures by the name that evidence has in a record.
pub(crate) type Figures = Vec<(&'static str, u64)>;

/// What is known of this connection now.
pub(crate) fn figures(stream: &TcpStream) -> Figures {
    #[cfg(target_os = "linux")]
    if let Some(figures) = diagnosis::of(stream).filter(|figures| !figures.is_empty()) {
        return figures;
    }
    SockRef::from(stream).tcp_mss().map(|mss| vec![("tcp-mss-out", mss.into())]).unwrap_or_default()
}

#[cfg(target_os = "linux")]
mod diagnosis {
    //! The question and the answer, laid out as in Linux' `netlink.h`, `inet_diag.h` and `tcp.h`. Numbers are
    //! in the machine's order; ports and addresses in the network's.

    use super::{Figures, TcpStream};
    use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
    use rustix::net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
    };
    use std::net::{IpAddr, SocketAddr};

    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const IPPROTO_TCP: u8 = 6;
    const INET_DIAG_INFO: u16 = 2;
    /// Octets of a message's header.
    const HEAD: usize = 16;
    /// Octets of the question behind it.
    const ASKED: usize = 56;
    /// Octets of the answer behind it, before the attributes.
    const ANSWERED: usize = 72;
    /// Answers have some 400 octets.
    const MOST: usize = 4096;

    /// Where figures stand in `struct tcp_info`, which only ever grows at its end.
    mod place {
        pub(super) const LAST_DATA_RECV: usize = 52;
        pub(super) const LAST_ACK_RECV: usize = 56;
        pub(super) const BY_NAME: [(&str, usize); 6] = [
            ("tcp-retransmits", 100),
            ("tcp-unacked", 24),
            ("tcp-out-of-order", 224),
            ("tcp-mss-in", 20),
            ("tcp-mss-out", 16),
            ("tcp-path-mtu", 60),
        ];
    }

    /// Asks for one connection; nothing if the system does not answer.
    pub(super) fn of(stream: &TcpStream) -> Option<Figures> {
        let question = question(stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let kind = SocketType::DGRAM;
        let socket = socket_with(AddressFamily::NETLINK, kind, SocketFlags::CLOEXEC, Some(SOCK_DIAG)).ok()?;
        sendto(&socket, &question, SendFlags::DONTWAIT, &SocketAddrNetlink::new(0, 0)).ok()?;
        let mut answer = [0; MOST];
        // The answer is there when the question has been taken.
        let (_, length) = recv(&socket, &mut answer, RecvFlags::DONTWAIT).ok()?;
        figures(answer.get(..length)?)
    }

    fn question(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + ASKED);
        let length = u32::try_from(HEAD + ASKED).unwrap_or(0);
        out.extend(length.to_ne_bytes());
        out.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        out.extend(NLM_F_REQUEST.to_ne_bytes());
        // Sequence and sender: there is one question, and the system names the sender.
        out.extend([0; 8]);
        let family = if local.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        out.push(u8::try_from(family.as_raw()).unwrap_or(0));
        out.push(IPPROTO_TCP);
        out.push(1 << (INET_DIAG_INFO - 1));
        out.push(0);
        // In any state.
        out.extend(u32::MAX.to_ne_bytes());
        out.extend(local.port().to_be_bytes());
        out.extend(peer.port().to_be_bytes());
        for address in [local, peer] {
            match address.ip() {
                IpAddr::V4(address) => {
                    out.extend(address.octets());
                    out.extend([0; 12]);
                }
                IpAddr::V6(address) => out.extend(address.octets()),
            }
        }
        let scope = if let SocketAddr::V6(peer) = peer { peer.scope_id() } else { 0 };
        out.extend(scope.to_ne_bytes());
        // No cookie: whichever socket has these addresses now.
        out.extend([0xff; 8]);
        out
    }

    /// Reads an answer; nothing if it is none.
    pub(super) fn figures(answer: &[u8]) -> Option<Figures> {
        let length = usize::try_from(number(answer, 0)?).ok()?;
        let answer = answer.get(..length)?;
        if short(answer, 4)? != SOCK_DIAG_BY_FAMILY {
            return None;
        }
        let mut rest = answer.get(HEAD + ANSWERED..)?;
        // Ends: each attribute has four octets at least.
        while let (Some(length), Some(kind)) = (short(rest, 0), short(rest, 2)) {
            let length = usize::from(length);
            let info = rest.get(4..length)?;
            if kind == INET_DIAG_INFO {
                return Some(read(info));
            }
            rest = rest.get(length.next_multiple_of(4)..)?;
        }
        None
    }

    fn read(info: &[u8]) -> Figures {
        let figure = |(name, at): (&'static str, usize)| Some((name, number(info, at)?.into()));
        let mut figures: Figures = place::BY_NAME.into_iter().filter_map(figure).collect();
        let last = number(info, place::LAST_DATA_RECV).zip(number(info, place::LAST_ACK_RECV));
        figures.extend(last.map(|(data, ack)| ("tcp-idle-ms", u64::from(data.min(ack)))));
        figures
    }

    fn number(octets: &[u8], at: usize) -> Option<u32> {
        octets.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
    }

    fn short(octets: &[u8], at: usize) -> Option<u16> {
        octets.get(at..)?.first_chunk().copied().map(u16::from_ne_bytes)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn pair(address: &str) -> io::Result<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind(address).await?;
        let client = TcpStream::connect(listener.local_addr()?).await?;
        Ok((client, listener.accept().await?.0))
    }

    #[tokio::test]
    async fn the_system_tells_of_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (mut client, mut ours) = pair(address).await.unwrap();
            client.write_all(b"EHLO client.example\r\n").await.unwrap();
            ours.read_u8().await.unwrap();
            let figures = figures(&ours);
            let of = |name| figures.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
            assert_eq!(of("tcp-mss-out"), SockRef::from(&ours).tcp_mss().ok().map(u64::from), "{figures:?}");
            assert!(of("tcp-path-mtu") > of("tcp-mss-out"), "{figures:?}");
        }
    }

    #[test]
    fn odd_answers_give_nothing() {
        let mut answer = vec![0; 88];
        answer[0] = 88;
        answer[4] = 20;
        for (length, kind) in [(0_u8, 2_u8), (3, 2), (255, 2), (4, 9)] {
            let mut odd = answer.clone();
            odd[0] += 4;
            odd.extend([length, 0, kind, 0]);
            assert_eq!(diagnosis::figures(&odd), None, "{length} {kind}");
        }
        for length in 0..answer.len() {
            assert_eq!(diagnosis::figures(&answer[..length]), None);
        }
        let mut whole = answer.clone();
        whole[0] += 4 + 28;
        whole.extend([32, 0, 2, 0]);
        whole.extend([7; 28]);
        let seven = u64::from(u32::from_ne_bytes([7; 4]));
        let known = vec![("tcp-unacked", seven), ("tcp-mss-in", seven), ("tcp-mss-out", seven)];
        assert_eq!(diagnosis::figures(&whole), Some(known), "an old system tells less");
    }
}
