//! `orch watch add`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};

use super::exit::Exit;
use super::replace::{self, Content, Replaced};
use super::target::{Target, TargetArgs};
use super::{check, colors, complain, complete, name, print, tell};
use crate::api::PlanReport;
use crate::client::ClientError;
use crate::config::render::{self, harmless};
use crate::config::{Edited, NotEdited, watch_more};
use crate::types::Name;

pub(super) const AFTER_ADD: &str = "\
Examples:
  orch watch add api src            api restarts when something in src changes
  orch watch add api '../lib/*.py'  a glob; in quotes, so that the shell leaves it alone

Edits the YAML file, and leaves every byte as it is but the new ones. Paths are relative to the working directory; in
the file they are relative to the file's folder. An orch that runs takes the edit at once, and restarts nothing for it.

Exit codes:
  0  it is watched now, or was already
  1  the file could not be written, or can't be edited so; nothing was changed
  2  there is no such component, or the file is not valid; nothing was changed
  4  somebody else edits the file, and does not come to an end; nothing was changed";

/// So often it is begun anew when somebody saves the file meanwhile.
const ATTEMPTS: u32 = 5;
/// So long another edit is waited for, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    #[command(subcommand)]
    command: WatchCommand,
}

#[derive(Debug, Subcommand)]
enum WatchCommand {
    /// Have a component watch more files or folders, by an edit of the YAML file
    #[command(after_long_help = AFTER_ADD)]
    Add(AddArgs),
}

#[derive(Debug, Args)]
struct AddArgs {
    /// Which component
    #[arg(value_parser = name, add = complete::components())]
    name: Name,
    /// Files, folders or globs
    #[arg(required = true, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

pub(super) fn watch(args: &WatchArgs) -> Exit {
    let WatchCommand::Add(args) = &args.command;
    match add(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn add(args: &AddArgs) -> Result<Exit, Exit> {
    let target = args.target.place()?;
    let file = target.yaml()?;
    let paths = in_file(&file, &args.paths)?;
    // Another one of these may be at it.
    let _alone = replace::alone(&file, PATIENCE).map_err(|replace::Busy| {
        complain(&format!(
            "somebody else has had a lock on the folder of {} for {} s, as another `orch watch add` has while it \
             edits; nothing was changed",
            shown(&file),
            PATIENCE.as_secs()
        ));
        Exit::Late
    })?;
    for _ in 0..ATTEMPTS {
        let (content, edited) = edit(&file, &target, &args.name, &paths)?;
        let Some(text) = &edited.text else {
            return Ok(print(&format!("{} watches {} already\n", args.name, listed(&edited.known))));
        };
        match content.replace_by(text.as_bytes()) {
            Ok(Replaced::Done) => return Ok(told(&target, &file, &args.name, &edited)),
            // Somebody has saved it meanwhile.
            Ok(Replaced::Changed) => {}
            Err(error) => return Err(complain(&harmless(&error))),
        }
    }
    Err(complain(&format!("{} is saved again and again; nothing was written", shown(&file))))
}

fn edit(file: &Path, target: &Target, name: &Name, paths: &[String]) -> Result<(Content, Edited), Exit> {
    let state_dir = Some(target.state_dir.clone());
    let options = check::load_options(state_dir.clone());
    let content = Content::read(file);
    let Some(text) = content.as_ref().ok().and_then(Content::text) else {
        // The loader says best what is wrong with such bytes, or no bytes.
        return Err(not_valid(&check::read(file, state_dir)));
    };
    match watch_more(file, text, name, paths, &options) {
        Ok(edited) => Ok((content.map_err(|error| complain(&harmless(&error)))?, edited)),
        Err(NotEdited::Invalid(loaded)) => Err(not_valid(&loaded)),
        Err(NotEdited::Unknown(help)) => {
            let help = help.map(|help| format!("\n  help: {help}")).unwrap_or_default();
            complain(&format!("{} has no component `{name}`{help}", shown(file)));
            Err(Exit::Usage)
        }
        Err(NotEdited::Meaningless(why)) => {
            complain(&why);
            Err(Exit::Usage)
        }
        Err(NotEdited::Refused(why)) => Err(complain(&harmless(&why))),
    }
}

fn not_valid(loaded: &crate::config::Loaded) -> Exit {
    tell(&render::human(&loaded.diagnostics, &loaded.sources, colors(&std::io::stderr())));
    complain("the file is not valid, and stays as it is");
    Exit::Usage
}

/// Says what was done, also by an orch that runs.
fn told(target: &Target, file: &Path, name: &Name, edited: &Edited) -> Exit {
    let mut text = format!("{name} watches {} now, by {}\n", listed(&edited.added), shown(file));
    if !edited.known.is_empty() {
        text.push_str(&format!("{} was watched already\n", listed(&edited.known)));
    }
    match edited.taken {
        0 => {}
        1 => text
            .push_str("the path that it took from elsewhere in the file now stands in its own list, too\n"),
        taken => {
            let more = format!(
                "the {taken} paths that it took from elsewhere in the file now stand in its own list, too\n"
            );
            text.push_str(&more);
        }
    }
    let printed = print(&text);
    if target.other().is_some() {
        return printed;
    }
    match target.client().post::<PlanReport>("/v1/reload", &serde_json::json!({})) {
        Ok(report) if report.valid => {
            tell(&format!(
                "orch: the running orch has taken the edit (declaration {})\n",
                report.config_generation
            ));
            printed
        }
        Ok(_) => complain(
            "the running orch does not take the edit: the file is not valid for it; see its messages",
        ),
        Err(ClientError::NotRunning) => printed,
        // It becomes another image, or ends; the file is read by whoever comes.
        Err(ClientError::Ended | ClientError::Refused(409, _)) => printed,
        Err(error) => complain(&format!("the edit is saved, but the running orch was not heard of: {error}")),
    }
}

/// The paths as they are to stand in the file: relative to its folder where they are below it, or were relative.
fn in_file(file: &Path, paths: &[PathBuf]) -> Result<Vec<String>, Exit> {
    let failed =
        |path: &Path, error: &std::io::Error| complain(&format!("can't find {}: {error}", shown(path)));
    let cwd = std::env::current_dir().map_err(|error| failed(Path::new("."), &error))?;
    let dir = file.parent().unwrap_or(Path::new("/"));
    let real = std::fs::canonicalize(dir).map_err(|error| failed(dir, &error))?;
    let folder = Folder { cwd: &cwd, dir, real: &real };
    let refused = |why: &str| {
        complain(why);
        Exit::Usage
    };
    paths.iter().map(|path| folder.path(path).map_err(refused)).collect()
}

/// Where paths come from, and where they go.
struct Folder<'a> {
    cwd: &'a Path,
    /// The YAML file's folder, by the user's name for it, and by its own.
    dir: &'a Path,
    real: &'a Path,
}

impl Folder<'_> {
    fn path(&self, path: &Path) -> Result<String, &'static str> {
        let Some(text) = path.to_str() else {
            return Err("a path that is not UTF-8 has no place in a YAML file");
        };
        if text.is_empty() || text.contains('\0') {
            return Err("a path is not empty, and holds no NUL byte");
        }
        let absolute = crate::config::absolute(self.cwd, path);
        for dir in [self.real, self.dir] {
            if let Ok(below) = absolute.strip_prefix(dir) {
                return Ok(if below.as_os_str().is_empty() { ".".to_owned() } else { string(below) });
            }
        }
        // Through a link the way up is another one by letter than by the system.
        let is_direct = self.real == self.dir;
        Ok(string(&if path.is_relative() && is_direct { beside(self.dir, &absolute) } else { absolute }))
    }
}

