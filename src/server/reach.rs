//! What an operator should know about an address that others can reach: which addresses they can use, and that
//! what travels there can be read.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What to tell about this listener, in sentences; nothing about one that only this machine reaches.
pub fn about(listener: SocketAddr) -> Vec<String> {
    let ours = || if_addrs::get_if_addrs().unwrap_or_default().into_iter().map(|interface| interface.ip());
    about_among(listener, ours)
}

fn about_among<I: Iterator<Item = IpAddr>>(listener: SocketAddr, ours: impl Fn() -> I) -> Vec<String> {
    let ip = listener.ip().to_canonical();
    if ip.is_loopback() {
        return Vec::new();
    }
    let mut told = Vec::new();
    if ip.is_unspecified() {
        // A socket of all IPv6 addresses takes IPv4 too.
        let of_family = |ours: &IpAddr| listener.is_ipv6() || ours.is_ipv4();
        let mut usable: Vec<IpAddr> = ours().filter(of_family).filter(|ip| others_can_use(*ip)).collect();
        usable.sort();
        usable.dedup();
        let usable: Vec<String> =
            usable.into_iter().map(|ip| SocketAddr::new(ip, listener.port()).to_string()).collect();
        told.push(if usable.is_empty() {
            format!("{listener} means all addresses of this machine, and it has none that others can use")
        } else {
            format!("{listener} means all addresses of this machine; others can use {}", usable.join(", "))
        });
    }
    told.push(format!(
        "what travels to {listener} is not encrypted: passwords and messages can be read on the way; \
         docs/operating.md tells how to let others in"
    ));
    told
}

/// Whether somebody on another machine can use it: not a loopback, and not one that needs an interface's name.
fn others_can_use(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip == Ipv4Addr::BROADCAST,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !link_local
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(listener: &str) -> Vec<String> {
        let ours = ["127.0.0.1", "::1", "fe80::1", "169.254.1.1", "192.0.2.7", "2001:db8::7", "192.0.2.7"];
        about_among(listener.parse().unwrap(), || ours.iter().map(|ip| ip.parse().unwrap()))
    }

    #[test]
    fn the_addresses_that_others_can_use_are_told() {
        assert!(
            told("0.0.0.0:7878")[0].ends_with("others can use 192.0.2.7:7878"),
            "{:?}",
            told("0.0.0.0:7878")
        );
        assert!(told("[::]:7878")[0].ends_with("others can use 192.0.2.7:7878, [2001:db8::7]:7878"));
        assert!(told("0.0.0.0:1")[1].contains("not encrypted"));
        let alone = about_among("0.0.0.0:1".parse().unwrap(), || ["127.0.0.1".parse().unwrap()].into_iter());
        assert!(alone[0].ends_with("none that others can use"), "{alone:?}");
    }

    #[test]
    fn one_address_is_told_to_be_readable_and_this_machines_own_is_not() {
        assert_eq!(told("192.0.2.7:7878").len(), 1);
        for own in ["127.0.0.1:7878", "127.1.2.3:1", "[::1]:7878", "[::ffff:127.0.0.1]:7878"] {
            assert_eq!(told(own), Vec::<String>::new(), "{own}");
        }
    }
}
