//! Which addresses may be reached for somebody who may name any host.
//!
//! Whoever can have us ask an address of their choice can reach what only we can reach: a service on
//! this machine, the network behind it, the metadata of a cloud. So only addresses of the public
//! internet are reached, and of private ones those that the operator's configuration names. The
//! check is of addresses, after names were resolved; link-local ones are never reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What may be reached.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    private: Vec<IpNet>,
}

impl Reach {
    /// Public addresses only.
    pub fn public() -> Self {
        Self::default()
    }

    /// Public addresses, and those of these networks.
    pub fn with_private(networks: &[IpNet]) -> Self {
        let private = networks.to_vec();
        Self { private }
    }

    /// Everything but what nothing opens: for what an operator's own file names, and for databases,
    /// which are seldom on a public address.
    pub fn anywhere() -> Self {
        let all = [
            IpNet::from(ipnet::Ipv4Net::default()),
            IpNet::from(ipnet::Ipv6Net::default()),
        ];
        Self::with_private(&all)
    }

    /// Whether an address may be reached.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = plain(address);
        if never(address) {
            return false;
        }
        is_public(address)
            || self
                .private
                .iter()
                .any(|network| network.contains(&address))
    }
}

/// An address that stands for another one, as that one.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else {
        return address;
    };
    if let Some(four) = six.to_ipv4_mapped() {
        return IpAddr::V4(four);
    }
    let [a, b, c, d, e, f, g, h] = six.segments();
    let four = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        // ::a.b.c.d, but for :: and ::1.
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => four(g, h),
        // NAT64, by the well-known prefix and by the local one.
        [0x64, 0xff9b, 0, 0, 0, 0] | [0x64, 0xff9b, 1, _, _, _] => four(g, h),
        // 6to4.
        [0x2002, high, low, ..] => four(high, low),
        _ => address,
    }
}

/// Addresses that no configuration opens: link-local (metadata of clouds), none at all, many at
/// once.
fn never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            four.is_link_local()
                || four.octets()[0] == 0
                || four.is_multicast()
                || four.is_broadcast()
        }
        IpAddr::V6(six) => {
            let link_local = six.segments()[0] & 0xffc0 == 0xfe80;
            // The same metadata by another name.
            let metadata = six == Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254);
            link_local || metadata || six.is_unspecified() || six.is_multicast()
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            let special = match (a, b, c) {
                // Shared addresses of providers, benchmarks, protocols.
                (100, 64..=127, _) | (198, 18 | 19, _) | (192, 0, 0) => true,
                // 6to4's relays, and what is reserved.
                (192, 88, 99) | (240..=255, _, _) => true,
                _ => false,
            };
            !(four.is_private() || four.is_loopback() || four.is_documentation() || special)
        }
        IpAddr::V6(six) => {
            let [a, b, ..] = six.segments();
            // All that is given out to the public, without Teredo, benchmarks and documentation.
            let global = a & 0xe000 == 0x2000;
            let special = a == 0x2001 && (b < 0x200 || b == 0xdb8) || a == 0x3fff && b < 0x1000;
            global && !special
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn only_what_is_public_or_configured_is_reached() {
        let networks = ["10.1.0.0/16", "127.0.0.0/8", "fd12::/16", "169.254.0.0/16", "0.0.0.0/0"];
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let (public, some, all) = (Reach::public(), Reach::with_private(&networks[..4]), Reach::with_private(&networks));
        //  address                        public  some   all of IPv4
        for (address, by_public, by_some, by_all) in [
            ("93.184.216.34",              true,   true,  true),
            ("172.32.0.1",                 true,   true,  true),
            ("2606:2800:220:1::1",         true,   true,  true),
            ("10.1.2.3",                   false,  true,  true),
            ("10.2.2.3",                   false,  false, true),
            ("127.0.0.1",                  false,  true,  true),
            ("127.9.9.9",                  false,  true,  true),
            ("192.168.0.1",                false,  false, true),
            ("172.16.0.1",                 false,  false, true),
            ("100.64.0.1",                 false,  false, true),
            ("198.18.0.1",                 false,  false, true),
            ("240.0.0.1",                  false,  false, true),
            ("192.0.2.1",                  false,  false, true),
            ("169.254.169.254",            false,  false, false),
            ("0.0.0.0",                    false,  false, false),
            ("0.1.2.3",                    false,  false, false),
            ("224.0.0.1",                  false,  false, false),
            ("255.255.255.255",            false,  false, false),
            ("::1",                        false,  false, false),
            ("::",                         false,  false, false),
            ("fe80::1",                    false,  false, false),
            ("fd00:ec2::254",              false,  false, false),
            ("fd12::1",                    false,  true,  true),
            ("fc00::1",                    false,  false, false),
            ("fec0::1",                    false,  false, false),
            ("ff02::1",                    false,  false, false),
            ("2001:db8::1",                false,  false, false),
            ("2001::1",                    false,  false, false),
            ("::ffff:127.0.0.1",           false,  true,  true),
            ("::ffff:169.254.169.254",     false,  false, false),
            ("::ffff:93.184.216.34",       true,   true,  true),
            ("::127.0.0.1",                false,  true,  true),
            ("64:ff9b::a9fe:a9fe",         false,  false, false),
            ("64:ff9b::10.2.0.1",          false,  false, true),
            ("64:ff9b:1::10.2.0.1",        false,  false, true),
            ("2002:7f00:1::",              false,  true,  true),
            ("2002:a9fe:a9fe::1",          false,  false, false),
        ] {
            let parsed: IpAddr = address.parse().unwrap();
            let told = (public.permits(parsed), some.permits(parsed), all.permits(parsed));
            assert_eq!(told, (by_public, by_some, by_all), "{address}");
        }
    }
}
