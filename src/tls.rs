//! TLS: certificates and keys as files hold them, and whom a client trusts.
//!
//! # What must hold
//! - One provider of cryptography serves nodes and clients.
//! - A certificate and its key are taken together, once they are known to be a pair.
//! - No message shows any of a private key.

use crate::system;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, InvalidMessage, RootCertStore};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use x509_parser::extensions::GeneralName;

/// Largest file of certificates, in bytes: as many as a system trusts, twice.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Names of a certificate that a message names at most.
const NAMES_MAX: usize = 4;

/// What HTTP/1.1 is called in ALPN.
pub(crate) const ALPN_HTTP: &[u8] = b"http/1.1";

/// Why certificates cannot be used.
#[derive(Debug)]
pub(crate) enum Error {
    /// A file cannot be read.
    Unreadable { path: PathBuf, source: io::Error },
    /// A file is not PEM, or holds something else.
    Malformed { path: PathBuf, why: String },
    /// The key is not that of the first certificate, or of a kind that is not supported.
    Unpaired {
        certificate: PathBuf,
        key: PathBuf,
        why: String,
    },
    /// The system names no certificate that it trusts.
    NoRoots,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable { path, source } => {
                write!(f, "cannot read {}: {}", path.display(), system::words(source))
            }
            Error::Malformed { path, why } => write!(f, "{}: {why}", path.display()),
            Error::Unpaired {
                certificate,
                key,
                why,
            } => write!(
                f,
                "{} and {} do not go together: {why}",
                certificate.display(),
                key.display()
            ),
            Error::NoRoots => {
                f.write_str("this system has no certificates that it trusts; --tls-ca names a file")
            }
        }
    }
}

impl std::error::Error for Error {}

/// What does the cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A certificate, with those between it and its root, and its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Reads both files anew, and holds the one against the other.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Identity, Error> {
        let identity = Identity {
            chain: certificates(certificate)?,
            key: private_key(key)?,
        };
        let unpaired = |error: rustls::Error| Error::Unpaired {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            why: match error {
                rustls::Error::InconsistentKeys(_) => "the key is that of another certificate".to_owned(),
                error => words(&error),
            },
        };
        CertifiedKey::from_der(identity.chain.clone(), identity.key.clone_key(), &provider())
            .map_err(unpaired)?;
        Ok(identity)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    match bytes.len() as u64 > FILE_BYTES_MAX {
        true => Err(malformed(path, "it is larger than any file of certificates")),
        false => Ok(bytes),
    }
}

fn malformed(path: &Path, why: impl Into<String>) -> Error {
    Error::Malformed {
        path: path.to_owned(),
        why: why.into(),
    }
}

/// All certificates of a PEM file; there is at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    let certificates: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(malformed(path, "it holds no certificate in PEM")),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err(malformed(path, "it is broken PEM")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path)?;
    // The error of the parser may quote the file: it is not shown.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            malformed(path, "it holds no private key in PEM, or one with a passphrase")
        }
        _ => malformed(path, "it is broken PEM"),
    })
}

/// When a certificate ends, in seconds since 1970; none where it is malformed.
pub(crate) fn expires(certificate: &[u8]) -> Option<u64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0))
}

/// The names of a certificate that was checked: DNS names and URIs. What it calls its subject does not count: nobody
/// checks that.
pub(crate) fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        GeneralName::URI(name) => Some((*name).to_owned()),
        _ => None,
    });
    names.collect()
}

/// The roots that a file holds, and the same as a store: read once, so that both are of one file.
pub(crate) fn roots(path: &Path) -> Result<(Vec<CertificateDer<'static>>, RootCertStore), Error> {
    let certificates = certificates(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots
            .add(certificate.clone())
            .map_err(|_| malformed(path, "a certificate in it is malformed"))?;
    }
    Ok((certificates, roots))
}

/// Whom a client trusts, and what it shows itself. By default it trusts nobody.
#[derive(Default)]
pub(crate) struct Trust {
    pub(crate) roots: Vec<CertificateDer<'static>>,
    pub(crate) identity: Option<Identity>,
}

