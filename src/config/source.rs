//! The texts that were read, and the places in them.

use std::fs::{File, OpenOptions};
use std::hash::{Hash as _, Hasher as _};
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

/// Why a file can't be used.
#[derive(Debug)]
pub(crate) struct Refused {
    /// A sentence, without the file's name.
    pub(crate) why: String,
    /// What can be shown of it, and the place there.
    pub(crate) place: Option<(Arc<Source>, Place)>,
}

impl Sources {
    /// The text of that file; `None` if it was not read.
    #[must_use]
    pub fn get(&self, file: &Path) -> Option<&Source> {
        self.0.iter().find(|source| &*source.file == file).map(Arc::as_ref)
    }

    /// A number that is another one for other texts, or texts of other files.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        for source in &self.0 {
            (source.file(), source.text()).hash(&mut hasher);
        }
        hasher.finish()
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
    /// Why it can't be used.
    pub(crate) fn read(file: &Path) -> Result<Self, Refused> {
        let bytes = Self::bytes_of(file).map_err(|why| Refused { why, place: None })?;
        let text =
            String::from_utf8(bytes).map_err(|error| Self::encoding(file, error.as_bytes(), &error))?;
        Ok(Self::new(file, text))
    }

    fn bytes_of(file: &Path) -> Result<Vec<u8>, String> {
        let attempt = |error: std::io::Error| error.to_string();
        Self::refuse_special(&std::fs::metadata(file).map_err(attempt)?)?;
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(file)
            .map_err(attempt)?;
        Self::refuse_special(&opened.metadata().map_err(attempt)?)?;
        Self::bytes(opened)
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

    fn encoding(file: &Path, bytes: &[u8], error: &std::string::FromUtf8Error) -> Refused {
        let known = match bytes {
            [0, 0, 0xfe, 0xff, ..] | [0xff, 0xfe, 0, 0, ..] => "it is UTF-32",
            [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => "it is UTF-16",
            _ => return Self::not_utf8(file, bytes, error.utf8_error().valid_up_to()),
        };
        Refused { why: format!("{known}; save it as UTF-8"), place: None }
    }

    /// What can be shown of the text ends with the line of the byte that is none.
    fn not_utf8(file: &Path, bytes: &[u8], at: usize) -> Refused {
        let end = memchr::memchr2(b'\n', b'\r', &bytes[at..]).map_or(bytes.len(), |length| at + length);
        let shown = Self::new(file, String::from_utf8_lossy(&bytes[..end]).into_owned());
        let mark = if bytes.starts_with("\u{feff}".as_bytes()) { '\u{feff}'.len_utf8() } else { 0 };
        let at_shown = at - mark;
        let place = shown.place(at_shown..at_shown + '\u{fffd}'.len_utf8());
        let line = place.line;
        let why = format!("it is not UTF-8: line {line} holds byte 0x{:02x}; save it as UTF-8", bytes[at]);
        Refused { why, place: Some((Arc::new(shown), place)) }
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
        let length = memchr::memchr2(b'\n', b'\r', &self.text.as_bytes()[start..]);
        start..length.map_or(self.text.len(), |length| start + length)
    }

    fn line_of(&self, offset: usize) -> usize {
        self.starts().partition_point(|start| *start as usize <= offset).saturating_sub(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.starts().get(line).map_or(self.text.len(), |start| *start as usize)
    }

    fn starts(&self) -> &[u32] {
        self.line_starts.get_or_init(|| {
            // A line ends with LF, CR LF or, as YAML has it, with CR alone.
            let bytes = self.text.as_bytes();
            let ends = memchr::memchr2_iter(b'\n', b'\r', bytes)
                .filter(|at| bytes[*at] == b'\n' || bytes.get(at + 1) != Some(&b'\n'));
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
    fn a_line_may_end_with_a_carriage_return_alone() {
        let source = Source::new(Path::new("a"), "a\rb\r\nc\n\rd".into());
        let lines: Vec<&str> = (0..5).map(|line| &source.text()[source.line(line)]).collect();
        assert_eq!(lines, ["a", "b", "c", "", "d"]);
        let place = source.place(8..9);
        assert_eq!((place.line, place.column), (5, 1));
    }

    #[test]
    fn what_is_no_regular_utf8_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |path: &Path| Source::read(path).unwrap_err().why;
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
