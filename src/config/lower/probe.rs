//! `ready` and `health`: exactly one probe each.

use std::path::Path;
use std::time::Duration;

use super::{Lowering, absolute, plain};
use crate::config::code;
use crate::config::keys::{HealthKeys, ReadyKeys};
use crate::config::model::{Health, HealthCheck, Probe, Ready};
use crate::config::report::Mistake;
use crate::config::tree::NodeId;
use crate::config::unit::show;

/// The probes of `ready`.
pub(crate) const READY_PROBES: &[&str] = &["http", "tcp", "exec", "log", "file", "notify", "delay"];
/// The checks of `health`.
pub(crate) const HEALTH_CHECKS: &[&str] = &["http", "tcp", "exec", "watchdog"];

impl Lowering<'_> {
    pub(super) fn ready(&mut self, keys: &ReadyKeys, node: NodeId) -> Option<Box<Ready>> {
        let dir = &self.ground.dir;
        let probes = [
            plain(keys.http.as_ref()).map(Probe::Http),
            plain(keys.tcp.as_ref()).map(Probe::Tcp),
            plain(keys.exec.as_ref()).map(|exec| Probe::Exec(exec.0)),
            plain(keys.log.as_ref()).map(|log| Probe::Log(log.0)),
            plain(keys.file.as_ref()).map(|file| Probe::File(absolute(dir, Path::new(&file.0)))),
            keys.notify.as_ref().map(|_| Probe::Notify),
            plain(keys.delay.as_ref()).map(|delay| Probe::Delay(delay.0)),
        ];
        let probe = self.key("ready", |lowering| lowering.exactly_one(node, READY_PROBES, probes))?;
        let timeout = plain(keys.timeout.as_ref()).map_or(Duration::from_secs(10), |timeout| timeout.0);
        if let (Probe::Delay(delay), Some(written)) = (&probe, &keys.delay)
            && *delay >= timeout
        {
            let message = format!(
                "it is never ready: the delay of {} is not over within the `timeout` of {}",
                show(*delay),
                show(timeout)
            );
            let help =
                format!("write a longer `timeout` too, such as `{}`", show(*delay + Duration::from_secs(10)));
            let mistake = Mistake::new(code::RANGE, message).help(help);
            self.key("ready", |lowering| {
                lowering.key("delay", |lowering| lowering.mistake(written.node, mistake))
            });
        }
        Some(Box::new(Ready {
            probe,
            interval: plain(keys.interval.as_ref()).map_or(Duration::from_millis(100), |interval| interval.0),
            timeout,
            external: plain(keys.external.as_ref()).unwrap_or(false),
        }))
    }

    pub(super) fn health(&mut self, keys: &HealthKeys, node: NodeId) -> Option<Box<Health>> {
        let checks = [
            plain(keys.http.as_ref()).map(HealthCheck::Http),
            plain(keys.tcp.as_ref()).map(HealthCheck::Tcp),
            plain(keys.exec.as_ref()).map(|exec| HealthCheck::Exec(exec.0)),
            plain(keys.watchdog.as_ref()).map(|watchdog| HealthCheck::Watchdog(watchdog.0)),
        ];
        let check = self.key("health", |lowering| lowering.exactly_one(node, HEALTH_CHECKS, checks))?;
        Some(Box::new(Health {
            check,
            interval: plain(keys.interval.as_ref()).map_or(Duration::from_secs(5), |interval| interval.0),
            timeout: plain(keys.timeout.as_ref()).map_or(Duration::from_secs(1), |timeout| timeout.0),
            retries: plain(keys.retries.as_ref()).map_or(3, |retries| retries.0),
        }))
    }

    /// The one that is written; what is written wrongly counts, but is not reported again.
    fn exactly_one<T>(
        &mut self,
        node: NodeId,
        names: &[&str],
        written: impl IntoIterator<Item = Option<T>>,
    ) -> Option<T> {
        let entries = self.decoder.entries(node, "a map")?;
        let present: Vec<_> = entries.iter().filter(|(text, ..)| names.contains(text)).collect();
        let all = names.join("`, `");
        match present[..] {
            [] => {
                self.mistake(node, Mistake::new(code::MISSING_KEY, format!("one of `{all}` is missing")));
                None
            }
            [_] => written.into_iter().flatten().next(),
            [.., (second, key, _)] => {
                let message = format!("exactly one of `{all}` is written, and `{second}` is one too many");
                self.mistake(*key, Mistake::new(code::EXCLUSIVE, message));
                None
            }
        }
    }
}
