"""What is asked of DNS, and what its answers mean."""

from math import inf

import pytest

from router.discovery.answers import Answer, NoRecordsError, Service
from router.discovery.questions import Question
from router.fleet.target import Target
from router.upstream.pool import Address


@pytest.mark.parametrize(
    ("url", "address", "services"),
    [
        ("http://vllm.svc:8000", Address("vllm.svc", 8000, False, b""), False),
        ("http://vllm.svc/base/", Address("vllm.svc", 80, False, b"/base"), False),
        ("https://vllm.svc", Address("vllm.svc", 443, True, b""), False),
        ("srv://_http._tcp.vllm.svc/x", Address("_http._tcp.vllm.svc", 80, False, b"/x"), True),
        ("srvs://_http._tcp.vllm.svc", Address("_http._tcp.vllm.svc", 443, True, b""), True),
    ],
)
def test_questions(url: str, address: Address, services: bool) -> None:
    assert Question.parse(url) == Question(address, services)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("vllm.svc:8000", "write `http://name:port`"),
        ("ftp://vllm.svc", "write `http://name:port`"),
        ("http://", "write `http://name:port`"),
        ("http://:80", "no host"),
        ("http://a b", "printable ASCII"),
        ("http://ä", "printable ASCII"),
        ("http://a:0", "no worker listens on port 0"),
        ("http://a:99999", "Port out of range"),
        ("http://a?b", "query"),
        ("srv://_http._tcp.a:80", "the records say the ports"),
        ("http://" + "a" * 64, "is not a host name"),
    ],
)
def test_what_is_none(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Question.parse(url)


def urls(answer: Answer) -> list[str]:
    return [target.url for target in answer.targets]


def test_a_worker_at_each_address() -> None:
    answer = Question.parse("http://v:8000/x").of_addresses(["10.0.0.2", "10.0.0.1", "10.0.0.2"])
    assert urls(answer) == ["http://10.0.0.1:8000/x", "http://10.0.0.2:8000/x"]
    assert (answer.ttl_s, answer.odd) == (inf, None)


def test_addresses_of_ipv6_have_brackets() -> None:
    answer = Question.parse("http://v").of_addresses(["fd00::2"], 5.0)
    assert urls(answer) == ["http://[fd00::2]:80"]
    assert answer.ttl_s == 5.0


def test_certificates_are_for_the_name() -> None:
    answer = Question.parse("https://v.test").of_addresses(["10.0.0.1"])
    assert answer.targets == (Target(url="https://10.0.0.1:443", server_name="v.test"),)


def test_records_name_hosts_and_ports() -> None:
    services = [Service(0, "b.test", 8001), Service(0, "a.test", 8000), Service(0, "a.test", 8000)]
    answer = Question.parse("srvs://_http._tcp.v/x").of_services(services, 30.0)
    assert answer.targets == (
        Target(url="https://a.test:8000/x"),
        Target(url="https://b.test:8001/x"),
    )
    assert answer.ttl_s == 30.0


def test_only_the_lowest_priority_counts() -> None:
    services = [Service(20, "a", 1), Service(10, "b", 1), Service(10, "c", 1)]
    answer = Question.parse("srv://v").of_services(services, inf)
    assert urls(answer) == ["http://b:1", "http://c:1"]


def test_a_name_can_say_that_there_is_no_service() -> None:
    with pytest.raises(NoRecordsError, match="no such service"):
        Question.parse("srv://v").of_services([Service(0, ".", 0)], inf)


@pytest.mark.parametrize(
    "odd", [Service(0, "a b", 1), Service(0, "a\\032b", 1), Service(0, "b", 0)]
)
def test_records_that_name_no_worker_are_left_out_and_said(odd: Service) -> None:
    answer = Question.parse("srv://v").of_services([Service(0, "a", 1), odd], inf)
    assert urls(answer) == ["http://a:1"]
    assert answer.odd
    assert repr(odd.host) in answer.odd
