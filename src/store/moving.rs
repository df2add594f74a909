//! Files on their way from one place to another: while `move-storage` moves them, servers find each in one of the two, and
//! store new ones in the place to come. Any thread may call.

use std::path::PathBuf;
use std::sync::Arc;

use super::files::{FileList, Files, Published, StoredFile};
use super::upload::Sealed;
use super::upload_files::{UploadFiles, UploadList};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::model::{Channel, MediaId, UploadFile};

/// The place that knows at once whether it has a file. The other one is far away: it may give a file that turns out to be
/// missing when it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NearPlace {
    /// The old one.
    From,
    /// The new one.
    To,
}

/// Two places, of files of media or of uploads: `F` is the trait of either.
pub struct Moving<F: ?Sized> {
    to: Arc<F>,
    from: Arc<F>,
    near: NearPlace,
}

impl<F: ?Sized> Moving<F> {
    /// Files that go from one place to another.
    pub fn new(from: Arc<F>, to: Arc<F>, near: NearPlace) -> Self {
        Self { to, from, near }
    }

    /// The file, from the place that has it. A file is in the new place before it leaves the old one, so one that goes from
    /// there to here between two looks is found by a third.
    fn find<T>(&self, look: impl Fn(&F) -> Result<Option<T>>) -> Result<Option<T>> {
        let places: &[&F] = match self.near {
            NearPlace::From => &[&*self.from, &*self.to],
            NearPlace::To => &[&*self.to, &*self.from, &*self.to],
        };
        for place in places {
            if let Some(found) = look(place)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Does it in both places. A failure in one does not keep the other from it.
    fn both<T>(&self, act: impl Fn(&F) -> Result<T>) -> Result<(T, T)> {
        // A file that moves meanwhile goes from the first to the second.
        let (from, to) = (act(&*self.from), act(&*self.to));
        Ok((from?, to?))
    }

    /// Moves a file without a row out of the way, wherever it is; of a file that is in both places, one copy.
    fn aside(
        &self,
        set_aside: impl Fn(&F) -> Result<Option<PathBuf>>,
        remove: impl Fn(&F) -> Result<bool>,
    ) -> Result<Option<PathBuf>> {
        match set_aside(&*self.from)? {
            Some(path) => remove(&*self.to).map(|_| Some(path)),
            None => set_aside(&*self.to),
        }
    }
}

impl Files for Moving<dyn Files> {
    fn put(&self, sealed: Sealed, channel: &Channel, id: &MediaId) -> Result<Published> {
        self.to.put(sealed, channel, id)
    }

    fn get(&self, channel: &Channel, id: &MediaId, size: u64) -> Result<Option<StoredFile>> {
        self.find(|place| place.get(channel, id, size))
    }

    fn is_far(&self) -> bool {
        self.from.is_far() || self.to.is_far()
    }

    fn head(&self, channel: &Channel, id: &MediaId) -> Result<Option<u64>> {
        self.find(|place| place.head(channel, id))
    }

    fn remove(&self, channel: &Channel, id: &MediaId) -> Result<bool> {
        self.both(|place| place.remove(channel, id)).map(|(from, to)| from || to)
    }

    fn set_aside(&self, channel: &Channel, id: &MediaId, now: Timestamp) -> Result<Option<PathBuf>> {
        self.aside(|place| place.set_aside(channel, id, now), |place| place.remove(channel, id))
    }

    fn forget_set_aside(&self, before: Timestamp) -> Result<Vec<PathBuf>> {
        self.both(|place| place.forget_set_aside(before)).map(|(from, to)| [from, to].concat())
    }

    fn forget_set_aside_of(&self, channel: &Channel) -> Result<Vec<PathBuf>> {
        self.both(|place| place.forget_set_aside_of(channel)).map(|(from, to)| [from, to].concat())
    }

    fn remove_place(&self, channel: &Channel) -> Result<bool> {
        self.both(|place| place.remove_place(channel)).map(|(from, to)| from && to)
    }

    fn settle_removals(&self, channel: &Channel) -> Result<()> {
        self.both(|place| place.settle_removals(channel)).map(drop)
    }

    fn try_out(&self) -> Result<()> {
        self.both(Files::try_out).map(drop)
    }

    /// A file that moves meanwhile may be listed twice, but is not left out.
    fn list(&self) -> Result<FileList> {
        let from = self.from.list()?;
        Ok(Box::new(from.chain(self.to.list()?)))
    }

    fn list_of(&self, channel: &Channel) -> Result<FileList> {
        let from = self.from.list_of(channel)?;
        Ok(Box::new(from.chain(self.to.list_of(channel)?)))
    }
}

impl UploadFiles for Moving<dyn UploadFiles> {
    fn put(&self, sealed: Sealed, file: &UploadFile) -> Result<()> {
        self.to.put(sealed, file)
    }

    fn get(&self, file: &UploadFile, size: u64) -> Result<Option<StoredFile>> {
        self.find(|place| place.get(file, size))
    }

    fn head(&self, file: &UploadFile) -> Result<Option<u64>> {
        self.find(|place| place.head(file))
    }

    fn remove(&self, file: &UploadFile) -> Result<bool> {
        self.both(|place| place.remove(file)).map(|(from, to)| from || to)
    }

    fn set_aside(&self, file: &UploadFile, now: Timestamp) -> Result<Option<PathBuf>> {
        self.aside(|place| place.set_aside(file, now), |place| place.remove(file))
    }

    fn settle_removals(&self, files: &[UploadFile]) -> Result<()> {
        self.both(|place| place.settle_removals(files)).map(drop)
    }

    fn list(&self) -> Result<UploadList> {
        let from = self.from.list()?;
        Ok(Box::new(from.chain(self.to.list()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::io::Read;

    use super::super::{Directory, UploadDirectory, Uploads};
    use super::*;
    use crate::testing::Scratch;

    struct Bench {
        scratch: Scratch,
        files: Moving<dyn Files>,
        uploads: Moving<dyn UploadFiles>,
        incoming: Uploads,
    }

    impl Bench {
        fn new(near: NearPlace) -> Self {
            let scratch = Scratch::new();
            let root = |name: &str| {
                fs::create_dir(scratch.join(name)).unwrap();
                scratch.join(name)
            };
            let (old, new) = (root("old"), root("new"));
            let media = |root| Arc::new(Directory::open(root, true).unwrap()) as Arc<dyn Files>;
            let uploads = |root| Arc::new(UploadDirectory::open(root, true).unwrap()) as Arc<dyn UploadFiles>;
            Self {
                files: Moving::<dyn Files>::new(media(&old), media(&new), near),
                uploads: Moving::<dyn UploadFiles>::new(uploads(&old), uploads(&new), near),
                incoming: Uploads::open(&new, true).unwrap(),
                scratch,
            }
        }

        fn sealed(&self) -> Sealed {
            let mut upload = self.incoming.begin(100, 100);
            std::io::Write::write_all(&mut upload, b"new").unwrap();
            upload.seal().unwrap()
        }

        fn write(&self, place: &str, name: &str) -> PathBuf {
            let path = self.scratch.join(place).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, place).unwrap();
            path
        }

        fn is_there(&self, place: &str, name: &str) -> bool {
            self.scratch.join(place).join(name).exists()
        }
    }

    const NEAR: [NearPlace; 2] = [NearPlace::From, NearPlace::To];

    fn name() -> (Channel, MediaId) {
        ("a@b".parse().unwrap(), "one".parse().unwrap())
    }

    fn text(file: Option<StoredFile>) -> Option<String> {
        let mut text = String::new();
        (&*file?.whole().unwrap()).read_to_string(&mut text).unwrap();
        Some(text)
    }

    #[test]
    fn files_are_found_in_either_place_and_go_from_both() {
        for near in NEAR {
            let (bench, (channel, id)) = (Bench::new(near), name());
            for places in [vec![], vec!["old"], vec!["new"], vec!["old", "new"]] {
                places.iter().for_each(|place| drop(bench.write(place, "a@b/one")));
                let found = bench.files.get(&channel, &id, 3).unwrap();
                assert_eq!(found.is_some(), !places.is_empty(), "{places:?}");
                assert_eq!(bench.files.head(&channel, &id).unwrap(), found.map(|_| 3));
                assert_eq!(bench.files.list().unwrap().count(), places.len());
                assert_eq!(bench.files.list_of(&channel).unwrap().count(), places.len());
                assert_eq!(bench.files.remove(&channel, &id).unwrap(), !places.is_empty());
                bench.files.settle_removals(&channel).unwrap();
                assert!(!bench.is_there("old", "a@b/one") && !bench.is_there("new", "a@b/one"));
            }
            assert!(bench.files.remove_place(&channel).unwrap());
            assert!(!bench.is_there("old", "a@b") && !bench.is_there("new", "a@b"));
        }
    }

    #[test]
    fn new_files_go_to_the_new_place() {
        for near in NEAR {
            let (bench, (channel, id)) = (Bench::new(near), name());
            assert!(matches!(bench.files.put(bench.sealed(), &channel, &id), Ok(Published::Done)));
            assert!(bench.is_there("new", "a@b/one") && !bench.is_there("old", "a@b/one"));
            let file = UploadFile::random();
            bench.uploads.put(bench.sealed(), &file).unwrap();
            assert_eq!(text(bench.uploads.get(&file, 3).unwrap()).as_deref(), Some("new"));
            assert!(bench.is_there("new", &format!(".uploads/{}/{file}", file.folder())));
        }
    }

    #[test]
    fn uploads_are_found_in_either_place_and_go_from_both() {
        for near in NEAR {
            let (bench, file) = (Bench::new(near), UploadFile::random());
            let name = format!(".uploads/{}/{file}", file.folder());
            for places in [vec![], vec!["old"], vec!["new"], vec!["old", "new"]] {
                places.iter().for_each(|place| drop(bench.write(place, &name)));
                let found = bench.uploads.get(&file, 3).unwrap();
                assert_eq!(bench.uploads.head(&file).unwrap(), found.map(|_| 3));
                assert_eq!(bench.uploads.list().unwrap().count(), places.len());
                assert_eq!(bench.uploads.remove(&file).unwrap(), !places.is_empty());
                bench.uploads.settle_removals(std::slice::from_ref(&file)).unwrap();
                assert!(!bench.is_there("old", &name) && !bench.is_there("new", &name));
            }
        }
    }

    #[test]
    fn a_file_that_moves_between_two_looks_is_found() {
        for near in NEAR {
            let (bench, (channel, id)) = (Bench::new(near), name());
            for moves_at in 0..3 {
                let old = bench.write("old", "a@b/one");
                let looks = Cell::new(0);
                let found = bench.files.find(|place| {
                    if looks.replace(looks.get() + 1) == moves_at {
                        fs::copy(&old, bench.write("new", "a@b/one")).unwrap();
                        fs::remove_file(&old).unwrap();
                    }
                    place.get(&channel, &id, 3)
                });
                assert_eq!(text(found.unwrap()).as_deref(), Some("old"), "{near:?} {moves_at}");
                bench.files.remove(&channel, &id).unwrap();
            }
        }
    }

    #[test]
    fn one_copy_of_a_file_without_a_row_is_set_aside() {
        for near in NEAR {
            let (bench, (channel, id)) = (Bench::new(near), name());
            let now = Timestamp::from_micros(0);
            for places in [vec!["old"], vec!["new"], vec!["old", "new"]] {
                places.iter().for_each(|place| drop(bench.write(place, "a@b/one")));
                let path = bench.files.set_aside(&channel, &id, now).unwrap().unwrap();
                let copies = ["old", "new"].map(|place| bench.scratch.join(place).join(&path));
                assert_eq!(copies.iter().filter(|copy| copy.exists()).count(), 1, "{places:?}");
                assert!(bench.files.set_aside(&channel, &id, now).unwrap().is_none());
                assert!(!bench.files.forget_set_aside_of(&channel).unwrap().is_empty());
                assert!(!copies.iter().any(|copy| copy.exists()));
            }
        }
    }
}
