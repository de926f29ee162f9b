//! TLS of a listener: PEM files to a rustls configuration.

use std::{
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio_rustls::TlsAcceptor;

use crate::{config::TlsFiles, failure::Failure};

/// Whether every file of additional authorities can be used.
pub(crate) fn check_authorities(files: &[PathBuf]) -> Result<(), Failure> {
    files.iter().try_for_each(|file| certificates(file).map(drop))
}

/// Loads a listener's certificate and key.
pub(crate) fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, Failure> {
    let chain = certificates(&files.certificate)?;
    let key = private_key(&files.key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Failure::internal(format!("TLS cannot be set up: {error}")))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            let (certificate, key) = (files.certificate.display(), files.key.display());
            Failure::configuration(format!("TLS with {certificate} and {key} does not work: {error}"))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn open(path: &Path) -> Result<BufReader<File>, Failure> {
    let file = File::open(path);
    file.map(BufReader::new)
        .map_err(|error| Failure::configuration(format!("{} cannot be read: {error}", path.display())))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates: Result<Vec<_>, _> = rustls_pemfile::certs(&mut open(path)?).collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Failure::configuration(format!("{} holds no certificate in PEM format", path.display()))),
        Err(error) => Err(Failure::configuration(format!("{} is no PEM file: {error}", path.display()))),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    match rustls_pemfile::private_key(&mut open(path)?) {
        Ok(Some(key)) => Ok(key),
        Ok(None) => Err(Failure::configuration(format!("{} holds no private key in PEM format", path.display()))),
        Err(error) => Err(Failure::configuration(format!("{} is no PEM file: {error}", path.display()))),
    }
}
