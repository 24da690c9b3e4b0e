//! Reads the elements of the NAT maps on another thread: with many backends it takes long.

use std::net::SocketAddr;

use tokio::task::JoinHandle;

use crate::agent::engine::Engine;
use crate::kernel::{self, Maps, NetfilterError};

/// A list of the NAT maps' elements that another thread makes.
#[derive(Debug)]
pub struct Reading {
    thread: JoinHandle<Result<Elements, NetfilterError>>,
    /// [`Tables::nat_stores`] at its start.
    ///
    /// [`Tables::nat_stores`]: crate::tables::Tables::nat_stores
    pub stores: u64,
    /// How often it was begun again because the agent changed the maps meanwhile.
    pub again: u32,
}

pub type Elements = Vec<(u32, SocketAddr)>;

/// After that, the agent's own changes may count as repairs.
pub const MOST_READINGS: u32 = 2;

impl Reading {
    pub fn start(engine: &Engine<Maps>, again: u32) -> Self {
        Self {
            thread: tokio::task::spawn_blocking(kernel::nat_elements),
            stores: engine.tables().nat_stores(),
            again,
        }
    }
}

/// The elements that the other thread has read; never any if it does not read.
pub async fn read(reading: &mut Option<Reading>) -> Result<Elements, NetfilterError> {
    let Some(reading) = reading else {
        return std::future::pending().await;
    };
    match (&mut reading.thread).await {
        Ok(elements) => elements,
        // The thread panicked.
        Err(error) => Err(NetfilterError::System {
            action: "read",
            error: std::io::Error::other(error),
        }),
    }
}
