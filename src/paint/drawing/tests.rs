//! What is shown of what programs draw.

use std::time::Duration;

use crate::types::Time;

use super::{Drawing, DrawingState, GLIMPSE_FIRST, GLIMPSE_MAX, PIECE_MAX, Shown};

const FRAME: Duration = Duration::from_millis(100);

/// A drawing with a clock, and what was shown of it.
struct Bench {
    drawing: Drawing,
    now: Time,
    shown: Vec<String>,
}

impl Bench {
    fn new() -> Self {
        Self { drawing: Drawing::default(), now: Time(1 << 40), shown: Vec::new() }
    }

    fn write(&mut self, bytes: &[u8]) {
        let shown = &mut self.shown;
        self.drawing.bytes(bytes, self.now, &mut |it| shown.push(text(it)));
    }

    /// Lets time pass, as the terminal's thread does.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.drawing.due().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            let shown = &mut self.shown;
            self.drawing.glimpse(self.now, &mut |it| shown.push(text(it)));
        }
        self.now = until;
    }

    fn end(mut self) -> Vec<String> {
        let shown = &mut self.shown;
        self.drawing.end(&mut |it| shown.push(text(it)));
        self.shown
    }
}

fn text(shown: Shown<'_>) -> String {
    match shown {
        Shown::Line(text) => String::from_utf8_lossy(text).into_owned(),
        Shown::Piece(text) => format!("{}…", String::from_utf8_lossy(text)),
    }
}

#[test]
fn plain_lines_are_shown_at_once_and_whole() {
    let mut bench = Bench::new();
    bench.write(b"one\n\ntwo\r\nhal");
    assert_eq!(bench.shown, ["one", "", "two"]);
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.shown.len(), 3, "a line that is only unfinished is waited for");
    bench.write(b"f\nend");
    assert_eq!(bench.end(), ["one", "", "two", "half", "end"]);
}

#[test]
fn the_same_is_shown_however_it_is_cut() {
    let output = b"a\r\n\x1b[32mb\x1b[0m\x1b[K\n1%\r\x1b[K2%\nx\ny\n\x1b[2A\x1b[2Kz\x1b[1B\rw\n\x1b[1;3H\xe2\x82\xac\n";
    let whole = {
        let mut bench = Bench::new();
        bench.write(output);
        bench.end()
    };
    assert!(whole.contains(&"2%".to_owned()) && !whole.contains(&"1%".to_owned()), "{whole:?}");
    for cut in 0..output.len() {
        let mut bench = Bench::new();
        bench.write(&output[..cut]);
        bench.write(&output[cut..]);
        assert_eq!(bench.end(), whole, "cut at {cut}");
    }
    let mut bench = Bench::new();
    output.iter().for_each(|byte| bench.write(&[*byte]));
    assert_eq!(bench.end(), whole, "byte by byte");
}

#[test]
fn a_progress_bar_is_shown_now_and_then_and_as_it_ends() {
    let mut bench = Bench::new();
    for percent in 0..100 {
        bench.write(format!("\r\x1b[K{percent}% [{}>", "=".repeat(percent)).as_bytes());
        bench.pass(FRAME);
    }
    let glimpses = bench.shown.len();
    assert!((2..=5).contains(&glimpses), "{:?}", bench.shown);
    assert!(bench.shown[0].starts_with("9% ["), "after a second: {:?}", bench.shown[0]);
    bench.write(b"\r\x1b[KDone\n");
    assert_eq!(bench.shown[glimpses..], ["Done"]);
    assert_eq!(bench.end().len(), glimpses + 1);
}

#[test]
fn a_bar_that_is_quick_is_shown_once_and_one_that_is_wiped_is_not() {
    let mut bench = Bench::new();
    (0..50).for_each(|at| bench.write(format!("\r{at}/50").as_bytes()));
    bench.write(b"\r\x1b[K   Compiling x\n\rspinner\r\x1b[K");
    bench.pass(Duration::from_secs(5));
    assert_eq!(bench.end(), ["   Compiling x"]);
}

#[test]
fn a_glimpse_is_not_repeated_when_its_line_ends() {
    let mut bench = Bench::new();
    bench.write(b"50%\r100%");
    bench.pass(GLIMPSE_FIRST);
    bench.write(b"\n");
    assert_eq!(bench.end(), ["100%"]);
}

#[test]
fn lines_that_are_gone_up_to_are_renewed_and_do_not_flood() {
    let mut bench = Bench::new();
    bench.write(b"a 0\nb 0\n");
    for step in 1..=100 {
        bench.write(format!("\x1b[2A\x1b[2Ka {step}\n\x1b[2Kb {}\n", step / 50).as_bytes());
        bench.pass(FRAME);
    }
    let shown = bench.shown.clone();
    assert_eq!(shown[..2], ["a 0", "b 0"]);
    assert!((4..=10).contains(&shown.len()), "{shown:?}");
    bench.write(b"done\n");
    assert_eq!(bench.end()[shown.len()..], ["done", "a 100", "b 2"]);
}

#[test]
fn what_is_written_above_the_bottom_is_shown_in_the_end_though_it_never_moves_again() {
    let mut bench = Bench::new();
    bench.write(b"one\ntwo\n\x1b[2A\x1b[Jnew\n");
    bench.pass(GLIMPSE_FIRST);
    assert_eq!(bench.shown, ["one", "two", "new"]);
    assert!(bench.drawing.due().is_none(), "nothing wakes while nothing is drawn");
}

#[test]
fn no_output_takes_memory_without_bound() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        for piece in
            [&b"\r12345"[..], b"\x1b[A", b"\x1b[2000C", b"\x1b[5;70H", b"x", b"\x1b[38;5;1m", b"\n\n"]
        {
            bench.write(&piece.repeat(1_000));
            assert!(bench.drawing.rows.len() <= super::ROWS);
            assert!(bench.drawing.rows.iter().all(|row| row.raw.len() <= PIECE_MAX), "{piece:?}");
            bench.shown.clear();
        }
    }
    bench.write(&b"\x1b[".repeat(100));
    bench.write(&[b'1'; 100_000]);
    assert!(bench.drawing.held.len() <= 100, "no sequence is as long");
}

#[test]
fn a_text_without_an_end_is_shown_in_pieces() {
    let mut bench = Bench::new();
    bench.write(&vec![b'x'; 3 * PIECE_MAX]);
    bench.write(b"\n");
    let shown = bench.end().concat();
    assert_eq!(shown.matches('x').count(), 3 * PIECE_MAX);
    assert!(shown.contains('…'));
}

#[test]
fn another_image_goes_on_in_the_middle_of_everything() {
    let output = b"plain\n1%\r2%\nx\ny\n\x1b[2A\x1b[Kz\nw";
    for cut in 0..output.len() {
        let mut bench = Bench::new();
        bench.write(&output[..cut]);
        let left = serde_json::to_string(&std::mem::take(&mut bench.drawing).leave()).unwrap();
        let state: DrawingState = serde_json::from_str(&left).unwrap();
        bench.drawing = Drawing::adopt(state, bench.now);
        bench.write(&output[cut..]);
        bench.pass(2 * GLIMPSE_MAX);
        let mut seen = bench.end();
        seen.sort();
        assert_eq!(seen, ["2%", "plain", "w", "x", "y", "z"], "cut at {cut}");
    }
}
