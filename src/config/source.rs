//! The texts that were read, and the places in them.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::types::Place;

/// The largest file that is read.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// The text of one file, as it was when it was read.
#[derive(Debug)]
pub struct Source {
    file: Arc<Path>,
    text: String,
    line_starts: OnceLock<Vec<u32>>,
}

/// Every text that a load has read, for showing diagnostics in their lines.
#[derive(Debug, Default)]
pub struct Sources(Vec<Arc<Source>>);

impl Sources {
    /// The text of that file; `None` if it was not read.
    #[must_use]
    pub fn get(&self, file: &Path) -> Option<&Source> {
        self.0.iter().find(|source| &*source.file == file).map(Arc::as_ref)
    }

    pub(crate) fn add(&mut self, source: &Arc<Source>) {
        if self.get(&source.file).is_none() {
            self.0.push(Arc::clone(source));
        }
    }
}

impl Source {
    /// A text under a name; a byte-order mark is taken off.
    #[must_use]
    pub fn new(file: &Path, mut text: String) -> Self {
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Self { file: file.into(), text, line_starts: OnceLock::new() }
    }

    /// Reads a regular file; anything else (a folder, a FIFO, a device) is refused without waiting on it.
    ///
    /// # Errors
    /// A sentence on why it can't be used, without the file's name.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let attempt = |error: std::io::Error| error.to_string();
        Self::refuse_special(&std::fs::metadata(file).map_err(attempt)?)?;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(file)
            .map_err(attempt)?;
        Self::refuse_special(&opened.metadata().map_err(attempt)?)?;
        let bytes = Self::bytes(opened)?;
        let text = String::from_utf8(bytes).map_err(|error| Self::encoding(error.as_bytes(), &error))?;
        Ok(Self::new(file, text))
    }

    /// The same text under the name that the user knows it by.
    pub(crate) fn renamed(self, file: &Path) -> Self {
        Self { file: file.into(), ..self }
    }

    fn refuse_special(metadata: &std::fs::Metadata) -> Result<(), String> {
        if metadata.is_dir() {
            return Err("it is a folder".into());
        }
        if !metadata.is_file() {
            return Err("it is not a regular file".into());
        }
        if metadata.len() > MAX_BYTES {
            return Err(Self::too_large());
        }
        Ok(())
    }

    fn too_large() -> String {
        format!("it is larger than {} MiB", MAX_BYTES >> 20)
    }

    fn bytes(opened: File) -> Result<Vec<u8>, String> {
        let size = opened.metadata().map(|metadata| metadata.len()).unwrap_or(0);
        let mut bytes = Vec::with_capacity(usize::try_from(size.min(MAX_BYTES)).unwrap_or(0) + 1);
        opened.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if bytes.len() as u64 > MAX_BYTES { Err(Self::too_large()) } else { Ok(bytes) }
    }

    fn encoding(bytes: &[u8], error: &std::string::FromUtf8Error) -> String {
        let known = match bytes {
            [0, 0, 0xfe, 0xff, ..] | [0xff, 0xfe, 0, 0, ..] => "it is UTF-32",
            [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => "it is UTF-16",
            _ => {
                let at = error.utf8_error().valid_up_to();
                let line = memchr::memchr_iter(b'\n', &bytes[..at]).count() + 1;
                return format!(
                    "it is not UTF-8: line {line} holds byte 0x{:02x}; save it as UTF-8",
                    bytes[at]
                );
            }
        };
        format!("{known}; save it as UTF-8")
    }

    /// The file, as the user named it.
    #[must_use]
    pub fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of a range of bytes; ends beyond the text, or inside a character, are moved back.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end).max(start);
        let line = self.line_of(start);
        let column = self.text[self.line_start(line)..start].chars().count() + 1;
        Place { file: Arc::clone(&self.file), span: start..end, line: line + 1, column }
    }

    /// The bytes of a line, counted from 0, without its end.
    pub(crate) fn line(&self, line: usize) -> Range<usize> {
        let start = self.line_start(line);
        let length = memchr::memchr(b'\n', &self.text.as_bytes()[start..]);
        let end = length.map_or(self.text.len(), |length| start + length);
        start..if self.text[start..end].ends_with('\r') { end - 1 } else { end }
    }

    fn line_of(&self, offset: usize) -> usize {
        self.starts().partition_point(|start| *start as usize <= offset).saturating_sub(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.starts().get(line).map_or(self.text.len(), |start| *start as usize)
    }

    fn starts(&self) -> &[u32] {
        self.line_starts.get_or_init(|| {
            let ends = memchr::memchr_iter(b'\n', self.text.as_bytes());
            std::iter::once(0).chain(ends.map(|at| u32::try_from(at + 1).unwrap_or(u32::MAX))).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let source = Source::new(Path::new("a"), "\u{feff}é: 1\r\nbéb: 2".into());
        assert_eq!(source.text().len(), 14);
        let place = source.place(9..10);
        assert_eq!((place.line, place.column), (2, 2));
        assert_eq!(&source.text()[source.line(0)], "é: 1");
        let inside = source.place(1..99);
        assert_eq!((inside.line, inside.column, inside.span), (1, 1, 0..14));
        let end = source.place(14..14);
        assert_eq!((end.line, end.column), (2, 7));
    }

    #[test]
    fn what_is_no_regular_utf8_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Source::read(path).unwrap_err();
        assert!(refused(dir.path()).contains("folder"));
        assert!(refused(Path::new("/dev/zero")).contains("regular"));
        let file = dir.path().join("f");
        for (bytes, why) in [(&b"\xff\xfea\0"[..], "UTF-16"), (b"a\n\xff", "line 2 holds byte 0xff")] {
            std::fs::write(&file, bytes).unwrap();
            assert!(refused(&file).contains(why), "{}", refused(&file));
        }
        std::fs::File::create(&file).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(refused(&file).contains("256 MiB"));
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
        assert!(refused(&fifo).contains("regular"));
    }
}
