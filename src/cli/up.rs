//! `orch up`.

use super::args::UpArgs;
use super::exit::Exit;
use super::{background, complain, file, no_color, state_dir, tell};
use crate::config::render::harmless;
use crate::runtime::{Half, Left, UpError, UpOptions, detach, takes_over, up as run, up_in_background};

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
    // A new image is in the background already.
    if takes_over() || !(args.detach || args.wait) {
        return ended(run(&options));
    }
    match detach() {
        Ok(Half::Back(back)) => ended(up_in_background(&options, back)),
        Ok(Half::Front(daemon)) => background::answer(daemon, &options, args.wait),
        Err(error) => complain(&format!("can't go into the background: {error}")),
    }
}

fn ended(result: Result<Left, UpError>) -> Exit {
    match result {
        Ok(left) if left.code == 0 => Exit::Done,
        Ok(_) => Exit::Failed,
        Err(error) => not_begun(&error),
    }
}

/// Says why nothing runs.
pub(super) fn not_begun(error: &UpError) -> Exit {
    match error {
        UpError::Invalid(report) => {
            tell(report);
            complain("nothing was started");
            Exit::Usage
        }
        UpError::Taken(message) => {
            complain(&harmless(message));
            Exit::Taken
        }
        UpError::Unknown(name) => {
            complain(&format!("--only names `{name}`, which is no component of the file"));
            Exit::Usage
        }
        UpError::Failed(message) => complain(&harmless(message)),
    }
}
