//! Where webhooks may go (PROTOCOL.md S-SSRF). Pure.
//!
//! A webhook makes this server send requests into its own network, to an address that a client chose. So it goes to
//! public addresses over TLS, unless the operator says otherwise. Names are checked when they are resolved, for each
//! connection, and the connection is made to the address that was checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Which webhooks a server delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct WebhookPolicy {
    /// `http` to this machine's loopback addresses (S-SSRF-1). Whoever can reach a server that listens on loopback
    /// only can reach these anyway.
    pub(crate) loopback: bool,
    /// Private addresses, loopback among them, over `http` too. Link-local addresses, where clouds keep the
    /// credentials of their machines, stay refused.
    pub(crate) private: bool,
}

impl WebhookPolicy {
    /// Checks an address as it was configured, and again before each delivery.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(super) fn check(self, text: &str) -> Result<Url, String> {
        // The parser turns every spelling of an IPv4 address - octal, hexadecimal, one number - into dotted decimals.
        let url = Url::parse(text).map_err(|error| format!("the webhook URL is no URL: {error}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the webhook URL has credentials; the signature shows who is calling".into());
        }
        let host = url.host_str().unwrap_or_default();
        let refused = |why: &str| Err(format!("webhooks may not reach {host}: {why}"));
        let address = literal(host);
        match url.scheme() {
            "http" if self.private => {}
            "http" => {
                let is_local = match address {
                    Some(address) => matches!(address, IpAddr::V4(v4) if v4.is_loopback()),
                    None => is_localhost(host),
                };
                if !is_local {
                    return refused("https is required");
                }
                if !self.loopback {
                    return refused("it is this machine");
                }
                return Ok(url);
            }
            "https" => {}
            other => return Err(format!("the webhook URL begins with {other}:, not with https:")),
        }
        match address {
            Some(address) if !self.allows(address) => refused("the address is not a public one"),
            None if is_localhost(host) && !self.private => refused("it is this machine"),
            _ => Ok(url),
        }
    }

    /// Whether a connection may go to what `host` resolved to (S-SSRF-4).
    pub(super) fn allows_resolved(self, host: &str, address: IpAddr) -> bool {
        self.allows(address) || (self.loopback && is_localhost(host) && address.is_loopback())
    }

    fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || (self.private && is_private(address))
    }
}

fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || is_shared(v4),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local(),
    }
}

/// 100.64.0.0/10, between providers and their customers.
fn is_shared(v4: Ipv4Addr) -> bool {
    v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(is_private(address)
                || v4.is_link_local()
                || v4.is_documentation()
                || v4.is_multicast()
                // "This network", and what is reserved for later, broadcast included.
                || a == 0
                || a >= 240
                // Protocol assignments, and benchmarks of networks.
                || (a, b, c) == (192, 0, 0)
                || (a == 198 && b & 0xfe == 18))
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            // Global unicast is 2000::/3. Of it, 2001::/23 is protocol assignments (Teredo among them), 2001:db8::/32
            // and 3fff::/20 documentation, and 2002::/16 carries an IPv4 address, which could be any.
            first & 0xe000 == 0x2000
                && !(first == 0x2001 && second < 0x0200)
                && !(first == 0x2001 && second == 0x0db8)
                && first != 0x2002
                && !is_v6_documentation(v6)
        }
    }
}

