//! The files of uploads by slot: `<root>/.uploads/<first two characters>/<file>`. Each attempt has a name of its own, so
//! none can replace or remove the file of another. Any thread may call.

use std::collections::HashSet;
use std::fs::{self, File, ReadDir};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::directory::{failure, removal};
use super::files::{Published, StoredFile};
use super::lost;
use super::upload::Sealed;
use super::walk::refuse_removed;
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::model::UploadFile;
use crate::sys::fs::Dir;

/// The directory of all uploads, in the storage root.
const UPLOADS: &str = ".uploads";

/// A place for the files of uploads. A file is there whole or not at all, and never changes.
pub trait UploadFiles: Send + Sync {
    /// Stores an upload under a name that no other file has. When this returns it outlives a crash; after an error there
    /// is no file of that name.
    fn put(&self, sealed: Sealed, file: &UploadFile) -> Result<()>;

    /// The same for a file that comes from another place, as [`Files::put_moved`](super::Files::put_moved).
    fn put_moved(&self, sealed: Sealed, file: &UploadFile) -> Result<()> {
        self.put(sealed, file)
    }

    /// Opens a file, so that any range of it can be read; `None` if it is known that there is no such file. `size` is
    /// as for [`Files::get`](super::Files::get).
    fn get(&self, file: &UploadFile, size: u64) -> Result<Option<StoredFile>>;

    /// The size of a file in bytes; `None` if there is no such file.
    fn head(&self, file: &UploadFile) -> Result<Option<u64>>;

    /// Removes a file; says whether it was there.
    fn remove(&self, file: &UploadFile) -> Result<bool>;

    /// Moves a file that no row names out of the way, to where an operator finds it. Gives its new path below the storage
    /// root; `None` if it is gone already.
    fn set_aside(&self, file: &UploadFile, now: Timestamp) -> Result<Option<PathBuf>>;

    /// Brings what [`UploadFiles::remove`] did to these files to the disk: no crash brings them back afterwards.
    fn settle_removals(&self, files: &[UploadFile]) -> Result<()>;

    /// Every file, in no order.
    fn list(&self) -> Result<UploadList>;
}

/// An entry of [`UploadFiles::list`].
pub type UploadList = Box<dyn Iterator<Item = Result<ListedUpload>> + Send>;

/// An entry of [`UploadFiles::list`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedUpload {
    /// The file of an upload, as its name shows.
    File {
        /// Its name.
        file: UploadFile,
        /// Its size in bytes.
        size: u64,
        /// When it was last written to.
        modified: SystemTime,
    },
    /// Something else among our files.
    Foreign(PathBuf),
}

/// Files of uploads in a directory of the storage root.
pub struct UploadDirectory {
    root: Arc<Dir>,
    /// Whether files and directories are brought to the disk before they count.
    sync: bool,
    /// Whether other nodes make directories here, too.
    shared: bool,
    unsettled: Mutex<Unsettled>,
}

/// The directories that may not be on the disk yet.
struct Unsettled {
    /// Whether the directory of all uploads may be one, or a directory in it that an earlier process made.
    top: bool,
    /// The directories in it that this process has made.
    folders: HashSet<String>,
}

/// The directory for the file of an upload.
struct Place {
    folder: Dir,
    /// The directory of all uploads.
    top: Dir,
    /// Whether the names in `top` and in the root must be brought to the disk with the file.
    syncs: [bool; 2],
}

impl UploadDirectory {
    /// The uploads below `root`, which must be there. Without `sync`, a crash of the machine may lose what was stored.
    pub fn open(root: &Path, sync: bool) -> Result<Self> {
        let root = Arc::new(Dir::open(root).map_err(failure)?);
        let unsettled = Mutex::new(Unsettled { top: true, folders: HashSet::new() });
        Ok(Self { root, sync, shared: false, unsettled })
    }

    /// The same where other nodes share the root, as [`Directory::shared`](super::Directory::shared).
    #[must_use]
    pub fn shared(self, shared: bool) -> Self {
        Self { shared, ..self }
    }

