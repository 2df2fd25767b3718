//! What serves the clients of one proxy, from the first of its runs until it comes to rest. A run says what holds and
//! opens it; between two runs it begins nothing, and what is under way goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Builder;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::light::Light;
use super::super::lock;
use super::super::output::Output;
use super::line::Line;
use super::listen::{self, Accepting};
use super::pool::Pool;
use super::reach::Way;
use super::with::Settings;
use super::{http, tcp};
use crate::types::Name;

/// What has been sent and may be sent again is laid aside in so short a time.
const BRIEF: Duration = Duration::from_millis(50);

/// What is spoken with clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Protocol {
    Http,
    Tcp,
}

impl Protocol {
    /// What is spoken by the built-in component `runner`; `None` where it is no proxy.
    pub(in super::super) fn of(runner: &str) -> Option<Self> {
        match runner {
            "proxy" => Some(Self::Http),
            "tcp-proxy" => Some(Self::Tcp),
            _ => None,
        }
    }
}

/// What a run has said, until the next one.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    /// Connections to where these settings send.
    pub(super) pool: Pool,
    /// Where a run prints; `None` before the first one.
    pub(super) output: Option<Output>,
}

impl Plan {
    pub(super) fn new(settings: Settings, output: Option<Output>) -> Self {
        Self { settings, pool: Pool::default(), output }
    }
}

/// What may be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Everything.
    Open,
    /// There is no run: nothing begins.
    Paused,
    /// There will be another image of orch: what has not begun is laid aside, what has is finished.
    Leaving,
    /// That has taken long enough: what was sent and may be sent again is laid aside, too.
    Left,
    /// The proxy comes to rest: what has an end has until then.
    Closing(Instant),
}

impl Phase {
    /// Whether clients are laid aside.
    pub(super) fn lays_aside(self) -> bool {
        matches!(self, Self::Leaving | Self::Left)
    }
}

/// What holds for all clients.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) phase: Phase,
    pub(super) plan: Arc<Plan>,
}

/// A client that is laid aside: whoever goes on with it reads this first.
#[derive(Debug)]
pub(in super::super) struct Parked {
    pub(in super::super) client: OwnedFd,
    /// Read from it, and not passed on.
    pub(in super::super) read: Vec<u8>,
    /// Where it is connected to, and what was read from there and not passed back.
    pub(in super::super) onward: Option<(OwnedFd, Vec<u8>)>,
}

/// The same, in this image of orch.
#[derive(Debug)]
struct Aside {
    client: Line,
    read: Vec<u8>,
    onward: Option<(Line, Vec<u8>)>,
}

impl Aside {
    /// With descriptors of its own, for another image.
    ///
    /// # Errors
    /// Descriptors are used up.
    fn park(self) -> io::Result<Parked> {
        let copy = |line: &Line| line.as_fd().try_clone_to_owned();
        let onward = self.onward.map(|(line, back)| Ok::<_, io::Error>((copy(&line)?, back)));
        Ok(Parked { client: copy(&self.client)?, read: self.read, onward: onward.transpose()? })
    }
}

/// Shared by all who serve.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) way: Arc<Way>,
    listeners: Mutex<Vec<TcpListener>>,
    aside: Mutex<BTreeMap<u64, Aside>>,
    /// The number of the next one among them.
    next: AtomicU64,
    /// How many there are that are not laid aside: clients, and who accepts them.
    busy: watch::Sender<usize>,
    /// Whether somebody accepts, or is about to.
    accepts: watch::Sender<bool>,
}

/// One is not laid aside, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Shared>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.send_modify(|busy| *busy -= 1);
    }
}

impl Shared {
    /// To be held for a client, from its beginning to its end; and for who accepts.
    fn busy(self: &Arc<Self>) -> Busy {
        self.busy.send_modify(|busy| *busy += 1);
        Busy(Arc::clone(self))
    }

    /// Lays a client aside, until this image of orch goes on after all.
    pub(super) async fn park(
        self: &Arc<Self>,
        busy: Busy,
        (client, read): (&Line, &[u8]),
        onward: Option<(&Line, &[u8])>,
    ) -> Busy {
        let onward = onward.map(|(line, back)| (line.clone(), back.to_vec()));
        let aside = Aside { client: client.clone(), read: read.to_vec(), onward };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.aside).insert(number, aside);
        drop(busy);
        self.way.stays().await;
        lock(&self.aside).remove(&number);
        self.busy()
    }
}

