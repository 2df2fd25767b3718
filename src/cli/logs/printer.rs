//! Lines of logs as they are shown: on a terminal as `orch up` shows them, elsewhere byte for byte, or as JSON. What
//! was drawn on a pseudo-terminal is shown as lines, but where one component is asked for its bytes.

use std::io::{self, BufWriter, Stdout, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::LogLine;
use crate::paint::{Drawing, Labels, Shown, WIDTH_MAX, escape_line, without_returns};
use crate::types::Time;

/// Written at once. Bytes.
const BUFFER: usize = 64 << 10;

/// Ends every piece but the last one of a long line on a terminal.
const GOES_ON: &[u8] = b" [orch: the line goes on]\n";

/// In the place of a time that is not known, and as wide.
const NO_TIME: &str = "-                             ";

/// How lines are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people: prefixed, and harmless.
    Terminal { color: bool },
    /// The bytes as they came; with their component's name before each line, or not.
    Exact { prefix: bool },
    /// An object a line.
    Json,
}

/// Writes lines to a stream.
#[derive(Debug)]
pub(super) struct Printer<W: Write = Stdout> {
    out: BufWriter<W>,
    format: Format,
    /// Times are shown, in this zone.
    zone: Option<TimeZone>,
    names: Vec<String>,
    labels: Labels,
    width: usize,
    prefixes: Vec<Vec<u8>>,
    /// What each component draws, if it does.
    drawings: Vec<Option<Drawing>>,
    /// The last piece was of this component, and its line has not ended.
    unended: Option<usize>,
    line: Vec<u8>,
}

impl Printer {
    pub(super) fn new(format: Format, zone: Option<TimeZone>) -> Self {
        Self::to(io::stdout(), format, zone)
    }
}