    /// The directory for this file. No one relies on a new directory before it is on the disk: each upload that finds it
    /// unsettled brings it there, together with its own file.
    fn place(&self, file: &UploadFile) -> Result<Place> {
        let mut unsettled = self.unsettled();
        unsettled.top |= self.shared;
        let top = opened_or_made(&self.root, UPLOADS, || unsettled.top = true)?;
        let folder =
            opened_or_made(&top, file.folder(), || _ = unsettled.folders.insert(file.folder().to_owned()))?;
        let is_unsettled = unsettled.top || unsettled.folders.contains(file.folder());
        Ok(Place { folder, top, syncs: [is_unsettled, unsettled.top] })
    }

    /// The directories of this place are on the disk.
    fn settle(&self, file: &UploadFile, place: &Place) {
        let [top, root] = place.syncs;
        if top {
            let mut unsettled = self.unsettled();
            unsettled.folders.remove(file.folder());
            unsettled.top &= !root;
        }
    }

    fn unsettled(&self) -> MutexGuard<'_, Unsettled> {
        // The state is whole between any two statements.
        self.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_file(&self, file: &UploadFile) -> Result<Option<(File, u64)>> {
        let Some(top) = self.root.open_dir(UPLOADS).map_err(failure)? else { return Ok(None) };
        top.open_regular_in(file.folder(), file.as_str()).map_err(failure)
    }

    /// The directory of this file, if it was made.
    fn folder(&self, file: &UploadFile) -> Result<Option<Dir>> {
        match self.root.open_dir(UPLOADS).map_err(failure)? {
            Some(top) => top.open_dir(file.folder()).map_err(failure),
            None => Ok(None),
        }
    }
}

/// Opens a directory, and makes it where it is missing; `made` is told so before anything can fail.
fn opened_or_made(parent: &Dir, name: &str, made: impl FnOnce()) -> Result<Dir> {
    if let Some(dir) = parent.open_dir(name).map_err(failure)? {
        return Ok(dir);
    }
    match parent.make_dir(name) {
        Ok(()) => made(),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failure(error)),
    }
    opened(parent, name)
}

fn opened(parent: &Dir, name: &str) -> Result<Dir> {
    let no_folder = || {
        let path = parent.path().join(name);
        Error::new(Kind::Corrupt, format!("{} is no directory", path.display()))
    };
    parent.open_dir(name).map_err(failure)?.ok_or_else(no_folder)
}

impl UploadFiles for UploadDirectory {
    fn put(&self, sealed: Sealed, file: &UploadFile) -> Result<()> {
        let place = self.place(file)?;
        let dirs = [&place.top, &*self.root].into_iter().zip(place.syncs);
        let above: Vec<&Dir> = dirs.filter(|(_, syncs)| *syncs).map(|(dir, _)| dir).collect();
        match sealed.publish(&place.folder, file.as_str(), &above, self.sync)? {
            Published::Done => {
                self.settle(file, &place);
                Ok(())
            }
            Published::Taken(_) => Err(failure(ErrorKind::AlreadyExists.into())),
        }
    }

    fn get(&self, file: &UploadFile, _size: u64) -> Result<Option<StoredFile>> {
        Ok(self.open_file(file)?.map(|(file, size)| StoredFile::Local(file, size)))
    }

    fn head(&self, file: &UploadFile) -> Result<Option<u64>> {
        Ok(self.open_file(file)?.map(|(_, size)| size))
    }

    fn remove(&self, file: &UploadFile) -> Result<bool> {
        match self.folder(file)? {
            Some(folder) => removal(folder.remove(file.as_str())),
            None => Ok(false),
        }
    }

    fn set_aside(&self, file: &UploadFile, now: Timestamp) -> Result<Option<PathBuf>> {
        let Some(folder) = self.folder(file)? else { return Ok(None) };
        lost::set_aside_from(&self.root, &folder, UPLOADS, file.as_str(), now).map_err(failure)
    }

