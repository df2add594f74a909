//! The body of an upload: a file, alone or in a form, read as it is sent.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use crate::console::Progress;
use crate::exit::{Exit, Failure, Result};

/// A file with what stands around it. Dropped before [`FileBody::keep`], it takes its progress back.
pub struct FileBody<'a> {
    head: Cursor<Vec<u8>>,
    file: File,
    size: u64,
    /// Bytes of the file that are still to be read.
    left: u64,
    tail: Cursor<Vec<u8>>,
    progress: &'a Progress<'a>,
    failed: Option<String>,
    kept: bool,
}

impl<'a> FileBody<'a> {
    /// The file alone.
    pub fn plain(path: &Path, progress: &'a Progress<'a>) -> Result<Self> {
        Self::open(path, Vec::new(), Vec::new(), progress)
    }

    /// The file in a form (RFC 7578) with this boundary, under this name. The name has a field of its own, where it needs
    /// no quotes, and the part says nothing about its type: the server finds it out.
    pub fn form(path: &Path, name: &str, boundary: &str, progress: &'a Progress<'a>) -> Result<Self> {
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"filename\"\r\n\r\n{name}\r\n--{boundary}\r\n\
             Content-Disposition: form-data; name=\"data\"; filename=\"file\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        );
        Self::open(path, head.into_bytes(), format!("\r\n--{boundary}--\r\n").into_bytes(), progress)
    }

    fn open(path: &Path, head: Vec<u8>, tail: Vec<u8>, progress: &'a Progress<'a>) -> Result<Self> {
        let cant = |error: io::Error| Failure::new(Exit::NoFile, format!("it can't be read: {error}"));
        let file = File::open(path).map_err(cant)?;
        let metadata = file.metadata().map_err(cant)?;
        if !metadata.is_file() {
            return Err(Failure::new(Exit::NoFile, "it is not a file"));
        }
        let size = metadata.len();
        let (head, tail) = (Cursor::new(head), Cursor::new(tail));
        Ok(Self { head, file, size, left: size, tail, progress, failed: None, kept: false })
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the body.
    pub fn length(&self) -> u64 {
        (self.head.get_ref().len() + self.tail.get_ref().len()) as u64 + self.size
    }

    /// Why the file could not be read, if it was the file.
    pub fn failure(&self) -> Option<Failure> {
        self.failed.as_ref().map(|why| Failure::new(Exit::NoFile, why))
    }

    /// It was taken.
    pub fn keep(mut self) {
        self.progress.add(self.left);
        self.kept = true;
    }

    fn read_file(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.file.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it became shorter while it was sent"));
        }
        self.left -= count as u64;
        self.progress.add(count as u64);
        Ok(count)
    }
}

impl Read for FileBody<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.head.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        if self.left == 0 {
            return self.tail.read(buffer);
        }
        self.read_file(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.failed = Some(format!("it can't be read: {error}"));
            }
        })
    }
}

impl Drop for FileBody<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.progress.take_back(self.size - self.left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Options;
    use crate::console::Console;

    fn with_file(bytes: &[u8], test: impl FnOnce(&Path, &Progress<'_>)) {
        let path = std::env::temp_dir().join(format!(
            "buddycloud-media-body-{}-{}",
            std::process::id(),
            bytes.len()
        ));
        std::fs::write(&path, bytes).unwrap();
        let console = Console::new(&Options { quiet: true, ..Options::default() });
        test(&path, &console.progress("x", 1, None));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_form_has_the_length_that_it_says() {
        with_file(b"bytes of it", |path, progress| {
            let mut body = FileBody::form(path, "a \"b\".txt", "B", progress).unwrap();
            let mut text = String::new();
            body.read_to_string(&mut text).unwrap();
            assert_eq!(text.len() as u64, body.length());
            assert_eq!(body.size(), 11);
            assert!(text.contains("name=\"filename\"\r\n\r\na \"b\".txt\r\n--B\r\n"), "{text}");
            assert!(text.ends_with("\r\n\r\nbytes of it\r\n--B--\r\n"), "{text}");
            body.keep();
        });
    }

    /// A reader that ended early would be waited for without end, or complete another file.
    #[test]
    fn a_file_that_becomes_shorter_is_an_error_and_one_that_grows_is_cut() {
        with_file(b"0123456789", |path, progress| {
            let mut body = FileBody::plain(path, progress).unwrap();
            std::fs::write(path, "01234").unwrap();
            assert!(body.read_to_end(&mut Vec::new()).is_err());
            assert_eq!(body.failure().unwrap().text, "it can't be read: it became shorter while it was sent");
            let mut body = FileBody::plain(path, progress).unwrap();
            std::fs::write(path, "0123456789").unwrap();
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, b"01234");
        });
    }

    #[test]
    fn folders_and_missing_files_are_not_read() {
        with_file(b"x", |path, progress| {
            assert_eq!(FileBody::plain(path.parent().unwrap(), progress).err().unwrap().exit, Exit::NoFile);
            assert_eq!(FileBody::plain(&path.join("no"), progress).err().unwrap().exit, Exit::NoFile);
        });
    }
}
