//! The interfaces on which the agent reports about itself. The other subcommands read JSON over a unix socket.
//!
//! `GET /v1/status` returns a [`Status`]; `GET /v1/services`, `/v1/frontends` and `/v1/backends` a list of [`ServiceStatus`],
//! [`FrontendStatus`] and [`BackendStatus`], of all Services or of a [`Selection`]; `/v1/explain` an [`Explanation`] for an
//! [`ExplainRequest`]; `/v1/shadow` a [`ShadowReport`]. `GET /v1/events` returns a list of [`EventRecord`]s, and `GET /v1/events/follow` goes on with a line for
//! each that comes. `POST /v1/hand-over` with a [`HandOver`]
//! asks the agent to hand over to another one. [`HttpServer`] serves metrics and health over TCP, if the settings ask for it.
//! [`Probes`] answers the probes of a pod on the process's own socket.

mod api;
mod client;
mod connections;
mod event_routes;
mod events;
mod explanation;
mod http;
mod metrics;
mod objects;
mod page;
mod page_data;
mod probes;
mod question;
mod readiness;
mod selection;
mod server;
mod serving;
mod shadow;
mod target;
mod text_format;

pub use self::api::{
    ClientStatus, DriftStatus, EVENTS, FOLLOW_EVENTS, HAND_OVER, HandOver, HandingOver, HookStatus,
    LIVE, OutlierStatus, PacketPathStatus, READY, STATUS, SourceStatus, Status, SyncStatus,
    TableStatus, TerminationStatus, WatchStatus,
};
pub use self::client::{FetchError, Told, fetch, follow, post, probe};
pub use self::connections::serve as serve_connections;
pub use self::events::{EventLevel, EventLog, EventRecord, dropped};
pub use self::explanation::{
    BackendInTables, EXPLAIN, ExplainedClient, ExplainedEndpoint, ExplainedFrontend, ExplainedPort,
    ExplainedTables, ExplainedView, Explanation, Outcome, PolicyStep, Skipped, TableDifference,
    Verdict, ViewInTables,
};
pub use self::http::{HttpError, HttpServer};
pub use self::metrics::Metrics;
pub use self::objects::{
    BACKENDS, BackendNumbers, BackendStatus, FRONTENDS, FrontendStatus, PortStatus,
    RoundTripStatus, SERVICES, ServiceStatus,
};
pub use self::page_data::{PageData, PageService, page_services};
pub use self::probes::{Probes, ProcessStage};
pub use self::question::{Question, Readiness};
pub use self::selection::{Selection, ServiceName};
pub use self::server::{Server, ServerError};
pub use self::serving::Serving;
pub use self::shadow::{FlowDifference, SHADOW, ShadowReport, ShadowStatus, ShadowedPort};
pub use self::target::{ExplainRequest, Target};
pub use self::text_format::TextFormat;