fn is_v6_documentation(v6: Ipv6Addr) -> bool {
    v6.segments()[0] == 0x3fff && v6.segments()[1] < 0x1000
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: WebhookPolicy = WebhookPolicy { loopback: false, private: false };
    const DEVELOPMENT: WebhookPolicy = WebhookPolicy { loopback: true, private: false };
    const PRIVATE: WebhookPolicy = WebhookPolicy { loopback: false, private: true };

    #[test]
    fn s_ssrf_1_https_is_required_but_for_loopback_in_development() {
        for (url, public, development) in [
            ("https://example.com/hook", true, true),
            ("https://example.com:8443/hook?x=1", true, true),
            ("http://example.com/hook", false, false),
            ("http://localhost:9000/hook", false, true),
            ("http://LOCALHOST./hook", false, true),
            ("http://127.0.0.1:9000/hook", false, true),
            ("http://127.8.9.1/hook", false, true),
            ("http://8.8.8.8/hook", false, false),
            ("ftp://example.com/", false, false),
            ("file:///etc/passwd", false, false),
            ("/hook", false, false),
            ("https://user:secret@example.com/", false, false),
            ("https://user@example.com/", false, false),
        ] {
            assert_eq!(PUBLIC.check(url).is_ok(), public, "{url}");
            assert_eq!(DEVELOPMENT.check(url).is_ok(), development, "{url}");
        }
    }

    /// Addresses that no webhook reaches unless it is allowed to; whether `private` allows them.
    const NOT_PUBLIC: [(&str, bool); 44] = [
        ("10.0.0.1", true),
        ("10.255.255.255", true),
        ("172.16.0.1", true),
        ("172.31.255.255", true),
        ("192.168.1.1", true),
        ("127.0.0.1", true),
        ("127.255.0.1", true),
        ("100.64.0.1", true),
        ("169.254.169.254", false),
        ("169.254.0.1", false),
        ("0.0.0.0", false),
        ("0.1.2.3", false),
        ("192.0.0.170", false),
        ("192.0.2.1", false),
        ("198.18.0.1", false),
        ("198.19.255.255", false),
        ("198.51.100.1", false),
        ("203.0.113.1", false),
        ("224.0.0.1", false),
        ("240.0.0.1", false),
        ("255.255.255.255", false),
        // Other spellings of the same.
        ("0x7f.1", true),
        ("2130706433", true),
        ("0177.0.0.1", true),
        ("127.1", true),
        ("0xa9fea9fe", false),
        ("169.254.43518", false),
        ("[::1]", true),
        ("[fc00::1]", true),
        ("[fd12:3456::1]", true),
        ("[::]", false),
        ("[fe80::1]", false),
        ("[fec0::1]", false),
        ("[ff02::1]", false),
        ("[::ffff:10.0.0.1]", true),
        ("[::ffff:127.0.0.1]", true),
        ("[::ffff:169.254.169.254]", false),
        ("[::127.0.0.1]", false),
        ("[64:ff9b::a00:1]", false),
        ("[2001::1]", false),
        ("[2001:db8::1]", false),
        ("[2002:a00:1::1]", false),
        ("[3fff::1]", false),
        ("[100::1]", false),
    ];

    #[test]
    fn s_ssrf_2_and_3_addresses_that_are_not_public_are_rejected_however_they_are_spelled() {
        for (host, private) in NOT_PUBLIC {
            let url = format!("https://{host}/hook");
            assert!(PUBLIC.check(&url).is_err(), "{url}");
            assert!(DEVELOPMENT.check(&url).is_err(), "{url}");
            assert_eq!(PRIVATE.check(&url).is_ok(), private, "{url}");
            assert_eq!(PRIVATE.check(&format!("http://{host}/hook")).is_ok(), private, "http {host}");
        }
        for host in ["localhost", "localhost.", "api.localhost", "LocalHost"] {
            assert!(DEVELOPMENT.check(&format!("https://{host}/")).is_err(), "{host}");
        }
        for host in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.0.1.1", "[2606:4700::1]"]
        {
            assert!(PUBLIC.check(&format!("https://{host}/")).is_ok(), "{host}");
        }
    }

    #[test]
    fn s_ssrf_4_what_a_name_resolves_to_is_checked_like_an_address() {
        for (host, private) in NOT_PUBLIC {
            // The other spellings are not for the resolver.
            let Some(address) = literal(host) else { continue };
            assert!(!PUBLIC.allows_resolved("example.com", address), "{address}");
            assert!(!DEVELOPMENT.allows_resolved("example.com", address), "{address}");
            assert_eq!(PRIVATE.allows_resolved("example.com", address), private, "{address}");
        }
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert!(DEVELOPMENT.allows_resolved("localhost", loopback));
        assert!(!PUBLIC.allows_resolved("localhost", loopback));
        assert!(!DEVELOPMENT.allows_resolved("localhost", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))));
        assert!(PUBLIC.allows_resolved("example.com", IpAddr::V4(Ipv4Addr::new(93, 184, 215, 14))));
    }
}
