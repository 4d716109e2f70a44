//! How fields become octets and come back: numbers as varints, texts with their length before them.
//!
//! Writing bounds what it writes; reading checks every length, and gives `None` for what is no field. Nothing
//! here allocates by a length that was read.

use crate::reference::Reference;
use postroad_proto::reply::{Class, EnhancedCode};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A text, borrowed from where it was written or read.
pub(crate) type Text<'a> = Cow<'a, str>;

/// Longest text kept, in octets; the rest is cut at a character's boundary.
pub(crate) const MAX_TEXT: usize = 2048;
/// Octets that a list may take; items beyond are not kept. With the other fields an event stays below 64 KiB.
const MAX_LIST: usize = 32 * 1024;

/// Something that can be written and read back.
pub(crate) trait Field<'a>: Sized {
    /// The same with nothing borrowed.
    type Static;
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes it off the front; `None` if the octets are not one.
    fn take(from: &mut &'a [u8]) -> Option<Self>;
    /// Frees it from what it borrows.
    fn into_owned(self) -> Self::Static;
}

/// Takes `count` octets off the front.
pub(crate) fn take_octets<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(taken)
}

/// Takes as many octets off the front as the array has.
pub(crate) fn take_array<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

/// Appends octets with their length before them.
pub(crate) fn put_octets(out: &mut Vec<u8>, octets: &[u8]) {
    (octets.len() as u64).put(out);
    out.extend_from_slice(octets);
}

/// The text up to `limit` octets, whole characters only.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or(text)
}

macro_rules! plain {
    ($kind:ty, $self:ident, $out:ident, $from:ident, $put:block, $take:block) => {
        impl<'a> Field<'a> for $kind {
            type Static = Self;
            fn put(&$self, $out: &mut Vec<u8>) $put
            fn take($from: &mut &'a [u8]) -> Option<Self> $take
            fn into_owned(self) -> Self {
                self
            }
        }
    };
}

plain!(
    u64,
    self,
    out,
    from,
    {
        let mut rest = *self;
        while rest >= 0x80 {
            out.push(low_bits(rest) | 0x80);
            rest >>= 7;
        }
        out.push(low_bits(rest));
    },
    {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [octet] = take_array(from)?;
            let part = u64::from(octet & 0x7f);
            let placed = part << shift;
            if placed >> shift != part {
                return None;
            }
            number |= placed;
            if octet < 0x80 {
                return Some(number);
            }
        }
        None
    }
);

plain!(u32, self, out, from, { u64::from(*self).put(out) }, { u64::take(from)?.try_into().ok() });
plain!(u16, self, out, from, { u64::from(*self).put(out) }, { u64::take(from)?.try_into().ok() });
plain!(u8, self, out, from, { out.push(*self) }, { take_array::<1>(from).map(|[octet]| octet) });

plain!(
    Reference,
    self,
    out,
    from,
    {
        let [_, _, _, bits @ ..] = self.bits().to_be_bytes();
        out.extend_from_slice(&bits);
    },
    {
        let bits = take_array::<5>(from)?;
        Some(Self::from_bits(bits.into_iter().fold(0, |bits, octet| (bits << 8) | u64::from(octet))))
    }
);

plain!(
    EnhancedCode,
    self,
    out,
    from,
    {
        out.push(self.class() as u8);
        self.subject().put(out);
        self.detail().put(out);
    },
    {
        let class = match u8::take(from)? {
            2 => Class::Success,
            4 => Class::Transient,
            5 => Class::Permanent,
            _ => return None,
        };
        Self::new(class, u16::take(from)?, u16::take(from)?)
    }
);

plain!(
    SocketAddr,
    self,
    out,
    from,
    {
        match self.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend_from_slice(&ip.octets());
            }
        }
        out.extend_from_slice(&self.port().to_be_bytes());
    },
    {
        let ip = match u8::take(from)? {
            4 => IpAddr::V4(Ipv4Addr::from(take_array::<4>(from)?)),
            6 => IpAddr::V6(Ipv6Addr::from(take_array::<16>(from)?)),
            _ => return None,
        };
        Some(Self::new(ip, u16::from_be_bytes(take_array(from)?)))
    }
);

impl<'a> Field<'a> for Text<'a> {
    type Static = Text<'static>;
    fn put(&self, out: &mut Vec<u8>) {
        put_octets(out, cut(self, MAX_TEXT).as_bytes());
    }
    fn take(from: &mut &'a [u8]) -> Option<Self> {
        let length = usize::try_from(u64::take(from)?).ok()?;
        std::str::from_utf8(take_octets(from, length)?).ok().map(Cow::Borrowed)
    }
    fn into_owned(self) -> Self::Static {
        Cow::Owned(Self::into_owned(self))
    }
}

impl<'a> Field<'a> for Cow<'a, [u8]> {
    type Static = Cow<'static, [u8]>;
    fn put(&self, out: &mut Vec<u8>) {
        put_octets(out, self.get(..MAX_TEXT).unwrap_or(self));
    }
    fn take(from: &mut &'a [u8]) -> Option<Self> {
        let length = usize::try_from(u64::take(from)?).ok()?;
        take_octets(from, length).map(Cow::Borrowed)
    }
    fn into_owned(self) -> Self::Static {
        Cow::Owned(Self::into_owned(self))
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    type Static = Option<T::Static>;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(inner) = self {
            inner.put(out);
        }
    }
    /// Where nothing stands any more, an older server wrote the event, which had no such field.
    fn take(from: &mut &'a [u8]) -> Option<Self> {
        if from.is_empty() {
            return Some(None);
        }
        match u8::take(from)? {
            0 => Some(None),
            1 => T::take(from).map(Some),
            _ => None,
        }
    }
    fn into_owned(self) -> Self::Static {
        self.map(T::into_owned)
    }
}

impl<'a, A: Field<'a>, B: Field<'a>> Field<'a> for (A, B) {
    type Static = (A::Static, B::Static);
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(from: &mut &'a [u8]) -> Option<Self> {
        Some((A::take(from)?, B::take(from)?))
    }
    fn into_owned(self) -> Self::Static {
        (self.0.into_owned(), self.1.into_owned())
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    type Static = Vec<T::Static>;
    /// The length in octets stands before the items, so that they need no count.
    fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0, 0]);
        for item in self {
            let before = out.len();
            item.put(out);
            if out.len() - start > MAX_LIST {
                out.truncate(before);
                break;
            }
        }
        patch_length(out, start);
    }
    fn take(from: &mut &'a [u8]) -> Option<Self> {
        let length = u16::from_le_bytes(take_array(from)?);
        let mut items = take_octets(from, usize::from(length))?;
        let mut list = Self::new();
        while !items.is_empty() {
            list.push(T::take(&mut items)?);
        }
        Some(list)
    }
    fn into_owned(self) -> Self::Static {
        self.into_iter().map(T::into_owned).collect()
    }
}

/// The lowest seven bits.
fn low_bits(number: u64) -> u8 {
    u8::try_from(number & 0x7f).unwrap_or(0)
}

/// Writes into the two octets at `start` how many octets came after them.
pub(crate) fn patch_length(out: &mut [u8], start: usize) {
    let length = u16::try_from(out.len().saturating_sub(start + 2)).unwrap_or(u16::MAX);
    if let Some(place) = out.get_mut(start..start + 2) {
        place.copy_from_slice(&length.to_le_bytes());
    }
}
