use std::fs;

use super::super::testing::{Bench, channel};
use super::*;

/// More than the age at which files count as left over.
const LONG: Duration = Duration::from_secs(limits::FSCK_AGE.as_secs() + 60);
/// Less than that.
const SHORT: Duration = Duration::from_secs(limits::FSCK_AGE.as_secs() - 60);

fn fsck(bench: &Bench, repair: Repair) -> (Vec<Finding>, Report) {
    let mut findings = Vec::new();
    let mut tell = |finding: &Finding, deed: &Deed| {
        let expected = match (finding.remedy(), repair) {
            (None, _) => matches!(deed, Deed::Left),
            (Some(remedy), Repair::No) => *deed == Deed::Would(remedy),
            (Some(_), _) => matches!(deed, Deed::Did(_)),
        };
        assert!(expected, "{finding}{deed}");
        findings.push(finding.clone());
    };
    let report = bench.library.fsck(repair, &mut tell).unwrap();
    (findings, report)
}

/// So many findings that can be repaired, and so many that can't.
fn counts(report: &Report) -> (u64, u64) {
    (report.repairable, report.left)
}

fn assert_clean(bench: &Bench) {
    let (findings, report) = fsck(bench, Repair::No);
    assert_eq!((findings, counts(&report)), (vec![], (0, 0)));
    report.verdict().unwrap();
}

/// The finding is told by a check, which changes nothing, and by a repair, after which it is gone.
fn assert_repaired(bench: &Bench, finding: &Finding) {
    for _ in 0..2 {
        let (findings, report) = fsck(bench, Repair::No);
        assert_eq!((findings, counts(&report)), (vec![finding.clone()], (1, 0)));
        let advice = report.verdict().unwrap_err().to_string();
        assert!(advice.contains("fsck --repair"), "{advice}");
    }
    let (findings, report) = fsck(bench, Repair::Careful);
    assert_eq!((findings, counts(&report)), (vec![finding.clone()], (1, 0)));
    report.verdict().unwrap();
    assert_clean(bench);
}

/// The finding is told again and again, for nothing here can repair it.
fn assert_left(bench: &Bench, finding: &Finding) {
    for repair in [Repair::No, Repair::Careful, Repair::Forced, Repair::No] {
        let (findings, report) = fsck(bench, repair);
        assert_eq!((findings, counts(&report)), (vec![finding.clone()], (0, 1)));
        let advice = report.verdict().unwrap_err().to_string();
        assert!(advice.starts_with("1 problem can't be repaired automatically"), "{advice}");
    }
}

#[test]
fn a_store_that_is_in_step_is_left_alone() {
    let bench = Bench::new();
    let media = [bench.add("one"), bench.add_avatar("two")];
    bench.write("lost+found/file");
    bench.pass(LONG);
    assert!(fsck(&bench, Repair::Careful).0.is_empty());
    assert_clean(&bench);
    assert!(media.iter().all(|media| bench.file(media).exists()));
}

#[test]
fn d28_an_old_file_without_a_row_is_set_aside() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    bench.write("room@example.org/orphan");
    bench.pass(SHORT);
    assert!(fsck(&bench, Repair::Careful).0.is_empty(), "a young file is left alone");
    bench.pass(LONG - SHORT);
    assert_repaired(&bench, &Finding::FileWithoutRow(channel(), "orphan".parse().unwrap()));
    assert_eq!(bench.files(), [media.id.as_str()]);
    let date = bench.library.clock.now().to_string()[..10].to_owned();
    let moved = bench.path(&format!(".lost/{date}/room@example.org/orphan"));
    assert_eq!(fs::read_to_string(moved).unwrap(), "bytes");
}

#[test]
fn a_row_of_another_channel_does_not_keep_a_file() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    bench.write(&format!("other@example.org/{}", media.id));
    bench.pass(LONG);
    assert_repaired(&bench, &Finding::FileWithoutRow("other@example.org".parse().unwrap(), media.id.clone()));
    assert!(bench.file(&media).exists());
}

#[test]
fn a_row_without_its_file_is_deleted_with_its_previews() {
    let bench = Bench::new();
    let media = bench.add_avatar("bytes");
    bench.write("room@example.org/preview");
    bench.sql(&format!(
        "INSERT INTO previews (id, mediaId, mimeType) VALUES ('preview', '{}', 'image/png')",
        media.id
    ));
    fs::remove_file(bench.file(&media)).unwrap();
    bench.pass(LONG);
    assert_repaired(&bench, &Finding::RowWithoutFile(channel(), media.id));
    assert!(bench.files().is_empty());
}

#[test]
fn a_preview_without_its_file_or_its_media_is_deleted() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    for shown in [media.id.as_str(), "gone"] {
        bench.sql(&format!(
            "INSERT INTO previews (id, mediaId, mimeType) VALUES ('preview', '{shown}', 'image/png')"
        ));
        assert_repaired(&bench, &Finding::PreviewWithoutFile("preview".to_owned()));
    }
}

#[test]
fn an_old_temporary_file_is_removed() {
    let bench = Bench::new();
    bench.write(".upload-1");
    bench.pass(SHORT);
    assert!(fsck(&bench, Repair::Careful).0.is_empty(), "a young file is left alone");
    bench.pass(LONG - SHORT);
    assert_repaired(&bench, &Finding::Temporary(".upload-1".to_owned()));
}

#[test]
fn a_file_of_another_size_is_told() {
    let bench = Bench::new();
    let media = bench.add("bytes");
    fs::write(bench.file(&media), "byte").unwrap();
    assert_left(&bench, &Finding::WrongSize(channel(), media.id));
}

