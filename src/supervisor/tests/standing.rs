//! How far a component is: what those who wait for a command are told by.

use super::play::{Play, name};
use crate::supervisor::{Command, Event, Standing};

fn standing(play: &Play, of: &str) -> Standing {
    play.core.standing(play.core.find(of).unwrap()).unwrap()
}

fn executed(play: &Play, of: &str) -> u64 {
    play.core.executed(play.core.find(of).unwrap())
}

#[test]
fn a_component_that_is_to_stop_is_not_up() {
    let mut play = Play::of("db; api: db");
    assert_eq!(standing(&play, "db"), Standing::Up);
    play.stop("db");
    assert_eq!(play.state("db"), "ready", "it is not told before its dependent is gone");
    assert_eq!((standing(&play, "db"), standing(&play, "api")), (Standing::Underway, Standing::Underway));
    play.gone("api");
    play.gone("db");
    assert_eq!((standing(&play, "db"), standing(&play, "api")), (Standing::Stopped, Standing::Stopped));
}

#[test]
fn what_waits_for_something_stopped_by_command_is_held_however_far_away_that_is() {
    let mut play = Play::of("db; mid: db; api: mid");
    play.stop("db");
    ["api", "mid", "db"].iter().for_each(|of| play.gone(of));
    play.tell(Event::Command(Command::Restart(vec![name("api"), name("mid")])));
    assert_eq!((play.state("api"), play.state("mid")), ("waiting", "waiting"));
    assert_eq!((standing(&play, "api"), standing(&play, "mid")), (Standing::Held, Standing::Held));
    play.start("db");
    assert_eq!((standing(&play, "api"), standing(&play, "mid")), (Standing::Up, Standing::Up));
}

#[test]
fn what_waits_for_something_that_comes_is_under_way() {
    let mut play = Play::of("db?; api: db");
    assert_eq!((standing(&play, "db"), standing(&play, "api")), (Standing::Underway, Standing::Underway));
    play.ready("db");
    assert_eq!((standing(&play, "db"), standing(&play, "api")), (Standing::Up, Standing::Up));
}

#[test]
fn what_ended_by_itself_is_told_by_how() {
    let mut play = Play::of("keep; job; bad!; top: bad");
    play.ends("top", 0);
    play.ends("job", 0);
    play.ends("bad", 1);
    assert_eq!((standing(&play, "job"), standing(&play, "bad")), (Standing::Completed, Standing::Failed));
    assert_eq!(play.core.standing(crate::types::Cid(99)), None);
}

#[test]
fn a_run_that_is_only_prepared_has_executed_nothing() {
    let mut play = Play::quiet("api", |_| {});
    play.silent();
    assert_eq!(executed(&play, "api"), 0);
    play.tell(Event::Up);
    assert_eq!(play.state("api"), "starting");
    assert_eq!(executed(&play, "api"), 0, "so it sees what is commanded now");
}
