//! What the server's version says of what it can do.

use std::time::Duration;

use super::pace::Failure;
use super::trouble;

/// The first minor version of Kubernetes 1 that gives lists as streams by default.
const STREAMS_SINCE: u32 = 32;

/// Whether the server gives lists as streams; none: it does not say. `Err` says why it cannot be asked.
pub async fn gives_streams(
    client: &kube::Client,
    within: Duration,
) -> Result<Option<bool>, (Failure, String)> {
    match tokio::time::timeout(within, client.apiserver_version()).await {
        Ok(Ok(version)) => {
            let digits = version
                .minor
                .trim_end_matches(|c: char| !c.is_ascii_digit());
            let minor: u32 = digits.parse().unwrap_or_default();
            tracing::debug!(
                event = "source.version_read",
                version = version.git_version,
                "the API server has reported its version",
            );
            Ok(Some(minor >= STREAMS_SINCE))
        }
        // It answers, only not that: lists in pages every server gives.
        Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 401 => Ok(None),
        Ok(Err(error)) => Err((
            trouble::client_failure(&error),
            trouble::client_line(&error),
        )),
        Err(_) => Err((Failure::Broken, "the server does not answer".to_owned())),
    }
}
