//! `orch state`.

mod json;
mod render;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use super::args::{StateArgs, StateCommand};
use super::exit::Exit;
use super::target::Target;
use super::{check, colors, complain, file, pretty, print, state_dir, tell};
use crate::config::render as mistakes;
use crate::runtime::states::{Payload, SavedStates, StatesError};
use crate::types::Name;

pub(super) fn state(args: &StateArgs) -> Exit {
    run(args).unwrap_or_else(|exit| exit)
}

fn run(args: &StateArgs) -> Result<Exit, Exit> {
    // What can't be read or is not valid as a whole still tells where the states are.
    let strict = matches!(args.command, StateCommand::Clear { .. });
    let states = open(args, strict)?;
    match &args.command {
        StateCommand::List { name, json } => list(&states, name.as_ref(), *json),
        StateCommand::Show { name, generation, json } => show(&states, name, *generation, *json),
        StateCommand::Verify { name, json } => verify(&states, name.as_ref(), *json),
        StateCommand::Clear { names, all } => clear(&states, names, *all),
    }
}

/// Finds the states of the project that is meant. `strict`: its file must be valid.
fn open(args: &StateArgs, strict: bool) -> Result<SavedStates, Exit> {
    let (file, place) = place(args)?;
    if let Err(error) = std::fs::metadata(&file) {
        complain(&format!("can't read {}: {error}", file.display()));
        return Err(Exit::Usage);
    }
    let loaded = check::read(&file, place.clone());
    if loaded.project.is_none() {
        if strict {
            tell(&mistakes::human(&loaded.diagnostics, &loaded.sources, colors(&io::stderr())));
            complain("nothing was cleared");
            return Err(Exit::Usage);
        }
        let shown = file.display();
        complain(&format!(
            "{shown} is not valid, so what it declares is not known here (see: orch validate)"
        ));
    }
    SavedStates::open(loaded.project, &file, place.as_deref()).map_err(|error| failed(&error))
}

/// The YAML file, and the state directory if it was named: as given; else, inside a component, those of its project.
fn place(args: &StateArgs) -> Result<(PathBuf, Option<PathBuf>), Exit> {
    let named = args.file.is_some() || args.state_dir.is_some();
    match Target::own().filter(|_| !named) {
        Some(own) => Ok((own.yaml()?, Some(own.state_dir))),
        None => Ok((file(args.file.as_deref())?, args.state_dir.clone().or_else(state_dir))),
    }
}

fn list(states: &SavedStates, name: Option<&Name>, json: bool) -> Result<Exit, Exit> {
    let mut inventories = Vec::new();
    let mut exit = Exit::Done;
    for name in chosen(states, name)? {
        match states.look(&name) {
            Ok(inventory) => inventories.push(inventory),
            Err(error) => exit = complain(&error),
        }
    }
    let text =
        if json { pretty(&json::list(states, &inventories)) } else { render::list(states, &inventories) };
    Ok(worse(print(&text), exit))
}

fn show(states: &SavedStates, name: &Name, generation: Option<u64>, json: bool) -> Result<Exit, Exit> {
    states.known(name).map_err(|error| failed(&error))?;
    let payload = states.payload(name, generation).map_err(|error| complain(&error))?;
    if json {
        return Ok(print(&pretty(&json::header(&payload))));
    }
    tell(&render::header(&payload));
    Ok(pour(states, &payload))
}

/// Writes the payload to stdout, exactly.
fn pour(states: &SavedStates, payload: &Payload) -> Exit {
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let copied = states.copy(payload, &mut Careful { inner: stdout.lock(), terminal });
    match copied {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => complain(&format!("can't show the state: {error}")),
    }
}

/// Keeps what is no text from a terminal, which would obey it.
struct Careful<W> {
    inner: W,
    terminal: bool,
}

impl<W: Write> Write for Careful<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.terminal && !is_text(bytes) {
            return Err(io::Error::other("it is not text; send it to a file or a program (> FILE)"));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Whether a terminal does nothing with these bytes but show them.
fn is_text(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\n' | b'\r' | b'\t');
    // The control characters of ISO 6429 beyond ASCII, as UTF-8.
    let control = |pair: &[u8]| pair[0] == 0xc2 && (0x80..0xa0).contains(&pair[1]);
    bytes.iter().all(plain) && !bytes.windows(2).any(control)
}

fn verify(states: &SavedStates, name: Option<&Name>, json: bool) -> Result<Exit, Exit> {
    let mut results = Vec::new();
    for name in chosen(states, name)? {
        let result = states.verify(&name);
        results.push((name, result));
    }
    let report = render::Report::of(&results);
    let text = if json { pretty(&json::report(&report)) } else { report.text() };
    Ok(worse(print(&text), if report.is_sound() { Exit::Done } else { Exit::Failed }))
}

fn clear(states: &SavedStates, names: &[Name], all: bool) -> Result<Exit, Exit> {
    let every = if all { states.names().map_err(|error| failed(&error))? } else { Vec::new() };
    for name in names {
        states.known(name).map_err(|error| failed(&error))?;
    }
    let names = if all { &every } else { names };
    let done = states.clear(names, |name, cleared| tell(&render::cleared(states, name, &cleared)));
    match done {
        Ok(()) => Ok(Exit::Done),
        Err(error) => Err(failed(&error)),
    }
}

/// The components that a command is about.
fn chosen(states: &SavedStates, name: Option<&Name>) -> Result<Vec<Name>, Exit> {
    match name {
        None => states.names().map_err(|error| failed(&error)),
        Some(name) => states.known(name).map(|()| vec![name.clone()]).map_err(|error| failed(&error)),
    }
}

fn failed(error: &StatesError) -> Exit {
    match error {
        StatesError::Taken(message) => {
            complain(&format!("{message}; stop it first, it would seal what is cleared"));
            Exit::Taken
        }
        StatesError::Unknown(name, near) => {
            let guess = near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            complain(&format!("there is no component `{name}`, and nothing is saved of one{guess}"));
            Exit::Usage
        }
        StatesError::Failed(message) => complain(message),
    }
}

fn worse(printed: Exit, found: Exit) -> Exit {
    if printed == Exit::Done { found } else { printed }
}

#[cfg(test)]
mod tests {
    use super::is_text;

    #[test]
    fn what_a_terminal_would_obey_is_no_text() {
        for text in ["{\"a\": 1}\r\n\t", "é 日本 \u{a0}", ""] {
            assert!(is_text(text.as_bytes()), "{text:?}");
        }
        for bad in ["\u{1b}[2J", "\0", "\u{7f}", "\u{9b}2J", "a\u{8}"] {
            assert!(!is_text(bad.as_bytes()), "{bad:?}");
        }
    }
}
