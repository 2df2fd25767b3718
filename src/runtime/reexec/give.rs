//! The first half: what a driver has in hand is given away.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Failed, Rest, TERMINAL, WATCHER, adopt_output, adopt_watcher};
use crate::config::model::Component;
use crate::listen::SocketsHandover;
use crate::notice::Notices;
use crate::output::{Output, OutputHandover};
use crate::runner::keeper;
use crate::runner::thread::KeptHandover;
use crate::runtime::driver::{Driver, Life, Parts};
use crate::runtime::inbox::Inbox;
use crate::runtime::notices::Talks;
use crate::runtime::prepare::States;
use crate::runtime::tasks::Tasks;
use crate::runtime::up::UpOptions;
use crate::supervisor::Supervisor;
use crate::types::{Cid, RunId, UnitId};
use crate::watch::{WatchHandover, Watcher};

/// The sockets that are held for components: what they are, and themselves.
type Sockets = (SocketsHandover, Vec<OwnedFd>);

/// The clients of proxies, and what they come in by.
type Proxies = (KeptHandover, Vec<OwnedFd>);

/// The hands, given away.
pub(super) struct Given {
    pub(super) watch: Option<WatchHandover>,
    pub(super) output: (OutputHandover, Vec<OwnedFd>),
    pub(super) keeper: (keeper::Handover, OwnedFd),
    pub(super) home: Vec<OwnedFd>,
    pub(super) sockets: Sockets,
    pub(super) proxies: Proxies,
    pub(super) control: Vec<OwnedFd>,
}

/// Gives away what can say no. If one does, those before it are taken back, and the driver is whole again.
pub(super) fn give_hands(mut driver: Driver) -> Result<(Shell, Given), Failed> {
    let as_before = |driver, error| Err(Failed::AsBefore(Box::new(driver), error));
    let (locks, sockets, proxies) = match duplicates(&driver) {
        Ok(duplicates) => duplicates,
        Err(error) => return as_before(driver, error),
    };
    let watch = match driver.parts.watcher.take().map(|it| it.hand_over(WATCHER)).transpose() {
        Ok(watch) => watch,
        Err(refused) => {
            driver.parts.watcher = Some(refused.watcher);
            return as_before(driver, "the watcher is still looking through files".to_owned());
        }
    };
    let output = match driver.parts.output.hand_over(TERMINAL) {
        Ok(output) => output,
        Err(refused) => {
            let error = refused.to_string();
            driver.parts.output = refused.output;
            driver.parts.watcher = adopt_watcher(&driver.parts.inbox, watch).map_err(Failed::Lost)?;
            return as_before(driver, error);
        }
    };
    let keeper = match driver.parts.keeper.hand_over() {
        Ok(keeper) => keeper,
        Err(refused) => {
            let (keeper, error) = *refused;
            driver.parts.keeper = keeper;
            let (options, core, inbox) = (&driver.parts.options, &driver.parts.core, &driver.parts.inbox);
            let back = take_back(options, core, inbox, (output, watch)).map_err(Failed::Lost)?;
            (driver.parts.output, driver.parts.watcher) = back;
            driver.declare_logs();
            return as_before(driver, format!("can't let go of the keeper of the processes: {error}"));
        }
    };
    let Driver {
        lives, helping, tickets, tasks, next_unit, observed, clients, images, talks, lights, ..
    } = driver;
    let Parts { core, options, states, threads, journal, announcer, reloader, notices, .. } = driver.parts;
    let Parts { home: locked, listening, control, environment, inbox, .. } = driver.parts;
    let (home, messages, talking) = (locked, None, (notices, talks));
    let rest = Rest {
        threads,
        journal,
        announcer,
        reloader,
        home,
        environment,
        inbox,
        clients,
        listening,
        lights,
        messages,
    };
    let shell = Shell {
        core,
        options,
        states,
        lives,
        helping,
        tickets,
        tasks,
        next_unit,
        observed,
        images,
        talking,
        rest,
    };
    let control = control.into_iter().collect();
    Ok((shell, Given { watch, output, keeper, home: locks, sockets, proxies, control }))
}

/// What is given without being taken away: the locks, the sockets that are held for components, and what proxies have.
fn duplicates(driver: &Driver) -> Result<(Vec<OwnedFd>, Sockets, Proxies), String> {
    if !driver.parts.states.is_free() {
        return Err("the state store is still at work".to_owned());
    }
    let locks = driver.parts.home.duplicates();
    let locks = locks.map_err(|error| format!("can't keep the project's locks: {error}"))?;
    let sockets = driver.parts.listening.hand_over();
    let sockets = sockets.map_err(|error| format!("can't keep the sockets: {error}"))?;
    let proxies = driver.lights.hand_over();
    let proxies = proxies.map_err(|error| format!("can't keep the clients of proxies: {error}"))?;
    Ok((locks, sockets, proxies))
}

/// Takes back what was given before the keeper said no.
fn take_back(
    options: &UpOptions,
    core: &Supervisor,
    inbox: &Inbox,
    (output, watch): ((OutputHandover, Vec<OwnedFd>), Option<WatchHandover>),
) -> Result<(Output, Option<Watcher>), String> {
    Ok((adopt_output(options, core.project(), inbox, output)?, adopt_watcher(inbox, watch)?))
}

/// What is left of a driver whose hands are given away.
pub(super) struct Shell {
    pub(super) core: Supervisor,
    pub(super) options: UpOptions,
    pub(super) states: States,
    pub(super) lives: BTreeMap<RunId, Life>,
    pub(super) helping: BTreeMap<u64, UnitId>,
    pub(super) tickets: Arc<AtomicU64>,
    pub(super) tasks: Tasks,
    pub(super) next_unit: u32,
    pub(super) observed: BTreeMap<Cid, Arc<Component>>,
    pub(super) images: u64,
    pub(super) talking: (Notices, Talks),
    pub(super) rest: Rest,
}
