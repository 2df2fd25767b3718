//! What can be asked for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::command::{self, NamesArgs};
use super::complete;
use super::down::{self, DownArgs};
use super::events::{self, EventsArgs};
use super::logs::{self, LogsArgs};
use super::man::ManArgs;
use super::name;
use super::plan::{self, PlanArgs, ReloadArgs};
use super::ps::{self, PsArgs};
use super::schema::SchemaArgs;
use super::target::TargetArgs;
use super::timeline::{self, TimelineArgs};
use super::wait::{self, WaitArgs};
use super::watch::WatchArgs;
use super::why::{self, WhyArgs};
use crate::plan::GraphFormat;
use crate::types::Name;

const AFTER_HELP: &str = "\
Begin here:
  orch init       writes a commented devmode.yaml
  orch validate   tells every mistake in it
  orch up         runs it; edit it, or the watched files, and see; Ctrl-C ends it

Exit codes:
  0  done
  1  a component failed, or the operation did
  2  wrong usage, or an invalid file; nothing was started
  3  no orch runs the project; or, for up, one already does
  4  a time limit has passed

Environment:
  NO_COLOR        no colours, if it is set to anything
  ORCH_STATE_DIR  where orch keeps its own files, as --state-dir says
  ORCH_CGROUPS    off: give components no cgroups of their own, also where the system allows it
  ORCH_LOG        how much orch tells of its own working: warn, info, debug, trace";

const AFTER_UP: &str = "\
Examples:
  orch up                         the nearest devmode.yaml, all of it
  orch up --only api              api and what it depends on
  orch up --profile full          also what has this profile
  orch up --wait                  in the background; returns when all is ready
  orch up --no-watch              saved files restart nothing, for a test in CI

It ends by itself when everything is completed, failed or blocked and nothing is watched:
with 1 if something has failed or is blocked, else with 0.";

const AFTER_VALIDATE: &str = "\
Ends with 0 if the file is valid, warnings or not, and with 2 if it isn't.";

const AFTER_STATE: &str = "\
Examples:
  orch state list                      what there is, and what the next starts would be given
  orch state show api > state.json     the bytes that api would be given
  orch state show api --generation 16  an older copy
  orch state verify                    reads everything, and checks it
  orch state clear api                 api starts afresh next time

list, show and verify change nothing, and work while orch runs.";

const AFTER_LIST: &str = "\
What a generation is now:
  next         the next start is given it, unless something newer is sealed before
  kept         sound, behind that one
  used         the component was ready with it or a newer one; stands in for a damaged one
  poisoned     given twice, and the component was not ready either time
  laid aside   by --no-restore or `orch state clear`
  too old      older than max_age
  from the future, damaged, unreadable";

const AFTER_SHOW: &str = "\
Without --generation, it is the one that the next start would be given, else the newest that is sound.
What fails its checksum is not shown.";

const AFTER_VERIFY: &str = "\
Ends with 0 if everything is sound, and with 1 if anything isn't.";

const AFTER_CLEAR: &str = "\
Removes the generations. The component's own state file is not deleted, but moved to
STATE_DIR/state/NAME/quarantine; to have it back, stop orch and move it back.
Ends with 3 while orch runs the project.";

const AFTER_COMPLETIONS: &str = "\
For bash, in ~/.bashrc:                     source <(orch completions bash)
For zsh, in ~/.zshrc, after compinit:       source <(orch completions zsh)
For fish, in ~/.config/fish/config.fish:    orch completions fish | source

Then `orch restart a<TAB>` completes the components of the project that runs here, or that the YAML file
declares. The shell asks orch each time, so nothing of it goes out of date.";

const AFTER_GRAPH: &str = "\
Examples:
  orch graph                            a list, in the order in which things start
  orch graph --format svg > graph.svg   a picture for a README";

