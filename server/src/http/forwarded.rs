//! What trusted proxies say of the client before them: its address, and whether it used TLS.
//!
//! Anybody can send such headers, so they count only from peers in `server.trusted_proxies`. Of a chain of addresses the
//! last one that is not itself a trusted proxy is the client: what stands before it was written by the client.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use crate::config::{ForwardedHeader, Serving};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whom to believe.
#[derive(Debug)]
pub(super) struct Proxies {
    networks: Vec<IpNet>,
    header: ForwardedHeader,
}

/// What a trusted proxy said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    /// The client, as far as it is known: the proxy itself if it did not say.
    pub(crate) client: IpAddr,
    /// Whether the client used TLS; `None` if the proxy did not say.
    pub(crate) is_https: Option<bool>,
}

impl Proxies {
    /// `None` if nobody is trusted.
    pub(super) fn new(serving: &Serving) -> Option<Self> {
        let networks: Vec<IpNet> = serving.trusted_proxies.iter().filter_map(|text| parse_network(text)).collect();
        (!networks.is_empty()).then_some(Self { networks, header: serving.forwarded_header })
    }

    /// What the headers say, if they are from a trusted proxy.
    pub(super) fn look(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<Forwarded> {
        let peer = peer.ip().to_canonical();
        if !self.trusts(peer) {
            return None;
        }
        Some(match self.header {
            ForwardedHeader::XForwarded => Forwarded {
                client: self.client(peer, items(headers, &X_FORWARDED_FOR).map(parse_address)),
                is_https: items(headers, &X_FORWARDED_PROTO).next().map(|it| it.eq_ignore_ascii_case("https")),
            },
            ForwardedHeader::Forwarded => {
                let elements = || items(headers, &header::FORWARDED);
                Forwarded {
                    client: self.client(peer, elements().map(|it| parse_address(field(it, "for")?))),
                    is_https: elements().find_map(|it| field(it, "proto")).map(|it| it.eq_ignore_ascii_case("https")),
                }
            }
        })
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// `chain` begins with what the nearest proxy wrote. What cannot be read ends it: who wrote the rest is not known.
    fn client(&self, peer: IpAddr, chain: impl Iterator<Item = Option<IpAddr>>) -> IpAddr {
        let mut client = peer;
        for address in chain {
            let Some(address) = address else { break };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        client
    }
}

/// A network such as `10.0.0.0/8`, or one address.
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    let text = text.trim();
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

/// The items of a list in all headers of a name, last one first.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("")).collect();
    values.into_iter().rev().flat_map(|value| value.rsplit(',')).map(str::trim)
}

/// An address with or without port, IPv6 in brackets or not, quoted or not. Names such as `unknown` are none.
fn parse_address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let address = match text.parse() {
        Ok(address) => address,
        Err(_) => match text.parse::<SocketAddr>() {
            Ok(address) => address.ip(),
            Err(_) => text.strip_prefix('[')?.strip_suffix(']')?.parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// A parameter of an element of `Forwarded` (RFC 7239).
fn field<'a>(element: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn look(header: ForwardedHeader, peer: &str, headers: &[(&'static str, &str)]) -> Option<Forwarded> {
        let networks = ["10.0.0.0/8", "::1", "2001:db8::/32"].map(|text| parse_network(text).unwrap());
        let proxies = Proxies { networks: networks.into(), header };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        proxies.look(SocketAddr::new(peer.parse().unwrap(), 1), &map)
    }

    fn client(header: ForwardedHeader, name: &'static str, values: &[&str]) -> String {
        let headers: Vec<_> = values.iter().map(|value| (name, *value)).collect();
        look(header, "10.0.0.1", &headers).unwrap().client.to_string()
    }

    #[test]
    fn only_trusted_peers_are_believed() {
        let spoofed = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-proto", "https")];
        assert_eq!(look(ForwardedHeader::XForwarded, "192.0.2.1", &spoofed), None);
        let expected = Forwarded { client: "1.2.3.4".parse().unwrap(), is_https: Some(true) };
        assert_eq!(look(ForwardedHeader::XForwarded, "10.9.9.9", &spoofed), Some(expected));
        assert_eq!(look(ForwardedHeader::XForwarded, "::ffff:10.0.0.1", &spoofed), Some(expected));
        let silent = Forwarded { client: "10.0.0.1".parse().unwrap(), is_https: None };
        assert_eq!(look(ForwardedHeader::XForwarded, "10.0.0.1", &[]), Some(silent));
        // A proxy passes on what it does not set: only the header that it sets counts.
        assert_eq!(look(ForwardedHeader::Forwarded, "10.0.0.1", &spoofed), Some(silent));
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        for (values, expected) in [
            (&["6.6.6.6, 1.2.3.4"][..], "1.2.3.4"),
            (&["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            (&["6.6.6.6", "1.2.3.4", "10.0.0.2,10.0.0.3"], "1.2.3.4"),
            (&["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
            (&["1.2.3.4, unknown"], "10.0.0.1"),
            (&["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
            (&["1.2.3.4:5678"], "1.2.3.4"),
            (&["[2001:db9::1]:5678"], "2001:db9::1"),
            (&["::ffff:1.2.3.4"], "1.2.3.4"),
            (&[""], "10.0.0.1"),
        ] {
            assert_eq!(client(ForwardedHeader::XForwarded, "x-forwarded-for", values), expected, "{values:?}");
        }
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_says() {
        for (values, expected) in [
            (&["for=6.6.6.6, For=\"1.2.3.4:80\";proto=https"][..], "1.2.3.4"),
            (&["for=\"[2001:db9::1]\""], "2001:db9::1"),
            (&["for=1.2.3.4, for=10.0.0.2;by=10.0.0.1"], "1.2.3.4"),
            (&["for=1.2.3.4, for=_hidden"], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
        ] {
            assert_eq!(client(ForwardedHeader::Forwarded, "forwarded", values), expected, "{values:?}");
        }
        let said = look(ForwardedHeader::Forwarded, "::1", &[("forwarded", "for=1.2.3.4;proto=HTTPS")]).unwrap();
        assert_eq!(said.is_https, Some(true));
    }

    #[test]
    fn networks_and_single_addresses_are_understood() {
        for good in ["10.0.0.0/8", "10.0.0.1", "::1", " fd00::/8 "] {
            assert!(parse_network(good).is_some(), "{good}");
        }
        for bad in ["", "10.0.0.0/33", "proxy", "10.0.0"] {
            assert!(parse_network(bad).is_none(), "{bad}");
        }
    }
}
