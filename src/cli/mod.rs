//! L6, the command line: what a person or a script asks of orch, and how it is answered. Results go to
//! stdout, orch's own messages to stderr.

mod args;
mod background;
mod check;
mod command;
mod complete;
mod down;
mod events;
mod exit;
mod graph;
mod init;
mod interrupts;
mod logs;
mod man;
mod paint;
mod plan;
mod progress;
mod ps;
mod recorded;
mod replace;
mod schema;
mod state;
mod table;
mod target;
mod terminal;
mod timeline;
mod up;
mod upgrade;
mod wait;
mod watch;
mod why;
mod words;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::render::harmless;
use crate::types::{Diagnostic, Name};
use args::{Cli, Command};
use command::Verb;
use exit::Exit;

/// Runs the command line of this process; the exit code is the contract's (section 6).
#[must_use]
pub fn main() -> ExitCode {
    if complete::answered() {
        return Exit::Done.into();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors: they were asked for.
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return code.into();
        }
    };
    log_to_stderr();
    match cli.command {
        Command::Up(args) => up::up(&args),
        Command::Ps(args) => ps::ps(&args),
        Command::Start(args) => command::command(Verb::Start, &args),
        Command::Stop(args) => command::command(Verb::Stop, &args),
        Command::Restart(args) => command::command(Verb::Restart, &args),
        Command::Logs(args) => logs::logs(&args),
        Command::Wait(args) => wait::wait(&args),
        Command::Watch(args) => watch::watch(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Reload(args) => plan::reload(&args),
        Command::Down(args) => down::down(&args),
        Command::Upgrade(args) => upgrade::upgrade(&args),
        Command::TakesOver => upgrade::takes_over(),
        Command::Validate(args) => check::validate(&args),
        Command::Graph(args) => graph::graph(&args),
        Command::Events(args) => events::events(&args),
        Command::Why(args) => why::why(&args),
        Command::Timeline(args) => timeline::timeline(&args),
        Command::State(args) => state::state(&args),
        Command::Schema(args) => schema::schema(&args),
        Command::Init(args) => init::init(&args),
        Command::Completions { shell } => complete::registration(shell),
        Command::Man(args) => man::man(&args),
    }
    .into()
}

/// orch's own log, for those who ask for it (`ORCH_LOG=debug`); warnings always.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("ORCH_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let color = colors(&std::io::stderr());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(color);
    // A stderr that nobody reads any more would otherwise be complained about on it, by a panic.
    let log = log.log_internal_errors(false);
    // A second subscriber can only come from an embedding program, whose own is then the right one.
    let _ = log.try_init();
}

/// Whether a stream gets colours.
fn colors(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && !no_color()
}

/// Whether the user wants none (no-color.org).
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// The file that a command means: the one named, or the nearest.
fn file(named: Option<&Path>) -> Result<PathBuf, Exit> {
    sought(named)?.map_err(|none| no_file(&none))
}

/// The same; that there is none is for the caller to tell.
fn sought(named: Option<&Path>) -> Result<Result<PathBuf, Diagnostic>, Exit> {
    let cwd =
        std::env::current_dir().map_err(|error| complain(&format!("can't tell the folder: {error}")))?;
    Ok(crate::config::find(named, &cwd))
}

/// Says that there is no file.
fn no_file(none: &Diagnostic) -> Exit {
    let help = none.help.as_deref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
    complain(&format!("{}{help}", harmless(&none.message)));
    Exit::Usage
}

/// Says what went wrong.
fn complain(text: &str) -> Exit {
    tell(&format!("orch: {text}\n"));
    Exit::Failed
}

/// Writes to stderr; that nobody reads it is no reason to fail in another way.
fn tell(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Where the state directory is to be, by the environment; set to nothing, it says nothing.
fn state_dir() -> Option<PathBuf> {
    std::env::var_os("ORCH_STATE_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Prints what was asked for. A reader that has gone away (`orch graph | head`) is no error.
fn print(text: &str) -> Exit {
    print_bytes(text.as_bytes())
}

fn print_bytes(bytes: &[u8]) -> Exit {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => complain(&format!("can't write to standard output: {error}")),
    }
}

fn pretty(json: &serde_json::Value) -> String {
    format!("{json:#}\n")
}

/// The name of a component, on the command line.
fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}