/// A process orchestrator for development
///
/// One YAML file declares the components of an application. orch starts them in dependency order, keeps them
/// as declared, restarts what a saved file makes stale, carries each one's state across the restart, and
/// stops everything in reverse order, with nothing left behind.
#[derive(Debug, Parser)]
#[command(
    name = "orch",
    version,
    max_term_width = 100,
    after_help = "New here? `orch init` writes a file, `orch up` runs it.",
    after_long_help = AFTER_HELP
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a project until it ends or you press Ctrl-C; or, with --detach, in the background
    ///
    /// Shows each component's output after its name. A saved file restarts the components that watch it; an
    /// edit of the YAML file takes effect when you save it. The first Ctrl-C stops everything in order, the
    /// second one at once.
    #[command(after_long_help = AFTER_UP)]
    Up(UpArgs),
    /// Show what runs, and how it is
    ///
    /// One line for each component: its state, its process, since when it is so, how often it was restarted
    /// by itself, how its last run ended, what it takes, and what it says of itself or why it is not ready.
    #[command(after_long_help = ps::AFTER)]
    Ps(PsArgs),
    /// Start components, and what they need; returns when they are ready
    #[command(after_long_help = command::AFTER_START)]
    Start(NamesArgs),
    /// Stop components, and what needs them first; returns when nothing of them runs
    #[command(after_long_help = command::AFTER_STOP)]
    Stop(NamesArgs),
    /// Restart components; returns when they are ready again
    #[command(after_long_help = command::AFTER_RESTART)]
    Restart(NamesArgs),
    /// Show what components have written, and with -f what they write; also when nothing runs
    #[command(after_long_help = logs::AFTER)]
    Logs(LogsArgs),
    /// Wait until components are ready or completed, or in another state
    #[command(after_long_help = wait::AFTER)]
    Wait(WaitArgs),
    /// Change what components watch
    Watch(WatchArgs),
    /// Show what an edit of the YAML file would do, and why, without doing it
    #[command(after_long_help = plan::AFTER_PLAN)]
    Plan(PlanArgs),
    /// Read the YAML file again, and apply what has changed
    #[command(after_long_help = plan::AFTER_RELOAD)]
    Reload(ReloadArgs),
    /// Stop everything in order, and end orch; returns when nothing is left
    #[command(after_long_help = down::AFTER)]
    Down(DownArgs),
    /// Check a YAML file, and tell every mistake in it with its place
    #[command(after_long_help = AFTER_VALIDATE)]
    Validate(ValidateArgs),
    /// Show who depends on whom, as text or as a picture
    #[command(after_long_help = AFTER_GRAPH)]
    Graph(GraphArgs),
    /// Show what happened, and what happens; also while nothing runs
    #[command(after_long_help = events::AFTER)]
    Events(EventsArgs),
    /// Tell why a component is in its state, and what led to that; also while nothing runs
    #[command(after_long_help = why::AFTER)]
    Why(WhyArgs),
    /// Draw the start-up and the restarts over time, with what they waited for; also while nothing runs
    #[command(after_long_help = timeline::AFTER)]
    Timeline(TimelineArgs),
    /// Show, check or clear the saved states of components; also while nothing runs
    #[command(after_long_help = AFTER_STATE)]
    State(StateArgs),
    /// Have the running orch become another program, while every process runs on
    ///
    /// The new program is asked first whether it can go on from where the running one is; if not, nothing happens.
    /// Threads inside orch are stopped and started again, with their states.
    Upgrade(UpgradeArgs),
    /// Asked of a program by a running orch that is to become it
    #[command(name = crate::runtime::QUESTION, hide = true)]
    TakesOver,
    /// Print the JSON schema of the YAML file, by which editors complete and check it
    Schema(SchemaArgs),
    /// Write a commented devmode.yaml to begin with; a file that is there is left alone
    Init(InitArgs),
    /// Print what a shell needs to complete orch's commands, and the names of your components
    #[command(after_long_help = AFTER_COMPLETIONS)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page; `orch man | man -l -` shows it
    Man(ManArgs),
}

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// The YAML file; without it, devmode.yaml or orch.yaml here, or in the nearest folder above
    pub(super) file: Option<PathBuf>,
    /// Run only these components, and what they depend on
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = name)]
    #[arg(add = complete::components())]
    pub(super) only: Vec<Name>,
    /// Run also the components of this profile; may be given several times
    #[arg(long, value_name = "PROFILE", value_delimiter = ',', add = complete::profiles())]
    pub(super) profile: Vec<String>,
    /// Run it in the background, and return once it is begun; `orch down` ends it
    ///
    /// orch's own messages go to orch.log in the state directory. A SIGHUP has the file read again.
    #[arg(long)]
    pub(super) detach: bool,
    /// The same, and return when all is ready or completed; with 1 as soon as one has failed or is blocked
    #[arg(long)]
    pub(super) wait: bool,
    /// Watch no files: nothing is restarted by a save, and edits of the YAML file wait for the next start
    #[arg(long)]
    pub(super) no_watch: bool,
    /// Restore no state: every component starts afresh; what was saved is kept
    #[arg(long)]
    pub(super) no_restore: bool,
    /// Where orch keeps its own files: locks, logs, states, events [default: .orch beside the YAML file]
    /// [env: ORCH_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// The YAML file; without it, devmode.yaml or orch.yaml here, or in the nearest folder above
    pub(super) file: Option<PathBuf>,
    /// For people, or for programs
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// Each mistake under its source line
    Human,
    /// One JSON object with all errors and warnings
    Json,
}

