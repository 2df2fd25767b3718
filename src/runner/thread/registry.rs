//! The thread components that are known by name.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_yaml::Value;

use super::around::Around;
use super::context::Context;
use super::panics;
use super::proxy::{Proxy, TcpProxy};
use super::ticker::Ticker;
use crate::types::Name;

/// Why a thread component did not start or did not end well.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A component that runs as a thread inside orch.
pub trait ThreadComponent: Sized + 'static {
    /// What `with` holds. Derive it with `#[serde(deny_unknown_fields)]`, so that a misspelt key is an
    /// error and not a default.
    type With: DeserializeOwned;

    /// Checks what serde can't. It is also called to validate a file, so it touches nothing outside.
    ///
    /// # Errors
    /// What is wrong with `with`.
    fn new(with: Self::With) -> Result<Self, BoxError>;

    /// Runs until it is done or asked to stop. When it returns, all that it has opened and started by
    /// itself must be closed and ended.
    ///
    /// # Errors
    /// Whatever ends it early. It is printed to the component's output, and the exit code is 1.
    fn run(self, cx: Context) -> Result<(), BoxError>;
}

/// A component that is made. It begins by opening what it needs, and can be run when it has that.
pub(super) type Job = Box<dyn FnOnce(&Name, Around) -> Result<Run, String>>;
/// A component that is open.
pub(super) type Run = Box<dyn FnOnce(Context) -> Result<(), BoxError>>;

/// A built-in component that listens: it counts as started, and so as ready, when it does (contract,
/// section 3, "Probes").
pub(super) trait Listening: Sized + 'static {
    /// What `with` holds.
    type With: DeserializeOwned;
    /// What is open.
    type Open: 'static;

    /// As [`ThreadComponent::new`].
    fn new(with: Self::With) -> Result<Self, BoxError>;

    /// Where it will listen.
    fn listens(&self) -> Vec<SocketAddr>;

    /// Begins to listen. An error says what was attempted, on what, and why it failed.
    fn open(self, name: &Name, around: Around) -> Result<Self::Open, String>;

    /// As [`ThreadComponent::run`].
    fn run(open: Self::Open, cx: Context) -> Result<(), BoxError>;
}

type Make = Arc<dyn Fn(&Value) -> Result<Made, String> + Send + Sync>;

/// What a `with` makes.
struct Made {
    job: Job,
    /// Where it will listen, as far as that is known before it runs.
    listens: Vec<SocketAddr>,
}

impl From<Job> for Made {
    fn from(job: Job) -> Self {
        Self { job, listens: Vec::new() }
    }
}

/// The thread components that a file can name under `thread`.
#[derive(Clone, Default)]
pub struct Registry {
    known: BTreeMap<String, Make>,
}

