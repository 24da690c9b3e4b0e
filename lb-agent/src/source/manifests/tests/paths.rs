//! Which files are found, and which are readable.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::super::Manifests;
use super::super::reader::ReadOptions;
use super::{changes_of, cluster_ip, lines, service};

#[test]
fn an_error_names_a_missing_path() {
    let error = Manifests::open(vec!["/nowhere/web.yaml".into()]).expect_err("there is nothing");
    assert_eq!(error.path, Path::new("/nowhere/web.yaml"));
    assert_eq!(error.error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_folder_is_read_as_kubectl_does_and_the_last_definition_counts() {
    let folder = TempDir::new().expect("a folder");
    let write =
        |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
    write("b.yml", &(service("web") + "---\n" + &service("b")));
    write("a.yaml", &service("web").replace("10.96.0.1", "10.96.0.2"));
    write(
        "c.json",
        r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}"#,
    );
    write(".hidden.yaml", "{{");
    write("notes.txt", "{{");
    fs::create_dir(folder.path().join("deeper.yaml")).expect("a folder");
    let (_, listing) = Manifests::open(vec![folder.path().into(), folder.path().join("a.yaml")])
        .expect("readable");
    assert_eq!(
        changes_of(&listing.changes),
        ["+Service default/b", "+Service default/web", "+Node n1"]
    );
    assert_eq!(listing.files, 3);
    let problems = lines(&listing.problems);
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("Service default/web: is defined in "),
        "{problems:?}"
    );
    assert!(problems[0].contains("b.yml and again in "), "{problems:?}");
    // If a file is found twice, the last occurrence counts.
    assert_eq!(cluster_ip(&listing.changes, "web"), "10.96.0.2");
    let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
    assert_eq!(cluster_ip(&listing.changes, "web"), "10.96.0.1");
}

/// If the file that counts is removed, the other one counts.
#[test]
fn an_earlier_definition_counts_after_the_last_is_removed() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let other = service("web").replace("10.96.0.1", "10.96.0.2");
    fs::write(path("a.yaml"), service("web")).expect("written");
    fs::write(path("b.yaml"), &other).expect("written");
    let (mut manifests, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
    assert_eq!(cluster_ip(&listing.changes, "web"), "10.96.0.2");
    fs::remove_file(path("b.yaml")).expect("removed");
    let batch = manifests
        .reread(&ReadOptions::default())
        .expect("something differs");
    assert_eq!(cluster_ip(&batch.changes, "web"), "10.96.0.1");
    assert_eq!(batch.problems, []);
}

#[test]
fn only_regular_files_of_a_folder_are_read() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("web.yaml"), service("web")).expect("written");
    nix::unistd::mkfifo(&path("fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    symlink("/dev/zero", path("zero.yaml")).expect("linked");
    symlink("web.yaml", path("link.yml")).expect("linked");
    let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
    assert_eq!(changes_of(&listing.changes), ["+Service default/web"]);
    assert!(listing.is_complete, "skipped files hide nothing");
    assert_eq!(
        lines(&listing.problems),
        ["fifo.yaml", "zero.yaml"]
            .map(|name| format!("{}: is not a regular file: skipped", path(name).display()))
    );
}

#[test]
fn an_endless_file_is_too_large() {
    let (_, listing) = Manifests::open(vec!["/dev/zero".into()]).expect("readable");
    assert_eq!(
        lines(&listing.problems),
        ["/dev/zero: is larger than 64 MiB: split it"]
    );
    assert!(!listing.is_complete);
}

#[test]
fn a_named_pipe_is_read_once() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(service("web").as_bytes()).expect("room");
    drop(writer);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
    let given = format!("/proc/self/fd/{fd}");
    let (mut manifests, listing) = Manifests::open(vec![given.into()]).expect("readable");
    assert_eq!(changes_of(&listing.changes), ["+Service default/web"]);
    assert!(
        manifests.reread(&ReadOptions::default()).is_none(),
        "it holds"
    );
}

