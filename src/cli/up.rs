//! `orch up`.

use super::args::UpArgs;
use super::exit::Exit;
use super::{complain, file, no_color, state_dir, tell};
use crate::runtime::{UpError, UpOptions, takes_over, up as run};

pub(super) fn up(args: &UpArgs) -> Exit {
    // A new image goes on with what the old one had, whatever became of the file.
    let found =
        if takes_over() { Ok(args.file.clone().unwrap_or_default()) } else { file(args.file.as_deref()) };
    let file = match found {
        Ok(file) => file,
        Err(exit) => return exit,
    };
    let options = UpOptions {
        file,
        only: args.only.clone(),
        profiles: args.profile.clone(),
        watch: !args.no_watch,
        restore: !args.no_restore,
        state_dir: args.state_dir.clone().or_else(state_dir),
        cgroups: std::env::var_os("ORCH_CGROUPS").is_none_or(|value| value != "off"),
        no_color: no_color(),
        foreground: true,
        signals: true,
        reexec: true,
        upgrade: true,
    };
    match run(&options) {
        Ok(left) if left.code == 0 => Exit::Done,
        Ok(_) => Exit::Failed,
        Err(UpError::Invalid(report)) => {
            tell(&report);
            complain("nothing was started");
            Exit::Usage
        }
        Err(UpError::Taken(message)) => {
            complain(&message);
            Exit::Taken
        }
        Err(UpError::Unknown(name)) => {
            complain(&format!("--only names `{name}`, which is no component of the file"));
            Exit::Usage
        }
        Err(UpError::Failed(message)) => complain(&message),
    }
}
