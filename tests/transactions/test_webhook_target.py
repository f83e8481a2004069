"""What a merchant may name as a target, and what a name may turn out to be."""

import asyncio
import socket
import threading

import pytest

from switch.domain.refusals import Invalid
from switch.merchants.webhook_target import (
    AddressRefused,
    CheckedResolver,
    TargetRules,
    check_address,
    checked_url,
    system_lookup,
)

RULES = TargetRules()


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com/",
        "https://hooks.example.com:8443/a/b?c=d&e=%20",
        "https://xn--fiqs8s.example/",
        "https://93.184.215.14/x",
        "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
    ],
)
def test_a_good_url(url: str) -> None:
    assert checked_url(url, RULES) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://user@hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://hooks.example.com\\@127.0.0.1/",
        "https://hooks.example.com#@127.0.0.1/",
        "https://hooks.example.com/a#b",
        "https://hooks.example.com /",
        "https://hooks.example.com/\r\nx: y",
        "https://hooks.example.com/\n",
        "https://hooks.example.com:22/",
        "https://hooks.example.com:0/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com:/",
        "https:///path",
        "https://-x.example/",
        "https://例え.example/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://hooks.0x7f000001/",
        "https://2130706433/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://hooks.example.com/" + "a" * 2048,
    ],
)
def test_a_bad_url(url: str) -> None:
    with pytest.raises(Invalid, match="url"):
        checked_url(url, RULES)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
        ),
        *("192.0.2.1", "198.18.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.0.0.1"),
        *("::", "::1", "::ffff:10.0.0.1", "::ffff:93.184.215.14", "::7f00:1", "fe80::1", "fe80::1%eth0", "fc00::1"),
        *("fd12:3456::1", "fec0::1", "ff02::1", "2001:db8::1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::1"),
        *("2001:0:a00:1::1", "2606:2800::1%eth0", "not an address"),
    ],
)
def test_an_address_that_is_not_public(address: str) -> None:
    with pytest.raises(AddressRefused):
        check_address(address, RULES)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"])
def test_an_address_that_is(address: str) -> None:
    check_address(address, RULES)


async def test_one_private_address_among_others_refuses_the_name() -> None:
    async def lookup(host: str, port: int) -> list[str]:
        return ["93.184.215.14", "10.0.0.1"]

    with pytest.raises(AddressRefused):
        await CheckedResolver(RULES, lookup).resolve("hooks.example.com", 443)


async def test_loopback_is_let_through_for_tests_and_nothing_else_with_it() -> None:
    rules = TargetRules(allow_loopback=True)
    assert checked_url("http://127.0.0.1:8080/x", rules)
    with pytest.raises(Invalid):
        checked_url("http://10.0.0.1:8080/x", rules)
    with pytest.raises(AddressRefused):
        check_address("::ffff:127.0.0.1", RULES)


async def test_names_that_hang_keep_no_thread_that_others_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's own names are looked up in the loop's usual threads."""
    answered = threading.Event()

    def hangs(*_: object, **__: object) -> list[object]:
        answered.wait(20)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hangs)
    lookups = [asyncio.create_task(system_lookup(f"slow{each}.example", 443)) for each in range(40)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(5):
            assert await asyncio.get_running_loop().run_in_executor(None, lambda: "free") == "free"
    finally:
        answered.set()
        assert await asyncio.gather(*lookups) == [[]] * 40