impl<W: Write> Printer<W> {
    fn to(out: W, format: Format, zone: Option<TimeZone>) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, out),
            format,
            zone,
            names: Vec::new(),
            labels: Labels::default(),
            width: 0,
            prefixes: Vec::new(),
            drawings: Vec::new(),
            unended: None,
            line: Vec::new(),
        }
    }

    /// One more component, and its number; the same for one that is known. `drawn`: it writes as to a terminal.
    pub(super) fn add(&mut self, name: &str, drawn: bool) -> usize {
        let drawn = drawn && !matches!(self.format, Format::Json | Format::Exact { prefix: false });
        if let Some(number) = self.names.iter().position(|known| known == name) {
            if drawn && self.drawings[number].is_none() {
                self.drawings[number] = Some(Drawing::default());
            }
            return number;
        }
        self.drawings.push(drawn.then(Drawing::default));
        self.labels.add(name);
        self.names.push(name.to_owned());
        self.width = self.width.max(name.len().min(WIDTH_MAX));
        let color = self.format == Format::Terminal { color: true };
        let prefix = |name: &String| self.labels.prefix(name, self.width, color);
        self.prefixes = self.names.iter().map(prefix).collect();
        self.names.len() - 1
    }

    /// The component of that number.
    pub(super) fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// Shows a line, or a piece of one that does not end.
    pub(super) fn line(
        &mut self,
        number: usize,
        time: Option<Timestamp>,
        bytes: &[u8],
        ends: bool,
    ) -> io::Result<()> {
        let Some(drawing) = &mut self.drawings[number] else { return self.put(number, time, bytes, ends) };
        let now = time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).map_or(Time(0), Time);
        let mut shown = Vec::new();
        let mut show = |it: Shown<'_>| shown.push(owned(it));
        if drawing.due().is_some_and(|due| due <= now) {
            drawing.glimpse(now, &mut show);
        }
        drawing.bytes(bytes, now, &mut show);
        if ends {
            drawing.bytes(b"\n", now, &mut show);
        }
        shown.into_iter().try_for_each(|(text, ends)| self.put(number, time, &text, ends))
    }

    /// Shows it as it is.
    fn put(&mut self, number: usize, time: Option<Timestamp>, bytes: &[u8], ends: bool) -> io::Result<()> {
        if self.format == Format::Json {
            let time = time.map(|time| time.to_string());
            let line = LogLine::of(&self.names[number], time, bytes, ends, false);
            serde_json::to_writer(&mut self.out, &line)?;
            return self.out.write_all(b"\n");
        }
        let goes_on = self.unended == Some(number);
        self.leave(goes_on)?;
        self.line.clear();
        match self.format {
            Format::Terminal { color } => {
                self.head(number, time, true);
                let shown = if ends { without_returns(bytes) } else { bytes };
                escape_line(shown, color, &mut self.line);
            }
            Format::Exact { prefix } => {
                if !goes_on {
                    self.head(number, time, prefix);
                }
                self.line.extend_from_slice(bytes);
            }
            Format::Json => {}
        }
        if ends {
            self.line.push(b'\n');
        }
        self.unended = (!ends).then_some(number);
        self.out.write_all(&self.line)
    }

    /// What was given is to be seen.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) -> io::Result<()> {
        for number in 0..self.drawings.len() {
            let mut shown = Vec::new();
            if let Some(drawing) = &mut self.drawings[number] {
                drawing.end(&mut |it| shown.push(owned(it)));
            }
            shown.into_iter().try_for_each(|(text, ends)| self.put(number, None, &text, ends))?;
        }
        self.leave(false)?;
        self.flush()
    }

    /// Leaves a line that has not ended, for what is next; `goes_on`: for more of it.
    fn leave(&mut self, goes_on: bool) -> io::Result<()> {
        if self.unended.take().is_none() {
            return Ok(());
        }
        match self.format {
            Format::Terminal { .. } if goes_on => self.out.write_all(GOES_ON),
            Format::Terminal { .. } => self.out.write_all(b"\n"),
            Format::Exact { prefix: true } if !goes_on => self.out.write_all(b"\n"),
            Format::Exact { .. } | Format::Json => Ok(()),
        }
    }

    fn head(&mut self, number: usize, time: Option<Timestamp>, prefix: bool) {
        if prefix {
            self.line.extend_from_slice(&self.prefixes[number]);
        }
        self.time(time);
    }

    /// RFC 3339 to the millisecond, with the zone's distance.
    fn time(&mut self, time: Option<Timestamp>) {
        let Some(zone) = &self.zone else { return };
        let shown = match time {
            Some(time) => format!("{:.3} ", time.display_with_offset(zone.to_offset(time))),
            None => NO_TIME.to_owned(),
        };
        self.line.extend_from_slice(shown.as_bytes());
    }
}

