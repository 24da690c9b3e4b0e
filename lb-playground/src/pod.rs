//! A server pod: an HTTP server that answers with its name and the client's address, one on a line.

use std::convert::Infallible;
use std::net::Ipv6Addr;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use http_body_util::Full;
use hyper::Response;
use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

pub(crate) fn run(name: &str, port: u16) -> Result<ExitCode> {
    let runtime = lb_testbed::runtime()?;
    runtime.block_on(serve(name, port))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(name: &str, port: u16) -> Result<()> {
    // [::] accepts IPv4 clients too.
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .await
        .with_context(|| format!("pod {name} cannot listen on port {port}"))?;
    println!("listening");
    loop {
        // The client may have closed before the accept.
        let Ok((stream, client)) = listener.accept().await else {
            continue;
        };
        let client = client.ip().to_canonical();
        let answer = Bytes::from(format!("{name}\nasked by {client}\n"));
        tokio::spawn(async move {
            let service = service_fn(|_| {
                let body = Full::new(answer.clone());
                async move { Ok::<_, Infallible>(Response::new(body)) }
            });
            // The client notices errors.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
