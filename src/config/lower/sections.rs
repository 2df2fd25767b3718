//! Sections with their defaults filled in.

use std::path::Path;

use super::{absolute, on, plain};
use crate::config::code;
use crate::config::decode::{At, Decoder, List, PathText, Section, Step};
use crate::config::keys::{LogsKeys, RestartKeys, StateKeys, StopKeys, WatchKeys};
use crate::config::model::{
    Backoff, Limit, Logs, Poll, Restart, RestartPolicy, Snapshot, State, Stop, Watch, WatchAction,
};
use crate::config::report::Mistake;
use crate::config::short::codes;
use crate::config::text::shown;
use crate::config::unit::show;
use crate::types::Signal;

/// `restart: false` is never.
pub(super) fn restart(decoder: &mut Decoder<'_>, section: Option<&At<Section<RestartKeys>>>) -> Restart {
    let Some(keys) = on(section) else {
        let policy = if section.is_some() { RestartPolicy::Never } else { RestartPolicy::default() };
        return Restart { policy, ..Restart::default() };
    };
    let default = Restart::default();
    let limit = plain(keys.limit.as_ref()).unwrap_or_default();
    let backoff = decoder.within(Step::Key("restart"), |decoder| backoff(decoder, keys));
    Restart {
        policy: plain(keys.policy.as_ref()).unwrap_or_default(),
        success_codes: keys.success_codes.as_ref().map_or(default.success_codes, |list| codes(&list.value)),
        backoff,
        limit: Limit {
            count: plain(limit.count.as_ref()).map_or(default.limit.count, |count| count.0),
            within: plain(limit.within.as_ref()).map_or(default.limit.within, |within| within.0),
        },
    }
}

/// The first wait is no longer than the longest one, whichever of the two is written. A longest one that is
/// shorter than the default's first wait is the first wait, too.
fn backoff(decoder: &mut Decoder<'_>, keys: &RestartKeys) -> Backoff {
    let default = Backoff::default();
    let keys = plain(keys.backoff.as_ref()).unwrap_or_default();
    let initial = plain(keys.initial.as_ref()).map(|initial| initial.0);
    let max = keys.max.as_ref();
    let longest = max.map_or(default.max, |max| max.value.0);
    if let Some(written) = keys.initial.as_ref().filter(|initial| longest < initial.value.0) {
        let (key, node, mistake) = match max {
            Some(max) => ("max", max.node, Mistake::new(code::RANGE, "`max` is shorter than `initial`")),
            None => {
                let message = format!("`initial` is longer than `max`, which is {}", show(default.max));
                (
                    "initial",
                    written.node,
                    Mistake::new(code::RANGE, message).help("write a longer `max`, too"),
                )
            }
        };
        decoder.within(Step::Key("backoff"), |decoder| {
            decoder.within(Step::Key(key), |decoder| decoder.mistake(node, mistake));
        });
    }
    Backoff {
        initial: initial.unwrap_or(default.initial.min(longest)),
        max: longest,
        factor: plain(keys.factor.as_ref()).map_or(default.factor, |factor| factor.0),
        jitter: plain(keys.jitter.as_ref()).map_or(default.jitter, |jitter| jitter.0),
    }
}

/// `stop: false` switches off what `defaults` say.
pub(super) fn stop(section: Option<&At<Section<StopKeys>>>) -> Stop {
    let default = Stop::default();
    let Some(keys) = on(section) else { return default };
    Stop {
        signal: plain(keys.signal.as_ref()).unwrap_or(default.signal),
        command: on(keys.command.as_ref()).map(|command| command.0.clone()),
        timeout: plain(keys.timeout.as_ref()).map_or(default.timeout, |timeout| timeout.0),
        join_timeout: plain(keys.join_timeout.as_ref()).map_or(default.join_timeout, |timeout| timeout.0),
        force_kill: plain(keys.force_kill.as_ref()).unwrap_or(default.force_kill),
    }
}

/// A watch without paths is a mistake in a component, and an incomplete default in `defaults`.
pub(super) fn watch(
    decoder: &mut Decoder<'_>,
    section: Option<&At<Section<WatchKeys>>>,
    own: bool,
) -> Option<Watch> {
    let keys = on(section)?;
    let node = section?.node;
    decoder.enter(Step::Key("watch"));
    let paths = paths(decoder, keys.paths.as_ref());
    let ignore = paths_of(keys.ignore.as_ref());
    check_globs(decoder, "paths", keys.paths.as_ref());
    check_globs(decoder, "ignore", keys.ignore.as_ref());
    if own && paths.is_none() && !decoder.has_key(node, &["paths"]) {
        decoder.mistake(node, Mistake::new(code::MISSING_KEY, "`paths` is missing: nothing is watched"));
    }
    decoder.leave();
    let poll = plain(keys.poll.as_ref()).and_then(|poll| poll.0);
    Some(Watch {
        paths: paths?,
        ignore,
        gitignore: plain(keys.gitignore.as_ref()).unwrap_or(true),
        settle: plain(keys.settle.as_ref()).map_or(std::time::Duration::from_millis(5), |settle| settle.0),
        action: keys.action.as_ref().map_or(WatchAction::Restart, |action| action.value.0.clone()),
        poll: poll.map_or(Poll::Auto, Poll::Every),
    })
}

