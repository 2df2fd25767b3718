//! What of a component's bytes may reach a terminal: text, tabs and colours. All else is shown escaped, so
//! that no output can move the cursor, set a title, reach the clipboard, reorder text or forge a prefix.

/// The end of all colours and styles.
const SGR_RESET: &[u8] = b"\x1b[0m";

/// A longer sequence is no colour that anybody means.
const SGR_MAX: usize = 64;

/// Bytes that may have to be escaped: C0 but tab, DEL, and the first bytes of the UTF-8 of [`hidden`].
const SUSPECT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = byte != 0x09;
        byte += 1;
    }
    table[0x7f] = true;
    table[0xc2] = true; // U+0080..U+009F
    table[0xd8] = true; // U+061C
    table[0xe2] = true; // U+200E.., U+2028.., U+2066..
    table[0xef] = true; // U+FFF9..U+FFFB
    table[0xf3] = true; // U+E0000..U+E007F
    table
};

/// Appends `line`, which holds no line's end, to `out` as a terminal may have it.
///
/// Colours and styles (SGR) pass if `color`, else they are left out; whatever of them is still on at the
/// end is switched off. Tabs pass. Other control characters are shown as `\xNN`, as are bytes that are not
/// UTF-8; C1 and bidirectional controls, line separators and invisible tags as `\u{…}`.
pub fn escape_line(line: &[u8], color: bool, out: &mut Vec<u8>) {
    let mut styled = false;
    for chunk in line.utf8_chunks() {
        styled |= escape_text(chunk.valid(), color, out);
        for byte in chunk.invalid() {
            escape_byte(*byte, out);
        }
    }
    if styled {
        out.extend_from_slice(SGR_RESET);
    }
}

/// Whether a colour was let through.
fn escape_text(text: &str, color: bool, out: &mut Vec<u8>) -> bool {
    let bytes = text.as_bytes();
    let mut styled = false;
    let mut at = 0;
    while let Some(skip) = bytes[at..].iter().position(|byte| SUSPECT[usize::from(*byte)]) {
        out.extend_from_slice(&bytes[at..at + skip]);
        at += skip;
        if let Some(len) = sgr(&bytes[at..]) {
            if color {
                out.extend_from_slice(&bytes[at..at + len]);
                styled = true;
            }
            at += len;
        } else {
            // `at` is a boundary: all before it were whole characters.
            let Some(character) = text[at..].chars().next() else { break };
            escape_char(character, out);
            at += character.len_utf8();
        }
    }
    out.extend_from_slice(&bytes[at..]);
    styled
}