/// The site of a proxy.
pub(in super::super) struct Site {
    pub(in super::super) protocol: Protocol,
    shared: Arc<Shared>,
    post: watch::Sender<Post>,
    /// Closed when it has ended.
    alive: watch::Receiver<()>,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl Site {
    /// A site that begins nothing yet, and goes on with what another image has laid aside.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub(super) fn start(
        name: &Name,
        protocol: Protocol,
        plan: Plan,
        light: Light,
        aside: Vec<Parked>,
    ) -> io::Result<Self> {
        let (post, posted) = watch::channel(Post { phase: Phase::Paused, plan: Arc::new(plan) });
        let (life, alive) = watch::channel(());
        let shared = Arc::new(Shared {
            way: Arc::new(Way::new(light, posted)),
            listeners: Mutex::default(),
            aside: Mutex::default(),
            next: AtomicU64::new(0),
            busy: watch::Sender::new(0),
            accepts: watch::Sender::new(false),
        });
        // From here on they count, whenever the thread begins.
        let aside = aside.into_iter().map(|parked| (shared.busy(), parked)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Builder::new().name(name.to_string()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                runtime.block_on(attend(&shared, protocol, aside));
                // Whoever is left is cut off, and only then it has ended.
                drop(runtime);
                drop(life);
            }
        })?;
        Ok(Self { protocol, shared, post, alive })
    }

    /// Goes on with what another image has handed over, where no run has begun yet: it listens where that did, and begins
    /// nothing.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub(in super::super) fn resume(
        name: &Name,
        protocol: Protocol,
        settings: Settings,
        light: Light,
        (listeners, aside): (Vec<TcpListener>, Vec<Parked>),
    ) -> io::Result<Self> {
        let site = Self::start(name, protocol, Plan::new(settings, None), light, aside)?;
        site.listen(listeners);
        Ok(site)
    }

    /// How many clients wait for who is behind.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.shared.way.held()
    }

    /// Whether a run that speaks this, and looks at this light, can go on with it.
    pub(super) fn goes_on(&self, protocol: Protocol, light: &Light) -> bool {
        self.protocol == protocol && self.shared.way.light.is(light) && self.alive.has_changed().is_ok()
    }

    /// Completes when it has ended.
    pub(super) async fn ended(&self) {
        let mut alive = self.alive.clone();
        while alive.changed().await.is_ok() {}
    }

    /// Another phase, unless it is at its end.
    fn enter(&self, phase: Phase) {
        self.post.send_if_modified(|post| {
            let goes_on = !matches!(post.phase, Phase::Closing(_));
            if goes_on {
                post.phase = phase;
            }
            goes_on
        });
    }

    /// What it listens at, taken out.
    pub(in super::super) fn take_listeners(&self) -> Vec<TcpListener> {
        std::mem::take(&mut *lock(&self.shared.listeners))
    }

    /// It listens here when it is open.
    pub(super) fn listen(&self, listeners: Vec<TcpListener>) {
        *lock(&self.shared.listeners) = listeners;
    }

    /// Lets go of what it listens at elsewhere. It does not accept meanwhile.
    pub(in super::super) fn listen_only_at(&self, addresses: &[SocketAddr]) {
        let at = |listener: &TcpListener| listener.local_addr().ok();
        lock(&self.shared.listeners)
            .retain(|listener| at(listener).is_some_and(|at| addresses.contains(&at)));
    }

    /// Completes when nobody accepts any more.
    pub(super) async fn accepts_no_more(&self) {
        let _ = self.shared.accepts.subscribe().wait_for(|accepts| !accepts).await;
    }

    /// Everything may begin, by this plan.
    pub(super) fn open(&self, plan: Plan) {
        self.shared.accepts.send_replace(true);
        self.post.send_modify(|post| *post = Post { phase: Phase::Open, plan: Arc::new(plan) });
    }

    /// Nothing begins until it is opened again; what is under way goes on.
    pub(in super::super) fn pause(&self) {
        self.enter(Phase::Paused);
    }

    /// There will be no other run: listens no more, answers those that wait, and ends what has no end. What has one may
    /// take so long.
    pub(in super::super) fn close(&self, patience: Duration) {
        self.take_listeners();
        self.enter(Phase::Closing(Instant::now() + patience));
    }

    /// For another image of orch: lays aside what can be, and finishes the rest; that may take so long. What is laid
    /// aside then is what there is to hand over.
    pub(in super::super) async fn leave(&self, patience: Duration) {
        let mut busy = self.shared.busy.subscribe();
        if self.post.borrow().phase == Phase::Left {
            return;
        }
        self.enter(Phase::Leaving);
        let _ = timeout(patience, busy.wait_for(|busy| *busy == 0)).await;
        // Unless there is no other image after all.
        if self.post.borrow().phase == Phase::Leaving {
            self.enter(Phase::Left);
            // Who is not done then is cut off.
            let _ = timeout(BRIEF, busy.wait_for(|busy| *busy == 0)).await;
        }
    }

    /// There is no other image: those that are laid aside are here again.
    pub(in super::super) fn stay(&self) {
        self.post.send_if_modified(|post| {
            let leaves = post.phase.lays_aside();
            if leaves {
                post.phase = Phase::Paused;
            }
            leaves
        });
    }

    /// Duplicates of what it listens at, and those that are laid aside, once.
    ///
    /// # Errors
    /// Descriptors are used up.
    pub(in super::super) fn hand_over(&self) -> io::Result<(Vec<TcpListener>, Vec<Parked>)> {
        let listeners =
            lock(&self.shared.listeners).iter().map(TcpListener::try_clone).collect::<Result<_, _>>()?;
        let aside = std::mem::take(&mut *lock(&self.shared.aside)).into_values();
        Ok((listeners, aside.map(Aside::park).collect::<Result<_, _>>()?))
    }
}

