//! Every key of the file, declared once: name, type, default, docs.

use super::decode::{
    Action, Anything, Build, CommandForm, Components, Dependencies, EnvFiles, EnvMap, Int, List, MaxAge,
    PathText, Pattern, PollForm, Real, Section, Size, Sockets, Span, Text, True, Version, Word, section,
};
use super::model::{HostPort, HttpUrl, OnFailure, Overflow, RestartPolicy, Stdin, Terminal};
use crate::types::Signal;

section! {
    /// The whole file.
    ProjectKeys {
        /// The version of this format: 1.
        version: Version,
        /// The project's name. Default: the folder's name.
        name: Text,
        /// Environment of every component; `null` takes a name away.
        env: EnvMap,
        /// Files of `NAME=VALUE` lines, for every component and for `${NAME}` in this file.
        env_file: EnvFiles,
        /// For a whole shutdown; past it, all that is left is force-killed.
        shutdown_timeout: Span<1> = "30s",
        /// Sections that are merged key by key under every component's own.
        defaults: DefaultsKeys,
        /// What orch runs, by name.
        components: Components,
    }
}

section! {
    /// `defaults`.
    DefaultsKeys {
        /// When components are restarted by themselves.
        restart: Section<RestartKeys>,
        /// How components are stopped.
        stop: Section<StopKeys>,
        /// Which files make components stale.
        watch: Section<WatchKeys>,
        /// Where the output of components goes.
        logs: Section<LogsKeys>,
    }
}

section! {
    /// One of `components`.
    ComponentKeys {
        /// For people.
        description: Text,
        /// The command that is run: a text that is split into words (no shell), a list of words,
        /// `{command: …}`, or `{shell: …}` for `/bin/sh -c`.
        process: CommandForm,
        /// The thread that is run: `ticker`, `proxy`, `tcp-proxy`, or one that an embedding program registered.
        thread: Text,
        /// Handed to the thread as it stands.
        with: Anything,
        /// Working directory. Default: the folder of this file.
        cwd: PathText,
        /// Environment; `null` takes a name away.
        env: EnvMap,
        /// Files of `NAME=VALUE` lines.
        env_file: EnvFiles,
        /// Standard input: `"null"` is /dev/null, `open` a pipe that never ends.
        stdin: Stdin = "null",
        /// Whether `orch up` starts it; else only `orch start` does, or a dependent.
        autostart: bool = true,
        /// With which `--profile`s it is chosen; without the key: always.
        profiles: List<Text>,
        /// What it needs: a list of names, or a map of names to conditions.
        depends_on: Dependencies,
        /// What is run before a start, and on a change.
        build: Section<Build>,
        /// When it is ready; without it: as soon as it is started.
        ready: Section<ReadyKeys>,
        /// Whether it still lives, once ready.
        health: Section<HealthKeys>,
        /// When it is restarted by itself: a policy, or a map.
        restart: Section<RestartKeys>,
        /// What happens when it has failed for good.
        on_failure: OnFailure = "continue",
        /// How it is stopped.
        stop: Section<StopKeys>,
        /// Which files make it stale: a list of paths and globs, or a map.
        watch: Section<WatchKeys>,
        /// The state that it carries over a restart: a file, `true`, or a map.
        state: Section<StateKeys>,
        /// Sockets that orch binds once and hands over, by name.
        sockets: Section<Sockets>,
        /// Where its output goes.
        logs: Section<LogsKeys>,
    }
}

section! {
    /// `ready`: one probe, and how it is tried.
    ReadyKeys {
        /// GET on this `http://` address answers 200 to 399.
        http: HttpUrl,
        /// A connection to `HOST:PORT` is accepted.
        tcp: HostPort,
        /// A command ends with 0.
        exec: CommandForm,
        /// A line of output matches this regular expression.
        log: Pattern,
        /// A file is made or changed.
        file: PathText,
        /// It says `READY=1` on its notify socket; a thread says so itself.
        notify: True,
        /// So long after the start.
        delay: Span<0>,
        /// From the end of one try to the next.
        interval: Span<1> = "100ms",
        /// Not ready by then: the incarnation has failed.
        timeout: Span<1> = "10s",
        /// Whether what is asked is somebody else's.
        external: bool = false,
    }
}