fn escape_char(character: char, out: &mut Vec<u8>) {
    if character.is_ascii() {
        escape_byte(character as u8, out);
    } else if hidden(character) {
        out.extend(character.escape_unicode().map(|c| c as u8));
    } else {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn escape_byte(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// Characters beyond ASCII that a terminal obeys, or a reader can't see.
fn hidden(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}'                          // C1
        | '\u{61c}' | '\u{200e}' | '\u{200f}'        // bidirectional marks
        | '\u{2028}'..='\u{202e}'                    // line and paragraph separator, embeddings, overrides
        | '\u{2066}'..='\u{2069}'                    // isolates
        | '\u{fff9}'..='\u{fffb}'                    // interlinear annotation
        | '\u{e0000}'..='\u{e007f}') // tags
}

/// The length of the SGR sequence (`ESC [ digits ; : m`) that `bytes` begins with.
#[must_use]
pub fn sgr(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let end = parameters.iter().take(SGR_MAX).position(|byte| !matches!(byte, b'0'..=b'9' | b';' | b':'))?;
    (parameters[end] == b'm').then_some(end + 3)
}

/// Without the carriage returns at the end: `\r\n` is a line's end, and a terminal adds a second one.
#[must_use]
pub fn without_returns(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
    &line[..end]
}

/// How much of `bytes` can be cut off without cutting a character or a colour in two.
#[must_use]
pub fn whole(bytes: &[u8]) -> usize {
    let near_end = bytes.len().saturating_sub(SGR_MAX + 2);
    let tail = &bytes[near_end..];
    if let Some(at) = tail.iter().rposition(|byte| *byte == 0x1b)
        && sgr(&tail[at..]).is_none()
        && near_end + at > 0
    {
        return near_end + at;
    }
    whole_characters(bytes)
}

/// How much of `bytes` can be cut off without cutting a character in two.
#[must_use]
pub fn whole_characters(bytes: &[u8]) -> usize {
    let start = bytes.iter().rposition(|byte| byte & 0b1100_0000 != 0b1000_0000).unwrap_or(0);
    let len = match bytes.get(start) {
        Some(0xc0..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf7) => 4,
        _ => 1,
    };
    if start > 0 && start + len > bytes.len() { start } else { bytes.len() }
}

#[cfg(test)]
mod tests {
    use super::escape_line;

    fn shown(line: &[u8], color: bool) -> String {
        let mut out = Vec::new();
        escape_line(line, color, &mut out);
        String::from_utf8(out).expect("what is shown is always UTF-8")
    }

    #[test]
    fn every_c0_but_tab_and_del_is_shown_as_hex() {
        for byte in (0..0x20).chain([0x7f]).filter(|byte| *byte != b'\t') {
            assert_eq!(shown(&[b'a', byte, b'b'], true), format!("a\\x{byte:02x}b"));
        }
        assert_eq!(shown(b"a\tb", true), "a\tb");
    }

    #[test]
    fn every_c1_is_shown_as_a_code_point_and_as_a_bare_byte_as_hex() {
        for code in 0x80..=0x9f_u8 {
            assert_eq!(shown(char::from(code).to_string().as_bytes(), true), format!("\\u{{{code:x}}}"));
            assert_eq!(shown(&[code], true), format!("\\x{code:02x}"));
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        let cases: [(&[u8], &str); 13] = [
            (b"\x1b]52;c;aGk=\x07", r"\x1b]52;c;aGk=\x07"),
            (b"\x1b]0;title\x1b\\", r"\x1b]0;title\x1b\"),
            (b"\x1b]8;;http://x\x07y", r"\x1b]8;;http://x\x07y"),
            (b"\x1bP1$r\x1b\\", r"\x1bP1$r\x1b\"),
            (b"\x1b_apc\x1b\\", r"\x1b_apc\x1b\"),
            (b"\x1b[2J", r"\x1b[2J"),
            (b"\x1b[?25l", r"\x1b[?25l"),
            (b"\x1b[>4;2m", r"\x1b[>4;2m"),
            (b"\x1b[1 m", r"\x1b[1 m"),
            (b"\x1bc", r"\x1bc"),
            (b"\x1b", r"\x1b"),
            (b"\x1b[3", r"\x1b[3"),
            (b"10%\r20%", r"10%\x0d20%"),
        ];
        for (line, expected) in cases {
            assert_eq!(shown(line, true), expected);
            assert_eq!(shown(line, false), expected);
        }
    }

    #[test]
    fn colours_pass_and_end_with_the_line_or_are_left_out() {
        for line in ["\x1b[31mred", "\x1b[mred", "\x1b[1;38;5;200mred", "\x1b[38:2::1:2:3mred"] {
            assert_eq!(shown(line.as_bytes(), true), format!("{line}\x1b[0m"));
            assert_eq!(shown(line.as_bytes(), false), "red");
        }
        let long = format!("\x1b[{}mx", "1;".repeat(40));
        assert_eq!(shown(long.as_bytes(), true), format!("\\x1b{}", &long[1..]));
    }

    #[test]
    fn bidirectional_and_invisible_controls_are_shown() {
        for character in
            "\u{202a}\u{202e}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}\u{2028}\u{2029}\u{e0041}\u{fff9}".chars()
        {
            assert_eq!(shown(character.to_string().as_bytes(), true), character.escape_unicode().to_string());
        }
        let text = "naïve – “quoted” … 日本語 ع 👩‍👩‍👧 \u{a0}é";
        assert_eq!(shown(text.as_bytes(), true), text);
    }

    #[test]
    fn what_is_not_utf8_is_shown_byte_by_byte() {
        assert_eq!(shown(b"\xffok\xc3", true), r"\xffok\xc3");
        assert_eq!(shown(b"\xed\xa0\x80", true), r"\xed\xa0\x80");
        assert_eq!(shown(b"\xc0\xaf\xf4\x90\x80\x80", true), r"\xc0\xaf\xf4\x90\x80\x80");
        assert_eq!(shown(b"\x1b[3\xff1m", true), r"\x1b[3\xff1m");
    }
}
