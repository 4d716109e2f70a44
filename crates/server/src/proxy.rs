//! The PROXY protocol header, versions 1 and 2, which a load balancer puts in front of a connection.
//!
//! After `HAProxy`'s proxy-protocol.txt. Pure: bytes in, the true peer out. Bounded: version 1 has at
//! most 107 octets, of version 2 at most 536 are taken. Anything else is a [`ProxyError`], and the
//! connection is closed: behind a listener that requires the header nobody speaks without it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1 with its CRLF.
const V1_MAX: usize = 107;
/// Longest header of version 2 that is taken: the addresses and some extras.
pub(crate) const MAX: usize = 536;
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Why there is no usable header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// What came is no PROXY header.
    NotAHeader,
    /// The header is malformed.
    Malformed,
    /// The header is longer than anyone needs.
    TooLong,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAHeader => "no PROXY header came first",
            Self::Malformed => "the PROXY header is malformed",
            Self::TooLong => "the PROXY header is too long",
        })
    }
}

impl std::error::Error for ProxyError {}

/// A whole header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The true peer; `None` for the proxy's own connections (`LOCAL`, `UNKNOWN`).
    pub peer: Option<SocketAddr>,
    /// Octets of the header.
    pub length: usize,
}

/// Reads a header from the first octets of a connection; `Ok(None)` means more are needed.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let common = bytes.len().min(V2_SIGNATURE.len());
    if bytes.get(..common) == V2_SIGNATURE.get(..common) {
        if bytes.len() < V2_SIGNATURE.len() { Ok(None) } else { parse_v2(bytes) }
    } else {
        parse_v1(bytes)
    }
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    const WORD: &[u8] = b"PROXY ";
    let common = bytes.len().min(WORD.len());
    if bytes.get(..common) != WORD.get(..common) {
        return Err(ProxyError::NotAHeader);
    }
    let Some(end) = memchr::memmem::find(bytes.get(..V1_MAX.min(bytes.len())).unwrap_or_default(), b"\r\n")
    else {
        return if bytes.len() >= V1_MAX { Err(ProxyError::TooLong) } else { Ok(None) };
    };
    let line =
        bytes.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProxyError::Malformed)?;
    let mut words = line.split(' ').skip(1);
    let peer = match words.next() {
        Some("UNKNOWN") => None,
        Some(family @ ("TCP4" | "TCP6")) => {
            let mut word = || words.next().ok_or(ProxyError::Malformed);
            let (source, target, port, target_port) = (word()?, word()?, word()?, word()?);
            let address = |text: &str| -> Result<IpAddr, ProxyError> {
                let address: IpAddr = text.parse().map_err(|_bad| ProxyError::Malformed)?;
                if address.is_ipv4() == (family == "TCP4") { Ok(address) } else { Err(ProxyError::Malformed) }
            };
            let port_number = |text: &str| text.parse::<u16>().map_err(|_bad| ProxyError::Malformed);
            address(target)?;
            port_number(target_port)?;
            if words.next().is_some() {
                return Err(ProxyError::Malformed);
            }
            Some(SocketAddr::new(address(source)?, port_number(port)?))
        }
        Some(_) | None => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { peer, length: end + 2 }))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some(&[version, family, high, low]) = bytes.get(12..16) else { return Ok(None) };
    let length = 16 + usize::from(u16::from_be_bytes([high, low]));
    if length > MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(body) = bytes.get(16..length) else { return Ok(None) };
    let peer = match (version, family) {
        (0x21, 0x11) => {
            let address: [u8; 4] = part(body, 0)?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), u16::from_be_bytes(part(body, 8)?)))
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = part(body, 0)?;
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), u16::from_be_bytes(part(body, 32)?)))
        }
        // LOCAL, where the proxy speaks for itself, or a family we do not speak over: no peer.
        (0x20 | 0x21, _) => None,
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(Header { peer, length }))
}

fn part<const N: usize>(body: &[u8], at: usize) -> Result<[u8; N], ProxyError> {
    body.get(at..at + N).and_then(|part| part.try_into().ok()).ok_or(ProxyError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\nEHLO";
        for cut in 0..44 {
            assert_eq!(parse(&line[..cut]), Ok(None), "{cut}");
        }
        let peer = Some("192.0.2.1:56324".parse().unwrap());
        assert_eq!(parse(line), Ok(Some(Header { peer, length: 44 })));
        assert_eq!(parse(b"PROXY UNKNOWN\r\n"), Ok(Some(Header { peer: None, length: 15 })));
        assert_eq!(parse(b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n"), Err(ProxyError::Malformed));
        assert_eq!(parse(b"EHLO x\r\n"), Err(ProxyError::NotAHeader));
        assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'x'; 200]].concat()), Err(ProxyError::TooLong));
    }

    #[test]
    fn version_2() {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend([0x21, 0x11, 0, 12, 192, 0, 2, 1, 198, 51, 100, 1, 0x10, 0x20, 0, 25]);
        for cut in 0..28 {
            assert_eq!(parse(&header[..cut]), Ok(None), "{cut}");
        }
        let peer = Some("192.0.2.1:4128".parse().unwrap());
        assert_eq!(parse(&header), Ok(Some(Header { peer, length: 28 })));
        let mut local = V2_SIGNATURE.to_vec();
        local.extend([0x20, 0, 0, 0]);
        assert_eq!(parse(&local), Ok(Some(Header { peer: None, length: 16 })));
        let mut long = V2_SIGNATURE.to_vec();
        long.extend([0x21, 0x11, 0xff, 0xff]);
        assert_eq!(parse(&long), Err(ProxyError::TooLong));
        let mut short = V2_SIGNATURE.to_vec();
        short.extend([0x21, 0x11, 0, 2, 1, 2]);
        assert_eq!(parse(&short), Err(ProxyError::Malformed));
    }
}
