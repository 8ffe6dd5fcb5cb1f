//! From flags to the etcd that decides who is primary.

use super::{Error, text};
use crate::cli::{Replica, Serve};
use crate::etcd::{Client, Login, Options};
use crate::net::Endpoint;
use crate::replication::Etcd;
use std::path::Path;

/// Longest file of a password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// An endpoint of etcd that is silent for so great a share of a lease is not waited for.
const TRY_SHARE: u32 = 12;

/// The etcd that flags name, once it is seen that it can be asked; none where they name none. That it does not answer is
/// no error.
pub(super) fn connect(args: &Serve, replica: Option<&Replica>) -> Result<Option<Etcd>, Error> {
    let flags = &args.cluster.election;
    let (Some(endpoints), Some(cluster)) = (&flags.etcd, &flags.cluster) else {
        return Ok(None);
    };
    if replica.is_some() {
        let why = "--from names whom a replica follows, and with --etcd that is decided there: start every node with \
                   `pykv serve --etcd`";
        return Err(Error::Usage(why.to_owned()));
    }
    let is_unix = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Unix(_));
    if args.cluster.advertise.is_none() && args.listen.iter().all(is_unix) {
        let why = "a node says in etcd where others reach it, which no unix socket is; give it an address to listen at \
                   too, or --advertise";
        return Err(Error::Usage(why.to_owned()));
    }
    let login = match (&flags.etcd_user, &flags.etcd_password_file) {
        (Some(user), Some(file)) => Some(Login {
            user: user.clone(),
            password: password(file)?,
        }),
        _ => None,
    };
    let client = Client::new(Options {
        endpoints: endpoints.clone(),
        login,
        ca: flags.etcd_ca.clone(),
        try_timeout: flags.ttl() / TRY_SHARE,
    });
    let client = client.map_err(|error| Error::Usage(error.to_string()))?;
    let etcd = Etcd::new(client, cluster, flags.ttl());
    etcd.check().map_err(|error| Error::Usage(error.to_string()))?;
    Ok(Some(etcd))
}

/// The first line of a file.
fn password(path: &Path) -> Result<String, Error> {
    let text = text::read_file("a password file", path, PASSWORD_BYTES_MAX)?;
    let line = text.lines().next().unwrap_or_default();
    match line.is_empty() {
        true => Err(Error::Usage(format!(
            "there is no password in {}: its first line is empty",
            path.display()
        ))),
        false => Ok(line.to_owned()),
    }
}
