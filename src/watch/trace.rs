//! Where a path leads, and on which names that depends.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::ground::Ground;

/// As many symbolic links as the kernel itself follows.
const HOPS: usize = 40;

/// What stands at the end of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing, a loop of links, or neither a file nor a folder.
    Nothing,
    /// A folder, by its real path.
    Folder(PathBuf),
    /// A regular file.
    File,
    /// A file system that may not answer, mounted there, and not to be touched.
    Beyond(PathBuf),
}

/// A path, followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trace {
    /// Names, each with the real folder that it is in: if one of them is made, deleted, moved or replaced, the
    /// path may lead elsewhere.
    pub(super) links: Vec<(PathBuf, OsString)>,
    /// Where it leads now.
    pub(super) end: End,
}

struct Step {
    folder: PathBuf,
    name: OsString,
    /// A symbolic link, or in the project's folder: its place is worth a watch.
    kept: bool,
}

/// Follows the absolute `path`. Folders outside of the real folder `root` count as lasting, except the last
/// two of the path; otherwise an absolute path would take watches up to the file system's root.
pub(super) fn trace(path: &Path, root: &Path, ground: &Ground) -> Trace {
    let (from, rest) = match ground.real(root) {
        Ok(Some(real)) if path.starts_with(root) => (real, path.strip_prefix(root).unwrap_or(path)),
        _ => (PathBuf::from("/"), path),
    };
    follow(from.clone(), rest, &from, ground)
}

/// Follows the entry `name` of the real folder `folder`.
pub(super) fn trace_entry(folder: &Path, name: &Path, root: &Path, ground: &Ground) -> Trace {
    follow(folder.to_owned(), name, root, ground)
}

/// Follows `path` from the real folder `real` on.
pub(super) fn follow(mut real: PathBuf, path: &Path, root: &Path, ground: &Ground) -> Trace {
    let mut rest: VecDeque<OsString> = names(path).collect();
    let mut steps = Vec::new();
    let mut hops = 0;
    let mut end = if rest.is_empty() { at_root(&real, &mut steps) } else { End::Nothing };
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            real.pop();
            continue;
        }
        let here = real.join(&name);
        if let Some(mount) = ground.beyond(&here) {
            end = End::Beyond(mount);
            break;
        }
        let found = fs::symlink_metadata(&here).ok();
        let is_link = found.as_ref().is_some_and(|meta| meta.file_type().is_symlink());
        let kept = is_link || found.is_none() || (root != Path::new("/") && real.starts_with(root));
        steps.push(Step { folder: real.clone(), name, kept });
        match found {
            Some(meta) if meta.is_dir() => {
                real = here;
                end = End::Folder(real.clone());
            }
            Some(meta) if meta.is_file() && rest.is_empty() => end = End::File,
            Some(_) if is_link && hops < HOPS => {
                hops += 1;
                end = End::Nothing;
                let target = fs::read_link(&here).unwrap_or_default();
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                for part in names(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(part);
                }
            }
            _ => {
                end = End::Nothing;
                break;
            }
        }
    }
    Trace { links: chosen(steps), end }
}

/// The project's folder itself: it depends on its own name.
fn at_root(real: &Path, steps: &mut Vec<Step>) -> End {
    if let (Some(parent), Some(name)) = (real.parent(), real.file_name()) {
        steps.push(Step { folder: parent.to_owned(), name: name.to_owned(), kept: true });
    }
    if real.is_dir() { End::Folder(real.to_owned()) } else { End::Nothing }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn chosen(steps: Vec<Step>) -> Vec<(PathBuf, OsString)> {
    let last_two = steps.len().saturating_sub(2);
    let kept = steps.into_iter().enumerate().filter(|(at, step)| step.kept || *at >= last_two);
    kept.map(|(_, step)| (step.folder, step.name)).collect()
}

#[cfg(test)]
mod tests {
    use super::{End, trace};
    use crate::watch::ground::{Ground, Reach};
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_depends_on_its_links_and_its_missing_parts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("data/one")).unwrap();
        fs::write(root.join("data/one/file"), "").unwrap();
        symlink("one", root.join("data/current")).unwrap();
        symlink("data/current/file", root.join("file")).unwrap();

        let ground = Ground::new(Reach::new());
        let found = trace(&root.join("file"), &root, &ground);
        assert_eq!(found.end, End::File);
        let names: Vec<_> = found.links.iter().map(|(_, name)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["file", "data", "current", "one", "file"]);

        let missing = trace(&root.join("data/two/deep/file"), &root, &ground);
        assert_eq!(missing.end, End::Nothing);
        assert_eq!(missing.links.last().unwrap(), &(root.join("data"), "two".into()));
    }

    #[test]
    fn a_loop_of_links_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert_eq!(
            trace(&folder.path().join("a"), folder.path(), &Ground::new(Reach::new())).end,
            End::Nothing
        );
    }
}
