//! Files of deleted media, and files without metadata: the housekeeper removes the former and moves the latter to `.lost`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::site::Site;
use crate::support::child::run;
use crate::support::exposition::value;
use crate::support::http::Request;
use crate::support::scratch::Scratch;
use crate::support::wait_for;
use crate::watching::{ANY, scrape};

/// A round of the housekeeper each second.
const OFTEN: (&str, &str) = ("housekeeping.interval", "1s");
/// More than the age at which a file without metadata is set aside.
const LONG: Duration = Duration::from_secs(2 * 3600);

#[test]
fn a_file_that_could_not_be_removed_goes_when_the_storage_is_writable_again() {
    let scratch = Scratch::new();
    // Beside the storage, so that only the files can't be written.
    let url = format!("jdbc:sqlite:{}", scratch.join("metadata.sqlite").display());
    let mut site = Site::start(&[("jdbc.db.url", &url), ("http.threads", "3"), OFTEN, ANY]);
    let files = Files::start(&mut site);
    let (user, channel) = site.public_channel();
    let (deleted, kept) = (site.upload(&user, &channel), site.upload(&user, &channel));
    files.make_read_only(&site, &channel);

    let url = site.url(&format!("{channel}/{deleted}"));
    Request::new("DELETE", &url).basic(user.jid()).send().expect(200);
    Request::get(&url).send().expect(404);
    site.server.wait_log(&format!("the file {channel}/{deleted} can't be removed now"));
    assert!(site.stored(&channel, &deleted).exists(), "the storage was not read-only");
    site.server.wait_log("1 deleted files can't be removed yet and are tried again");
    let count = |name: &str| value(&scrape(&site.server), name);
    if files.are_mounted() {
        wait_for("the file to be counted", || {
            (count("mediaserver_removals_failed{kind=media}")? > 0.0).then_some(())
        });
    }

    files.make_writable(&site, &channel);
    wait_for("the file to go", || (!site.stored(&channel, &deleted).exists()).then_some(()));
    site.server.wait_log(&format!("removed {channel}/{deleted}: media deleted, "));
    wait_for("the counters", || {
        let counts = (
            count("mediaserver_removals_total{kind=media}"),
            count("mediaserver_removals_failed{kind=media}"),
        );
        (counts == (Some(1.0), Some(0.0))).then_some(())
    });
    Request::get(&site.url(&format!("{channel}/{kept}"))).send().expect(200);
}

/// The way in which the files of a channel become read-only.
enum Files {
    /// They are mounted so, in a namespace of the server's.
    Mounted { flags: &'static str },
    /// strace says so, where nothing may be mounted.
    Pretended,
}

impl Files {
    /// Starts the server of this site anew, so that files of it can become read-only.
    fn start(site: &mut Site) -> Self {
        let works = |flags: &&str| run(&["unshare", flags, "sh", "-c", "mount --bind /mnt /mnt"]).0 == 0;
        let Some(flags) = ["-m", "-rm"].into_iter().find(works) else { return Self::Pretended };
        site.server.stop();
        site.server.start_again_by(&["unshare", flags]);
        let starts = || site.server.log().matches("/metrics and /healthz are on ").count();
        wait_for("the second start", || (starts() == 2).then_some(()));
        let channel = site.channel("open", &[]);
        site.wait_ready(&channel);
        Self::Mounted { flags }
    }

    fn are_mounted(&self) -> bool {
        matches!(self, Self::Mounted { .. })
    }

    fn make_read_only(&self, site: &Site, channel: &str) {
        match self {
            Self::Mounted { flags } => {
                enter(site, flags, channel, r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#);
            }
            Self::Pretended => {
                let once = "-e trace=unlinkat -e inject=unlinkat:error=EROFS:when=1";
                site.server.trace(once, &["http-worker", "housekeeper"]);
            }
        }
    }

    fn make_writable(&self, site: &Site, channel: &str) {
        if let Self::Mounted { flags } = self {
            enter(site, flags, channel, r#"mount -o remount,bind,rw "$0""#);
        }
    }
}

/// Runs a command of the shell, with the folder of a channel as `$0`, where the server has its mounts.
fn enter(site: &Site, flags: &str, channel: &str, command: &str) {
    let (pid, folder) = (site.server.pid().to_string(), site.server.storage().join(channel));
    let user: &[&str] = if flags == "-m" { &[] } else { &["-U", "--preserve-credentials"] };
    let shell = ["--", "sh", "-c", command, &folder.display().to_string()];
    let (status, printed) = run(&[&["nsenter", "-t", &pid, "-m"], user, &shell].concat());
    assert_eq!(status, 0, "{printed}");
}

#[test]
fn a_crash_is_followed_by_a_walk_that_sets_files_without_metadata_aside() {
    let mut site = Site::start(&[OFTEN]);
    let (user, channel) = site.public_channel();
    let media = site.upload(&user, &channel);
    let storage = site.server.storage();
    site.server.kill();
    let [orphan, young] = ["orphan", "young"].map(|name| site.stored(&channel, name));
    write_old(&orphan);
    fs::write(&young, "bytes").expect("the folder takes files");
    // Set aside long ago.
    let long_lost = storage.join(".lost/2020-01-01/room@example.com/id");
    write_old(&long_lost);
    site.server.start_again();

    site.server.wait_log("walked the store: 1 files without a row are in .lost now");
    assert!(!orphan.exists() && young.exists());
    let moved = format!("moved {channel}/orphan to .lost/");
    let log = site.server.log();
    let day = log.split_once(&moved).and_then(|(_, rest)| rest.split_once('/')).expect("it tells the day").0;
    assert!(storage.join(".lost").join(day).join(&channel).join("orphan").exists());
    site.server.wait_log("removed .lost/2020-01-01");
    assert!(!long_lost.exists());
    site.wait_ready(&channel);
    Request::get(&site.url(&format!("{channel}/{media}"))).send().expect(200);

    // After a stop there is nothing to look for at once.
    let walks = |site: &Site| site.server.log().matches("walked the store").count();
    let before = walks(&site);
    site.server.stop();
    write_old(&orphan);
    write_old(&storage.join(".lost/2020-01-02/room@example.com/id"));
    site.server.start_again();
    // The housekeeper does this after the beginning of a walk, if one is due.
    site.server.wait_log("removed .lost/2020-01-02");
    assert_eq!(walks(&site), before);
    assert!(orphan.exists());
}

#[test]
fn a_walk_sets_nothing_aside_where_too_much_has_no_metadata() {
    let mut site = Site::start(&[OFTEN]);
    let (user, channel) = site.public_channel();
    site.upload(&user, &channel);
    site.server.kill();
    let orphans: Vec<PathBuf> = (0..11).map(|number| site.stored(&channel, &format!("o{number}"))).collect();
    orphans.iter().for_each(|orphan| write_old(orphan));
    site.server.start_again();
    site.server.wait_log("of 12 files 11 have no row, which is too many to be left by crashes");
    assert!(orphans.iter().all(|orphan| orphan.exists()));
}

/// Writes a file that is older than a file of an upload under way can be.
fn write_old(path: &Path) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the storage takes folders");
    fs::write(path, "bytes").expect("the folder takes files");
    let file = File::options().write(true).open(path).expect("it is there");
    file.set_modified(SystemTime::now() - LONG).expect("its date can be set");
}
