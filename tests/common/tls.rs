//! Certificates, and HTTP under TLS.

use super::{SOON, Server};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// A CA and what it gives out, as files in a directory.
pub struct Ca {
    dir: PathBuf,
    name: String,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A directory with a CA, and a certificate of it for this machine.
pub fn certificates() -> (TempDir, Ca, Pair) {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new(dir.path(), "ca");
    let pair = ca.give("node", &["localhost", "127.0.0.1"], 300);
    (dir, ca, pair)
}

/// Where a node answers that has such a certificate.
pub fn url(node: &Server) -> String {
    format!("https://localhost:{}", node.address().port())
}

/// The files of a certificate and its key.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl Ca {
    pub fn new(dir: &Path, name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let common = rcgen::DnType::CommonName;
        params.distinguished_name.push(common, format!("CA {name}"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), issuer.pem()).unwrap();
        Ca {
            dir: dir.to_owned(),
            name: name.to_owned(),
            issuer,
        }
    }

    /// The file of its own certificate.
    pub fn file(&self) -> String {
        self.path(&format!("{}.pem", self.name))
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).to_str().unwrap().to_owned()
    }

    /// A certificate for these names, until that many days from now.
    pub fn give(&self, file: &str, names: &[&str], days: i64) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let now = std::time::SystemTime::now();
        let day = |days: i64| match u64::try_from(days) {
            Ok(days) => now + Duration::from_secs(days * 86400),
            Err(_) => now - Duration::from_secs(days.unsigned_abs() * 86400),
        };
        params.not_before = day(-30).into();
        params.not_after = day(days).into();
        self.sign(file, params)
    }

    /// A client's certificate with these URIs and names.
    pub fn give_client(&self, file: &str, names: &[&str], uris: &[&str], common: &str) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        for uri in uris {
            let uri = SanType::URI((*uri).try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        params.distinguished_name.push(rcgen::DnType::CommonName, common);
        self.sign(file, params)
    }

    fn sign(&self, file: &str, params: CertificateParams) -> Pair {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            certificate: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        std::fs::write(&pair.certificate, certificate.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }
}

impl Pair {
    /// The flags of a node that shows it.
    pub fn flags(&self) -> [&str; 4] {
        ["--tls-cert", &self.certificate, "--tls-key", &self.key]
    }

    /// The flags of a client that shows it.
    pub fn client_flags(&self) -> [&str; 4] {
        [
            "--tls-client-cert",
            &self.certificate,
            "--tls-client-key",
            &self.key,
        ]
    }
}

/// A client's side of a connection under TLS.
pub struct TlsClient(pub StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    pub fn connect(address: SocketAddr, ca: &Ca) -> TlsClient {
        TlsClient::connect_as(address, ca, None)
    }

    /// The same, of a client that shows a certificate.
    pub fn connect_as(address: SocketAddr, ca: &Ca, shown: Option<&Pair>) -> TlsClient {
        let roots = CertificateDer::pem_file_iter(ca.file()).unwrap();
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.map(Result::unwrap));
        let config = ClientConfig::builder().with_root_certificates(store);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_file_iter(&pair.certificate).unwrap();
                let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
                config
                    .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
                    .unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.set_write_timeout(Some(SOON)).unwrap();
        TlsClient(StreamOwned::new(tls, socket))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
        self.0.flush().unwrap();
    }

    /// All that comes up to the end, which is an error where it was not announced.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).map(|_| bytes)
    }

    /// The head of an answer, and as much of its body as it says.
    pub fn answer(&mut self) -> (String, Vec<u8>) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head, body)
    }
}
