//! What a server shows its clients under TLS, and whom of them it trusts. Read anew while it runs.
//!
//! # What must hold
//! - Certificate, key and the CA of clients are taken together or not at all. What cannot be used changes nothing.
//! - A connection keeps what it began with.
//! - Tickets hold over a change of the certificate, but not over one of the CA of clients: a ticket stands for a client
//!   that was checked.
//! - There is no early data: it could be sent twice, and a write with it.

use crate::tls::{self, Error, Identity};
use crate::wall;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// How long before its end a certificate is warned of.
const WARN_BEFORE: Duration = Duration::from_secs(14 * 24 * 3600);

/// How often it is.
const WARN_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Where the certificates are.
#[derive(Clone, Debug)]
pub(crate) struct CertificateFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The CA that clients' certificates are from, and whether every client must show one; none to ask for none.
    pub client_ca: Option<(PathBuf, ClientAuth)>,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    Required,
    Optional,
}

/// What is in use.
struct Current {
    config: Arc<ServerConfig>,
    /// When the first of the certificates ends, in seconds since 1970.
    expires: u64,
    /// The CA of clients, as its file holds it, and the tickets that belong to it.
    client_ca: Vec<Vec<u8>>,
    ticketer: Arc<dyn ProducesTickets>,
}

/// How often files were read anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloads {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Why the last one failed, where it did.
    pub(crate) failure: Option<String>,
}

/// The certificates of a server.
pub(crate) struct Certificates {
    files: CertificateFiles,
    current: RwLock<Arc<Current>>,
    done: AtomicU64,
    failed: AtomicU64,
    failure: Mutex<Option<String>>,
    warned: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Certificates").field(&self.files).finish()
    }
}

impl Certificates {
    /// Reads the files for the first time.
    pub(crate) fn load(files: CertificateFiles) -> Result<Certificates, Error> {
        let current = read(&files, None)?;
        let certificates = Certificates {
            files,
            current: RwLock::new(Arc::new(current)),
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failure: Mutex::default(),
            warned: Mutex::default(),
        };
        certificates.warn_of_end();
        Ok(certificates)
    }

    fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().expect("nothing under this lock panics"))
    }

    /// What a connection that begins now is served with.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let current = self.current.read().expect("nothing under this lock panics");
        Arc::clone(&current.config)
    }

    /// Reads the files anew, by their paths. Where they cannot be used, all stays as it was, and the log and
    /// [`Certificates::reloads`] say why.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let read = read(&self.files, Some(&self.current()));
        let failure = match &read {
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = &failure {
            self.failed.fetch_add(1, Relaxed);
            log::error!("the TLS certificates stay as they are: {why}");
        }
        *self.failure.lock().expect("nothing under this lock panics") = failure;
        let read = read?;
        *self.current.write().expect("nothing under this lock panics") = Arc::new(read);
        self.done.fetch_add(1, Relaxed);
        *self.warned.lock().expect("nothing under this lock panics") = None;
        log::info!("read the TLS certificates again");
        self.warn_of_end();
        Ok(())
    }

    /// The files whose change is a reason to reload. They are to be looked at by path: what a path leads to may be
    /// swapped.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let client_ca = self.files.client_ca.iter().map(|(path, _)| path);
        [&self.files.certificate, &self.files.key]
            .into_iter()
            .chain(client_ca)
            .map(PathBuf::as_path)
    }

    /// When the first certificate that is shown ends, in seconds since 1970.
    pub(crate) fn expires(&self) -> u64 {
        self.current().expires
    }

    pub(crate) fn reloads(&self) -> Reloads {
        let failure = self.failure.lock().expect("nothing under this lock panics");
        Reloads {
            done: self.done.load(Relaxed),
            failed: self.failed.load(Relaxed),
            failure: failure.clone(),
        }
    }

    /// Says so in the log where a certificate ends soon, or has ended: once a day, however often it is called.
    pub(crate) fn warn_of_end(&self) {
        let now = wall::since_epoch();
        let expires = Duration::from_secs(self.expires());
        if expires > now + WARN_BEFORE {
            return;
        }
        let mut warned = self.warned.lock().expect("nothing under this lock panics");
        if warned.is_some_and(|warned| warned.elapsed() < WARN_EVERY) {
            return;
        }
        *warned = Some(Instant::now());
        let file = self.files.certificate.display();
        match expires.checked_sub(now) {
            None => log::warn!("the certificate in {file} has expired: clients refuse it"),
            Some(left) => log::warn!(
                "the certificate in {file} expires in {} days",
                left.as_secs() / 86400
            ),
        }
    }
}

