//! How long requests took, by route, method and status.
//!
//! Connections count into one of [`SHARDS`] histograms each, so that threads on different processors seldom write to
//! the same memory. A histogram is made when the first request of its kind is answered.

use crate::histogram::{Counts, Histogram};
use std::sync::OnceLock;
use std::time::Duration;
use tiny_http::Method;

/// Histograms that connections share out among them.
const SHARDS: usize = 8;

/// Methods, by their place here.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];

/// Statuses that answers have, by their place here. Those that are added elsewhere and not here are reported as 0.
const STATUSES: [u16; 29] = [
    200, 201, 202, 204, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 417,
    421, 422, 431, 500, 501, 503, 505, 507,
];

const COLUMNS: usize = STATUSES.len() + 1;

/// What requests of one route are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The path, with what changes from request to request left open.
    pub(crate) path: &'static str,
    /// Whether it is about keys and values.
    pub(crate) is_data: bool,
    /// Whether its requests take as long as they like: they wait for what is to come, or have an answer without end.
    pub(crate) waits: bool,
}

/// Of requests whose path is no route's, and of those that could not be read.
const UNMATCHED: Label = Label {
    path: "unmatched",
    is_data: false,
    waits: false,
};

/// What a request was: its row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// 0 for what no route has.
    row: u8,
    method: u8,
}

impl Kind {
    /// A request that could not be read.
    pub(crate) const UNREAD: Kind = Kind {
        row: 0,
        method: METHODS.len() as u8 - 1,
    };

    /// A request of the route with this number among those that the table was made for; none for no route.
    pub(crate) fn new(route: Option<usize>, method: &Method) -> Kind {
        let method = match method {
            Method::Get => 0,
            Method::Head => 1,
            Method::Post => 2,
            Method::Put => 3,
            Method::Patch => 4,
            Method::Delete => 5,
            _ => 6,
        };
        let row = route.map_or(0, |number| number as u8 + 1);
        Kind { row, method }
    }
}

type Shards = OnceLock<Box<[Histogram; SHARDS]>>;

/// The counts of one route, by method and status.
struct Row {
    label: Label,
    cells: [[Shards; COLUMNS]; METHODS.len()],
}

/// The table.
pub(crate) struct Latencies(Box<[Row]>);

/// How long the requests of one kind took.
pub(crate) struct Series {
    pub(crate) path: &'static str,
    pub(crate) method: &'static str,
    pub(crate) status: u16,
    pub(crate) counts: Counts,
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Latencies")
    }
}

impl Latencies {
    /// Counts for these routes; there may be 254.
    pub(crate) fn new(routes: impl Iterator<Item = Label>) -> Latencies {
        let row = |label| Row {
            label,
            cells: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
        };
        Latencies([UNMATCHED].into_iter().chain(routes).map(row).collect())
    }

    /// Whether requests of a kind take as long as they like.
    pub(crate) fn waits(&self, kind: Kind) -> bool {
        self.0[usize::from(kind.row)].label.waits
    }

    /// Counts a request.
    pub(crate) fn count(&self, kind: Kind, status: u16, shard: usize, took: Duration) {
        // Nearly all are the first.
        let column = STATUSES.iter().position(|&other| other == status);
        let row = &self.0[usize::from(kind.row)].cells[usize::from(kind.method)];
        let shards = row[column.unwrap_or(STATUSES.len())].get_or_init(Box::default);
        shards[shard % SHARDS].count(took);
    }

    /// All there are.
    pub(crate) fn series(&self) -> impl Iterator<Item = Series> {
        let statuses = STATUSES.into_iter().chain([0]);
        self.0.iter().flat_map(move |Row { label, cells }| {
            let statuses = statuses.clone();
            METHODS.iter().zip(cells).flat_map(move |(&method, row)| {
                statuses.clone().zip(row).filter_map(move |(status, shards)| {
                    let mut counts = Counts::default();
                    shards.get()?.iter().for_each(|shard| shard.add_to(&mut counts));
                    Some(Series {
                        path: label.path,
                        method,
                        status,
                        counts,
                    })
                })
            })
        })
    }

    /// All requests for keys and values that do not wait by their nature.
    pub(crate) fn of_data(&self) -> Counts {
        let mut sum = Counts::default();
        let rows = self.0.iter().filter(|row| row.label.is_data && !row.label.waits);
        for shards in rows
            .flat_map(|row| row.cells.iter().flatten())
            .filter_map(OnceLock::get)
        {
            shards.iter().for_each(|shard| shard.add_to(&mut sum));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem;

    #[test]
    fn every_status_of_a_problem_has_a_column() {
        for kind in problem::KINDS {
            assert!(STATUSES.contains(&kind.status), "{}", kind.status);
        }
        assert!(STATUSES.is_sorted());
    }

    #[test]
    fn requests_are_told_apart_and_shards_are_added_up() {
        let key = Label {
            path: "/kv/{key}",
            is_data: true,
            waits: false,
        };
        let latencies = Latencies::new([key].into_iter());
        let get = Kind::new(Some(0), &Method::Get);
        for shard in 0..20 {
            latencies.count(get, 200, shard, Duration::from_millis(1));
        }
        latencies.count(get, 404, 0, Duration::from_millis(2));
        latencies.count(Kind::UNREAD, 299, 3, Duration::from_millis(3));
        let told: Vec<_> = latencies
            .series()
            .map(|series| (series.path, series.method, series.status, series.counts.count()))
            .collect();
        assert_eq!(
            told,
            [
                ("unmatched", "other", 0, 1),
                ("/kv/{key}", "GET", 200, 20),
                ("/kv/{key}", "GET", 404, 1),
            ]
        );
        assert_eq!(latencies.of_data().count(), 21);
    }
}
