//! An array map in the agent's own memory: loads and stores instead of system calls.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapType};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::hash::io_error;
use crate::kernel::bpf::loader::take_map;
use crate::kernel::node::error::KernelError;

/// An array, mapped into the agent's memory as words.
#[derive(Debug)]
pub struct Mapped {
    words: *mut AtomicU64,
    /// In bytes.
    size: usize,
    /// In elements.
    pub length: u32,
    /// Words per element.
    width: usize,
}

impl Mapped {
    pub fn take(object: &mut Ebpf, name: &'static str, width: usize) -> Result<Self, KernelError> {
        let Map::Array(data) = take_map(object, name)? else {
            return Err(KernelError::Object(format!("map {name} is not an array")));
        };
        let length = data
            .info()
            .map_err(|error| KernelError::map("read", name)(io_error(error)))?
            .max_entries();
        Self::new(data.fd(), length, width).map_err(KernelError::map("map into memory", name))
    }

    /// Opens a pinned array.
    ///
    /// `width`: the words per element; the map must have the same.
    pub fn at(path: &Path, width: usize) -> Result<Self, KernelError> {
        let failed = KernelError::pin::<io::Error>("open the pinned map", path);
        let map = MapData::from_pin(path).map_err(|error| failed(io_error(error)))?;
        let info = map.info().map_err(|error| failed(io_error(error)))?;
        if !matches!(info.map_type(), Ok(MapType::Array)) || info.value_size() as usize != width * 8
        {
            let reason = format!("it is not an array of {width} words");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidData, reason)));
        }
        Self::new(map.fd(), info.max_entries(), width)
            .map_err(KernelError::pin("map into memory the pinned map", path))
    }

    /// The words of an element.
    pub fn element<const N: usize>(&self, index: u32) -> [u64; N] {
        std::array::from_fn(|word| self.word(index, word).load(Ordering::Acquire))
    }

    /// Writes an element of a new array, word by word. A word to be 0 is 0 already.
    pub fn fill<const N: usize>(&self, index: u32, words: [u64; N]) {
        for (word, value) in words.into_iter().enumerate() {
            if value != 0 {
                self.word(index, word).store(value, Ordering::Release);
            }
        }
    }

    fn new(fd: impl AsFd, length: u32, width: usize) -> io::Result<Self> {
        let size = length as usize * width * 8;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let words = unsafe {
            mmap(
                std::ptr::null_mut(),
                size,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        Ok(Self {
            words: words.cast(),
            size,
            length,
            width,
        })
    }

    /// # Panics
    /// The index or the word is outside of the array: a fault of this crate, never of input from outside.
    pub fn word(&self, index: u32, word: usize) -> &AtomicU64 {
        assert!(
            index < self.length && word < self.width,
            "outside of a table"
        );
        // SAFETY: within the mapping, which exists as long as `self`; aligned, since a mapping begins on a page; all
        // other writers, the kernel too, write these words atomically.
        unsafe { &*self.words.add(index as usize * self.width + word) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference to it outlives `self`. There is nothing to do on failure.
        let _ = unsafe { munmap(self.words.cast(), self.size) };
    }
}

// SAFETY: a mapping belongs to the process, not to a thread, and all access to it is atomic.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}
