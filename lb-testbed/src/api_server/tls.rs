//! TLS in front of a server, with a certificate authority of its own, as in a real cluster.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// Accepts TLS connections on 127.0.0.1 and forwards their data. Dropping it stops it.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    authority: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TlsFront {
    /// In front of a server, in the caller's network namespace.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("TLS cannot listen")?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let (config, authority) = certified(address.ip())?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let runtime = crate::runtime::runtime()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("tls".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        result = accept(listener, acceptor, server) => {
                            if let Err(error) = result {
                                eprintln!("TLS cannot accept: {error}");
                            }
                        }
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Self {
            address,
            authority,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of the authority that clients have to trust, as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    server: SocketAddr,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (client, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // The client notices errors.
            if let Ok(mut client) = acceptor.accept(client).await
                && let Ok(mut server) = TcpStream::connect(server).await
            {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}

/// A server configuration with a certificate for an address, and the certificate of its authority.
fn certified(address: IpAddr) -> Result<(ServerConfig, String)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);

    let mut params = CertificateParams::new(Vec::new())?;
    params.subject_alt_names = vec![SanType::IpAddress(address)];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((config, authority))
}
