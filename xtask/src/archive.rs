//! tar archives that depend only on the contents of the files in them, and on a given time.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process;

/// Packs files and folders in `folder`, without compression. `time` is that of every file, in seconds since 1970.
pub(crate) fn tar(folder: &Path, names: &[&str], to: &Path, time: u64) -> Result<()> {
    process::run(command(folder, to, time).args(names))
}

/// Packs files and folders in `folder` below a folder `inside`, compressed with gzip.
pub(crate) fn tar_gz(
    folder: &Path,
    names: &[&str],
    inside: Option<&str>,
    to: &Path,
    time: u64,
) -> Result<()> {
    let mut tar = command(folder, to, time);
    // Without the time.
    tar.arg("--use-compress-program=gzip -9 --no-name");
    if let Some(inside) = inside {
        tar.arg(format!("--transform=s,^,{inside}/,"));
    }
    process::run(tar.args(names))
}

fn command(folder: &Path, to: &Path, time: u64) -> Command {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--sort=name"]);
    tar.args(["--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("--mode=u=rwX,go=rX");
    tar.arg(format!("--mtime=@{time}"));
    tar.arg("--file").arg(to).arg("--directory").arg(folder);
    tar
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn the_same_files_give_the_same_archive() {
        let folder = std::env::temp_dir().join(format!("socklb-archive-{}", std::process::id()));
        let names = ["b/two", "a/one"];
        let pack = |name: &str, names: &[&str], age: u64, mode: u32| {
            let source = folder.join(name);
            for name in names {
                let file = source.join("chart").join(name);
                fs::create_dir_all(file.parent().expect("a folder")).expect("writable");
                fs::write(&file, name).expect("writable");
                let file = fs::File::open(&file).expect("there");
                let old = SystemTime::now() - Duration::from_secs(age);
                file.set_modified(old).expect("ours");
                let mode = fs::Permissions::from_mode(mode);
                file.set_permissions(mode).expect("ours");
            }
            let to = folder.join(format!("{name}.tgz"));
            tar_gz(&source, &["chart"], Some("inside"), &to, 1_000_000_000).expect("tar runs");
            fs::read(to).expect("tar wrote it")
        };
        let first = pack("first", &names, 0, 0o600);
        let second = pack("second", &["a/one", "b/two"], 5000, 0o644);
        let other = pack("third", &["a/one"], 0, 0o644);
        fs::remove_dir_all(&folder).expect("it is ours");
        assert_eq!(first, second);
        assert_ne!(first, other);
    }
}
