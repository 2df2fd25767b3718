//! Which file systems may not answer: those of a network, and those that a program serves. A call that touches one
//! may never return, so whoever must go on does not touch them, and learns where they are from the kernel's list.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::trace::{End, follow};

/// Where such file systems are mounted that one engine may touch.
pub(super) type Reach = BTreeSet<PathBuf>;

/// What is mounted where, as far as it matters, and what of it may be touched.
#[derive(Debug)]
pub(super) struct Ground {
    reach: Reach,
    /// Where such file systems are mounted. Not the root: orch itself stands on that.
    remote: BTreeSet<PathBuf>,
    /// The kernel's list; polling tells when it has changed.
    list: Option<File>,
}

impl Ground {
    pub(super) fn new(reach: Reach) -> Self {
        let list = File::open("/proc/self/mountinfo").ok();
        let mut ground = Self { reach, remote: BTreeSet::new(), list };
        ground.read();
        ground
    }

    /// As if such file systems were mounted there.
    #[cfg(test)]
    pub(super) fn faked(reach: Reach, remote: BTreeSet<PathBuf>) -> Self {
        Self { reach, remote, list: None }
    }

    pub(super) fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Takes in what was mounted since; gives the mounts that came and may not be touched.
    pub(super) fn refresh(&mut self) -> Vec<PathBuf> {
        let Some(list) = &self.list else { return Vec::new() };
        let mut polled = [PollFd::new(list, PollFlags::PRI)];
        let is_new =
            poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0);
        if !is_new {
            return Vec::new();
        }
        let before = self.remote.clone();
        self.read();
        self.remote.difference(&before).filter(|mount| !self.reach.contains(*mount)).cloned().collect()
    }

    fn read(&mut self) {
        let Some(list) = &mut self.list else { return };
        let mut text = Vec::new();
        if list.rewind().and_then(|()| list.read_to_end(&mut text)).is_ok() {
            self.remote = text.split(|byte| *byte == b'\n').filter_map(remote).collect();
        }
    }

    /// The mount that the real path `real` leads through, and that may not be touched.
    pub(super) fn beyond(&self, real: &Path) -> Option<PathBuf> {
        self.remote.iter().find(|mount| real.starts_with(mount) && !self.reach.contains(*mount)).cloned()
    }

    /// The real path of the folder `path`; `None` if there is none. `Err`: it leads to such a mount.
    pub(super) fn real(&self, path: &Path) -> Result<Option<PathBuf>, PathBuf> {
        match follow("/".into(), path, Path::new("/"), self).end {
            End::Folder(real) => Ok(Some(real)),
            End::Beyond(mount) => Err(mount),
            End::Nothing | End::File => Ok(None),
        }
    }

    /// Whether something stands at `path`, as far as that may be found out.
    pub(super) fn has(&self, path: &Path) -> bool {
        match follow("/".into(), path, Path::new("/"), self).end {
            End::Folder(_) | End::File => true,
            End::Nothing | End::Beyond(_) => false,
        }
    }
}

/// The place of a mount of such a kind, from its line in the list (proc_pid_mountinfo(5)).
fn remote(line: &[u8]) -> Option<PathBuf> {
    let mut words = line.split(|byte| *byte == b' ');
    let place = words.nth(4)?;
    let kind = words.skip_while(|word| *word != b"-").nth(1)?;
    let place = PathBuf::from(OsString::from_vec(unescaped(place)));
    (may_be_silent(&String::from_utf8_lossy(kind)) && place != Path::new("/")).then_some(place)
}

fn may_be_silent(kind: &str) -> bool {
    const KINDS: [&str; 16] = [
        "9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "fuse", "fuseblk", "lustre", "nfs", "nfs4",
        "smb3", "smbfs", "vboxsf", "virtiofs",
    ];
    KINDS.contains(&kind) || kind.starts_with("fuse.")
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..3).filter(|_| *first == b'\\').and_then(|it| std::str::from_utf8(it).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        clean.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { more.get(3..).unwrap_or_default() } else { more };
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::{Ground, Reach, remote};
    use std::collections::BTreeSet;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    #[test]
    fn the_kernels_list_tells_what_may_not_answer() {
        let place = |line: &str| remote(line.as_bytes());
        let nfs =
            r"36 35 98:0 /mnt1 /net/my\040disk rw,noatime shared:1 master:2 - nfs4 srv:/x rw,errors=continue";
        assert_eq!(place(nfs), Some(PathBuf::from("/net/my disk")));
        assert_eq!(place("37 35 0:41 / /srv/x rw - fuse.sshfs a:b rw"), Some(PathBuf::from("/srv/x")));
        for near in ["38 35 8:1 / /data rw - ext4 /dev/sda1 rw", "1 0 0:41 / / rw - 9p root rw", "", "1 2 3"]
        {
            assert_eq!(place(near), None, "{near}");
        }
    }

    #[test]
    fn who_may_not_touch_a_mount_learns_that_a_path_leads_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let mount = root.join("mnt");
        std::fs::create_dir_all(mount.join("sub")).unwrap();
        symlink("mnt/sub", root.join("link")).unwrap();
        let remote = BTreeSet::from([mount.clone()]);
        let ground = Ground::faked(Reach::new(), remote.clone());
        for inside in ["mnt", "mnt/sub", "link", "link/deeper"] {
            assert_eq!(ground.real(&root.join(inside)), Err(mount.clone()), "{inside}");
        }
        assert_eq!(ground.real(&root), Ok(Some(root.clone())));
        assert!(ground.beyond(Path::new("/mnt")).is_none() && !ground.has(&root.join("link")));
        let within = Ground::faked(remote.clone(), remote);
        assert_eq!(within.real(&root.join("link")), Ok(Some(mount.join("sub"))));
    }
}
