//! `orch graph`.

use super::args::GraphArgs;
use super::exit::Exit;
use super::{check, colors, file, print, state_dir, tell};
use crate::config::render;
use crate::plan::render_graph;

pub(super) fn graph(args: &GraphArgs) -> Exit {
    let file = match file(args.file.as_deref()) {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let loaded = check::read(&file, state_dir());
    let Some(project) = &loaded.project else {
        tell(&render::human(&loaded.diagnostics, &loaded.sources, colors(&std::io::stderr())));
        return Exit::Usage;
    };
    print(&render_graph(project, args.format.into()))
}
