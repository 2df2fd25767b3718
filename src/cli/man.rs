//! `orch man`.

use std::io;
use std::path::PathBuf;

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
        section(command, &mut text)?;
    }
    man.render_extra_section(&mut text)?;
    man.render_version_section(&mut text)?;
    Ok(text)
}

/// Those that are shown, also the commands of commands.
fn listed(cli: &clap::Command) -> Vec<&clap::Command> {
    let mut all = Vec::new();
    for command in
        cli.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
    {
        all.push(command);
        all.extend(listed(command));
    }
    all
}

/// A command's page as a section of the whole.
fn section(command: &clap::Command, text: &mut Vec<u8>) -> io::Result<()> {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    let man = Man::new(command.clone());
    let mut own = Vec::new();
    man.render_synopsis_section(&mut own)?;
    man.render_description_section(&mut own)?;
    man.render_options_section(&mut own)?;
    man.render_extra_section(&mut own)?;
    text.extend_from_slice(format!(".SH \"{}\"\n", name.to_uppercase()).as_bytes());
    for line in String::from_utf8_lossy(&own).lines() {
        let line = match line.strip_prefix(".SH ") {
            // What a section begins with needs no head of its own.
            Some("SYNOPSIS") => ".PP".to_owned(),
            Some("DESCRIPTION" | "EXTRA") => ".PP".to_owned(),
            Some(head) => format!(".SS {head}"),
            None if line.starts_with(".ie \\n(.g .ds Aq") || line.starts_with(".el .ds Aq") => continue,
            None => line.to_owned(),
        };
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
    }
    Ok(())
}

fn pages(folder: &PathBuf) -> io::Result<usize> {
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