#[derive(Debug, Args)]
pub(super) struct GraphArgs {
    /// The YAML file; without it, devmode.yaml or orch.yaml here, or in the nearest folder above
    pub(super) file: Option<PathBuf>,
    /// How it is drawn
    #[arg(long, value_enum, default_value_t = Drawing::Text)]
    pub(super) format: Drawing,
}

/// The formats of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Drawing {
    /// For the terminal: waves of what starts together
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown pages, as GitHub draws them
    Mermaid,
    /// A picture by itself
    Svg,
    /// For programs
    Json,
}

impl From<Drawing> for GraphFormat {
    fn from(drawing: Drawing) -> Self {
        match drawing {
            Drawing::Text => Self::Text,
            Drawing::Dot => Self::Dot,
            Drawing::Mermaid => Self::Mermaid,
            Drawing::Svg => Self::Svg,
            Drawing::Json => Self::Json,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// The new program; without it, the one that runs this command
    #[arg(value_name = "PATH")]
    pub(super) program: Option<PathBuf>,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    #[command(subcommand)]
    pub(super) command: StateCommand,
    /// The YAML file; without it, devmode.yaml or orch.yaml here, or in the nearest folder above
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Where orch keeps its own files [default: .orch beside the YAML file] [env: ORCH_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// List the saved copies (generations) of each component's state, and what was set aside
    #[command(after_long_help = AFTER_LIST)]
    List {
        /// Only this component
        #[arg(value_parser = name, add = complete::components())]
        name: Option<Name>,
        /// As one JSON object, for programs (docs/state.md)
        #[arg(long)]
        json: bool,
    },
    /// Print a saved state, byte for byte; what it is goes to stderr
    #[command(after_long_help = AFTER_SHOW)]
    Show {
        /// Whose
        #[arg(value_parser = name, add = complete::components())]
        name: Name,
        /// Which copy, by its number in `orch state list`
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
        /// Print what it is, as one JSON object, in place of its bytes
        #[arg(long)]
        json: bool,
    },
    /// Read every saved copy and check it against its checksum
    #[command(after_long_help = AFTER_VERIFY)]
    Verify {
        /// Only this component
        #[arg(value_parser = name, add = complete::components())]
        name: Option<Name>,
        /// As one JSON object, for programs (docs/state.md)
        #[arg(long)]
        json: bool,
    },
    /// Forget the states of components, so that they start afresh; only while orch does not run
    #[command(after_long_help = AFTER_CLEAR)]
    Clear {
        /// Which components
        #[arg(value_name = "NAME", value_parser = name, required_unless_present = "all")]
        #[arg(add = complete::components())]
        names: Vec<Name>,
        /// All of them, also those that the file does not declare any more
        #[arg(long, conflicts_with = "names")]
        all: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Where to write it
    #[arg(default_value = "devmode.yaml")]
    pub(super) file: PathBuf,
}
