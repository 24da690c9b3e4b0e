//! The testbed's API server on its own, to try things by hand with kubectl or an agent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::Parser;
use lb_testbed::api_server::ApiServer;

/// A Kubernetes API server in miniature, empty at first: Services, EndpointSlices, Nodes, ServiceCIDRs.
#[derive(Debug, Parser)]
struct Cli {
    /// Where it listens. Whoever reaches it may change everything
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Write a kubeconfig for it to this file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

fn main() -> ExitCode {
    match serve(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("api_server: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Until it is killed.
fn serve(cli: &Cli) -> Result<()> {
    let server = ApiServer::start(cli.listen)?;
    if let Some(file) = &cli.kubeconfig {
        server.write_kubeconfig(file)?;
    }
    println!("try: kubectl --server {} get services -A", server.url());
    loop {
        thread::park();
    }
}
