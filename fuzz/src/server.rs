//! An API server and its client in one process. The server answers as a script says.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use kube::client::Body;
use tokio::sync::oneshot;
use tower::BoxError;
use tower::util::BoxCloneSyncService;

/// Ends an answer.
const NEXT: u8 = 0x0c;

/// How many requests a client may send after the script has ended.
const MOST_UNANSWERED: usize = 8;

/// The answers to each kind of request, in sequence.
///
/// The first byte is the size of the pieces in which bodies are sent (0: whole); the answers follow. The first byte of an
/// answer selects the request that it answers, the second the way: see [`Manner`].
#[derive(Debug)]
pub(crate) struct Script {
    piece: usize,
    answers: HashMap<u8, VecDeque<Answer>>,
}

#[derive(Debug)]
struct Answer {
    manner: Manner,
    body: Bytes,
}

/// The parts of a body's JSON before and after the script's content.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// `.`
    Whole,
    /// `!`: the connection breaks.
    Broken,
    /// `~`: nothing more arrives, and the connection stays open.
    Open,
    /// A digit.
    Status(u16),
}

const STATUSES: [u16; 10] = [401, 403, 404, 409, 410, 422, 429, 500, 504, 204];

type Parts = Pin<Box<dyn Stream<Item = io::Result<Frame<Bytes>>> + Send>>;

type Server = BoxCloneSyncService<Request<Body>, Response<StreamBody<Parts>>, BoxError>;

impl Script {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (piece, rest) = bytes.split_first().unwrap_or((&0, &[]));
        let mut answers: HashMap<u8, VecDeque<Answer>> = HashMap::new();
        for answer in rest.split(|&byte| byte == NEXT).take(32) {
            if let [of, manner, body @ ..] = answer {
                answers.entry(*of).or_default().push_back(Answer {
                    manner: Manner::of(*manner),
                    body: Bytes::copy_from_slice(body),
                });
            }
        }
        Self {
            piece: usize::from(*piece),
            answers,
        }
    }

    /// The server, and a signal that it has nothing more to send.
    pub(crate) fn serve(self) -> (oneshot::Receiver<()>, Server) {
        let (over, is_over) = oneshot::channel();
        let piece = self.piece;
        let state = Arc::new(Mutex::new((self, MOST_UNANSWERED, Some(over))));
        let service = tower::service_fn(move |request: Request<Body>| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (script, left, over) = &mut *state;
            let answer = script.answer(&request);
            if answer.is_none() {
                *left = left.saturating_sub(1);
                if *left == 0
                    && let Some(over) = over.take()
                {
                    // The receiver may be gone.
                    let _ = over.send(());
                }
            }
            async move {
                match answer {
                    Some(answer) => Ok(answer.response(piece)),
                    None => {
                        let never: Infallible = std::future::pending().await;
                        Err(BoxError::from(format!("{never:?}")))
                    }
                }
            }
        });
        (is_over, BoxCloneSyncService::new(service))
    }

    fn answer(&mut self, request: &Request<Body>) -> Option<Answer> {
        let last = request.uri().path().rsplit('/').next().unwrap_or_default();
        let first = last.bytes().next().unwrap_or_default();
        // `services` and `servicecidrs` have a common prefix.
        let of = if last == "servicecidrs" { b'c' } else { first };
        self.answers.get_mut(&of)?.pop_front()
    }
}

impl Manner {
    fn of(byte: u8) -> Self {
        match byte {
            b'!' => Self::Broken,
            b'~' => Self::Open,
            b'0'..=b'9' => Self::Status(STATUSES[usize::from(byte - b'0')]),
            _ => Self::Whole,
        }
    }
}

impl Answer {
    fn response(self, piece: usize) -> Response<StreamBody<Parts>> {
        let piece = if piece == 0 { usize::MAX } else { piece };
        let mut parts = Vec::new();
        let mut rest = self.body;
        while !rest.is_empty() {
            let part = rest.split_to(piece.min(rest.len()));
            parts.push(Ok(Frame::data(part)));
        }
        let end: Parts = match self.manner {
            Manner::Broken => {
                let error = io::Error::from(io::ErrorKind::ConnectionReset);
                Box::pin(stream::iter([Err(error)]))
            }
            Manner::Open => Box::pin(stream::pending()),
            Manner::Whole | Manner::Status(_) => Box::pin(stream::empty()),
        };
        let parts: Parts = Box::pin(stream::iter(parts).chain(end));
        let mut response = Response::new(StreamBody::new(parts));
        if let Manner::Status(status) = self.manner {
            *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        }
        response
    }
}
