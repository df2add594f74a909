use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::model::UploadFile;
use crate::store::{Directory, FileName, MOVER, UploadDirectory};
use crate::testing::Scratch;

/// The rows of files by their names, and what happens when they are read.
#[derive(Default)]
struct Rows {
    rows: Mutex<HashMap<String, FileContent>>,
    /// Files that are deleted after so many questions.
    deleted: Mutex<HashMap<String, usize>>,
    /// The database does not answer from this question on.
    fails: Mutex<Option<usize>>,
    /// Two places that are compared at each question: files are in all but one of them, or in both.
    watched: Mutex<Option<(PathBuf, PathBuf, usize)>>,
}

impl Rows {
    fn ask(&self, name: &str) -> Result<Option<FileContent>> {
        if let Some(left) = &mut *self.fails.lock().unwrap() {
            *left = left.checked_sub(1).ok_or_else(|| Error::new(Kind::Unavailable, "away"))?;
        }
        if let Some((old, new, all)) = &*self.watched.lock().unwrap() {
            let (old, new) = (files(old).len(), files(new).len());
            assert!(old == *all || new == *all, "{old} {new}");
        }
        let mut deleted = self.deleted.lock().unwrap();
        if let Some(left) = deleted.get_mut(name) {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => return Ok(None),
            }
        }
        Ok(self.rows.lock().unwrap().get(name).cloned())
    }
}

impl ContentTable for Rows {
    fn contents(&self, names: &[FileName]) -> Result<Vec<Option<FileContent>>> {
        names.iter().map(|name| self.ask(&DepotName::Media(name.clone()).to_string())).collect()
    }

    fn upload_contents(&self, names: &[UploadFile]) -> Result<Vec<Option<FileContent>>> {
        names.iter().map(|name| self.ask(&DepotName::Upload(name.clone()).to_string())).collect()
    }
}

struct Bench {
    scratch: Scratch,
    rows: Arc<Rows>,
    mover: Mover,
}

const UPLOAD: &str = ".uploads/aa/aaaaaaaaaaaaaaaaaaaaaaaa";

impl Bench {
    fn new(leaving: Leaving) -> Self {
        let scratch = Scratch::new();
        let depot = |name: &str| {
            let root = scratch.join(name);
            fs::create_dir(&root).unwrap();
            Depot {
                media: Arc::new(Directory::open(&root, false).unwrap()),
                uploads: Arc::new(UploadDirectory::open(&root, false).unwrap()),
            }
        };
        let (from, to, rows) = (depot("old"), depot("new"), Arc::new(Rows::default()));
        let incoming = Uploads::open_as(Some(MOVER), &scratch.join("new"), false).unwrap();
        let mover = Mover { from, to, incoming, table: Arc::clone(&rows) as _, leaving };
        Self { scratch, rows, mover }
    }

    /// A file in the old place, with its row.
    fn file(&self, name: &str, bytes: &str) {
        self.write("old", name, bytes);
        let content = FileContent {
            size: bytes.len() as u64,
            sha1: Some(hex::encode(&Sha1::digest(bytes)).to_uppercase()),
            sha256: name.starts_with('.').then(|| hex::encode(&Sha256::digest(bytes))),
        };
        self.rows.rows.lock().unwrap().insert(name.to_owned(), content);
    }

    fn write(&self, place: &str, name: &str, bytes: &str) {
        let path = self.scratch.join(place).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn files(&self, place: &str) -> Vec<(String, String)> {
        files(&self.scratch.join(place))
    }

    fn run(&self) -> (MoveCounts, Vec<String>) {
        let mut told = Vec::new();
        let counts = self.mover.run(&mut |news| tell(&mut told, news)).unwrap();
        told.sort();
        (counts, told)
    }
}

fn tell(told: &mut Vec<String>, news: MoveNews) {
    if let MoveNews::Stays { name, why } = news {
        told.push(format!("{name}: {why}"));
    }
}

/// All files in and below a directory, with their bytes.
fn files(root: &Path) -> Vec<(String, String)> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else if let Ok(text) = fs::read_to_string(&path) {
                // A temporary file may be gone already.
                found.push((path.strip_prefix(root).unwrap().display().to_string(), text));
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.retain(|(name, _)| !name.starts_with(".upload-"));
    found.sort();
    found
}

fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).to_owned())).collect()
}

#[test]
fn a_move_leaves_all_files_in_the_new_place_and_none_in_the_old_one() {
    for leaving in [Leaving::AtOnce, Leaving::AtTheEnd] {
        let bench = Bench::new(leaving);
        let all = [(UPLOAD, "upload"), ("a@b/one", ""), ("a@b/two", "two"), ("c@d/one", "bytes")];
        all.iter().for_each(|(name, bytes)| bench.file(name, bytes));
        let counts = MoveCounts { moved: 4, bytes: 14, ..MoveCounts::default() };
        let mut told = Vec::new();
        assert_eq!(bench.mover.look(&mut |news| tell(&mut told, news)).unwrap(), counts);
        assert_eq!((bench.files("old"), bench.files("new")), (named(&all), vec![]));
        assert_eq!(bench.run(), (counts, vec![]));
        assert_eq!((bench.files("old"), bench.files("new")), (vec![], named(&all)));
        assert_eq!(bench.run(), (MoveCounts::default(), vec![]), "nothing is left to do");
    }
}

