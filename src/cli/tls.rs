//! The flags of TLS: what a node shows and asks of its clients, and whom a client trusts.

use super::units::Span;
use crate::net::certificates::{CertificateFiles, ClientAuth};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Names the CA that nodes' certificates are from.
pub(crate) const ENV_TLS_CA: &str = "PYKV_TLS_CA";

/// Whom a client trusts, and what it shows.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsClient {
    /// A file with the CA that certificates of nodes are from, as PEM [default: what the system trusts]
    #[arg(long, value_name = "FILE", env = ENV_TLS_CA)]
    pub tls_ca: Option<PathBuf>,

    /// A file with the certificate to show nodes that ask for one, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_client_key")]
    pub tls_client_cert: Option<PathBuf>,

    /// A file with the key of --tls-client-cert, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_client_cert")]
    pub tls_client_key: Option<PathBuf>,
}

/// What a node shows its clients, and asks of them.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsServer {
    /// Speak TLS at the addresses of --listen: a file with the certificate of the node, and those between it and its
    /// CA, as PEM
    ///
    /// All nodes of a cluster speak TLS, or none does. Unix sockets stay plain.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// A file with the key of --tls-cert, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Ask clients for certificates, which must be from the CA in this file, as PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Whether a client may come without a certificate
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "required",
        requires = "tls_client_ca"
    )]
    pub tls_client_auth: ClientAuthFlag,

    /// Have browsers ask for the node's host by https alone, for this long after each answer, such as 365d
    /// [default: they are not asked to]
    ///
    /// Answers over TLS then have the field Strict-Transport-Security. A browser keeps to it for all ports of the
    /// host, and no click of the user gets past a certificate that it does not trust.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "tls_cert")]
    pub tls_hsts: Option<Span>,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientAuthFlag {
    /// Each client shows a certificate, health checks too
    #[default]
    Required,
    /// A client shows a certificate, a token, or neither if none is needed
    Optional,
}

impl TlsClient {
    /// The files of the client's certificate and its key.
    pub(crate) fn identity(&self) -> Option<(&Path, &Path)> {
        self.tls_client_cert
            .as_deref()
            .zip(self.tls_client_key.as_deref())
    }
}

impl TlsServer {
    /// Where the node's certificates are; none where it speaks plain HTTP.
    pub(crate) fn files(&self) -> Option<CertificateFiles> {
        let (certificate, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        let auth = match self.tls_client_auth {
            ClientAuthFlag::Required => ClientAuth::Required,
            ClientAuthFlag::Optional => ClientAuth::Optional,
        };
        Some(CertificateFiles {
            certificate,
            key,
            client_ca: self.tls_client_ca.clone().map(|path| (path, auth)),
        })
    }
}
