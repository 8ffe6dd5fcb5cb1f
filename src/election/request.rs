//! What is asked of etcd, and what it answers. Keys are those below the prefix of the cluster.

/// What is asked of etcd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A lease.
    Grant,
    /// To renew it.
    KeepAlive(i64),
    /// All keys of the cluster.
    Read,
    /// All of it, or nothing.
    Txn(Txn),
}

/// Changes that are made together, where all of the comparisons hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Txn {
    /// What must hold.
    pub when: Vec<Compare>,
    /// What is done then.
    pub then: Vec<Operation>,
}

/// What must hold of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Compare {
    /// It is not there.
    Absent(String),
    /// It has this value.
    Value(String, String),
    /// It was last changed by this revision.
    Revision(String, i64),
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A key gets a value.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The lease that it hangs on, where it does.
        lease: Option<i64>,
    },
    /// A key is removed.
    Delete(String),
}

/// A key as etcd has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Below the prefix of the cluster.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The revision that last changed it.
    pub revision: i64,
}

/// What etcd answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// A lease, and how long it lasts, in the units of the machine's clock.
    Granted {
        /// Which one.
        id: i64,
        /// Its time.
        ttl: u64,
    },
    /// How long the lease lasts from now; none where there is no such lease any more.
    Kept(Option<u64>),
    /// All keys of the cluster.
    Read {
        /// Which etcd it is.
        etcd: u64,
        /// What it has.
        pairs: Vec<Pair>,
    },
    /// All comparisons held, and everything was done, by this revision; none where one did not hold.
    Txn(Option<i64>),
}

/// Why etcd did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    /// What is wrong, and what to do.
    pub why: String,
    /// What that means for what was asked.
    pub kind: FailureKind,
}

/// What became of what etcd was asked, and did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// It may be done, or be done yet.
    Unknown,
    /// It was not done.
    NotDone,
    /// It was not done: etcd knows no such lease.
    NoLease,
}

impl Txn {
    pub(super) fn when(compare: Compare) -> Txn {
        Txn {
            when: vec![compare],
            then: Vec::new(),
        }
    }

    pub(super) fn and(mut self, compare: Compare) -> Txn {
        self.when.push(compare);
        self
    }

    pub(super) fn put(self, key: &str, value: String) -> Txn {
        self.put_under(key, value, None)
    }

    pub(super) fn put_under(mut self, key: &str, value: String, lease: Option<i64>) -> Txn {
        let key = key.to_owned();
        self.then.push(Operation::Put { key, value, lease });
        self
    }

    pub(super) fn delete(mut self, key: &str) -> Txn {
        self.then.push(Operation::Delete(key.to_owned()));
        self
    }
}