fn paths(decoder: &mut Decoder<'_>, list: Option<&At<List<PathText>>>) -> Option<Vec<String>> {
    let list = list?;
    let paths = paths_of(Some(list));
    if paths.is_empty() && decoder.tree.items(list.node).next().is_none() {
        let empty = Mistake::new(code::RANGE, "the list of paths is empty: nothing is watched");
        decoder.mistake(list.node, empty.help("delete the section, or write `watch: false`"));
    }
    Some(paths)
}

fn paths_of(list: Option<&At<List<PathText>>>) -> Vec<String> {
    list.map(|list| list.value.0.iter().map(|path| path.value.0.clone()).collect()).unwrap_or_default()
}

fn check_globs(decoder: &mut Decoder<'_>, key: &'static str, list: Option<&At<List<PathText>>>) {
    for (index, path) in list.into_iter().flat_map(|list| &list.value.0).enumerate() {
        let text = &path.value.0;
        let Some(why) = glob_mistake(text) else { continue };
        let message = format!("`{}` is not a valid glob: {why}", shown(text));
        decoder.within(Step::Key(key), |decoder| {
            decoder.within(Step::Index(index), |decoder| {
                decoder.mistake(path.node, Mistake::new(code::PATTERN, message));
            });
        });
    }
}

/// What is wrong with a glob; most paths are none, and cost nothing.
pub(crate) fn glob_mistake(text: &str) -> Option<String> {
    if !text.contains(['*', '?', '[', '{', '}', ']', '\\']) {
        return None;
    }
    let glob = globset::GlobBuilder::new(text).literal_separator(true).build();
    glob.err().map(|error| error.kind().to_string())
}

/// `logs: false` switches off what `defaults` say.
pub(super) fn logs(section: Option<&At<Section<LogsKeys>>>, dir: &Path) -> Logs {
    let default = Logs::default();
    let Some(keys) = on(section) else { return default };
    Logs {
        file: keys.file.as_ref().map(|file| absolute(dir, Path::new(&file.value.0))),
        max_size: plain(keys.max_size.as_ref()).map_or(default.max_size, |size| size.0),
        keep: plain(keys.keep.as_ref()).map_or(default.keep, |keep| keep.0),
        overflow: plain(keys.overflow.as_ref()).unwrap_or_default(),
        terminal: plain(keys.terminal.as_ref()).unwrap_or_default(),
    }
}

/// `state`; `default_file` is made only if none is written.
pub(super) fn state(
    decoder: &mut Decoder<'_>,
    keys: &StateKeys,
    dir: &Path,
    default_file: impl FnOnce() -> std::path::PathBuf,
) -> State {
    let args = keys.restart_args.as_ref().map(|list| &list.value.0);
    State {
        file: keys.file.as_ref().map_or_else(default_file, |file| absolute(dir, Path::new(&file.value.0))),
        max_age: plain(keys.max_age.as_ref()).map_or(Some(std::time::Duration::from_secs(30)), |age| age.0),
        once: plain(keys.once.as_ref()).unwrap_or(true),
        atomic: plain(keys.atomic.as_ref()).unwrap_or(false),
        keep: plain(keys.keep.as_ref()).map_or(3, |keep| keep.0),
        max_size: plain(keys.max_size.as_ref()).map_or(64 << 20, |size| size.0),
        snapshot: snapshot(decoder, keys),
        restart_args: args.into_iter().flatten().map(|word| word.value.0.clone()).collect(),
        required: plain(keys.required.as_ref()).unwrap_or(false),
    }
}

fn snapshot(decoder: &mut Decoder<'_>, keys: &StateKeys) -> Option<Snapshot> {
    let section = keys.snapshot.as_ref();
    let keys = on(section)?;
    let Some(every) = &keys.every else {
        let node = section?.node;
        if !decoder.has_key(node, &["every"]) {
            let missing = Mistake::new(code::MISSING_KEY, "`every` is missing");
            decoder.within(Step::Key("snapshot"), |decoder| decoder.mistake(node, missing));
        }
        return None;
    };
    let user1 = Signal::from_name("USR1").unwrap_or(Signal::TERM);
    Some(Snapshot { every: every.value.0, signal: plain(keys.signal.as_ref()).unwrap_or(user1) })
}
