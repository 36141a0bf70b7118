//! What a node of a cluster says when a key is not, or not yet, its own.

use std::time::Duration;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::Address;

/// How often a call follows its key, or waits for it, before it fails: with [`PAUSE`], for a second.
const REDIRECTS: u32 = 25;

/// How long a call waits for a slot that is on the move.
const PAUSE: Duration = Duration::from_millis(40);

/// Where a call is to go that a node did not carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// To this node, which owns the slot now; `None`: the node did not say which.
    To(Option<Address>),
    /// Nowhere yet: the slot's keys are moving. Our scripts have several keys, and until the last one has moved no node
    /// carries them out, so there is nothing to gain by asking the other one (`ASK`).
    Wait,
}

/// Whether `error` sends the call elsewhere. Then it was not carried out, and may be sent again whatever it does.
pub(crate) fn redirect(error: &RedisError) -> Option<Redirect> {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::Moved) => {
            Some(Redirect::To(error.redirect_node().and_then(|(address, _)| parse(address))))
        }
        ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::TryAgain) => Some(Redirect::Wait),
        _ => None,
    }
}

/// How often a call was sent elsewhere so far.
#[derive(Debug, Default)]
pub(crate) struct Redirects(u32);

impl Redirects {
    /// Where a call that failed so is to be sent again, which is due when this answers. `None`: it failed for good.
    pub(crate) async fn follow(&mut self, error: &RedisError) -> Option<Redirect> {
        let redirect = redirect(error).filter(|_| self.0 < REDIRECTS)?;
        self.0 += 1;
        // Two nodes that send us to each other are settling who owns the slot.
        if redirect == Redirect::Wait || self.0 > 2 {
            tokio::time::sleep(PAUSE).await;
        }
        Some(redirect)
    }
}

/// `host:port`. The host may be an IPv6 address without brackets, and is empty if it is the host of the node that answered.
fn parse(address: &str) -> Option<Address> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if host.is_empty() || host == "?" {
        return None;
    }
    Some(Address { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_read_as_redis_names_it() {
        let address = |host: &str, port| Some(Address { host: host.to_owned(), port });
        assert_eq!(parse("10.0.0.1:7000"), address("10.0.0.1", 7000));
        assert_eq!(parse("redis-1.example.com:6379"), address("redis-1.example.com", 6379));
        assert_eq!(parse("::1:7000"), address("::1", 7000));
        for nowhere in ["", ":7000", "?:7000", "host", "host:port"] {
            assert_eq!(parse(nowhere), None, "{nowhere}");
        }
    }
}
