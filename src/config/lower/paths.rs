//! Paths made absolute, by their letters alone: what does not exist yet has a path, too.

use std::path::{Component, Path, PathBuf};

/// `path` seen from `base`, without `.` and, where that is sure, without `..`.
#[must_use]
pub fn absolute(base: &Path, path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for part in base.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if result.file_name().is_some() => {
                result.pop();
            }
            Component::ParentDir if result.has_root() => {}
            part => result.push(part),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_resolved_by_letter() {
        for (path, expected) in [
            ("a/./b", "/base/a/b"),
            ("../x", "/x"),
            ("../../../x", "/x"),
            ("/abs/", "/abs"),
            (".", "/base"),
            ("a/../b", "/base/b"),
        ] {
            assert_eq!(absolute(Path::new("/base"), Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
