//! Whether the programs that a component names can be found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Lowering, on};
use crate::config::code;
use crate::config::decode::{At, Section, Step};
use crate::config::keys::ComponentKeys;
use crate::config::model::{Command, Component, Condition, Env, Kind, WatchAction};
use crate::config::report::Mistake;
use crate::config::text::shown;
use crate::config::tree::NodeId;

/// Where execvp(3) looks without a PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What was looked up already.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// By search path, then by name.
    sought: BTreeMap<String, BTreeMap<String, Found>>,
    files: BTreeMap<PathBuf, Found>,
}

/// What there is under a program's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Program,
    NotExecutable,
    Nothing,
}

/// One command of a component.
struct Use<'c> {
    command: &'c Command,
    node: NodeId,
    path: &'static [&'static str],
    /// Whether `build` runs before it.
    after_build: bool,
}

impl Programs {
    fn file(&mut self, path: PathBuf) -> Found {
        if let Some(found) = self.files.get(&path) {
            return *found;
        }
        let found = look(&path);
        self.files.insert(path, found);
        found
    }

    fn search(&mut self, program: &str, search_path: &str, cwd: &Path) -> Found {
        let relative = search_path.split(':').any(|folder| !folder.starts_with('/'));
        let key = if relative { format!("{}\0{search_path}", cwd.display()) } else { String::new() };
        let key = if relative { key.as_str() } else { search_path };
        if let Some(found) = self.sought.get(key).and_then(|programs| programs.get(program)) {
            return *found;
        }
        let mut found = Found::Nothing;
        for folder in search_path.split(':') {
            match look(&cwd.join(folder).join(program)) {
                Found::Program => {
                    found = Found::Program;
                    break;
                }
                Found::NotExecutable => found = Found::NotExecutable,
                Found::Nothing => {}
            }
        }
        self.sought.entry(key.into()).or_default().insert(program.into(), found);
        found
    }
}

fn look(path: &Path) -> Found {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => match rustix::fs::access(path, rustix::fs::Access::EXEC_OK) {
            Ok(()) => Found::Program,
            Err(_) => Found::NotExecutable,
        },
        Ok(_) => Found::NotExecutable,
        Err(_) => Found::Nothing,
    }
}

impl Lowering<'_> {
    /// Checks every program that the component names.
    pub(super) fn check_programs(&mut self, component: &Component, keys: &ComponentKeys) {
        let completed = component.depends_on.iter().any(|edge| edge.condition == Condition::Completed);
        for used in uses(component, keys) {
            let Command::Words(words) = used.command else { continue };
            let Some(program) = words.first() else { continue };
            let found = self.find(program, component);
            if found != Found::Program {
                let later = completed || (used.after_build && component.build.is_some());
                self.report_program(&used, program, found, later, component);
            }
        }
    }

    fn find(&mut self, program: &str, component: &Component) -> Found {
        if program.contains('/') {
            return self.programs.file(component.cwd.join(program));
        }
        let search_path = path_of(&component.env, self.ground.path.as_deref());
        self.programs.search(program, search_path, &component.cwd)
    }

    fn report_program(
        &mut self,
        used: &Use<'_>,
        program: &str,
        found: Found,
        later: bool,
        component: &Component,
    ) {
        let shown_program = shown(program);
        let message = match found {
            Found::NotExecutable => format!("the program `{shown_program}` can't be executed"),
            _ => format!("the program `{shown_program}` can't be found"),
        };
        let help = if program.contains('/') {
            format!("it is sought at {}", shown(&component.cwd.join(program).to_string_lossy()))
        } else if words_of_a_shell(used.command) {
            "no shell runs: for pipes, variables and `&&`, write `{shell: …}`".into()
        } else {
            format!("it is sought in PATH; in the folder of the component it is `./{shown_program}`")
        };
        let code = if later { code::PROGRAM_LATER } else { code::PROGRAM_MISSING };
        for step in used.path {
            self.decoder.enter(Step::Key(step));
        }
        self.mistake(used.node, Mistake::new(code, message).help(help));
        for _ in used.path {
            self.decoder.leave();
        }
    }
}

/// The PATH of a component: its own, or the nearest below.
fn path_of<'e>(env: &'e Env, own: Option<&'e str>) -> &'e str {
    let layers = [&env.own, &*env.files, &*env.project];
    let written = layers.into_iter().find_map(|layer| layer.get("PATH"));
    let path = written.map_or(own, Option::as_deref);
    path.unwrap_or(DEFAULT_PATH)
}

/// Whether a command looks as if its author thought of a shell.
fn words_of_a_shell(command: &Command) -> bool {
    let Command::Words(words) = command else { return false };
    let first = words.first().is_some_and(|word| word.contains('=') || word == "cd" || word == "export");
    first || words.iter().any(|word| matches!(word.as_str(), "&&" | "||" | "|" | ";" | ">"))
}

fn uses<'c>(component: &'c Component, keys: &'c ComponentKeys) -> Vec<Use<'c>> {
    let mut uses = Vec::new();
    let mut add = |command: &'c Command, node, path: &'static [&'static str], after_build| {
        uses.push(Use { command, node, path, after_build });
    };
    if let (Kind::Process(command), Some(at)) = (&component.kind, &keys.process) {
        add(command, at.node, &["process"], true);
    }
    if let (Some(build), Some(at)) = (&component.build, &keys.build) {
        add(&build.command, at.node, &["build"], false);
    }
    if let Some(exec) = on(keys.ready.as_ref()).and_then(|ready| ready.exec.as_ref()) {
        add(&exec.value.0, exec.node, &["ready", "exec"], true);
    }
    if let Some(exec) = on(keys.health.as_ref()).and_then(|health| health.exec.as_ref()) {
        add(&exec.value.0, exec.node, &["health", "exec"], true);
    }
    if let Some(At { value: Section::On(command), node }) =
        on(keys.stop.as_ref()).and_then(|stop| stop.command.as_ref())
    {
        add(&command.0, *node, &["stop", "command"], true);
    }
    if let Some(action) = on(keys.watch.as_ref()).and_then(|watch| watch.action.as_ref())
        && let WatchAction::Run(command) = &action.value.0
    {
        add(command, action.node, &["watch", "action"], true);
    }
    uses
}
