//! The processes that have a socket open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::sync::Arc;

use super::descriptors::{processes, see_sockets};
use crate::mountinfo::{self, Mount};

/// The processes of sockets.
#[derive(Debug, Default)]
pub struct Owners {
    /// Inode number and process id, sorted, each once.
    pairs: Vec<(u32, u32)>,
    commands: HashMap<u32, Arc<str>>,
}

impl Owners {
    /// Searches the descriptors of all processes that the caller may see, or of one: CAP_SYS_PTRACE allows to see those of others.
    ///
    /// `inodes`: of the sockets' files.
    ///
    /// # Errors
    /// /proc cannot be read. A process that ends meanwhile is no error.
    pub fn of(inodes: &HashSet<u32>, process: Option<u32>) -> io::Result<Self> {
        if inodes.is_empty() {
            return Ok(Self::default());
        }
        let processes = match process {
            Some(process) => vec![process],
            None => processes()?,
        };
        let mut owners = Self::default();
        for process in processes {
            owners.add(process, inodes);
        }
        owners.pairs.sort_unstable();
        owners.pairs.dedup();
        Ok(owners)
    }

    /// The processes that have a socket open, by their ids, with their commands (proc_pid_comm(5)).
    pub fn of_socket(&self, inode: u32) -> impl Iterator<Item = (u32, &Arc<str>)> {
        let first = self.pairs.partition_point(|(of, _)| *of < inode);
        let pairs = self.pairs.iter().skip(first);
        pairs
            .take_while(move |(of, _)| *of == inode)
            .filter_map(|(_, process)| Some((*process, self.commands.get(process)?)))
    }

    fn add(&mut self, process: u32, inodes: &HashSet<u32>) {
        let before = self.pairs.len();
        // A process that has ended, or whose descriptors are not to be seen, adds nothing.
        let _ = see_sockets(process, &mut |inode| {
            if inodes.contains(&inode) {
                self.pairs.push((inode, process));
            }
        });
        if self.pairs.len() > before {
            let command = fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            self.commands.insert(process, command.trim_end().into());
        }
    }
}

/// The names of the network namespaces that are mounted below a folder `netns`, as iproute2 and container runtimes do
/// (ip-netns(8)), by inode number: in the caller's mounts and in those of process 1, which for an agent's pod is the node's.
#[must_use]
pub fn namespace_names() -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    for process in ["1", "self"] {
        let mounts = mountinfo::of_process(process).unwrap_or_default();
        names.extend(mounts.iter().filter_map(name_of));
    }
    names
}

fn name_of(mount: &Mount) -> Option<(u64, String)> {
    let number = mount.network_namespace()?;
    mount.point.parent()?.ends_with("netns").then_some(())?;
    let name = mount.point.file_name()?.to_string_lossy();
    Some((number, name.into_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd as _;

    use rustix::fs::fstat;

    use super::*;

    #[test]
    fn an_open_socket_has_its_process_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let _copy = socket.try_clone().expect("it is open");
        let inode = fstat(socket.as_fd()).expect("it is open").st_ino;
        let inode = u32::try_from(inode).expect("sock_diag has it as 32 bits");
        let own = std::process::id();
        for only in [None, Some(own)] {
            let owners = Owners::of(&[inode].into(), only).expect("/proc is there");
            let found: Vec<_> = owners.of_socket(inode).collect();
            let command = fs::read_to_string("/proc/self/comm").expect("/proc is there");
            assert_eq!(found, [(own, &Arc::from(command.trim_end()))]);
            assert_eq!(owners.of_socket(inode + 1).count(), 0);
        }
        let others = Owners::of(&[inode].into(), Some(1)).expect("/proc is there");
        assert_eq!(others.of_socket(inode).count(), 0);
    }

    #[test]
    fn namespaces_have_the_names_of_their_mounts() {
        let mounts = b"\
            24 1 0:22 / / rw - ext4 /dev/vda rw\n\
            90 24 0:4 net:[4026532281] /run/netns/cni-1 rw shared:1 - nsfs nsfs rw\n\
            92 24 0:4 net:[4026532300] /tmp/other rw - nsfs nsfs rw\n\
            91 24 0:4 mnt:[4026532299] /run/netns/x rw - nsfs nsfs rw\n";
        let found: Vec<_> = mountinfo::parse(mounts)
            .iter()
            .filter_map(name_of)
            .collect();
        assert_eq!(found, [(4_026_532_281, "cni-1".to_owned())]);
    }
}