#[test]
fn files_leave_a_far_place_when_all_are_in_the_new_one() {
    let bench = Bench::new(Leaving::AtTheEnd);
    (0..20).for_each(|number| bench.file(&format!("a@b/m{number}"), "bytes"));
    *bench.rows.watched.lock().unwrap() = Some((bench.scratch.join("old"), bench.scratch.join("new"), 20));
    assert_eq!(bench.run().0.moved, 20);
    assert_eq!((bench.files("old").len(), bench.files("new").len()), (0, 20));
}

#[test]
fn files_that_are_not_what_their_rows_say_stay_and_are_named() {
    for leaving in [Leaving::AtOnce, Leaving::AtTheEnd] {
        let bench = Bench::new(leaving);
        for name in ["a@b/good", "a@b/other", "a@b/short", UPLOAD] {
            bench.file(name, "bytes");
        }
        bench.write("old", "a@b/other", "Bytes");
        bench.write("old", "a@b/short", "byte");
        bench.write("old", UPLOAD, "bytez");
        bench.write("old", "a@b/unnamed", "");
        bench.write("old", "a@b/odd.name", "");
        let (counts, told) = bench.run();
        assert_eq!(counts, MoveCounts { moved: 1, bytes: 5, there: 0, unnamed: 1, wrong: 4 });
        let odd = bench.scratch.join("old").join("a@b/odd.name").display().to_string();
        let mut expected = [
            format!("{UPLOAD}: {}", Stay::Different),
            format!("{odd}: {}", Stay::Foreign),
            format!("a@b/other: {}", Stay::Different),
            format!("a@b/short: {}", Stay::Different),
            format!("a@b/unnamed: {}", Stay::Unnamed),
        ];
        expected.sort();
        assert_eq!(told, expected);
        assert_eq!(bench.files("new"), named(&[("a@b/good", "bytes")]));
        assert_eq!(bench.files("old").len(), 5);
    }
}

#[test]
fn a_move_that_was_ended_goes_on_where_it_was() {
    for leaving in [Leaving::AtOnce, Leaving::AtTheEnd] {
        let bench = Bench::new(leaving);
        for name in ["a@b/copied", "a@b/damaged", "a@b/cut", "a@b/other"] {
            bench.file(name, "bytes");
        }
        bench.write("new", "a@b/copied", "bytes");
        bench.write("new", "a@b/damaged", "Bytes");
        bench.write("new", "a@b/cut", "byt");
        let (counts, told) = bench.run();
        assert_eq!(
            (counts, told),
            (MoveCounts { moved: 3, bytes: 15, there: 1, unnamed: 0, wrong: 0 }, vec![])
        );
        let all = ["a@b/copied", "a@b/cut", "a@b/damaged", "a@b/other"].map(|name| (name, "bytes"));
        assert_eq!((bench.files("old"), bench.files("new")), (vec![], named(&all)));
    }
}

#[test]
fn a_row_without_a_hash_is_no_reason_to_leave_its_file() {
    let bench = Bench::new(Leaving::AtOnce);
    bench.file("a@b/one", "bytes");
    for sha1 in [None, Some(String::new()), Some("unknown".to_owned())] {
        bench.write("old", "a@b/one", "bytes");
        let content = FileContent { size: 5, sha1, sha256: None };
        bench.rows.rows.lock().unwrap().insert("a@b/one".to_owned(), content);
        assert_eq!(bench.run().0.wrong, 0);
        assert_eq!((bench.files("old").len(), bench.files("new")), (0, named(&[("a@b/one", "bytes")])));
    }
}

#[test]
fn a_file_that_is_deleted_meanwhile_is_in_no_new_place() {
    let bench = Bench::new(Leaving::AtOnce);
    for name in ["a@b/before", "a@b/during", UPLOAD] {
        bench.file(name, "bytes");
    }
    // The question after the copy finds no row.
    for (name, questions) in [("a@b/before", 0), ("a@b/during", 1), (UPLOAD, 1)] {
        bench.rows.deleted.lock().unwrap().insert(name.to_owned(), questions);
    }
    let (counts, _) = bench.run();
    assert_eq!((counts.moved, counts.wrong), (0, 0));
    assert_eq!(bench.files("new"), vec![]);
}

#[test]
fn a_failure_ends_the_move_and_loses_nothing() {
    for fails in [0, 1, 7, 60] {
        let bench = Bench::new(Leaving::AtOnce);
        (0..100).for_each(|number| bench.file(&format!("a@b/m{number}"), "bytes"));
        *bench.rows.fails.lock().unwrap() = Some(fails);
        let error = bench.mover.run(&mut |_| {}).unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        let mut all = [bench.files("old"), bench.files("new")].concat();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 100);
        *bench.rows.fails.lock().unwrap() = None;
        bench.run();
        assert_eq!((bench.files("old").len(), bench.files("new").len()), (0, 100));
    }
}
