//! Hash maps: taken out of the object, or opened by their pins.

use std::io;
use std::path::Path;

use aya::Ebpf;
use aya::maps::{HashMap, IterableMap as _, Map, MapData, MapError, MapType};

use crate::kernel::bpf::loader::take_map;
use crate::kernel::node::error::KernelError;

pub fn hash<K: aya::Pod, V: aya::Pod>(
    object: &mut Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, KernelError> {
    HashMap::try_from(take_map(object, name)?)
        .map_err(|error| KernelError::Object(format!("map {name}: {error}")))
}

/// The capacity of a hash, in elements.
pub fn capacity<K: aya::Pod, V: aya::Pod>(
    hash: &HashMap<MapData, K, V>,
    name: &'static str,
) -> Result<u32, KernelError> {
    let info = hash.map().info();
    let info = info.map_err(|error| KernelError::map("read", name)(io_error(error)))?;
    Ok(info.max_entries())
}

/// Opens a pinned hash, LRU or not.
pub fn hash_at<K: aya::Pod, V: aya::Pod>(
    path: &Path,
) -> Result<HashMap<MapData, K, V>, KernelError> {
    let map = MapData::from_pin(path).and_then(|data| {
        let kind = data.info()?.map_type()?;
        let map = match kind {
            MapType::LruHash => Map::LruHashMap(data),
            _ => Map::HashMap(data),
        };
        HashMap::try_from(map)
    });
    map.map_err(|error| KernelError::pin("open the pinned map", path)(io_error(error)))
}

/// The error number of the failed system call, if there was one.
pub fn io_error(error: MapError) -> io::Error {
    match error {
        MapError::KeyNotFound => io::ErrorKind::NotFound.into(),
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}
