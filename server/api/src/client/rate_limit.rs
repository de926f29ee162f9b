//! [Rate limits](https://spec.matrix.org/v1.19/client-server-api/#rate-limiting): a token bucket for every
//! user or address and class of request.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use ruma::OwnedUserId;

/// Buckets kept at once. A bucket that is full again says nothing and is dropped first.
const MAX_BUCKETS: usize = 20_000;

/// Kinds of request with limits of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Login, refresh and whatever else takes a secret from someone without a session.
    Login,
    /// Registration.
    Register,
    /// Events sent into rooms.
    Send,
    /// Joins, knocks, invites, new rooms and what else writes to many places.
    Join,
    /// Everything else.
    Other,
}

impl Class {
    /// The class of a request by method and path template.
    pub fn of(method: &Method, path: &str) -> Self {
        if *method == Method::GET || *method == Method::HEAD {
            return Self::Other;
        }
        let Some(path) = path.strip_prefix("/_matrix/client/") else {
            return if path.contains("/register") { Self::Register } else { Self::Other };
        };
        let path = path.split_once('/').map_or(path, |(_version, rest)| rest);
        match path {
            "login" | "refresh" | "account/password" | "account/deactivate" => Self::Login,
            _ if path.starts_with("register") => Self::Register,
            "createRoom" => Self::Join,
            _ if path.starts_with("join/") || path.starts_with("knock/") => Self::Join,
            _ => match path.strip_prefix("rooms/").and_then(|rest| rest.split('/').nth(1)) {
                Some("send" | "state" | "redact") => Self::Send,
                Some("join" | "invite" | "kick" | "ban" | "unban" | "leave" | "upgrade") => Self::Join,
                _ => Self::Other,
            },
        }
    }

    /// Requests at once, and requests per second in the long run.
    const fn allowance(self) -> (f64, f64) {
        match self {
            Self::Login => (10.0, 0.2),
            Self::Register => (10.0, 0.1),
            Self::Send => (100.0, 10.0),
            Self::Join => (50.0, 2.0),
            Self::Other => (300.0, 50.0),
        }
    }
}

/// Who a bucket belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Somebody with a session.
    User(OwnedUserId),
    /// Anybody at an address; an IPv6 network of 64 bits counts as one.
    Address(IpAddr),
}

impl Caller {
    /// The caller at `address`.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                IpAddr::V6(Ipv6Addr::from(network))
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn refill(&mut self, class: Class, now: Instant) {
        let (burst, rate) = class.allowance();
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * rate;
        self.tokens = (self.tokens + gained).min(burst);
        self.filled = now;
    }
}

/// Counts requests and says when there are too many. Bounded in memory.
#[derive(Debug)]
pub struct RateLimiter {
    enabled: bool,
    buckets: Mutex<HashMap<(Class, Caller), Bucket>>,
}

impl RateLimiter {
    /// A limiter; one that is not `enabled` lets everything pass.
    pub fn new(enabled: bool) -> Self {
        Self { enabled, buckets: Mutex::default() }
    }

    /// Counts one request. `Err` tells how long to wait before the next one can pass.
    pub fn check(&self, class: Class, caller: Caller) -> Result<(), Duration> {
        self.check_at(class, caller, Instant::now())
    }

    fn check_at(&self, class: Class, caller: Caller, now: Instant) -> Result<(), Duration> {
        if !self.enabled {
            return Ok(());
        }
        let (burst, rate) = class.allowance();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&(class, caller.clone())) {
            evict(&mut buckets, now);
        }
        let bucket = buckets.entry((class, caller)).or_insert(Bucket { tokens: burst, filled: now });
        bucket.refill(class, now);
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / rate))
    }
}

/// Makes room: drops buckets that are full again, and if those are too few, the fullest half.
fn evict(buckets: &mut HashMap<(Class, Caller), Bucket>, now: Instant) {
    let missing = |class: Class, bucket: &Bucket| class.allowance().0 - bucket.tokens;
    buckets.retain(|(class, _), bucket| {
        bucket.refill(*class, now);
        missing(*class, bucket) > 0.0
    });
    if buckets.len() < MAX_BUCKETS {
        return;
    }
    let mut debts: Vec<f64> = buckets.iter().map(|((class, _), bucket)| missing(*class, bucket)).collect();
    let half = debts.len() / 2;
    let (_, median, _) = debts.select_nth_unstable_by(half, f64::total_cmp);
    let median = *median;
    buckets.retain(|(class, _), bucket| missing(*class, bucket) > median);
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    fn address(text: &str) -> Caller {
        Caller::address(text.parse().unwrap())
    }

    #[test]
    fn classes_by_path() {
        for (method, path, class) in [
            (Method::POST, "/_matrix/client/v3/login", Class::Login),
            (Method::GET, "/_matrix/client/v3/login", Class::Other),
            (Method::POST, "/_matrix/client/v3/register", Class::Register),
            (Method::POST, "/_synapse/admin/v1/register", Class::Register),
            (Method::PUT, "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}", Class::Send),
            (Method::PUT, "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/{state_key}", Class::Send),
            (Method::GET, "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/{state_key}", Class::Other),
            (Method::POST, "/_matrix/client/v3/rooms/{room_id}/invite", Class::Join),
            (Method::POST, "/_matrix/client/v3/join/{room_id_or_alias}", Class::Join),
            (Method::POST, "/_matrix/client/v3/createRoom", Class::Join),
            (Method::POST, "/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}", Class::Other),
        ] {
            assert_eq!(Class::of(&method, path), class, "{method} {path}");
        }
    }

    #[test]
    fn a_bucket_empties_and_refills() {
        let limiter = RateLimiter::new(true);
        let now = Instant::now();
        for _ in 0..10 {
            limiter.check_at(Class::Login, address("192.0.2.1"), now).unwrap();
        }
        let wait = limiter.check_at(Class::Login, address("192.0.2.1"), now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(5));
        // Others are not concerned, nor is another class.
        limiter.check_at(Class::Login, address("192.0.2.2"), now).unwrap();
        limiter.check_at(Class::Other, address("192.0.2.1"), now).unwrap();
        limiter.check_at(Class::Login, Caller::User(user_id!("@a:b.c").to_owned()), now).unwrap();
        limiter.check_at(Class::Login, address("192.0.2.1"), now + wait).unwrap();
        limiter.check_at(Class::Login, address("192.0.2.1"), now + wait).unwrap_err();
    }

    #[test]
    fn one_network_is_one_caller() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:0:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded_and_the_greediest_are_remembered() {
        let limiter = RateLimiter::new(true);
        let now = Instant::now();
        let greedy = address("198.51.100.1");
        for _ in 0..10 {
            limiter.check_at(Class::Login, greedy.clone(), now).unwrap();
        }
        for number in 0..50_000_u32 {
            let caller = Caller::address(IpAddr::V4((0x0a00_0000 + number).into()));
            limiter.check_at(Class::Login, caller, now).unwrap();
        }
        assert!(limiter.buckets.lock().unwrap().len() <= MAX_BUCKETS);
        limiter.check_at(Class::Login, greedy, now).unwrap_err();
    }

    #[test]
    fn a_disabled_limiter_counts_nothing() {
        let limiter = RateLimiter::new(false);
        for _ in 0..1000 {
            limiter.check(Class::Register, address("192.0.2.1")).unwrap();
        }
        assert!(limiter.buckets.lock().unwrap().is_empty());
    }
}
