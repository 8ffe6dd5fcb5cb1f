//! Requests to whichever endpoint answers.
//!
//! # What must hold
//! - A request takes no longer than its caller gives it, all endpoints and a login together.
//! - What may have been done is not sent again: its outcome is unknown, and its caller must look.
//! - An answer counts only if [`Seen`] lets it.

use super::endpoints::Endpoints;
use super::error::Error;
use super::kv::{Header, LeaseId};
use super::login::{self, Login, Session, Token};
use super::post::{self, Failed, Request};
use super::requests;
use super::seen::{Seen, Stale};
use super::verdict::{Verdict, worst};
use super::wire::{self, No};
use crate::address::Address;
use crate::tls::{self, Trust};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::config::Config;

const PATH_AUTHENTICATE: &str = "/v3/auth/authenticate";

/// How etcd is reached.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its members listen.
    pub endpoints: Endpoints,
    /// Who asks; none where etcd asks for no user.
    pub login: Option<Login>,
    /// A file of roots for `https`; none for those of the system.
    pub ca: Option<PathBuf>,
    /// How long one endpoint may take before another one is asked.
    pub try_timeout: Duration,
}

/// A cluster of etcd as its clients see it. It is shared by reference; each thread may ask at any time.
pub struct Client {
    pub(super) config: Config,
    pub(super) agent: Agent,
    pub(super) endpoints: Endpoints,
    session: Session,
    try_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    seen: Seen,
    /// The endpoint that answered last, which is asked first.
    current: usize,
}

/// A request, until an endpoint is known that it goes to.
pub(super) struct Ask {
    pub(super) path: &'static str,
    pub(super) body: Vec<u8>,
    /// Whether doing it twice is another thing than doing it once.
    pub(super) is_write: bool,
    /// Whether its answer is from after all that was done before it was sent.
    pub(super) is_linearizable: bool,
    /// The lease that it names.
    pub(super) lease: Option<LeaseId>,
}

impl Client {
    /// Reads the file of roots, where there is one. Nothing is sent.
    pub fn new(options: Options) -> Result<Client, Error> {
        let trust = match options.endpoints.are_tls() {
            true => Some(Trust::load(options.ca.as_deref(), None).map_err(no_trust)?),
            false => None,
        };
        let config = post::config(trust);
        Ok(Client {
            agent: config.new_agent(),
            config,
            endpoints: options.endpoints,
            session: Session::new(options.login),
            try_timeout: options.try_timeout,
            state: Mutex::default(),
        })
    }

    /// The endpoint that is asked first.
    pub fn endpoint(&self) -> String {
        self.endpoints.as_slice()[self.lock().current].to_string()
    }

    /// Takes the next answer as the first one, whatever cluster it is of and however old: for a caller that has found
    /// out otherwise that nothing is lost by it.
    pub fn forget_seen(&self) {
        self.lock().seen = Seen::default();
    }

    /// Asks one endpoint after another, beginning with the one that answered last, each of them once.
    pub(super) fn ask<T>(
        &self,
        ask: &Ask,
        timeout: Duration,
        read: impl Fn(&[u8]) -> Result<(Header, T), No>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + timeout;
        let count = self.endpoints.len();
        let first = self.lock().current;
        let mut failed = Vec::new();
        for tried in 0..count {
            let number = (first + tried) % count;
            let at = &self.endpoints.as_slice()[number];
            let share = self.share(deadline, count - tried);
            if share.is_zero() {
                failed.push(Verdict::elsewhere(Error::no_time(&at.to_string())));
                break;
            }
            match self.ask_one(ask, at, [Instant::now() + share, deadline], &read) {
                Ok(answer) => {
                    self.lock().current = number;
                    return Ok(answer);
                }
                Err(Verdict::Final(error)) => {
                    self.lock().current = number;
                    return Err(error);
                }
                Err(Verdict::Elsewhere(error)) => {
                    self.leave(number);
                    failed.push(Verdict::Elsewhere(error));
                    if failed.last().is_some_and(Verdict::may_be_done) {
                        break;
                    }
                }
            }
        }
        Err(worst(failed))
    }