section! {
    /// `health`: one check, and how it is tried.
    HealthKeys {
        /// GET on this `http://` address answers 200 to 399.
        http: HttpUrl,
        /// A connection to `HOST:PORT` is accepted.
        tcp: HostPort,
        /// A command ends with 0.
        exec: CommandForm,
        /// No `WATCHDOG=1` for so long is a failure.
        watchdog: Span<1>,
        /// From one try to the next.
        interval: Span<1> = "5s",
        /// Of one try.
        timeout: Span<1> = "1s",
        /// So many failures in a row: unhealthy.
        retries: Int<1, 1_000_000> = 3,
    }
}

section! {
    /// `restart`.
    RestartKeys {
        /// After which ends it is restarted.
        policy: RestartPolicy = "on-failure",
        /// Exit codes that are no failure.
        success_codes: List<Int<0, 255>> = [0],
        /// How long to wait before.
        backoff: BackoffKeys,
        /// How often at most.
        limit: LimitKeys,
    }
}

section! {
    /// `restart.backoff`.
    BackoffKeys {
        /// After the first failure.
        initial: Span<0> = "100ms",
        /// Never more than this; having been ready for so long clears the row.
        max: Span<0> = "10s",
        /// Growth with each failure in a row.
        factor: Real<1, 1000> = 2,
        /// A share of the wait by which it is lengthened or shortened at random.
        jitter: Real<0, 1> = 0.1,
    }
}

section! {
    /// `restart.limit`.
    LimitKeys {
        /// So many automatic restarts; one more, and it has failed.
        count: Int<0, 1_000_000> = 5,
        /// Within so long.
        within: Span<1> = "1m",
    }
}

section! {
    /// `stop`.
    StopKeys {
        /// What asks it to stop.
        signal: Signal = "SIGTERM",
        /// What asks it instead of the signal.
        command: Section<CommandForm>,
        /// From the stop request to the force-kill of the unit.
        timeout: Span<0> = "5s",
        /// From the force-kill, or the unit's end, until all is gone and its output read.
        join_timeout: Span<1> = "5s",
        /// `false`: not killed at `timeout`, but shown as stuck and waited for.
        force_kill: bool = true,
    }
}

section! {
    /// `watch`.
    WatchKeys {
        /// Paths and globs, relative to the folder of this file.
        paths: List<PathText>,
        /// Globs that are not watched.
        ignore: List<PathText>,
        /// Whether what git ignores is not watched.
        gitignore: bool = true,
        /// The next incarnation starts when the files have been quiet for so long.
        settle: Span<0> = "5ms",
        /// What a change does: `restart`, a signal's name, `{run: …}` or `none`.
        action: Action = "restart",
        /// How changes are found: `auto`, or polling, this often.
        poll: PollForm = "auto",
    }
}

section! {
    /// `state`.
    StateKeys {
        /// The component's own state file. Default: a file in the state directory.
        file: PathText,
        /// Older is not restored; `never`: whatever its age.
        max_age: MaxAge = "30s",
        /// Restored until an incarnation has become ready with it; `false`: again and again.
        once: bool = true,
        /// The component always replaces the file by rename, so it counts after any crash.
        atomic: bool = false,
        /// Generations kept.
        keep: Int<1, 1_000_000> = 3,
        /// Larger is not sealed.
        max_size: Size = "64MiB",
        /// Ask the running component to write its state file.
        snapshot: Section<SnapshotKeys>,
        /// Appended to the command when a state is restored; not with a shell form.
        restart_args: List<Word>,
        /// Where there were generations and none is valid, it fails instead of starting afresh.
        required: bool = false,
    }
}

section! {
    /// `state.snapshot`.
    SnapshotKeys {
        /// How often.
        every: Span<1>,
        /// What asks for it.
        signal: Signal = "SIGUSR1",
    }
}

section! {
    /// `logs`.
    LogsKeys {
        /// The log file. Default: `logs/NAME.log` in the state directory.
        file: PathText,
        /// Larger is rotated.
        max_size: Size = "10MiB",
        /// Rotated files kept.
        keep: Int<0, 1_000_000> = 3,
        /// When the disk is slower than the component: `block` makes it wait, `drop` drops lines.
        overflow: Overflow = "block",
        /// What the output is connected to.
        terminal: Terminal = "pipe",
    }
}
