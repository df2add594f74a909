//! The file systems that are mounted, as `/proc/self/mounts` tells. Any thread may ask.

use std::fs;
use std::path::{Path, PathBuf};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its type, such as `ext4` or `nfs4`.
    pub kind: String,
    /// Its options, separated by commas.
    options: String,
}

impl Mount {
    /// The file system of this path; `None` if the system does not tell.
    pub fn of(path: &Path) -> Option<Self> {
        let path = fs::canonicalize(path).ok()?;
        find(&fs::read_to_string("/proc/self/mounts").ok()?, &path)
    }

    /// The option by which locks on it are those of this machine alone, if it has such a one (nfs(5)).
    pub fn local_locks(&self) -> Option<&str> {
        let is_local = |option: &&str| matches!(*option, "nolock" | "local_lock=all" | "local_lock=flock");
        let is_nfs = self.kind.starts_with("nfs");
        self.options.split(',').find(is_local).filter(|_| is_nfs)
    }
}

/// The last mount is on top of those before it.
fn find(mounts: &str, path: &Path) -> Option<Mount> {
    let mut found: Option<(PathBuf, Mount)> = None;
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(1);
        let (Some(place), Some(kind), Some(options)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let place = PathBuf::from(unescaped(place));
        let is_longer = found.as_ref().is_none_or(|(before, _)| place.starts_with(before));
        if path.starts_with(&place) && is_longer {
            found = Some((place, Mount { kind: kind.to_owned(), options: options.to_owned() }));
        }
    }
    found.map(|(_, mount)| mount)
}

/// Blanks and the like are written as three octal digits (getmntent(3)).
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, escape)) = rest.split_once('\\') {
        plain += before;
        let code = escape.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => plain.push(code.into()),
            None => plain.push('\\'),
        }
        rest = if code.is_some() { &escape[3..] } else { escape };
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "/dev/a / ext4 rw 0 0\nproc /proc proc rw 0 0\nhost:/m /srv/me\\040dia nfs4 rw,hard,local_lock=none 0 0\n\
        host:/n /srv/n nfs rw,nolock,local_lock=all 0 0\nhost:/o /srv/n/o ext4 rw,nolock 0 0\n/dev/b /srv xfs rw 0 0\n";

    fn told(path: &str) -> Option<(String, Option<String>)> {
        let mount = find(MOUNTS, Path::new(path))?;
        Some((mount.kind.clone(), mount.local_locks().map(str::to_owned)))
    }

    #[test]
    fn the_mount_of_a_path_is_the_nearest_above_it() {
        let of = |kind: &str, locks: Option<&str>| Some((kind.to_owned(), locks.map(str::to_owned)));
        assert_eq!(told("/home"), of("ext4", None));
        assert_eq!(told("/srv/me dia/x"), of("nfs4", None));
        assert_eq!(told("/srv/n/m"), of("nfs", Some("nolock")));
        assert_eq!(told("/srv/n/o/p"), of("ext4", None), "the option of another file system");
        assert_eq!(told("/srv/nn"), of("xfs", None));
        assert_eq!(told("relative"), None);
        assert!(Mount::of(Path::new("/")).is_some());
        assert_eq!(Mount::of(Path::new("/missing/path")), None);
    }

    #[test]
    fn octal_digits_stand_for_characters() {
        for (text, plain) in [("a\\040b\\134", "a b\\"), ("\\04", "\\04"), ("a\\", "a\\"), ("\\999", "\\999")]
        {
            assert_eq!(unescaped(text), plain);
        }
    }
}