    /// `deadlines`: of the request, and of a login before it. etcd checks a password slowly, on purpose: a login that takes
    /// more than the share of one endpoint is of use to the next request.
    fn ask_one<T>(
        &self,
        ask: &Ask,
        at: &Address,
        deadlines: [Instant; 2],
        read: &impl Fn(&[u8]) -> Result<(Header, T), No>,
    ) -> Result<T, Verdict> {
        let when_sent = self.lock().seen;
        let verdict = |failed| Verdict::of(at, ask.is_write, ask.lease, failed);
        let body = self
            .send_as_user(at, ask.path, &ask.body, deadlines)
            .map_err(verdict)?;
        let (header, answer) = read(&body).map_err(|no| verdict(no.into()))?;
        let noted = self.note(when_sent, &header, ask.is_linearizable);
        noted.map_err(|stale| Verdict::of_stale(at, ask.is_write, stale, &header))?;
        Ok(answer)
    }

    /// Sends a request with the token of the user, and once more with a new one where etcd does not know that. A request
    /// whose token is not known is not done.
    fn send_as_user(
        &self,
        at: &Address,
        path: &str,
        body: &[u8],
        [deadline, login_deadline]: [Instant; 2],
    ) -> Result<Vec<u8>, Failed> {
        for is_last in [false, true] {
            let token = self.token(at, login_deadline)?;
            let request = Request {
                path,
                body: Some(body),
                token: token.as_ref(),
            };
            match post::post(&self.agent, at, request, left(deadline)?) {
                Err(Failed::Etcd { message, .. })
                    if !is_last && self.session.login.is_some() && login::is_token_unknown(&message) =>
                {
                    self.session.set(Token::None);
                }
                sent => return sent,
            }
        }
        unreachable!("the last of two tries returns")
    }

    /// The token to send, after a login where there is none yet.
    pub(super) fn token(
        &self,
        at: &Address,
        deadline: Instant,
    ) -> Result<Option<ureq::http::HeaderValue>, Failed> {
        let Some(login) = &self.session.login else {
            return Ok(None);
        };
        match self.session.token() {
            Token::Known(token) => return Ok(Some(token)),
            Token::NotNeeded => return Ok(None),
            Token::None => {}
        }
        let body = requests::login(&login.user, &login.password);
        let request = Request {
            path: PATH_AUTHENTICATE,
            body: Some(&body),
            token: None,
        };
        match post::post(&self.agent, at, request, left(deadline)?) {
            Ok(answer) => {
                let token = wire::token(&answer)?;
                let malformed = || Failed::Foreign("its token can stand in no header".to_owned());
                let token = login::header_of(&token).ok_or_else(malformed)?;
                self.session.set(Token::Known(token.clone()));
                Ok(Some(token))
            }
            Err(Failed::Etcd { message, .. }) if login::is_no_login_needed(&message) => {
                self.session.set(Token::NotNeeded);
                Ok(None)
            }
            // Nothing of what is to be sent with the token was sent.
            Err(Failed::Lost(why)) => Err(Failed::NotSent(why)),
            Err(failed) => Err(failed),
        }
    }

    /// Forgets the token that etcd does not know.
    pub(super) fn log_out(&self) {
        self.session.set(Token::None);
    }

    pub(super) fn note(&self, when_sent: Seen, header: &Header, is_linearizable: bool) -> Result<(), Stale> {
        self.lock().seen.note(when_sent, header, is_linearizable)
    }

    pub(super) fn seen(&self) -> Seen {
        self.lock().seen
    }

    /// The endpoint that is asked first, and its number.
    pub(super) fn current(&self) -> (usize, &Address) {
        let number = self.lock().current;
        (number, &self.endpoints.as_slice()[number])
    }

    /// Asks the next endpoint first from now on, unless another one is by now.
    pub(super) fn leave(&self, number: usize) {
        let mut state = self.lock();
        if state.current == number {
            state.current = (number + 1) % self.endpoints.len();
        }
    }

    /// How long one of so many endpoints may take, so that each gets its turn.
    pub(super) fn share(&self, deadline: Instant, endpoints: usize) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        let endpoints = u32::try_from(endpoints).unwrap_or(u32::MAX).max(1);
        self.try_timeout.min(left / endpoints)
    }

    pub(super) fn try_timeout(&self) -> Duration {
        self.try_timeout
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

fn left(deadline: Instant) -> Result<Duration, Failed> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(Failed::NotSent("no time was left to ask".to_owned())),
        left => Ok(left),
    }
}

fn no_trust(error: tls::Error) -> Error {
    Error::NoTrust(match error {
        tls::Error::NoRoots => {
            "this system has no certificates that it trusts; --etcd-ca names a file".to_owned()
        }
        error => error.to_string(),
    })
}
