//! Raw bytes written as text: the `c:` and `m:` lines of a dialogue.
//!
//! `\r \n \t \0 \\ \{ \} \xNN` stand for one octet each, `{text}*N` for `text` N times over (groups
//! do not nest); every other character stands for its UTF-8 octets. Reading fails with a sentence;
//! it never guesses. [`show`] is the way back, for messages to people.

/// Most octets that one line may stand for, so that a slip in a repeat count cannot fill the memory.
pub const MAX_EXPANDED: usize = 4 << 20;

/// Reads escaped text.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut group: Option<usize> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(escape(&mut chars)?),
            '{' if group.is_some() => return Err("a {group} cannot stand in another".into()),
            '{' => group = Some(out.len()),
            '}' => {
                let start = group.take().ok_or("a } without its {; write \\} for the character")?;
                let (times, rest) = count(chars.as_str())?;
                chars = rest.chars();
                let unit = out.split_off(start);
                if unit.len().saturating_mul(times).saturating_add(out.len()) > MAX_EXPANDED {
                    return Err(format!("the line stands for more than {MAX_EXPANDED} octets"));
                }
                out.extend(unit.repeat(times));
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    if group.is_some() { Err("a { without its }; write \\{ for the character".into()) } else { Ok(out) }
}

fn escape(chars: &mut std::str::Chars<'_>) -> Result<u8, String> {
    match chars.next() {
        Some('r') => Ok(b'\r'),
        Some('n') => Ok(b'\n'),
        Some('t') => Ok(b'\t'),
        Some('0') => Ok(0),
        Some(c @ ('\\' | '{' | '}')) => u8::try_from(c).map_err(|e| e.to_string()),
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == 2);
            byte.ok_or_else(|| format!("\\x{digits} is not \\xNN"))
        }
        Some(c) => Err(format!("\\{c} is no escape; known are \\r \\n \\t \\0 \\\\ \\{{ \\}} \\xNN")),
        None => Err("a \\ at the end of the line".into()),
    }
}

/// Reads the `*N` after a group; gives N and what follows.
fn count(text: &str) -> Result<(usize, &str), String> {
    let rest = text.strip_prefix('*').ok_or("a {group} needs a count, as in {text}*20")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = rest.split_at_checked(digits).unwrap_or((rest, ""));
    let times = number.parse().map_err(|_bad| format!("{number:?} is no count for a {{group}}"))?;
    Ok((times, rest))
}

/// Writes bytes so that a person can read them and [`unescape`] gives them back.
pub fn show(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\r' => out.push_str("\\r"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\0' => out.push_str("\\0"),
                '\\' | '{' | '}' => out.extend(['\\', c]),
                c if c.is_control() => out.extend(c.encode_utf8(&mut [0; 4]).bytes().map(hex)),
                c => out.push(c),
            }
        }
        out.extend(chunk.invalid().iter().copied().map(hex));
    }
    out
}

fn hex(byte: u8) -> String {
    format!("\\x{byte:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_mean_what_the_head_of_the_module_says() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("a b", b"a b"),
            ("\\r\\n\\t\\0\\\\\\{\\}\\xfF", b"\r\n\t\0\\{}\xff"),
            ("x{ab}*3y", b"xabababy"),
            ("{\\r\\n}*2", b"\r\n\r\n"),
            ("{a}*0", b""),
            ("\u{e9}", b"\xc3\xa9"),
        ] {
            assert_eq!(unescape(text).unwrap(), bytes, "{text}");
        }
        for bad in
            ["\\q", "\\", "\\x1", "\\xzz", "{a", "a}", "{a}", "{a}*", "{a}*x", "{{a}*1}*1", "{a}*9999999"]
        {
            assert!(unescape(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_octet_is_shown_and_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&show(&all)).unwrap(), all);
        assert_eq!(unescape(&show("\u{85}é".as_bytes())).unwrap(), "\u{85}é".as_bytes());
    }
}
