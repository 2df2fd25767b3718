//! What can be asked for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::plan::GraphFormat;
use crate::types::Name;

/// A process orchestrator for development.
///
/// One YAML file declares the components of an application. orch starts them in dependency order, keeps them
/// as declared, restarts what a saved file makes stale, carries each one's state across the restart, and
/// stops everything in reverse order, with nothing left behind.
#[derive(Debug, Parser)]
#[command(
    name = "orch",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done; 1 a component failed, or the operation did; 2 wrong usage, or an invalid \
                  file; 3 one already runs here.\nBegin with `orch init`, then `orch up`."
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a project in the foreground, until it ends or you press Ctrl-C
    ///
    /// Shows each component's output with its name before it. Saved files restart what watches them; an edit
    /// of the YAML file takes effect at once. The first Ctrl-C stops everything in order, a second one at
    /// once.
    Up(UpArgs),
    /// Tell every mistake in a file, with its place
    Validate(ValidateArgs),
    /// Draw who depends on whom
    Graph(GraphArgs),
    /// Print the JSON schema of the YAML file, for editors
    Schema,
    /// Write a commented devmode.yaml to begin with
    Init(InitArgs),
    /// Print a shell's completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    Man,
}

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// The YAML file; without it, devmode.yaml or orch.yaml here, or in the nearest folder above
    pub(super) file: Option<PathBuf>,
    /// Only these components, and what they need
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = name)]
    pub(super) only: Vec<Name>,
    /// Also the components of this profile; can be given several times
    #[arg(long, value_name = "P", value_delimiter = ',')]
    pub(super) profile: Vec<String>,
    /// Watch no files
    #[arg(long)]
    pub(super) no_watch: bool,
    /// Restore no state; every component starts afresh, and what was saved is kept
    #[arg(long)]
    pub(super) no_restore: bool,
    /// Where orch keeps its own files, instead of .orch beside the YAML file [env: ORCH_STATE_DIR]
    #[arg(long, value_name = "D")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// The YAML file; without it, devmode.yaml or orch.yaml here, or in the nearest folder above
    pub(super) file: Option<PathBuf>,
    /// For a person, or for a program
    #[arg(long, value_enum, default_value_t = ReportFormat::Human)]
    pub(super) format: ReportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// Each mistake under its source line
    Human,
    /// One object, as the contract describes it
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
    /// For the terminal
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown pages
    Mermaid,
    /// A picture
    Svg,
    /// For a program
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
pub(super) struct InitArgs {
    /// Where to write it
    #[arg(default_value = "devmode.yaml")]
    pub(super) file: PathBuf,
}

fn name(text: &str) -> Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}