/// What is to be shown, and whether the line ends there.
fn owned(shown: Shown<'_>) -> (Vec<u8>, bool) {
    match shown {
        Shown::Line(text) => (text.to_vec(), true),
        Shown::Piece(text) => (text.to_vec(), false),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::{Format, Printer};

    /// What is shown of these pieces: component, bytes, whether the line ends.
    fn shown(format: Format, pieces: &[(&str, &[u8], bool)]) -> String {
        let mut printer = Printer::to(Vec::new(), format, None);
        for (name, ..) in pieces {
            printer.add(name, false);
        }
        for (name, bytes, ends) in pieces {
            let number = printer.add(name, false);
            printer.line(number, None, bytes, *ends).unwrap();
        }
        printer.end().unwrap();
        String::from_utf8_lossy(&printer.out.into_inner().unwrap()).into_owned()
    }

    const EXACT: Format = Format::Exact { prefix: false };
    const PREFIXED: Format = Format::Exact { prefix: true };
    const PLAIN: Format = Format::Terminal { color: false };

    #[test]
    fn one_component_is_shown_byte_for_byte() {
        let pieces: [(&str, &[u8], bool); 3] =
            [("a", b"\x1b[2J\r", true), ("a", b"lo", false), ("a", b"ng", false)];
        assert_eq!(shown(EXACT, &pieces), "\x1b[2J\r\nlong");
    }

    #[test]
    fn several_are_told_apart_and_lines_are_not_run_together() {
        let pieces: [(&str, &[u8], bool); 5] = [
            ("a", b"one", true),
            ("longer", b"no e", false),
            ("longer", b"nd", false),
            ("a", b"two", true),
            ("longer", b"no end", false),
        ];
        let expected = "a      | one\nlonger | no end\na      | two\nlonger | no end\n";
        assert_eq!(shown(PREFIXED, &pieces), expected);
    }

    #[test]
    fn a_terminal_gets_what_is_harmless() {
        let pieces: [(&str, &[u8], bool); 3] =
            [("a", b"\x1b[31mred\x1b[2J\r", true), ("a", b"one ", false), ("a", b"line", true)];
        let expected = "a | red\\x1b[2J\na | one  [orch: the line goes on]\na | line\n";
        assert_eq!(shown(PLAIN, &pieces), expected);
        let colored = shown(Format::Terminal { color: true }, &pieces[..1]);
        assert!(
            colored.contains("\x1b[31mred\\x1b[2J\x1b[0m\n") && colored.starts_with("\x1b["),
            "{colored:?}"
        );
    }

    #[test]
    fn what_was_drawn_is_shown_as_lines() {
        let drawn = |format: Format| {
            let mut printer = Printer::to(Vec::new(), format, None);
            let number = printer.add("a", true);
            let mut line = |second: i64, bytes: &[u8], ends| {
                let time = jiff::Timestamp::from_second(1_000 + second).unwrap();
                printer.line(number, Some(time), bytes, ends).unwrap();
            };
            line(0, b"1%\r50%\r", false);
            line(0, b"\x1b[32mdone\x1b[0m\x1b[K\r", true);
            line(1, b"one: 1", true);
            line(1, b"two: 1", true);
            // Back up, and over both of them.
            line(2, b"\x1b[2A\rone: 2", true);
            line(2, b"\rtwo: 2", true);
            line(9, b"title \x1b]0;x\x07", true);
            printer.end().unwrap();
            String::from_utf8(printer.out.into_inner().unwrap()).unwrap()
        };
        let lines = "done\none: 1\ntwo: 1\none: 2\ntwo: 2\ntitle \\x1b]0;x\\x07\n";
        let prefixed: String = lines.lines().map(|line| format!("a | {line}\n")).collect();
        assert_eq!(drawn(PLAIN), prefixed);
        let colored = drawn(Format::Terminal { color: true });
        assert!(colored.contains("\x1b[32mdone\x1b[0m") && !colored.contains("\x1b[K"), "{colored:?}");
        assert!(drawn(PREFIXED).contains("a | two: 2\n") && !drawn(PREFIXED).contains('\r'));
        assert!(drawn(EXACT).contains("\x1b[2A\rone: 2\n"), "the bytes of one, exactly");
        assert!(drawn(Format::Json).contains("\\r50%"));
    }

    #[test]
    fn json_says_what_is_not_text_or_does_not_end() {
        let pieces: [(&str, &[u8], bool); 2] = [("a", b"\xff\"", true), ("a", b"on", false)];
        let expected = "{\"component\":\"a\",\"time\":null,\"line\":\"\u{fffd}\\\"\"}\n\
            {\"component\":\"a\",\"time\":null,\"line\":\"on\",\"ends\":false}\n";
        assert_eq!(shown(Format::Json, &pieces), expected);
    }

    #[test]
    fn times_are_as_wide_as_none() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let mut printer = Printer::to(Vec::new(), EXACT, Some(zone));
        let number = printer.add("a", false);
        printer.line(number, Some("2026-01-20T10:00:00.1239Z".parse().unwrap()), b"x", true).unwrap();
        printer.line(number, None, b"x", true).unwrap();
        printer.end().unwrap();
        let shown = String::from_utf8(printer.out.into_inner().unwrap()).unwrap();
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines[0], "2026-01-20T12:00:00.123+02:00 x");
        assert_eq!(lines[0].len(), lines[1].len());
    }
}
