//! How long requests took, by route, method and status.
//!
//! Connections count into one of [`LANES`] histograms each, so that threads on different processors seldom write to
//! the same memory. A histogram is made when the first request of its kind is answered.

use crate::histogram::{Counts, Histogram};
use crate::http::template::Template;
use std::sync::OnceLock;
use std::time::Duration;
use tiny_http::Method;

/// Histograms that connections share out among them.
const LANES: usize = 8;

/// Methods, by their place here.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "other"];

/// Statuses that answers have, by their place here. Those that are added elsewhere and not here are told as 0.
const STATUSES: [u16; 29] = [
    200, 201, 202, 204, 304, 307, 400, 401, 403, 404, 405, 406, 408, 409, 410, 411, 412, 413, 414, 415, 417,
    421, 422, 431, 500, 501, 503, 505, 507,
];

const COLUMNS: usize = STATUSES.len() + 1;

/// What a request was: its row in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct Kind {
    template: Template,
    method: u8,
}

impl Kind {
    /// A request that could not be read.
    pub(in crate::http) const UNREAD: Kind = Kind {
        template: Template::Unmatched,
        method: METHODS.len() as u8 - 1,
    };

    pub(in crate::http) fn new(template: Template, method: &Method) -> Kind {
        let method = match method {
            Method::Get => 0,
            Method::Head => 1,
            Method::Post => 2,
            Method::Put => 3,
            Method::Patch => 4,
            Method::Delete => 5,
            _ => 6,
        };
        Kind { template, method }
    }

    pub(super) fn template(self) -> Template {
        self.template
    }
}

type Lanes = OnceLock<Box<[Histogram; LANES]>>;

/// The table.
pub(in crate::http) struct Latencies(Box<[[[Lanes; COLUMNS]; METHODS.len()]]>);

/// How long the requests of one kind took.
pub(in crate::http) struct Series {
    pub(in crate::http) template: Template,
    pub(in crate::http) method: &'static str,
    pub(in crate::http) status: u16,
    pub(in crate::http) counts: Counts,
}

impl Default for Latencies {
    fn default() -> Latencies {
        let row = || std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new()));
        Latencies(Template::ALL.iter().map(|_| row()).collect())
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Latencies")
    }
}

impl Latencies {
    /// Counts a request.
    pub(super) fn count(&self, kind: Kind, status: u16, lane: usize, took: Duration) {
        // Nearly all are the first.
        let column = STATUSES.iter().position(|&other| other == status);
        let row = &self.0[kind.template as usize][usize::from(kind.method)];
        let lanes = row[column.unwrap_or(STATUSES.len())].get_or_init(Box::default);
        lanes[lane % LANES].count(took);
    }

    /// All there are.
    pub(in crate::http) fn series(&self) -> impl Iterator<Item = Series> {
        let statuses = STATUSES.into_iter().chain([0]);
        Template::ALL
            .iter()
            .zip(&self.0)
            .flat_map(move |(&template, rows)| {
                let statuses = statuses.clone();
                METHODS.iter().zip(rows).flat_map(move |(&method, row)| {
                    statuses.clone().zip(row).filter_map(move |(status, lanes)| {
                        let mut counts = Counts::default();
                        lanes.get()?.iter().for_each(|lane| lane.add_to(&mut counts));
                        Some(Series {
                            template,
                            method,
                            status,
                            counts,
                        })
                    })
                })
            })
    }

    /// All requests for keys and values that do not wait by their nature.
    pub(in crate::http) fn of_data(&self) -> Counts {
        let mut sum = Counts::default();
        for template in [Template::Key, Template::Keys, Template::Batch] {
            let cells = self.0[template as usize].iter().flatten();
            for lane in cells.filter_map(OnceLock::get).flat_map(|lanes| lanes.iter()) {
                lane.add_to(&mut sum);
            }
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
    fn requests_are_told_apart_and_lanes_are_added_up() {
        let latencies = Latencies::default();
        let get = Kind::new(Template::Key, &Method::Get);
        for lane in 0..20 {
            latencies.count(get, 200, lane, Duration::from_millis(1));
        }
        latencies.count(get, 404, 0, Duration::from_millis(2));
        latencies.count(Kind::UNREAD, 299, 3, Duration::from_millis(3));
        let told: Vec<_> = latencies
            .series()
            .map(|series| {
                (
                    series.template.path(),
                    series.method,
                    series.status,
                    series.counts.count(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                ("/kv/{key}", "GET", 200, 20),
                ("/kv/{key}", "GET", 404, 1),
                ("unmatched", "other", 0, 1),
            ]
        );
        assert_eq!(latencies.of_data().count(), 21);
    }
}
