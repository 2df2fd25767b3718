//! How components' output is shown to people: what of its bytes a terminal may have, a line without its control
//! sequences, and the prefix that tells whose a line is. Pure; both who captures output (`output`) and who shows
//! what was captured (`cli`) use it. So do the pictures (`plan`, `story`), for the names in them.

mod drawing;
mod escape;
mod label;
mod plain;
mod redraw;
mod xml;

pub use drawing::{Drawing, DrawingState, PIECE_MAX, Shown};
pub use escape::{escape_line, sgr, whole, whole_characters, without_returns};
pub use label::{Labels, WIDTH_MAX};
pub use plain::plain;
pub use xml::Escaped;
