//! Pages as text for a terminal, Markdown, HTML and JSON.

mod html;
mod json;
mod markdown;
mod text;

pub(crate) use html::STYLE;
pub use html::{document, escape, fragment};
pub use json::{json, json_text};
pub use markdown::markdown;
pub use text::{Look, text};

/// Whether a character turns the direction of what follows, or hides itself: a stranger's text that holds
/// some reads as another (UAX #9 §2).
const fn turns(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
