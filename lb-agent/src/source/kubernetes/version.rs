//! Derives the server's capabilities from its version.

use std::time::Duration;

use super::pace::Failure;
use super::trouble;

/// The first minor version of Kubernetes 1 that streams lists by default.
const STREAMS_SINCE: u32 = 32;

/// Whether the server streams lists. None: its answer does not show that. `Err` contains the reason why the request failed.
pub async fn supports_streaming_lists(
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
        // The server answers, but without its version. Every server can list in pages.
        Ok(Err(kube::Error::Api(status))) if status.code < 500 && status.code != 401 => Ok(None),
        Ok(Err(error)) => Err((
            trouble::client_failure(&error),
            trouble::client_line(&error),
        )),
        Err(_) => Err((Failure::Broken, "the server does not answer".to_owned())),
    }
}
