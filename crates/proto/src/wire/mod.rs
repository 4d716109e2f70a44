//! From bytes to lines and content: what RFC 5321 §2.3.8 and §4.5.2 and RFC 3030 say about octets.
//!
//! [`data::Decoder`] finds the end of DATA content and takes stuffed dots away; [`filter::Filter`]
//! settles bare CR and LF, NUL, line lengths and size for DATA and BDAT alike, so that both store
//! the same bytes. Nothing here fails; what is wrong with content is reported by the filter.

pub mod data;
pub mod false_end;
pub mod filter;
