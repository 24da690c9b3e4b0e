//! The meaning of a watch's errors, and the remedy for each.

use std::io;

use kube::Error as ClientError;
use kube::core::Status;
use kube::runtime::watcher::Error;

use super::pace::Failure;

/// The remedy for an error, after a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Continue: kube resumes where it was.
    GoOn,
    /// List everything again.
    ListAgain,
    /// Read the credentials again, and list everything again.
    Renew,
    /// The server does not stream lists: list in pages.
    ListInPages,
    /// The server does not have the kind or does not grant access to it, which is acceptable.
    Absent,
}

impl Remedy {
    /// `may_be_absent`: this kind has never been listed, the agent works without it, and the server has delivered other kinds.
    /// A server that is starting answers 403 until it has loaded RBAC, and 404 until it has registered all kinds. Such answers
    /// do not show which kinds it has.
    /// `is_streaming`: the first list was requested as a stream and has not arrived.
    /// `refusals`: how often in sequence the server has refused to watch from our revision.
    pub fn of(error: &Error, may_be_absent: bool, is_streaming: bool, refusals: u32) -> Self {
        let Some(status) = status(error) else {
            return match error {
                // An answer was unreadable, so events may have been missed.
                Error::WatchFailed(ClientError::SerdeError(_)) | Error::NoResourceVersion => {
                    Self::ListAgain
                }
                _ => Self::GoOn,
            };
        };
        if is_behind(status) {
            return Self::ListAgain;
        }
        match status.code {
            401 => Self::Renew,
            // Every API server has Services, so a 404 for them is wrong. It may come from another server at this address.
            403 | 404 if may_be_absent => Self::Absent,
            // kube lists again by itself only if the 410 arrives in the stream.
            410 => Self::ListAgain,
            400 | 422 if is_streaming => Self::ListInPages,
            // The reason is unknown; it may be our revision.
            _ if refusals >= MOST_REFUSALS => Self::ListAgain,
            _ => Self::GoOn,
        }
    }
}

/// Whether the server has not reached our revision. It may have another history.
fn is_behind(status: &Status) -> bool {
    let details = status.details.as_ref();
    let mut causes = details.into_iter().flat_map(|details| &details.causes);
    causes.any(|cause| cause.reason == "ResourceVersionTooLarge")
}

/// The number of refusals in sequence to continue from our revision that are tolerated.
const MOST_REFUSALS: u32 = 3;

/// Whether the server answered, and refused to watch from our revision.
pub fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::WatchStartFailed(ClientError::Api(_)))
}

/// Whether the answer was 403 or 404.
pub fn is_absence(error: &Error) -> bool {
    matches!(status(error).map(|status| status.code), Some(403 | 404))
}

/// The server's answer, if there was one.
fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::InitialListFailed(ClientError::Api(status))
        | Error::WatchStartFailed(ClientError::Api(status))
        | Error::WatchFailed(ClientError::Api(status))
        | Error::WatchError(status) => Some(status),
        _ => None,
    }
}

/// Classifies an error by its cause, which decides how long to wait.
pub fn failure(error: &Error) -> Failure {
    match error {
        Error::InitialListFailed(error)
        | Error::WatchStartFailed(error)
        | Error::WatchFailed(error) => client_failure(error),
        Error::WatchError(status) => status_failure(status),
        Error::NoResourceVersion => Failure::Broken,
    }
}

/// The same for errors of other requests than watches.
pub fn client_failure(error: &ClientError) -> Failure {
    match error {
        ClientError::Api(status) => status_failure(status),
        ClientError::SerdeError(_) => Failure::Broken,
        ClientError::Service(error) => connection_failure(error.as_ref()),
        error => connection_failure(error),
    }
}

fn status_failure(status: &Status) -> Failure {
    match status.code {
        _ if is_behind(status) => Failure::Outdated,
        410 => Failure::Outdated,
        400..500 => Failure::Refused,
        _ => Failure::Broken,
    }
}

