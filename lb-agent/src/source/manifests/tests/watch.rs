//! Changes of files while they are watched.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lb_testbed::Deadline;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

use super::super::Manifests;
use super::{changes_of, service};
use crate::source::Batch;

/// Limit for work that takes 20 to 60 ms on an idle machine.
const LIMIT: Duration = Duration::from_secs(10);

/// A watched folder.
struct Watched {
    folder: TempDir,
    batches: Receiver<Batch>,
}

impl Watched {
    fn new(files: &[(&str, &str)], given: impl Fn(&Path) -> Vec<std::path::PathBuf>) -> Self {
        let folder = TempDir::new().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let (manifests, _) = Manifests::open(given(folder.path())).expect("readable");
        let (sender, batches) = tokio::sync::mpsc::channel(16);
        manifests.watch(sender).expect("a thread");
        // Time for the watch to start. A change before it is found too, but only by the first check.
        std::thread::sleep(Duration::from_millis(50));
        Self { folder, batches }
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("written");
    }

    /// The next batch.
    fn next(&mut self) -> Batch {
        let deadline = Deadline::within(LIMIT);
        while !deadline.is_over() {
            if let Ok(batch) = self.batches.try_recv() {
                return batch;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("nothing was noticed within {deadline}");
    }

    fn changes(&mut self) -> Vec<String> {
        changes_of(&self.next().changes)
    }

    fn assert_quiet(&mut self) {
        std::thread::sleep(Duration::from_millis(150));
        if let Ok(batch) = self.batches.try_recv() {
            panic!("{batch:?}");
        }
    }
}

#[test]
fn edits_are_noticed() {
    let mut watched = Watched::new(&[("a.yaml", &service("web"))], |folder| vec![folder.into()]);
    watched.assert_quiet();
    watched.write("a.yaml", &service("web").replace("10.96.0.1", "10.96.0.2"));
    assert_eq!(watched.changes(), ["+Service default/web"]);
    watched.write("b.yaml", &service("b"));
    assert_eq!(watched.changes(), ["+Service default/b"]);
    watched.write("b.yaml", &(service("b") + "# the same\n"));
    watched.write("notes.txt", "nothing");
    watched.assert_quiet();
    fs::remove_file(watched.folder.path().join("b.yaml")).expect("removed");
    assert_eq!(watched.changes(), ["-Service default/b"]);
}

#[test]
fn a_broken_file_keeps_its_last_objects_and_is_reported() {
    let two = service("a") + "---\n" + &service("b");
    let mut watched = Watched::new(&[("a.yaml", &two)], |folder| vec![folder.join("a.yaml")]);
    let broken = service("a").replace("10.96.0.1", "10.96.0.2") + "---\nkind: [";
    watched.write("a.yaml", &broken);
    let batch = watched.next();
    assert_eq!(changes_of(&batch.changes), ["+Service default/a"]);
    assert_eq!(batch.problems.len(), 1);
    watched.write("a.yaml", &two);
    let batch = watched.next();
    assert_eq!(changes_of(&batch.changes), ["+Service default/a"]);
    assert_eq!(batch.problems, []);
}

#[test]
fn a_file_replaced_by_rename_is_noticed_and_never_missing() {
    let mut watched = Watched::new(&[("a.yaml", &service("web"))], |folder| {
        vec![folder.join("a.yaml")]
    });
    let path = |name: &str| watched.folder.path().join(name);
    // As vim does it: the old file becomes the backup, and a new file takes its name.
    fs::rename(path("a.yaml"), path("a.yaml~")).expect("renamed");
    std::thread::sleep(Duration::from_millis(5));
    fs::write(
        path("a.yaml"),
        service("web").replace("10.96.0.1", "10.96.0.2"),
    )
    .expect("written");
    assert_eq!(watched.changes(), ["+Service default/web"]);
    watched.write("new", &service("web"));
    watched.assert_quiet();
    let path = |name: &str| watched.folder.path().join(name);
    fs::rename(path("new"), path("a.yaml")).expect("renamed");
    assert_eq!(watched.changes(), ["+Service default/web"]);
}

#[test]
fn a_config_map_update_is_noticed() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, path(name)).expect("linked");
    for (version, name) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(path(version)).expect("a folder");
        fs::write(path(version).join("web.yaml"), service(name)).expect("written");
    }
    link("..1", "..data");
    link("..data/web.yaml", "web.yaml");
    for given in [folder.path().to_owned(), path("web.yaml")] {
        let (manifests, listing) = Manifests::open(vec![given]).expect("readable");
        assert_eq!(changes_of(&listing.changes), ["+Service default/a"]);
        let (sender, batches) = tokio::sync::mpsc::channel(16);
        manifests.watch(sender).expect("a thread");
        std::thread::sleep(Duration::from_millis(50));
        let mut watched = Watched {
            folder: TempDir::new().expect("a folder"),
            batches,
        };
        link("..2", "..data_tmp");
        fs::rename(path("..data_tmp"), path("..data")).expect("renamed");
        assert_eq!(
            watched.changes(),
            ["+Service default/b", "-Service default/a"]
                .map(str::to_owned)
                .into_iter()
                .rev()
                .collect::<Vec<_>>()
        );
        link("..1", "..data_tmp");
        fs::rename(path("..data_tmp"), path("..data")).expect("renamed");
        watched.changes();
    }
}

#[test]
fn a_removed_folder_is_watched_again_when_it_returns() {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let given = path("m");
    let write = |text: &str| fs::write(given.join("a.yaml"), text).expect("written");
    fs::create_dir(&given).expect("a folder");
    write(&service("a"));
    let (manifests, _) = Manifests::open(vec![given.clone()]).expect("readable");
    let (sender, batches) = tokio::sync::mpsc::channel(16);
    manifests.watch(sender).expect("a thread");
    std::thread::sleep(Duration::from_millis(50));
    let mut watched = Watched {
        folder: TempDir::new().expect("a folder"),
        batches,
    };
    let went_and_came: [&dyn Fn(); 3] = [
        &|| {
            fs::rename(&given, path("away")).expect("moved");
            fs::rename(path("away"), &given).expect("moved back");
        },
        &|| {
            fs::remove_dir_all(&given).expect("removed");
            fs::create_dir(&given).expect("a folder");
        },
        &|| {
            fs::rename(&given, path("away")).expect("moved");
            std::thread::sleep(Duration::from_millis(150));
            fs::rename(path("away"), &given).expect("moved back");
        },
    ];
    for (name, go_and_come) in ["b", "c", "d"].into_iter().zip(went_and_came) {
        go_and_come();
        std::thread::sleep(Duration::from_millis(200));
        while watched.batches.try_recv().is_ok() {}
        write(&service(name));
        let wanted = format!("+Service default/{name}");
        // On a busy machine, earlier changes may be noticed only now.
        while !watched.changes().contains(&wanted) {}
    }
}
