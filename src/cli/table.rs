//! Tables: columns as wide as what is in them, and never wider than the terminal.

use super::paint::{Canvas, Paint, Piece, line};

/// Between two columns.
const GAP: usize = 2;
/// So much of the last column is wanted before another one is left out for it.
const LAST: usize = 24;

/// How a column is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) head: &'static str,
    /// Whether it holds numbers.
    pub(super) right: bool,
    /// On a narrow terminal, the column with the highest number is left out first; 0: never.
    pub(super) dispensable: u8,
}

/// The lines of a table, its heads first. The last column is cut where there is no room.
pub(super) fn table(columns: &[Column], rows: &[Vec<Piece>], canvas: Canvas) -> Vec<String> {
    let heads: Vec<Piece> = columns.iter().map(|column| Piece::new(Paint::Dim, column.head)).collect();
    let natural = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(Piece::width).max().unwrap_or(0);
        if cells == 0 { 0 } else { cells.max(heads[at].width()) }
    };
    let widths: Vec<usize> = (0..columns.len()).map(natural).collect();
    let shown = chosen(columns, &widths, canvas.width);
    let one = |row: &[Piece]| {
        let mut pieces = Vec::with_capacity(2 * shown.len());
        for (nth, at) in shown.iter().enumerate() {
            let Some(cell) = row.get(*at) else { continue };
            let pad = " ".repeat(widths[*at].saturating_sub(cell.width()));
            let is_last = nth + 1 == shown.len();
            let gap = if nth == 0 { 0 } else { GAP };
            let (before, after) = if columns[*at].right { (pad.as_str(), "") } else { ("", pad.as_str()) };
            pieces.push(Piece::new(Paint::Plain, &format!("{}{before}", " ".repeat(gap))));
            pieces.push(cell.clone());
            if !is_last {
                pieces.push(Piece::new(Paint::Plain, after));
            }
        }
        line(&pieces, canvas).trim_end().to_owned()
    };
    std::iter::once(one(&heads)).chain(rows.iter().map(|row| one(row))).collect()
}

/// The columns that are shown: those with something in them, for which there is room.
fn chosen(columns: &[Column], widths: &[usize], most: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len()).filter(|at| widths[*at] > 0).collect();
    let Some(most) = most else { return shown };
    let taken = |shown: &[usize]| {
        let last = columns.len() - 1;
        let width = |at: &usize| if *at == last { widths[*at].min(LAST) } else { widths[*at] };
        shown.iter().map(width).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while taken(&shown) > most {
        let spare = shown.iter().copied().filter(|at| columns[*at].dispensable > 0);
        let Some(spare) = spare.max_by_key(|at| columns[*at].dispensable) else { break };
        shown.retain(|at| *at != spare);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{Column, table};
    use crate::cli::paint::{Canvas, Paint, Piece, width};

    const COLUMNS: [Column; 4] = [
        Column { head: "NAME", right: false, dispensable: 0 },
        Column { head: "PID", right: true, dispensable: 2 },
        Column { head: "RESTARTS", right: true, dispensable: 1 },
        Column { head: "NOTE", right: false, dispensable: 0 },
    ];

    fn row(cells: [&str; 4]) -> Vec<Piece> {
        cells.iter().map(|cell| Piece::new(Paint::Good, cell)).collect()
    }

    fn rows() -> Vec<Vec<Piece>> {
        vec![
            row(["api", "4711", "", "waiting for the database to be ready, and for the queue"]),
            row(["日本", "1", "", "ok"]),
        ]
    }

    #[test]
    fn columns_are_as_wide_as_their_content_and_an_empty_one_is_left_out() {
        let lines = table(&COLUMNS, &rows(), Canvas { width: None, color: false });
        let expected = [
            "NAME   PID  NOTE",
            "api   4711  waiting for the database to be ready, and for the queue",
            "日本     1  ok",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_however_narrow() {
        for most in 1..80 {
            let lines = table(&COLUMNS, &rows(), Canvas { width: Some(most), color: false });
            assert!(lines.iter().all(|line| width(line) <= most), "{most}: {lines:#?}");
        }
        let narrow = table(&COLUMNS, &rows(), Canvas { width: Some(30), color: false });
        assert_eq!(narrow[1], "api   waiting for the databas…", "the pid gives way");
    }

    #[test]
    fn colours_take_no_room() {
        let plain = table(&COLUMNS, &rows(), Canvas { width: Some(40), color: false });
        let colored = table(&COLUMNS, &rows(), Canvas { width: Some(40), color: true });
        let strip = |line: &String| {
            let parts = line.split('\u{1b}').map(|part| part.split_once('m').map_or(part, |(_, rest)| rest));
            let first = line.split('\u{1b}').next().unwrap_or_default();
            format!("{first}{}", parts.skip(1).collect::<String>())
        };
        assert_eq!(colored.iter().map(strip).collect::<Vec<_>>(), plain);
        assert!(colored[1].contains("\u{1b}[32m"));
    }
}
