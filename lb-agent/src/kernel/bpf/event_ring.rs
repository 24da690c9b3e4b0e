//! The name and the length of the ring buffer EVENTS.

pub const NAME: &str = "EVENTS";

/// Room for all the events that two CPUs may report in a second, and more.
const BYTES: u32 = 64 << 10;

/// The length of the ring in bytes: a multiple of the machine's pages, of which some have 64 KiB.
pub fn length() -> u32 {
    let page = rustix::param::page_size();
    BYTES.max(u32::try_from(page).unwrap_or(BYTES))
}
