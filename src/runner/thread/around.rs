//! What a built-in component needs to know of the project around it; one that a program registers does not.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::kept::Kept;
use super::light::Light;

/// Who holds a port, in words; it may look for a while.
pub type Holder = Arc<dyn Fn(SocketAddr) -> Option<String> + Send + Sync>;

/// What is around a built-in component.
#[derive(Clone, Default)]
pub struct Around {
    /// How the component behind it is.
    pub light: Light,
    /// Whom to ask who holds a port.
    pub holder: Option<Holder>,
    /// What outlives a run.
    pub kept: Kept,
}

impl fmt::Debug for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Around").field("light", &self.light).finish_non_exhaustive()
    }
}
