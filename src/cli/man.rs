//! `orch man`.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory as _};
use clap_mangen::Man;

use super::args::Cli;
use super::exit::Exit;
use super::{complain, print_bytes, tell};

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Write a page for each command into this folder, such as ~/.local/share/man/man1
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: Option<PathBuf>,
}

pub(super) fn man(args: &ManArgs) -> Exit {
    match &args.out {
        None => match page() {
            Ok(text) => print_bytes(&text),
            Err(error) => complain(&format!("can't make the manual page: {error}")),
        },
        Some(folder) => match pages(folder) {
            Ok(count) => {
                tell(&format!("orch: wrote {count} pages into {}\n", folder.display()));
                Exit::Done
            }
            Err(error) => complain(&format!("can't write the pages into {}: {error}", folder.display())),
        },
    }
}

/// All commands in one page.
fn page() -> io::Result<Vec<u8>> {
    let mut cli = Cli::command();
    cli.build();
    let man = Man::new(cli.clone()).manual("orch");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    for command in listed(&cli) {
        text.extend(section(command)?.into_bytes());
    }
    let mut extra = Vec::new();
    man.render_extra_section(&mut extra)?;
    text.extend(layout(&extra, |head| format!(".SH {}", head.replace("EXTRA", "NOTES"))).into_bytes());
    man.render_version_section(&mut text)?;
    Ok(text)
}

/// Those that are shown, also the commands of commands.
fn listed(cli: &clap::Command) -> Vec<&clap::Command> {
    let mut all = Vec::new();
    let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for command in cli.get_subcommands().filter(shown) {
        all.push(command);
        all.extend(listed(command));
    }
    all
}

/// A command's page as a section of the whole.
fn section(command: &clap::Command) -> io::Result<String> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    // What every command has is told once.
    let man = Man::new(command.clone().mut_arg("help", |help| help.hide(true)));
    let mut own = Vec::new();
    man.render_synopsis_section(&mut own)?;
    man.render_description_section(&mut own)?;
    man.render_options_section(&mut own)?;
    man.render_extra_section(&mut own)?;
    let text = layout(&own, |head| match head {
        // What a section begins or ends with needs no head of its own.
        "SYNOPSIS" | "DESCRIPTION" | "EXTRA" => ".PP".to_owned(),
        head => format!(".SS {head}"),
    });
    Ok(format!(".SH \"{name}\"\n{text}"))
}

/// The lines of a page with other heads, in which what is indented (examples, lists) keeps its columns.
fn layout(page: &[u8], head: impl Fn(&str) -> String) -> String {
    let page = String::from_utf8_lossy(page);
    let (mut text, mut columns) = (String::new(), false);
    // Each section begins with two lines that say which apostrophe the device has.
    let is_preamble = |line: &&str| line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq");
    for line in page.lines().filter(|line| !is_preamble(line)) {
        let indented = line.starts_with(' ');
        if indented != columns {
            text += if indented { ".PP\n.nf\n" } else { ".fi\n" };
            columns = indented;
        }
        match line.strip_prefix(".SH ") {
            Some(title) => text += &head(title),
            None => text += line,
        }
        text.push('\n');
    }
    if columns {
        text += ".fi\n";
    }
    text
}

fn pages(folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut cli = Cli::command();
    cli.build();
    let mut count = 1;
    Man::new(cli.clone()).manual("orch").generate_to(folder)?;
    for command in listed(&cli) {
        Man::new(command.clone()).manual("orch").generate_to(folder)?;
        count += 1;
    }
    Ok(count)
}