impl Trust {
    /// `ca`: a file of roots; none for those of the system. `identity`: the files of a client's certificate and key.
    pub(crate) fn load(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<Trust, Error> {
        let roots = match ca {
            Some(path) => roots(path)?.0,
            None => rustls_native_certs::load_native_certs().certs,
        };
        if roots.is_empty() {
            return Err(Error::NoRoots);
        }
        let identity = identity.map(|(certificate, key)| Identity::load(certificate, key));
        Ok(Trust {
            roots,
            identity: identity.transpose()?,
        })
    }

    /// For connections that speak HTTP/1.1. To be made once: it keeps the tickets by which a handshake is shortened.
    pub(crate) fn into_config(self) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.roots);
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match self.identity {
            Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN_HTTP.to_vec()];
        Ok(config)
    }
}

/// What TLS says of the other side, as people read it.
pub(crate) fn words(error: &rustls::Error) -> String {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(why) => match why {
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                "its certificate is not valid yet; are the clocks right?".to_owned()
            }
            Certificate::NotValidForName => "its certificate is for another name".to_owned(),
            Certificate::NotValidForNameContext { expected, presented } => {
                // As `DnsName("kv.example.org")` and `IpAddress(127.0.0.1)`.
                let name = |shown: &String| {
                    let inner = shown.split_once('(').map_or(shown.as_str(), |(_, inner)| inner);
                    plain(inner.trim_end_matches(')').trim_matches('"'))
                };
                let presented: Vec<String> = presented.iter().take(NAMES_MAX).map(name).collect();
                let names = match presented.is_empty() {
                    true => "no name".to_owned(),
                    false => presented.join(", "),
                };
                format!("its certificate is for {names}, not for {}", expected.to_str())
            }
            Certificate::UnknownIssuer => {
                "its certificate is from an unknown CA; --tls-ca names a file with the CA to trust".to_owned()
            }
            Certificate::Revoked => "its certificate is revoked".to_owned(),
            why if format!("{why:?}").contains("CaUsedAsEndEntity") => {
                "its certificate is that of a CA, and a node needs one that is not (CA:FALSE)".to_owned()
            }
            why => format!("its certificate is not accepted: {}", spoken(why)),
        },
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "it does not speak TLS; without TLS a node is named with http://".to_owned(),
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "it asks for a client certificate; --tls-client-cert and --tls-client-key name one".to_owned()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => "it does not accept the client's certificate".to_owned(),
            AlertDescription::CertificateExpired => "the client's certificate has expired".to_owned(),
            AlertDescription::InternalError => {
                "it takes no more connections, or cannot serve this one".to_owned()
            }
            alert => format!("it ends the handshake: {}", spoken(alert)),
        },
        rustls::Error::NoCertificatesPresented => "no client certificate was shown".to_owned(),
        rustls::Error::PeerIncompatible(why) => format!("it speaks TLS in another way: {}", spoken(why)),
        rustls::Error::PeerMisbehaved(why) => format!("it breaks the rules of TLS: {}", spoken(why)),
        error => plain(&error.to_string()),
    }
}

/// The name of a kind of error, which is written as `NoCipherSuitesInCommon`, in words.
fn spoken(kind: &impl std::fmt::Debug) -> String {
    let name = format!("{kind:?}");
    let name = name.split(|c: char| !c.is_ascii_alphanumeric()).next();
    let mut words = String::new();
    for letter in name.unwrap_or_default().chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// What TLS says in an error of a socket.
pub(crate) fn words_of(error: &io::Error) -> Option<String> {
    let inner = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(words(inner))
}

/// One line, whatever a certificate holds.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() || !c.is_ascii(), "?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn errors_of_tls_are_said_in_words() {
        let other = rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("kv.example.org").unwrap(),
            presented: vec![
                "IpAddress(127.0.0.1)".to_owned(),
                "DnsName(\"a.example\")".to_owned(),
            ],
        });
        assert_eq!(
            words(&other),
            "its certificate is for 127.0.0.1, a.example, not for kv.example.org"
        );
        let alert = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
        assert_eq!(words(&alert), "it ends the handshake: handshake failure");
        let bad = rustls::Error::InvalidCertificate(CertificateError::BadSignature);
        assert_eq!(words(&bad), "its certificate is not accepted: bad signature");
    }
}
