//! Which files are found, and which of them can be read.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use tempfile::TempDir;

use super::super::{Manifests, ReadOptions};
use super::{cluster_ip, lines, service, told};

#[test]
fn a_path_that_does_not_exist_is_an_error_that_names_it() {
    let error = Manifests::open(vec!["/nowhere/web.yaml".into()]).expect_err("there is nothing");
    assert_eq!(error.path, Path::new("/nowhere/web.yaml"));
    assert_eq!(error.error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn a_folder_is_read_like_kubectl_does_and_the_last_definition_counts() {
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
        told(&listing.changes),
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
    // Of a file that is found twice the last time counts.
    assert_eq!(cluster_ip(&listing.changes, "web"), "10.96.0.2");
    let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
    assert_eq!(cluster_ip(&listing.changes, "web"), "10.96.0.1");
}

/// When the file that counts goes, the other one does.
#[test]
fn an_earlier_definition_counts_when_the_last_one_goes() {
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
fn in_a_folder_only_regular_files_are_read() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("web.yaml"), service("web")).expect("written");
    nix::unistd::mkfifo(&path("fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    symlink("/dev/zero", path("zero.yaml")).expect("linked");
    symlink("web.yaml", path("link.yml")).expect("linked");
    let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
    assert_eq!(told(&listing.changes), ["+Service default/web"]);
    assert!(listing.is_complete, "what is passed over hides nothing");
    assert_eq!(
        lines(&listing.problems),
        ["fifo.yaml", "zero.yaml"].map(|name| format!(
            "{}: is not a regular file; passed over",
            path(name).display()
        ))
    );
}

#[test]
fn what_never_ends_is_too_large() {
    let (_, listing) = Manifests::open(vec!["/dev/zero".into()]).expect("readable");
    assert_eq!(
        lines(&listing.problems),
        ["/dev/zero: is larger than 64 MiB: split it"]
    );
    assert!(!listing.is_complete);
}

#[test]
fn a_pipe_that_is_named_is_read_once() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(service("web").as_bytes()).expect("room");
    drop(writer);
    let fd = std::os::fd::AsRawFd::as_raw_fd(&reader);
    let given = format!("/proc/self/fd/{fd}");
    let (mut manifests, listing) = Manifests::open(vec![given.into()]).expect("readable");
    assert_eq!(told(&listing.changes), ["+Service default/web"]);
    assert!(
        manifests.reread(&ReadOptions::default()).is_none(),
        "it holds"
    );
}

#[test]
fn a_file_that_becomes_a_pipe_is_not_waited_for() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("web.yaml");
    fs::write(&path, service("web")).expect("written");
    let (mut manifests, _) = Manifests::open(vec![path.clone()]).expect("readable");
    fs::remove_file(&path).expect("removed");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let batch = manifests
        .reread(&ReadOptions::default())
        .expect("something differs");
    assert_eq!(told(&batch.changes), [""; 0]);
    assert_eq!(
        lines(&batch.problems),
        [format!(
            "{}: is not a regular file; what it last said stays in effect: write one",
            path.display()
        )]
    );
}

#[test]
fn what_cannot_be_read_is_told_with_a_remedy() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    symlink("/nowhere/web.yaml", path("a.yaml")).expect("linked");
    fs::write(path("b.yaml"), b"a: [\n").expect("written");
    let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
    let expected = [
        (
            "a.yaml",
            "is a link to /nowhere/web.yaml, which is not there: correct the link or remove it",
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

/// A byte in a comment loses nothing, and the file counts as read.
#[test]
fn a_byte_that_is_not_utf8_is_told_and_loses_nothing() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("web.yaml");
    let bytes = [b"# r\xe9seau\n", service("web").as_bytes()].concat();
    fs::write(&path, bytes).expect("written");
    let (mut manifests, listing) = Manifests::open(vec![path.clone()]).expect("readable");
    assert_eq!(told(&listing.changes), ["+Service default/web"]);
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
fn a_service_that_cannot_be_read_is_known_to_be_there() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("web.yaml");
    let broken = service("web").replace("80", "http");
    fs::write(&path, &broken).expect("written");
    let (mut manifests, listing) = Manifests::open(vec![path.clone()]).expect("readable");
    assert_eq!(told(&listing.changes), ["?Service default/web"]);
    assert_eq!(listing.objects, 0);

    let mut rewrite = |text: &str| {
        fs::write(&path, text).expect("written");
        manifests
            .reread(&ReadOptions::default())
            .expect("something differs")
    };
    let batch = rewrite(&service("web"));
    assert_eq!(told(&batch.changes), ["+Service default/web"]);
    let batch = rewrite(&broken);
    assert_eq!(told(&batch.changes), [""; 0]);
    let line = batch.problems[0].to_string();
    assert!(line.contains("; it stays as it was last read ("), "{line}");
    assert_eq!(told(&rewrite("").changes), ["-Service default/web"]);
    assert_eq!(told(&rewrite(&broken).changes), ["?Service default/web"]);
    assert_eq!(told(&rewrite("").changes), ["-Service default/web"]);
}

#[test]
fn a_folder_whose_manifests_are_deeper_is_told() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let told_of_it = || {
        let (_, listing) = Manifests::open(vec![folder.path().into()]).expect("readable");
        assert!(listing.is_complete);
        lines(&listing.problems)
    };
    fs::create_dir(path(".git")).expect("a folder");
    assert_eq!(told_of_it(), [""; 0]);
    fs::create_dir(path("shop")).expect("a folder");
    fs::create_dir(path("b.yaml")).expect("a folder");
    fs::write(path("shop/web.yaml"), service("web")).expect("written");
    fs::write(path("README.md"), "").expect("written");
    assert_eq!(
        told_of_it(),
        [format!(
            "{}: has no *.yaml, *.yml or *.json itself (not looked into: 2 subfolders; passed over: 1 other file): \
             name the folders that have",
            folder.path().display()
        )]
    );
    fs::write(path("web.yaml"), service("web")).expect("written");
    assert_eq!(told_of_it(), [""; 0]);
    let given = vec![path("web.yaml"), folder.path().into()];
    let (_, listing) = Manifests::open(given).expect("readable");
    assert_eq!(lines(&listing.problems), [""; 0]);
}