impl Registry {
    /// The built-in ones.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self::default();
        registry.register::<Ticker>("ticker");
        registry.listening::<Proxy>("proxy");
        registry.listening::<TcpProxy>("tcp-proxy");
        registry
    }

    /// Makes `C` known as `name`, in place of what was known under it.
    pub fn register<C: ThreadComponent>(&mut self, name: &str) -> &mut Self {
        self.insert(name, |with| {
            let component = C::new(typed(with)?).map_err(|error| chain(&*error))?;
            let job: Job = Box::new(move |_, _| Ok(Box::new(move |cx| component.run(cx))));
            Ok(job.into())
        })
    }

    fn listening<C: Listening>(&mut self, name: &str) {
        self.insert(name, |with| {
            let component = C::new(typed(with)?).map_err(|error| chain(&*error))?;
            let listens = component.listens();
            let job: Job = Box::new(move |name, around| {
                let open = component.open(name, around)?;
                Ok(Box::new(move |cx| C::run(open, cx)))
            });
            Ok(Made { job, listens })
        });
    }

    /// Makes a function known as `name`: for a component that needs values of the embedding program.
    pub fn register_fn<W, F>(&mut self, name: &str, run: F) -> &mut Self
    where
        W: DeserializeOwned + 'static,
        F: Fn(W, Context) -> Result<(), BoxError> + Send + Sync + 'static,
    {
        let run = Arc::new(run);
        self.insert(name, move |with| {
            let (with, run) = (typed::<W>(with)?, Arc::clone(&run));
            let job: Job = Box::new(move |_, _| Ok(Box::new(move |cx| run(with, cx))));
            Ok(job.into())
        })
    }

    fn insert(
        &mut self,
        name: &str,
        make: impl Fn(&Value) -> Result<Made, String> + Send + Sync + 'static,
    ) -> &mut Self {
        self.known.insert(name.to_owned(), Arc::new(make));
        self
    }

    /// The names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.keys().map(String::as_str)
    }

    /// Whether `name` is known and takes this `with`. Runs nothing.
    ///
    /// # Errors
    /// What is wrong, as a fragment: `with.every: …`.
    pub fn check(&self, name: &str, with: &Value) -> Result<(), String> {
        self.made(name, with).map(drop)
    }

    /// The same, and where it would listen: known of the built-in ones.
    pub(crate) fn listens(&self, name: &str, with: &Value) -> Result<Vec<SocketAddr>, String> {
        self.made(name, with).map(|made| made.listens)
    }

    pub(super) fn make(&self, name: &str, with: &Value) -> Result<Job, String> {
        self.made(name, with).map(|made| made.job)
    }

    fn made(&self, name: &str, with: &Value) -> Result<Made, String> {
        let make = self.known.get(name).ok_or_else(|| self.unknown(name))?;
        panics::contain(|| make(with)).unwrap_or_else(|panic| Err(format!("with: panicked: {panic}")))
    }

    fn unknown(&self, name: &str) -> String {
        let near = self.names().max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
        let near = near.filter(|near| strsim::jaro(near, name) > 0.7);
        let guess = near.map_or_else(String::new, |near| format!("did you mean `{near}`? "));
        let known: Vec<&str> = self.names().collect();
        format!("no thread component is named `{name}`; {guess}known are: {}", known.join(", "))
    }
}

/// `with` as the component's type. Without `with`, an empty mapping is as good as none.
fn typed<W: DeserializeOwned>(with: &Value) -> Result<W, String> {
    match serde_yaml::from_value(with.clone()) {
        Err(_) if with.is_null() => typed(&Value::Mapping(serde_yaml::Mapping::new())),
        Err(error) => {
            let key = culprit::<W>(with, &error.to_string());
            Err(format!("with{}: {error}", key.map_or_else(String::new, |key| format!(".{key}"))))
        }
        Ok(typed) => Ok(typed),
    }
}

/// The key that the error is about: the one without which it is another error, or none.
fn culprit<W: DeserializeOwned>(with: &Value, error: &str) -> Option<String> {
    let whole = with.as_mapping()?;
    if lacks::<W>(whole, error) {
        return None;
    }
    let key = whole.keys().find(|key| {
        let others = whole.iter().filter(|(other, _)| other != key);
        let rest = others.map(|(key, value)| (key.clone(), value.clone())).collect();
        let parsed = serde_yaml::from_value::<W>(Value::Mapping(rest));
        parsed.map_or_else(|other| other.to_string() != error, |_| true)
    })?;
    key.as_str().map(str::to_owned)
}

/// Whether a key is missing, and none of those that are there is at fault: a value for it makes it another error.
fn lacks<W: DeserializeOwned>(whole: &serde_yaml::Mapping, error: &str) -> bool {
    let Some(missing) = error.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) else {
        return false;
    };
    let mut filled = whole.clone();
    filled.insert(missing.into(), Value::Null);
    serde_yaml::from_value::<W>(Value::Mapping(filled)).map_or_else(
        |other| {
            let other = other.to_string();
            other != error && !other.starts_with("unknown field")
        },
        |_| true,
    )
}

/// An error and what caused it, each said once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let said = deeper.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = deeper.source();
    }
    text
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}
