"""Where a caller is, as doors count and block it."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network


@lru_cache(65_536)
def canonical(address: str) -> str:
    """As `ipaddress` writes it, without a zone; "" of what is no address.

    >>> canonical("2001:0DB8::1"), canonical("::ffff:192.0.2.7"), canonical("fe80::1%eth0"), canonical("unix")
    ('2001:db8::1', '192.0.2.7', 'fe80::1', '')
    """
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    return str(getattr(ip, "ipv4_mapped", None) or ip)


@lru_cache(65_536)
def source_of(address: str) -> str:
    """An IPv4 address itself, of IPv6 its /64, which one customer has whole; "" of what is no address.

    >>> source_of("192.0.2.7"), source_of("2001:db8:1:2::3"), source_of("::ffff:192.0.2.7"), source_of("unix")
    ('192.0.2.7', '2001:db8:1:2::/64', '192.0.2.7', '')
    """
    plain = canonical(address)
    if ":" not in plain:
        return plain
    return str(IPv6Network((plain, 64), strict=False))


def is_within(source: str, networks: "tuple[Network, ...]") -> bool:
    """
    >>> is_within("10.1.2.3", (ip_network("10.0.0.0/8"),)), is_within("2001:db8::/64", (ip_network("10.0.0.0/8"),))
    (True, False)
    """
    ip = ip_network(source).network_address
    return any(ip in network for network in networks if network.version == ip.version)
