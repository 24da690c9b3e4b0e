//! The process that holds the lock of the pin folder, as far as this process can see it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// The process that has locked a folder. None if the kernel reports no process that is visible here.
pub fn of(folder: &Path) -> Option<u32> {
    let folder = folder.metadata().ok()?;
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let device = (libc::major(folder.dev()), libc::minor(folder.dev()));
    in_locks(&locks, device, folder.ino())
}

/// Parses the format of proc_locks(5): `1: FLOCK  ADVISORY  WRITE 123 00:1f:456 0 EOF`. A process that waits has `->`
/// after the number.
fn in_locks(locks: &str, (major, minor): (u32, u32), inode: u64) -> Option<u32> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        (words.next() == Some("FLOCK")).then_some(())?;
        let process = words.nth(2)?.parse().ok().filter(|&process| process != 0);
        (words.next() == Some(&file)).then_some(process).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::in_locks;

    #[test]
    fn a_waiting_process_is_not_the_holder() {
        let locks = "\
            1: POSIX  ADVISORY  WRITE 7 00:1f:5 0 EOF\n\
            2: -> FLOCK  ADVISORY  WRITE 8 00:1f:5 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 9 00:1f:55 0 EOF\n\
            4: FLOCK  ADVISORY  WRITE 10 00:1f:5 0 EOF\n";
        assert_eq!(in_locks(locks, (0, 0x1f), 5), Some(10));
        assert_eq!(in_locks(locks, (0, 0x1f), 6), None);
        assert_eq!(
            in_locks("4: FLOCK  ADVISORY  WRITE 0 00:1f:5 0 EOF", (0, 31), 5),
            None
        );
    }
}