#[test]
fn a_file_that_becomes_a_pipe_does_not_block() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("web.yaml");
    fs::write(&path, service("web")).expect("written");
    let (mut manifests, _) = Manifests::open(vec![path.clone()]).expect("readable");
    fs::remove_file(&path).expect("removed");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let batch = manifests
        .reread(&ReadOptions::default())
        .expect("something differs");
    assert_eq!(changes_of(&batch.changes), [""; 0]);
    assert_eq!(
        lines(&batch.problems),
        [format!(
            "{}: is not a regular file; its last readable contents stay in effect: write one",
            path.display()
        )]
    );
}

#[test]
fn an_unreadable_file_is_reported_with_a_remedy() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    symlink("/nowhere/web.yaml", path("a.yaml")).expect("linked");
    fs::write(path("b.yaml"), b"a: [\n").expect("written");
    let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
    let expected = [
        (
            "a.yaml",
            "is a link to /nowhere/web.yaml, which does not exist: correct the link or remove it",
        ),
        (
            "b.yaml",
            "line 1, column 4: unclosed bracket '[': correct it",
        ),
    ];
    assert_eq!(
        lines(&listing.problems),
        expected.map(|(name, line)| format!("{}: {line}", path(name).display()))
    );
}

/// An invalid byte in a comment removes nothing, and the file counts as read.
#[test]
fn an_invalid_byte_is_reported_and_the_object_kept() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("web.yaml");
    let bytes = [b"# r\xe9seau\n", service("web").as_bytes()].concat();
    fs::write(&path, bytes).expect("written");
    let (mut manifests, listing) = Manifests::open(vec![path.clone()]).expect("readable");
    assert_eq!(changes_of(&listing.changes), ["+Service default/web"]);
    assert!(listing.is_complete);
    let problems = lines(&listing.problems);
    let place = format!("{}: line 1, byte 4: not UTF-8", path.display());
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with(&place), "{problems:?}");

    fs::write(&path, service("web")).expect("written");
    let batch = manifests
        .reread(&ReadOptions::default())
        .expect("something differs");
    assert_eq!((batch.changes, batch.problems), (vec![], vec![]));
}

#[test]
fn an_unreadable_service_is_known_to_exist() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("web.yaml");
    let broken = service("web").replace("80", "http");
    fs::write(&path, &broken).expect("written");
    let (mut manifests, listing) = Manifests::open(vec![path.clone()]).expect("readable");
    assert_eq!(changes_of(&listing.changes), ["?Service default/web"]);
    assert_eq!(listing.objects, 0);

    let mut rewrite = |text: &str| {
        fs::write(&path, text).expect("written");
        manifests
            .reread(&ReadOptions::default())
            .expect("something differs")
    };
    let batch = rewrite(&service("web"));
    assert_eq!(changes_of(&batch.changes), ["+Service default/web"]);
    let batch = rewrite(&broken);
    assert_eq!(changes_of(&batch.changes), [""; 0]);
    let line = batch.problems[0].to_string();
    assert!(line.contains("; it stays as it was last read ("), "{line}");
    assert_eq!(changes_of(&rewrite("").changes), ["-Service default/web"]);
    assert_eq!(
        changes_of(&rewrite(&broken).changes),
        ["?Service default/web"]
    );
    assert_eq!(changes_of(&rewrite("").changes), ["-Service default/web"]);
}

#[test]
fn a_folder_with_manifests_only_in_subfolders_is_reported() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let reported = || {
        let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
        assert!(listing.is_complete);
        lines(&listing.problems)
    };
    fs::create_dir(path(".git")).expect("a folder");
    assert_eq!(reported(), [""; 0]);
    fs::create_dir(path("shop")).expect("a folder");
    fs::create_dir(path("b.yaml")).expect("a folder");
    fs::write(path("shop/web.yaml"), service("web")).expect("written");
    fs::write(path("README.md"), "").expect("written");
    assert_eq!(
        reported(),
        [format!(
            "{}: has no *.yaml, *.yml or *.json itself (not searched: 2 subfolders; skipped: 1 other file): \
             name the folders that contain them",
            folder.path().display()
        )]
    );
    fs::write(path("web.yaml"), service("web")).expect("written");
    assert_eq!(reported(), [""; 0]);
    let given = vec![path("web.yaml"), folder.path().into()];
    let (_, listing) = Manifests::open(given).expect("readable");
    assert_eq!(lines(&listing.problems), [""; 0]);
}
