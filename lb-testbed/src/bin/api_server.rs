//! The testbed's API server as a program, for trying things by hand with kubectl or an agent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::Result;
use clap::Parser;
use lb_testbed::api_server::ApiServer;

/// A small Kubernetes API server in memory: Services, EndpointSlices, Nodes, ServiceCIDRs, Namespaces. It starts empty.
///
/// kubectl can get, watch, create, replace, label, annotate and delete. `kubectl apply` can create objects, but not change them.
#[derive(Debug, Parser)]
struct Cli {
    /// Address and port to listen on. Every client may change everything
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Write a kubeconfig for this server to FILE
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

/// Runs until it is killed.
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
