//! Pages as text for a terminal, Markdown, HTML and JSON.

mod html;
mod json;
mod markdown;
mod text;

pub(crate) use html::STYLE;
pub use html::{document, escape, fragment};
pub use json::json;
pub use markdown::markdown;
pub use text::{Look, text};
