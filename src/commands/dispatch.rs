//! From what was typed to the file of its subcommand.

use super::{
    Error, backup, batch, check, cluster, compact, completions, deadline, del, exists, export, forget,
    gateway, get, import, incr, list, log, mirror, pause, ping, promote, reapply, serve, service, set, shell,
    signals, status, switchover, token, watch,
};
use crate::cli::{Cli, Command};

/// Does what was typed.
pub(super) fn dispatch(cli: Cli) -> Result<(), Error> {
    // A node has handlers of its own, which end it in order.
    if !matches!(cli.command, Command::Serve(_) | Command::Replica(_)) {
        signals::end_as_elsewhere()?;
    }
    match cli.command {
        Command::Serve(mut args) => {
            let passed = service::take_sockets(&mut args.listen)?;
            match &args.engine.engine {
                Some(url) => gateway::run(&args, url, passed),
                None => serve::run(&args, None, passed),
            }
        }
        Command::Replica(mut args) => {
            let passed = service::take_sockets(&mut args.serve.listen)?;
            serve::run(&args.serve, Some(&args), passed)
        }
        Command::Promote(args) => promote::run(&args),
        Command::Cluster(args) => cluster::run(&args),
        Command::Switchover(args) => switchover::switchover(&args),
        Command::Failover(args) => switchover::failover(&args),
        Command::Pause(args) => pause::run(&args, true),
        Command::Resume(args) => pause::run(&args, false),
        Command::Forget(args) => forget::run(&args),
        Command::Reapply(args) => reapply::run(&args),
        Command::Get(args) => get::run(&args),
        Command::Exists(args) => exists::run(&args),
        Command::Incr(args) => incr::run(&args),
        Command::Set(args) => set::run(&args),
        Command::Del(args) => del::run(&args),
        Command::List(args) => list::run(&args),
        Command::Ttl(args) => deadline::ttl(&args),
        Command::Expire(args) => deadline::expire(&args),
        Command::Persist(args) => deadline::persist(&args),
        Command::Batch(args) => batch::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Mirror(args) => mirror::run(&args),
        Command::Shell(args) => shell::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Ping(args) => ping::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Compact(args) => compact::run(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => backup::restore(&args),
        Command::Check(args) => check::run(&args),
        Command::Token(args) => token::run(&args),
    }
}
