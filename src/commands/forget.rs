//! `pykv forget`

use super::{Error, connect, print};
use crate::cli::Forget;

pub(super) fn run(args: &Forget) -> Result<(), Error> {
    let client = connect(&args.connection)?;
    let forgotten = client
        .forget(&args.node)
        .map_err(Error::client("cannot make the node forget another one"))?;
    print(format!("forgot {}\n", forgotten.node).as_bytes())
}
