//! `pykv serve --engine`: a gateway to a Redis or Valkey. It has no directory, so its end needs no order.

use super::signals::Signals;
use super::{Error, logging, reload, serve, service, text};
use crate::cli::{ENV_ENGINE_PASSWORD, ENV_ENGINE_USER, EngineFlags, Serve, TlsClient};
use crate::engine::{Dial, DialTls, Engine, EngineUrl, Gateway, GatewayOptions, Looking};
use crate::net::Passed;
use crate::node::AckRequirement;
use log::{info, warn};
use std::env;
use std::path::Path;
use std::thread;

/// Longest file of a password or a certificate, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Runs a gateway until a signal says to stop.
pub(super) fn run(args: &Serve, url: &EngineUrl, passed: Vec<Passed>) -> Result<(), Error> {
    args.check().map_err(Error::Usage)?;
    logging::start(args.log_level);
    // A file of tokens may be a pipe that nobody writes to.
    let signals = Signals::handle()?;
    let tokens = args
        .token_file
        .as_deref()
        .map(|path| reload::read_tokens(path, None));
    let (tokens, _) = tokens.transpose()?.unzip();
    let certificates = serve::certificates(args)?;
    let gateway = Gateway::new(options(args, url)?);
    if let Some(path) = &args.token_file {
        serve::warn_of_open_file("the tokens", path);
    }
    tokens.iter().for_each(serve::warn_of_tokens);
    let server = serve::bind(args, passed, tokens, certificates, &signals)?;
    gateway.look();
    match gateway.report().unready() {
        None => info!("gateway to {url}"),
        Some(why) => warn!("gateway to {url}: {why}"),
    }
    signals.serve(server.stopper(), None);
    let looking = Looking::default();
    let served = thread::scope(|scope| {
        let thread = thread::Builder::new().name("engine".to_owned());
        thread
            .spawn_scoped(scope, || looking.run(&gateway))
            .map_err(|source| Error::Io {
                doing: "cannot start the thread that looks at the engine".to_owned(),
                source,
            })?;
        let served = serve::start_reloads(scope, args, &server, &signals, None).and_then(|()| {
            serve::announce(&server);
            service::serve_gateway(&gateway, || {
                server
                    .run(Engine::Redis(&gateway), args.shutdown_grace.0)
                    .map_err(Error::Listen)
            })?
        });
        looking.end();
        signals.end_reloads();
        served
    });
    served?;
    info!("stopped");
    Ok(())
}

fn options(args: &Serve, url: &EngineUrl) -> Result<GatewayOptions, Error> {
    let flags = &args.engine;
    let (user, password) = login(flags)?;
    let tls = url.is_tls.then(|| tls(&args.tls_client)).transpose()?;
    Ok(GatewayOptions {
        url: url.clone(),
        dial: Dial {
            user,
            password,
            tls,
            connections_max: flags.engine_connections,
            timeout: flags.engine_timeout.0,
        },
        value_bytes_max: args.max_value.0 as usize,
        sync: AckRequirement {
            replicas: args.cluster.sync_replicas,
            timeout: args.cluster.sync_timeout.0,
            is_required: args.cluster.sync_required,
        },
    })
}

/// User and password of the engine, as a file has them or else the environment.
fn login(flags: &EngineFlags) -> Result<(Option<String>, Option<String>), Error> {
    let Some(path) = &flags.engine_auth_file else {
        let of_environment = |name| env::var(name).ok().filter(|text| !text.is_empty());
        return Ok((
            of_environment(ENV_ENGINE_USER),
            of_environment(ENV_ENGINE_PASSWORD),
        ));
    };
    serve::warn_of_open_file("the password of the engine", path);
    let text = text::read_file("a password file", path, FILE_BYTES_MAX)?;
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(' ') {
        _ if line.is_empty() => Err(Error::Usage(format!(
            "there is no password in {}: its first line is empty",
            path.display()
        ))),
        Some((user, password)) => Ok((Some(user.to_owned()), Some(password.to_owned()))),
        None => Ok((None, Some(line.to_owned()))),
    }
}

/// What is trusted of the engine, and shown to it. The files are held against each other first, as for other nodes.
fn tls(flags: &TlsClient) -> Result<DialTls, Error> {
    drop(super::trust(flags)?);
    let read =
        |path: &Path| text::read_file("a file of certificates", path, FILE_BYTES_MAX).map(String::into_bytes);
    let ca = flags.tls_ca.as_deref().map(read).transpose()?;
    let identity = match flags.identity() {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    Ok(DialTls { ca, identity })
}