/// Reads the files. Tickets of `before` are kept where they may be.
fn read(files: &CertificateFiles, before: Option<&Current>) -> Result<Current, Error> {
    let identity = Identity::load(&files.certificate, &files.key)?;
    let malformed = |why: String| Error::Malformed {
        path: files.certificate.clone(),
        why,
    };
    let mut expires = u64::MAX;
    for certificate in &identity.chain {
        let ends = tls::expires(certificate);
        expires = expires.min(ends.ok_or_else(|| malformed("a certificate in it is malformed".to_owned()))?);
    }
    let builder = ServerConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| malformed(tls::words(&error)))?;
    let mut client_ca = Vec::new();
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some((path, auth)) => {
            let (certificates, roots) = tls::roots(path)?;
            client_ca = certificates.iter().map(|one| one.to_vec()).collect();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider());
            let verifier = match auth {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            let verifier = verifier.build().map_err(|error| Error::Malformed {
                path: path.clone(),
                why: error.to_string(),
            })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(identity.chain, identity.key)
        .map_err(|error| malformed(tls::words(&error)))?;
    let ticketer = match before {
        Some(before) if before.client_ca == client_ca => Arc::clone(&before.ticketer),
        _ => rustls::crypto::ring::Ticketer::new().map_err(|error| malformed(tls::words(&error)))?,
    };
    config.alpn_protocols = vec![tls::ALPN_HTTP.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::clone(&ticketer);
    Ok(Current {
        config: Arc::new(config),
        expires,
        client_ca,
        ticketer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use std::fs;
    use std::time::UNIX_EPOCH;

    /// Writes a certificate that signs itself, and its key.
    fn write(files: &CertificateFiles, name: &str, expires: u64) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = (UNIX_EPOCH + Duration::from_secs(expires)).into();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(&files.certificate, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
    }

    fn files(dir: &Path) -> CertificateFiles {
        CertificateFiles {
            certificate: dir.join("cert.pem"),
            key: dir.join("key.pem"),
            client_ca: None,
        }
    }

    const YEAR_2040: u64 = 2_208_988_800;

    #[test]
    fn files_are_read_anew_together_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        write(&files, "localhost", YEAR_2040);
        let certificates = Certificates::load(files.clone()).unwrap();
        assert_eq!(certificates.expires(), YEAR_2040);
        let first = certificates.config();

        write(&files, "localhost", YEAR_2040 + 86400);
        certificates.reload().unwrap();
        assert_eq!(certificates.expires(), YEAR_2040 + 86400);
        assert!(!Arc::ptr_eq(&first, &certificates.config()));
        // A ticket of before is good after.
        assert!(Arc::ptr_eq(&first.ticketer, &certificates.config().ticketer));

        let second = certificates.config();
        let key = fs::read(&files.key).unwrap();
        write(&files, "localhost", YEAR_2040);
        for (break_it, why) in [
            (key.as_slice(), "do not go together"),
            (b"", "no private key"),
            (
                b"-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----\n",
                "broken PEM",
            ),
        ] {
            fs::write(&files.key, break_it).unwrap();
            let error = certificates.reload().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(certificates.reloads().failure.unwrap().contains(why));
            assert!(Arc::ptr_eq(&second, &certificates.config()));
        }
        fs::remove_file(&files.certificate).unwrap();
        assert!(certificates.reload().is_err());

        write(&files, "localhost", YEAR_2040);
        certificates.reload().unwrap();
        let counts = Reloads {
            done: 2,
            failed: 4,
            failure: None,
        };
        assert_eq!(certificates.reloads(), counts);
    }

    /// As Kubernetes does it: a link leads to another directory from one moment to the next.
    #[test]
    fn what_a_path_leads_to_may_be_swapped() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("data");
        for (name, expires) in [("1", YEAR_2040), ("2", YEAR_2040 + 86400)] {
            fs::create_dir(dir.path().join(name)).unwrap();
            write(&files(&dir.path().join(name)), "localhost", expires);
        }
        std::os::unix::fs::symlink("1", &link).unwrap();
        let certificates = Certificates::load(files(&link)).unwrap();
        assert!(certificates.paths().all(|path| path.starts_with(&link)));
        let next = dir.path().join("next");
        std::os::unix::fs::symlink("2", &next).unwrap();
        fs::rename(&next, &link).unwrap();
        certificates.reload().unwrap();
        assert_eq!(certificates.expires(), YEAR_2040 + 86400);
    }
}
