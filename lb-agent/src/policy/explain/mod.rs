//! The rules with their reasons: why a service port has these backends, and why an address is a frontend or not.
//!
//! Nothing is decided here: [`Explainer`](super::Explainer) asks the same rules as [`Policy::update`](super::Policy::update) does.

mod address;
mod selection;
mod settings;
mod step;

pub use self::address::{AtAddress, Miss, NoFrontend, Other};
pub use self::selection::{ExplainedEndpoint, Selection};
pub use self::settings::ServiceSettings;
pub use self::step::Step;
pub use super::left_out::{LeftOut, SliceSkip};
pub use super::node_ports::NodePortSkip;
pub use super::skip::{AddressSkip, PortSkip, ServiceSkip, SkippedAddress, SkippedPort, Skips};
pub use super::topology::{HintUse, Rule};