#[test]
fn files_and_rows_that_no_request_can_name_are_told() {
    let bench = Bench::new();
    bench.write("room@example.org/odd.name");
    let (findings, report) = fsck(&bench, Repair::Careful);
    assert!(matches!(&findings[..], [Finding::ForeignFile(path)] if path.ends_with("odd.name")));
    assert_eq!(counts(&report), (0, 1));

    let bench = Bench::new();
    let media = bench.add("bytes");
    bench.sql("UPDATE medias SET entityId = 'no channel'");
    let id = media.id.to_string();
    assert_left(&bench, &Finding::UnreachableRow { channel: "no channel".to_owned(), id });
}

#[test]
fn every_row_is_read_however_many_there_are() {
    let bench = Bench::new();
    let rows = limits::FSCK_ROWS + 1;
    bench.sql(&format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize)
         SELECT 'm' || i, 'room@example.org', 'a', 'b', 0, 0, 'c', 1 FROM n"
    ));
    bench.library.fsck(Repair::Careful, &mut |finding, _| panic!("{finding}")).unwrap_err();
    let (findings, report) = fsck(&bench, Repair::Forced);
    assert_eq!((findings.len(), counts(&report)), (rows, (rows as u64, 0)));
    assert_clean(&bench);
}

/// A row and a file whose channel has a name that no request can have: names are compared as they are stored. The original
/// took names in upper case, and older versions took domains as the DNS has them.
#[test]
fn a_legacy_name_keeps_its_row_its_file_and_its_preview() {
    for (stored, prepared) in
        [("Room@Example.Org", "room@example.org"), ("room@xn--bcher-kva.example", "room@bücher.example")]
    {
        let bench = Bench::new();
        let media = bench.add("bytes");
        bench.write("room@example.org/preview");
        bench.sql(&format!(
            "INSERT INTO previews (id, mediaId, mimeType) VALUES ('preview', '{}', 'image/png');
             UPDATE medias SET entityId = '{stored}'",
            media.id
        ));
        fs::rename(bench.path("room@example.org"), bench.path(stored)).unwrap();
        bench.pass(LONG);
        let folder = Finding::ForeignFile(bench.path(stored));
        let row = Finding::UnreachableRow { channel: stored.to_owned(), id: media.id.to_string() };
        for finding in [&folder, &row] {
            let told = finding.to_string();
            assert!(told.ends_with(&format!("; they mean the channel {prepared}")), "{told}");
        }
        for repair in [Repair::No, Repair::Careful, Repair::Forced] {
            let (findings, report) = fsck(&bench, repair);
            assert_eq!(findings, [folder.clone(), row.clone()]);
            assert_eq!(counts(&report), (0, 2));
        }
        for name in [media.id.as_str(), "preview"] {
            assert!(bench.path(stored).join(name).exists(), "{name}");
        }
        assert_eq!(bench.library.metadata().unwrap().preview_rows(None, 9).unwrap().len(), 1);

        // The way that the manual shows.
        fs::rename(bench.path(stored), bench.path(prepared)).unwrap();
        bench.sql(&format!("UPDATE medias SET entityId = '{prepared}' WHERE entityId = '{stored}'"));
        assert_clean(&bench);
        let channel = prepared.parse().unwrap();
        assert!(bench.library.metadata().unwrap().media(&channel, &media.id).unwrap().is_some());
    }
}

/// Files without rows, or rows without files, of which a repair would remove as many as no crash leaves.
#[test]
fn a_careful_repair_refuses_suspicious_losses_and_changes_nothing() {
    for (kept, lost, refused) in [(0, 10, false), (0, 11, true), (208, 11, true), (209, 11, false)] {
        for rows_are_lost in [false, true] {
            let bench = Bench::new();
            fill(&bench, kept, lost, rows_are_lost);
            bench.pass(LONG);
            let before = (bench.files(), bench.rows());
            let case = format!("{lost} of {}, rows: {rows_are_lost}", kept + lost);
            let (findings, report) = fsck(&bench, Repair::No);
            assert_eq!(findings.len(), lost, "{case}");
            assert_eq!(report.verdict().unwrap_err().to_string().contains("--force"), refused, "{case}");
            let repaired = bench.library.fsck(Repair::Careful, &mut |_, _| {});
            assert_eq!(repaired.is_err(), refused, "{case}");
            if let Err(error) = repaired {
                let key = if rows_are_lost { "media.storage.root" } else { "jdbc.db.url" };
                assert!(
                    error.to_string().contains(key) && error.to_string().contains("nothing is changed"),
                    "{error}"
                );
                assert_eq!((bench.files(), bench.rows()), before, "{case}");
                assert_eq!(fsck(&bench, Repair::Forced).0.len(), lost, "{case}");
            }
            assert_clean(&bench);
        }
    }
}

/// So many media, and so many rows or files alone. Previews and temporary files don't count, however many there are.
fn fill(bench: &Bench, kept: usize, lost: usize, rows_are_lost: bool) {
    let mut sql = String::from("BEGIN;");
    for number in 0..kept + lost {
        let is_lost = number < lost;
        if !(is_lost && rows_are_lost) {
            bench.write(&format!("room@example.org/m{number}"));
        }
        if !is_lost || rows_are_lost {
            sql += &format!(
                "INSERT INTO medias (id, entityId, author, mimeType, uploadedDate, lastUpdatedDate, shaChecksum, fileSize)
                 VALUES ('m{number}', 'room@example.org', 'a', 'b', 0, 0, 'c', 5);"
            );
        }
    }
    if kept > 0 {
        for number in 0..300 {
            bench.write(&format!("room@example.org/p{number}"));
            sql += &format!(
                "INSERT INTO previews (id, mediaId, mimeType) VALUES ('p{number}', 'm{lost}', 'image/png');"
            );
        }
    }
    bench.sql(&(sql + "COMMIT"));
}