/// The way to a path from a folder that it is not in.
fn beside(dir: &Path, path: &Path) -> PathBuf {
    let common = dir.ancestors().find(|above| path.starts_with(above)).unwrap_or(Path::new("/"));
    let up = dir.strip_prefix(common).map_or(0, |below| below.components().count());
    let down = path.strip_prefix(common).unwrap_or(path);
    std::iter::repeat_n(Path::new(".."), up).collect::<PathBuf>().join(down)
}

fn string(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn listed(paths: &[String]) -> String {
    harmless(&paths.join(", ")).into_owned()
}

fn shown(path: &Path) -> String {
    harmless(&path.display().to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_from_where_the_user_is_to_where_the_file_is() {
        let of = |cwd: &str, real: &str, path: &str| {
            Folder { cwd: Path::new(cwd), dir: Path::new("/p"), real: Path::new(real) }.path(Path::new(path))
        };
        let path = |cwd: &str, path: &str| of(cwd, "/p", path).unwrap();
        assert_eq!(path("/p", "src"), "src");
        assert_eq!(path("/p/api", "src/*.py"), "api/src/*.py");
        assert_eq!(path("/p/api", "../lib/./x/"), "lib/x");
        assert_eq!(path("/p/api", ".."), ".");
        assert_eq!(path("/p", "/p/a"), "a");
        assert_eq!(path("/p", "/q/a"), "/q/a");
        assert_eq!(path("/p", "../q/a"), "../q/a");
        assert_eq!(path("/q", "a"), "../q/a");
        assert_eq!(path("/p", "a\nb"), "a\nb");
        // The file's folder is a link.
        assert_eq!(of("/real/p/x", "/real/p", "a").unwrap(), "x/a");
        assert_eq!(of("/real/q", "/real/p", "a").unwrap(), "/real/q/a");
        assert!(of("/p", "/p", "").is_err() && of("/p", "/p", "a\0b").is_err());
    }
}
