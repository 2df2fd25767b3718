//! Where the sockets are: in a folder that nobody else can enter.
//!
//! The name of a socket has room for 107 bytes (unix(7)), and a state directory may be deeper than that. Then the
//! folder is in the session's runtime directory, or in /tmp. It is never an abstract name: that has no folder, and
//! anybody on the machine could send to it. None of that would be believed, but it would have to be read.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::types::UnitId;

/// The longest name of a socket, in bytes.
const LONGEST: usize = 107;

/// The folder of a project's sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(PathBuf);

impl Place {
    /// That of this state directory: the same one for every orch that uses it.
    pub(super) fn of(state_dir: &Path) -> Self {
        let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self::among(state_dir, session.filter(|folder| folder.is_absolute()))
    }

    fn among(state_dir: &Path, session: Option<PathBuf>) -> Self {
        let user = rustix::process::geteuid().as_raw();
        let number = fnv(state_dir.as_os_str().as_bytes());
        let last = PathBuf::from(format!("/tmp/orch-notify-{user}-{number:016x}"));
        let inside = state_dir.join("notify");
        let session = session.map(|folder| folder.join(format!("orch-notify-{number:016x}")));
        let fits =
            |folder: &PathBuf| Self(folder.clone()).socket(UnitId(u32::MAX)).as_os_str().len() <= LONGEST;
        Self([Some(inside), session].into_iter().flatten().find(fits).unwrap_or(last))
    }

    /// The name of a unit's socket.
    pub(super) fn socket(&self, unit: UnitId) -> PathBuf {
        self.0.join(unit.0.to_string())
    }

    /// Makes the folder, if it is not there.
    pub(super) fn make(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.0) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        // In /tmp it may be somebody else's.
        let meta = fs::symlink_metadata(&self.0)?;
        if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not this user's folder"));
        }
        if meta.permissions().mode() & 0o777 != 0o700 {
            fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
    }

    /// Removes the folder with all that is in it: what a killed orch has left, or one's own at the end.
    pub(super) fn clear(&self) {
        match fs::symlink_metadata(&self.0) {
            Ok(meta) if meta.is_dir() => drop(fs::remove_dir_all(&self.0)),
            Ok(_) => drop(fs::remove_file(&self.0)),
            Err(_) => {}
        }
    }
}

/// A number that is the same for the same bytes (FNV-1a). Nothing is lost if two have the same: the folder
/// would be refused, or shared by two projects of one user, of which one would have no sockets.
fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_state_directory_has_its_sockets_elsewhere() {
        let of = |dir: &str, session: Option<&str>| Place::among(Path::new(dir), session.map(Into::into)).0;
        let deep = format!("/home/{}", "x".repeat(100));
        assert_eq!(of("/p/.orch", Some("/run/user/1")), Path::new("/p/.orch/notify"));
        let session = of(&deep, Some("/run/user/1"));
        assert!(session.starts_with("/run/user/1") && session == of(&deep, Some("/run/user/1")));
        for session in [None, Some(deep.as_str())] {
            assert!(of(&deep, session).starts_with("/tmp"));
        }
        assert_ne!(of(&deep, None), of(&format!("{deep}y"), None));
    }

    #[test]
    fn the_folder_is_private_and_a_strangers_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place(dir.path().join("notify"));
        place.clear();
        fs::create_dir(&place.0).unwrap();
        place.make().unwrap();
        assert_eq!(fs::metadata(&place.0).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(place.socket(UnitId(3)), "").unwrap();
        place.clear();
        assert!(!place.0.exists());
        fs::write(&place.0, "").unwrap();
        assert!(place.make().is_err());
        place.clear();
        place.make().unwrap();
    }
}
