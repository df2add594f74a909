//! The files to upload that the command line names, those in folders too.

use std::fs;
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// A file to upload, or why a path gives none.
pub type Found = Result<Upload, Failure>;

/// A file to upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Where it is.
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// Its bytes, for the progress bar.
    pub size: u64,
}

/// All files of these paths; those of a folder by their names. Links to folders within a folder are not followed: they may
/// lead in a circle.
pub fn find(paths: &[PathBuf]) -> Vec<Found> {
    let mut found = Vec::new();
    for path in paths {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => walk(path, &mut found),
            Ok(metadata) if metadata.is_file() => found.push(Ok(upload(path, metadata.len()))),
            Ok(_) => found.push(Err(unreadable(path, "it is neither a file nor a folder"))),
            Err(error) => found.push(Err(unreadable(path, error))),
        }
    }
    found
}

fn walk(folder: &Path, found: &mut Vec<Found>) {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<_> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => return found.push(Err(unreadable(folder, error))),
    };
    paths.sort();
    for path in paths {
        let is_link = path.is_symlink();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() && !is_link => walk(&path, found),
            Ok(metadata) if metadata.is_file() => found.push(Ok(upload(&path, metadata.len()))),
            Ok(_) => {}
            Err(error) => found.push(Err(unreadable(&path, error))),
        }
    }
}

fn upload(path: &Path, size: u64) -> Upload {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // A line break would end the field of the form.
    let name = name.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    Upload { path: path.to_owned(), name, size }
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::NoFile, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_files_in_order_and_what_can_not_be_read_is_told() {
        let root = std::env::temp_dir().join(format!("buddycloud-media-files-{}", std::process::id()));
        fs::create_dir_all(root.join("folder/b")).unwrap();
        for name in ["folder/c.txt", "folder/b/x.txt", "folder/a.txt", "alone"] {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(root.join("folder"), root.join("folder/circle")).unwrap();
        std::os::unix::fs::symlink(root.join("alone"), root.join("folder/linked")).unwrap();
        std::os::unix::fs::symlink("nowhere", root.join("folder/broken")).unwrap();
        let paths = ["alone", "folder", "missing"].map(|name| root.join(name));
        let names: Vec<_> = find(&paths)
            .into_iter()
            .map(|found| found.map(|upload| upload.name).unwrap_or_else(|failure| failure.text))
            .collect();
        let prefix = root.display();
        let missing = "No such file or directory (os error 2)";
        let broken = format!("{prefix}/folder/broken: {missing}");
        let expected =
            ["alone", "a.txt", "x.txt", &broken, "c.txt", "linked", &format!("{prefix}/missing: {missing}")];
        assert_eq!(names, expected);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(upload(Path::new("/a/b\r\nX: y.txt"), 1).name, "b__X: y.txt");
    }
}
