//! Where a request comes from: the address that is connected; or, if that is a proxy which the operator trusts, the one that
//! it names. Limits count by it, and people see it beside their sessions.

use std::net::IpAddr;

use actix_web::HttpRequest;
use actix_web::http::header::{HeaderMap, HeaderName};
use shared::settings::Network;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client's address; `None` where nobody knows.
pub fn address(request: &HttpRequest, trusted: &[Network]) -> Option<IpAddr> {
    let peer = request.peer_addr()?.ip();
    Some(behind_proxies(peer, request.headers(), trusted))
}

/// Each proxy adds to the end whom it has spoken to. So the list is read from its end, for as long as whoever has written an
/// entry is trusted; what stands before that, the client may have made up.
fn behind_proxies(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    let lines: Vec<&str> = headers.get_all(FORWARDED_FOR).map(|line| line.to_str().unwrap_or_default()).collect();
    let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(','));
    while is_trusted(nearest) {
        match hops.next().and_then(hop) {
            Some(address) => nearest = address,
            None => break,
        }
    }
    nearest
}

/// An entry of the list. Some proxies write the port too.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.trim_start_matches('[').trim_end_matches(']');
    let address = plain.parse().ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn from(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let peer = std::net::SocketAddr::new(peer.parse().unwrap(), 1);
        let start = TestRequest::get().peer_addr(peer);
        let request = forwarded.iter().fold(start, |request, line| request.append_header((FORWARDED_FOR, *line)));
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        address(&request.to_http_request(), &trusted).unwrap().to_string()
    }

    #[test]
    fn nobody_is_believed_who_is_not_trusted() {
        assert_eq!(from("192.0.2.1", &["198.51.100.1"], &[]), "192.0.2.1");
        assert_eq!(from("192.0.2.1", &["198.51.100.1"], &["10.0.0.0/8"]), "192.0.2.1");
        assert_eq!(from("::ffff:192.0.2.1", &[], &[]), "192.0.2.1");
    }

    #[test]
    fn the_last_hop_that_is_not_trusted_is_the_client() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(from("10.0.0.1", &["198.51.100.1"], &trusted), "198.51.100.1");
        assert_eq!(
            from("10.0.0.1", &["203.0.113.9, 198.51.100.1, 10.0.0.2"], &trusted),
            "198.51.100.1",
            "made up before"
        );
        assert_eq!(
            from("10.0.0.1", &["203.0.113.9", "198.51.100.1", "10.0.0.2"], &trusted),
            "198.51.100.1",
            "by lines"
        );
        assert_eq!(from("10.0.0.1", &["198.51.100.1:4711,[2001:db8::1]:80"], &trusted), "198.51.100.1", "with ports");
        assert_eq!(from("10.0.0.1", &["[2001:db9::7]"], &trusted), "2001:db9::7");
        assert_eq!(from("10.0.0.1", &["::ffff:198.51.100.1"], &trusted), "198.51.100.1");
    }

    #[test]
    fn where_the_list_makes_no_sense_the_last_known_hop_stands() {
        for list in ["", "unknown", "198.51.100.1, _hidden", "198.51.100.1,", "10.0.0.1"] {
            assert_eq!(from("10.0.0.1", &[list], &["10.0.0.0/8"]), "10.0.0.1", "{list}");
        }
        assert_eq!(from("10.0.0.1", &[], &["10.0.0.0/8"]), "10.0.0.1");
    }
}