/// Searches the causes for the kernel's error.
fn connection_failure(error: &(dyn std::error::Error + 'static)) -> Failure {
    use io::ErrorKind;
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        match io.map(io::Error::kind) {
            Some(
                ErrorKind::ConnectionRefused
                | ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::HostUnreachable
                | ErrorKind::NetworkUnreachable
                | ErrorKind::NetworkDown
                | ErrorKind::TimedOut
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof,
            ) => return Failure::Unreachable,
            // From rustls: one of the two sides does not accept the certificate.
            Some(ErrorKind::InvalidData) => return Failure::Refused,
            _ => {}
        }
        // `source` of an io::Error skips the error that it wraps.
        let inside = io.and_then(io::Error::get_ref);
        next = inside.map_or_else(|| error.source(), |inside| Some(inside as _));
    }
    Failure::Broken
}

/// Formats an error in one line. kube's own texts are repetitive.
pub fn line(error: &Error) -> String {
    match error {
        Error::InitialListFailed(error)
        | Error::WatchStartFailed(error)
        | Error::WatchFailed(error) => client_line(error),
        Error::WatchError(status) => status_line(status),
        Error::NoResourceVersion => "an answer without a resourceVersion".to_owned(),
    }
}

/// The same for errors of other requests than watches.
pub fn client_line(error: &ClientError) -> String {
    match error {
        ClientError::Api(status) => status_line(status),
        ClientError::SerdeError(error) => format!("an answer that cannot be decoded: {error}"),
        ClientError::Service(error) => chain(error.as_ref()),
        error => chain(error),
    }
}

fn status_line(status: &Status) -> String {
    let message = match status.message.trim() {
        "" => &status.reason,
        message => message,
    };
    let remedy = match status.code {
        401 => ": the credentials are invalid or have expired",
        403 => ": bind socklb's ClusterRole to the service account",
        _ => "",
    };
    format!("{} {message}{remedy}", status.code)
}

/// Formats an error and its causes.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !line.contains(&words) {
            line = format!("{line}: {words}");
        }
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> Error {
        let status = Status::failure("said", "Reason").with_code(code);
        Error::WatchStartFailed(ClientError::Api(status.boxed()))
    }

    #[test]
    fn each_status_code_has_its_remedy() {
        let of = |code| Remedy::of(&refused(code), false, false, 1);
        for code in [403, 404, 422, 429, 500] {
            assert_eq!(of(code), Remedy::GoOn, "{code}");
        }
        assert_eq!(of(401), Remedy::Renew);
        assert_eq!(of(410), Remedy::ListAgain);
    }

    #[test]
    fn optional_kinds_may_be_absent_or_forbidden() {
        for code in [403, 404] {
            assert_eq!(Remedy::of(&refused(code), true, false, 1), Remedy::Absent);
        }
        assert_eq!(Remedy::of(&refused(500), true, false, 1), Remedy::GoOn);
    }

    #[test]
    fn refusals_server_errors_and_no_answer_are_distinguished() {
        for code in [400, 403, 404, 429] {
            assert_eq!(failure(&refused(code)), Failure::Refused, "{code}");
        }
        assert_eq!(failure(&refused(410)), Failure::Outdated);
        for code in [500, 503, 504] {
            assert_eq!(failure(&refused(code)), Failure::Broken, "{code}");
        }
        let of_kind = |kind: io::ErrorKind| {
            let inner = io::Error::new(kind, "as the kernel says");
            let error = io::Error::other(inner);
            failure(&Error::WatchFailed(ClientError::Service(error.into())))
        };
        assert_eq!(
            of_kind(io::ErrorKind::ConnectionRefused),
            Failure::Unreachable
        );
        assert_eq!(of_kind(io::ErrorKind::TimedOut), Failure::Unreachable);
        assert_eq!(of_kind(io::ErrorKind::InvalidData), Failure::Refused);
        assert_eq!(of_kind(io::ErrorKind::InvalidInput), Failure::Broken);
    }

    #[test]
    fn a_server_without_streaming_lists_is_asked_for_pages() {
        assert_eq!(
            Remedy::of(&refused(422), false, true, 1),
            Remedy::ListInPages
        );
    }

    #[test]
    fn a_watch_that_is_refused_repeatedly_lists_again() {
        assert_eq!(Remedy::of(&refused(504), false, false, 2), Remedy::GoOn);
        assert_eq!(
            Remedy::of(&refused(504), false, false, 3),
            Remedy::ListAgain
        );
    }
}
