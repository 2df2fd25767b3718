//! Bytes as text, losslessly: what is text stays readable, and what is not UTF-8 survives.
//!
//! For bytes that are text for the most part: paths, output. Serialised as a string, in which a backslash is
//! doubled and each byte that is not UTF-8 is `\xNN`. Used as `#[serde(with = "escaped")]`.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// Serialises the bytes as text.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<S: Serializer>(bytes: impl AsRef<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&escape(bytes.as_ref()))
}

/// The bytes that [`serialize`] made a text of.
///
/// # Errors
/// Those of the deserializer, and that nobody wrote such a text.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    unescape(&text).ok_or_else(|| D::Error::custom("a backslash is followed by neither `\\` nor `xNN`"))
}

fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains('\\')
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        text.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            // Writing to a String can't fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('\\');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    while let Some(part) = parts.next() {
        if part.is_empty() {
            bytes.push(b'\\');
            bytes.extend_from_slice(parts.next()?.as_bytes());
        } else {
            let digits = part.strip_prefix('x')?;
            let (byte, rest) = (digits.get(..2)?, digits.get(2..)?);
            bytes.push(u8::from_str_radix(byte, 16).ok()?);
            bytes.extend_from_slice(rest.as_bytes());
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(transparent)]
    struct Escaped(#[serde(with = "super")] Vec<u8>);

    #[test]
    fn every_byte_survives_and_text_stays_readable() {
        let all: Vec<u8> = (0..=255).collect();
        let mut cases =
            vec![all, b"plain \xc3\xa4 \\ \\x41\\\\".to_vec(), b"\xff\\\xfe\\\\".to_vec(), vec![]];
        for seed in 0..200_u32 {
            let nasty = b"\\x0f\xff\xc3a\n\"";
            cases.push(
                (0..20).map(|at| nasty[(seed.wrapping_mul(2_654_435_761) >> at) as usize % 9]).collect(),
            );
        }
        for case in cases {
            let text = serde_json::to_string(&Escaped(case.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Escaped>(&text).unwrap().0, case, "{text}");
        }
        assert_eq!(serde_json::to_string(&Escaped("straße\n".into())).unwrap(), "\"straße\\n\"");
    }

    #[test]
    fn what_nobody_wrote_is_refused() {
        for bad in ["\\", "a\\", "\\y", "\\x", "\\x4", "\\x4ä", "\\xgg", "\\\\\\"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }
}
