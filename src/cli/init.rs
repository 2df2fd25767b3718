//! `orch init`.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::args::InitArgs;
use super::exit::Exit;
use super::{complain, tell};

/// A devmode.yaml to begin with. A test holds it valid.
pub(super) const TEMPLATE: &str = include_str!("init_template.yaml");

pub(super) fn init(args: &InitArgs) -> Exit {
    let path = &args.file;
    let made = OpenOptions::new().write(true).create_new(true).open(path);
    let written = made.and_then(|mut file| file.write_all(TEMPLATE.as_bytes()));
    match written {
        Ok(()) => {
            tell(&format!("orch: wrote {}; edit it, then: orch up\n", path.display()));
            Exit::Done
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            complain(&format!("{} is there already, and is left as it is", path.display()))
        }
        Err(error) => complain(&format!("can't write {}: {error}", path.display())),
    }
}