/// The life of a site.
async fn attend(shared: &Arc<Shared>, protocol: Protocol, aside: Vec<(Busy, Parked)>) {
    let (mut clients, places) = (JoinSet::new(), listen::places());
    for (busy, parked) in aside {
        let (shared, place) = (Arc::clone(shared), Arc::clone(&places).try_acquire_owned());
        clients.spawn(async move {
            go_on(shared, busy, protocol, parked).await;
            drop(place);
        });
    }
    let (mut accepting, mut post) = (Accepting::default(), shared.way.post());
    let until = loop {
        let Post { phase, plan } = post.borrow_and_update().clone();
        match phase {
            Phase::Closing(until) => break until,
            Phase::Open => accepting.listen(&plan, || {
                let copies = lock(&shared.listeners).iter().map(TcpListener::try_clone).collect();
                (copies, shared.busy())
            }),
            Phase::Paused | Phase::Leaving | Phase::Left => {
                accepting.close();
                if post.has_changed().is_ok_and(|news| !news) {
                    shared.accepts.send_replace(false);
                }
            }
        }
        tokio::select! {
            changed = post.changed() => if changed.is_err() { return },
            Some(_) = clients.join_next(), if !clients.is_empty() => {}
            client = accepting.next(&plan, &places) => {
                if let Some((client, place)) = client {
                    let (shared, busy) = (Arc::clone(shared), shared.busy());
                    clients.spawn(async move {
                        begin(&shared, busy, protocol, (client.into(), Vec::new())).await;
                        drop(place);
                    });
                }
            }
        }
    };
    drop(accepting);
    // What is not over by then is cut off.
    let _ = timeout_at(until, async { while clients.join_next().await.is_some() {} }).await;
}

async fn begin(shared: &Arc<Shared>, busy: Busy, protocol: Protocol, (client, read): (Line, Vec<u8>)) {
    match protocol {
        Protocol::Http => http::serve(busy, client, read, shared).await,
        Protocol::Tcp => tcp::serve(busy, client, read, shared).await,
    }
}

/// Goes on with a client of another image.
async fn go_on(shared: Arc<Shared>, busy: Busy, protocol: Protocol, parked: Parked) {
    let Parked { client, read, onward } = parked;
    // One that can't be gone on with is closed.
    let Ok(client) = Line::adopt(client) else { return };
    match onward.map(|(fd, back)| Ok::<_, io::Error>((Line::adopt(fd)?, back))).transpose() {
        Ok(Some(onward)) => tcp::pass(busy, (client, read), onward, &shared).await,
        Ok(None) => begin(&shared, busy, protocol, (client, read)).await,
        Err(_) => {}
    }
}