    fn settle_removals(&self, files: &[UploadFile]) -> Result<()> {
        let mut settled = HashSet::new();
        for file in files.iter().filter(|_| self.sync) {
            if settled.insert(file.folder())
                && let Some(folder) = self.folder(file)?
            {
                folder.sync().map_err(failure)?;
            }
        }
        Ok(())
    }

    fn list(&self) -> Result<UploadList> {
        let path = self.root.path().join(UPLOADS);
        match fs::read_dir(&path) {
            Ok(top) => Ok(Box::new(Walk { top, path, folder: None })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Box::new(std::iter::empty())),
            Err(error) => Err(unreadable(&path, error)),
        }
    }
}

fn unreadable(path: &Path, cause: io::Error) -> Error {
    Error::io(format!("can't read the uploads below {}", path.display()), cause)
}

/// A walk of the uploads. A file that vanishes meanwhile is left out.
struct Walk {
    top: ReadDir,
    path: PathBuf,
    folder: Option<ReadDir>,
}

impl Iterator for Walk {
    type Item = Result<ListedUpload>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.visit() {
                Ok(Some(Some(entry))) => return Some(Ok(entry)),
                Ok(Some(None)) => {}
                Ok(None) => return None,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Some(Err(unreadable(&self.path, error))),
            }
        }
    }
}

impl Walk {
    /// Looks at one directory entry; `None` at the end.
    fn visit(&mut self) -> io::Result<Option<Option<ListedUpload>>> {
        if let Some(entries) = &mut self.folder {
            match entries.next() {
                Some(entry) => return listed(&entry?).map(|entry| Some(Some(entry))),
                None => self.folder = None,
            }
        }
        let Some(entry) = self.top.next() else { return Ok(None) };
        let entry = entry?;
        let is_folder = entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        if !is_folder || !entry.metadata()?.is_dir() {
            return Ok(Some(Some(ListedUpload::Foreign(entry.path()))));
        }
        self.folder = Some(fs::read_dir(entry.path())?);
        Ok(Some(None))
    }
}

