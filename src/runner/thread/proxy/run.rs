//! One run of a proxy: it opens its site, and says at its end what becomes of that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::super::around::Around;
use super::super::context::Context;
use super::super::kept::{Having, Parting};
use super::super::registry::BoxError;
use super::listen;
use super::site::{Plan, Protocol, Site};
use super::with::Settings;
use crate::types::Name;

/// When a proxy comes to rest, what is under way may take so long to its end, or half of `stop.timeout`.
const GRACE: Duration = Duration::from_millis(400);
/// The same for a new image of orch: what it can't go on with.
const LAST: Duration = Duration::from_secs(2);
/// What has no end is over in so short a time.
const CUT: Duration = Duration::from_millis(100);

/// A proxy that listens.
pub(in super::super) struct Open {
    site: Arc<Site>,
    settings: Settings,
    having: Having,
}

impl Open {
    /// Listens at every address, or goes on with what the last run has left there, or another image of orch.
    pub(super) fn new(
        protocol: Protocol,
        settings: Settings,
        name: &Name,
        around: Around,
    ) -> Result<Self, String> {
        let (known, mut had) = (around.kept.take(name), Vec::new());
        // Of another protocol, or of before it was removed and declared again: its clients can't be gone on with.
        let goes_on = |site: &Arc<Site>| site.goes_on(protocol, &around.light);
        let site = match known {
            Some(site) if goes_on(&site) => Some(site),
            Some(other) => {
                had.extend(other.take_listeners());
                other.close(CUT);
                None
            }
            None => None,
        };
        if let Some(site) = &site {
            had.extend(site.take_listeners());
        }
        let listeners = listen::all(&settings, had, &around);
        let (listeners, refused) = match listeners {
            Ok(listeners) => (listeners, None),
            Err((listeners, why)) => (listeners, Some(why)),
        };
        let site = match site {
            Some(site) => site,
            None => {
                let plan = Plan::new(settings.clone(), None);
                let site = Site::start(name, protocol, plan, around.light, Vec::new());
                Arc::new(site.map_err(|error| format!("start a thread for its clients: {error}"))?)
            }
        };
        site.listen(listeners);
        let having = around.kept.keep(name, &site);
        match refused {
            None => Ok(Self { site, settings, having }),
            Some(why) => Err(why),
        }
    }

    /// Serves until the component is asked to stop.
    pub(super) fn run(self, cx: &Context) -> Result<(), BoxError> {
        let Self { site, settings, having } = self;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        site.open(Plan::new(settings, Some(cx.writer())));
        cx.ready();
        runtime.block_on(async {
            tokio::select! {
                () = cx.stop_token().stopped() => {}
                () = site.ended() => return Err("a fault in orch: what serves its clients has ended".into()),
            }
            match having.parting() {
                (Parting::Again, _) => {
                    site.pause();
                    // Whoever gets the port next can have it when this run is over.
                    let _ = timeout(CUT, site.accepts_no_more()).await;
                }
                (Parting::Image, patience) => site.leave(LAST.min(patience / 2)).await,
                (Parting::Rest, patience) => {
                    let patience = GRACE.min(patience / 2);
                    site.close(patience);
                    // It cuts off by itself what takes longer.
                    let _ = timeout(patience + CUT, site.ended()).await;
                    having.release();
                }
            }
            Ok(())
        })
    }
}
