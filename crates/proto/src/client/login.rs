//! AUTH with a user and a password: the lines of PLAIN and LOGIN.
//!
//! RFC 4954 §4 (the exchange, and when an initial response fits), RFC 4616 (PLAIN). A name or password
//! that no mechanism can carry is refused when the [`Login`] is made.

use crate::base64;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why a user and password cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoginError {
    /// The user is empty.
    NoUser,
    /// PLAIN parts its fields with NUL, so none may hold one (RFC 4616 §2).
    Nul,
    /// User and password together are longer than an exchange line can carry (RFC 4954 §4).
    TooLong,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUser => "the user name is empty",
            Self::Nul => "user name and password cannot hold a NUL octet",
            Self::TooLong => "user name and password are longer than 9,000 octets together",
        })
    }
}

impl core::error::Error for LoginError {}

/// User and password for AUTH. Printing it shows no password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: String,
    password: String,
}

/// 12,288 octets of base64 (RFC 4954 §4) carry 9,216.
const MAX_LOGIN: usize = 9000;

impl Login {
    /// A login, if the mechanisms can carry it.
    pub fn new(user: &str, password: &str) -> Result<Self, LoginError> {
        if user.is_empty() {
            return Err(LoginError::NoUser);
        }
        if user.contains('\0') || password.contains('\0') {
            return Err(LoginError::Nul);
        }
        if user.len() + password.len() > MAX_LOGIN {
            return Err(LoginError::TooLong);
        }
        Ok(Self { user: user.into(), password: password.into() })
    }

    /// The one response of PLAIN.
    pub(super) fn plain(&self) -> String {
        let mut fields = Vec::with_capacity(self.user.len() + self.password.len() + 2);
        fields.push(0);
        fields.extend_from_slice(self.user.as_bytes());
        fields.push(0);
        fields.extend_from_slice(self.password.as_bytes());
        base64::encode(&fields)
    }

    /// The first response of LOGIN.
    pub(super) fn user(&self) -> String {
        base64::encode(self.user.as_bytes())
    }

    /// The second response of LOGIN.
    pub(super) fn password(&self) -> String {
        base64::encode(self.password.as_bytes())
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