fn listed(entry: &fs::DirEntry) -> io::Result<ListedUpload> {
    refuse_removed(entry)?;
    let metadata = entry.metadata()?;
    let file = entry.file_name().to_str().and_then(|name| name.parse::<UploadFile>().ok());
    let path = entry.path();
    let in_place = |file: &UploadFile| path.parent().is_some_and(|folder| folder.ends_with(file.folder()));
    Ok(match file.filter(in_place) {
        Some(file) if metadata.is_file() => {
            ListedUpload::File { file, size: metadata.len(), modified: metadata.modified()? }
        }
        _ => ListedUpload::Foreign(path),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustix::io::Errno;

    use super::super::{Algorithm, Uploads};
    use super::*;
    use crate::sys::faults::{self, Fault};
    use crate::sys::fs::FsCall;
    use crate::testing::Scratch;

    struct Bench {
        uploads: Uploads,
        files: UploadDirectory,
        scratch: Scratch,
    }

    impl Bench {
        fn new() -> Self {
            let scratch = Scratch::new();
            let uploads = Uploads::open(scratch.path(), true).unwrap();
            let files = UploadDirectory::open(scratch.path(), true).unwrap();
            Self { uploads, files, scratch }
        }

        fn sealed(&self, bytes: &str) -> Sealed {
            let mut upload = self.uploads.begin_with(Algorithm::Sha256, 100, 10);
            upload.write_all(bytes.as_bytes()).unwrap();
            upload.seal().unwrap()
        }
    }

    #[test]
    fn a_file_is_stored_opened_and_removed() {
        let bench = Bench::new();
        let file = UploadFile::random();
        assert!(bench.files.get(&file, 4).unwrap().is_none() && !bench.files.remove(&file).unwrap());
        assert_eq!(bench.files.list().unwrap().count(), 0);
        bench.files.put(bench.sealed("four"), &file).unwrap();
        assert_eq!(bench.files.head(&file).unwrap(), Some(4));
        let path = bench.scratch.join(&format!(".uploads/{}/{file}", &file.as_str()[..2]));
        assert_eq!(fs::read_to_string(&path).unwrap(), "four");
        assert_eq!(bench.uploads.temporaries().unwrap(), []);
        assert!(bench.files.put(bench.sealed("other"), &file).is_err(), "nothing is replaced");
        assert_eq!(fs::read_to_string(&path).unwrap(), "four");
        assert!(bench.files.remove(&file).unwrap() && !bench.files.remove(&file).unwrap());
        assert_eq!(bench.files.head(&file).unwrap(), None);
    }

    /// Stores a file of this name; how many directories that brings to the disk.
    fn directories_synced(bench: &Bench, file: &str) -> usize {
        let (sealed, file) = (bench.sealed("four"), file.repeat(12).parse().unwrap());
        let (put, count) = faults::count(FsCall::SyncDirectory, || bench.files.put(sealed, &file));
        put.unwrap();
        count
    }

    #[test]
    fn new_directories_are_on_the_disk_before_a_file_in_them_counts() {
        let (bench, file) = (Bench::new(), "aa".repeat(12).parse().unwrap());
        let stored = ["aa", "ab", "ba"].map(|file| directories_synced(&bench, file));
        assert_eq!(stored, [3, 2, 2], "the root, the directory of all uploads, and the folder");
        // An earlier process may have died before it had brought the directories to the disk.
        let bench = Bench { files: UploadDirectory::open(bench.scratch.path(), true).unwrap(), ..bench };
        bench.files.remove(&file).unwrap();
        assert_eq!(["aa", "ac"].map(|file| directories_synced(&bench, file)), [3, 2]);
        bench.files.remove(&file).unwrap();
        assert_eq!(directories_synced(&bench, "aa"), 1, "it is there");
        // Other nodes make directories, too.
        let bench = Bench { files: bench.files.shared(true), ..bench };
        bench.files.remove(&file).unwrap();
        assert_eq!(directories_synced(&bench, "aa"), 3);
    }

    #[test]
    fn an_upload_brings_directories_to_the_disk_where_the_one_before_it_failed() {
        for (known, expected) in [(false, 3), (true, 2)] {
            for failing in 0.. {
                let bench = Bench::new();
                if known {
                    directories_synced(&bench, "aa");
                }
                let (sealed, file) = (bench.sealed("four"), "bc".repeat(12).parse().unwrap());
                let (put, call) =
                    faults::at(failing, Fault::Error(Errno::IO), || bench.files.put(sealed, &file));
                let Some(call) = call else { break };
                assert!(put.is_err() && bench.files.head(&file).unwrap().is_none(), "{call:?}");
                assert_eq!(directories_synced(&bench, "bc"), expected, "{call:?}");
            }
        }
    }

    #[test]
    fn the_list_tells_files_of_uploads_from_others() {
        let bench = Bench::new();
        let file = UploadFile::random();
        bench.files.put(bench.sealed("four"), &file).unwrap();
        let top = bench.scratch.join(".uploads");
        fs::create_dir_all(top.join("zz")).unwrap();
        for name in ["odd", "zz/odd", "zz/aaaaaaaaaaaaaaaaaaaaaaaa", "zz/.nfs00000000000000010000002a"] {
            fs::write(top.join(name), "").unwrap();
        }
        let mut found: Vec<String> = bench
            .files
            .list()
            .unwrap()
            .map(|entry| match entry.unwrap() {
                ListedUpload::File { file, size, .. } => format!("{file} {size}"),
                ListedUpload::Foreign(path) => path.strip_prefix(&top).unwrap().display().to_string(),
            })
            .collect();
        found.sort();
        let mut expected =
            [format!("{file} 4"), "odd".into(), "zz/odd".into(), "zz/aaaaaaaaaaaaaaaaaaaaaaaa".into()];
        expected.sort();
        assert_eq!(found, expected);
    }
}
