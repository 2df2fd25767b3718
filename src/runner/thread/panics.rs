//! A panic ends one component and nothing else, and is printed to that component's output.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use super::output::Output;

thread_local! {
    /// The output of the component whose thread this is.
    static OUTPUT: RefCell<Option<Output>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Whether panics of components are printed by the hook.
pub(super) fn hooked() -> bool {
    HOOK.is_completed()
}

/// Puts a panic hook before the present one, once in the life of the process: a component's panic goes to
/// the component's output, any other to the hook that was there. Threads that a component starts by itself
/// count as others.
pub(super) fn install_hook() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let output = OUTPUT.try_with(|output| output.try_borrow().ok().and_then(|known| known.clone()));
            match output.ok().flatten() {
                Some(output) => print(&output, info),
                None => before(info),
            }
        }));
    });
}

/// From now on, a panic of the calling thread is printed to `output`.
pub(super) fn print_to(output: Output) {
    OUTPUT.set(Some(output));
}

/// Runs `body`; a panic becomes its message.
pub(super) fn contain<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(body)).map_err(|payload| {
        let message = message(&*payload);
        // A payload may panic when it is dropped; what that one carries is not dropped at all.
        if let Err(second) = panic::catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            std::mem::forget(second);
        }
        message
    })
}

fn print(output: &Output, info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(String::new, |at| format!(" at {at}"));
    output.line(&format!("panicked{place}: {}", message(info.payload())));
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        output.line(&backtrace.to_string());
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    let fixed = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    fixed
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}
