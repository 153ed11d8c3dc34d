"""Which URLs of a shared Redis there are, and that complaints never tell the password."""

import pytest

from router.shared.urls import Target, parse

PASSWORD = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "redis://cache",
        "redis://cache:7000",
        "redis://cache:7000/3",
        "redis://user:hunter2@cache:7000/3",
        "redis://:hunter2@cache",
        "redis://[::1]:7000",
        "redis://cache?socket_keepalive=yes",
        "rediss://user:hunter2@cache:7000/3?ssl_ca_certs=/ca.pem",
        "unix:///run/redis.sock",
        "unix:///run/redis.sock?db=2",
        "unix://user:hunter2@/run/redis.sock",
    ],
)
def test_a_single_servers_url_is_the_drivers(url: str) -> None:
    assert parse(url) == Target("", url)


def test_schemes_may_be_written_in_capitals() -> None:
    assert parse("REDIS+Cluster://cache").kind == "cluster"


@pytest.mark.parametrize(
    ("url", "of_the_driver"),
    [
        ("redis+cluster://cache", "redis://cache"),
        ("redis+cluster://user:hunter2@cache:7000", "redis://user:hunter2@cache:7000"),
        (
            "rediss+cluster://cache:7000?ssl_cert_reqs=none",
            "rediss://cache:7000?ssl_cert_reqs=none",
        ),
        ("redis+cluster://[::1]:7000", "redis://[::1]:7000"),
    ],
)
def test_a_clusters_url_is_the_drivers_but_for_its_kind(url: str, of_the_driver: str) -> None:
    assert parse(url) == Target("cluster", of_the_driver)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (
            "redis+sentinel://watch/mymaster",
            Target("sentinel", "redis://host/", "mymaster", (("watch", 26379),)),
        ),
        (
            "redis+sentinel://one:1,two,[::1]:3/mymaster/5",
            Target(
                "sentinel",
                "redis://host/5",
                "mymaster",
                (("one", 1), ("two", 26379), ("::1", 3)),
            ),
        ),
        (
            "rediss+sentinel://user:hunter2@one:1,two:2/m/5?ssl_cert_reqs=none",
            Target(
                "sentinel",
                "rediss://user:hunter2@host/5?ssl_cert_reqs=none",
                "m",
                (("one", 1), ("two", 2)),
            ),
        ),
    ],
)
def test_a_sentinels_url_names_all_who_know_the_master(url: str, target: Target) -> None:
    assert parse(url) == target


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "must begin with one of redis://, rediss://, unix://, redis\\+cluster://"),
        ("cache:6379", "must begin with one of"),
        ("http://user:hunter2@cache", "must begin with one of"),
        ("unix+cluster://user:hunter2@/run/redis.sock", "must begin with one of"),
        ("redis+other://user:hunter2@cache", "must begin with one of"),
        ("unix://", "must be unix:///path"),
        ("redis://", "names no host"),
        ("redis://user:hunter2@/3", "names no host"),
        ("redis+cluster://user:hunter2@:7000", "names no host"),
        ("redis+sentinel://user:hunter2@/mymaster", "names no host"),
        ("redis+sentinel://user:hunter2@one,/mymaster", "names no host"),
        ("redis+sentinel://user:hunter2@one", "must name the master"),
        ("redis+sentinel://user:hunter2@one/", "must name the master"),
        ("redis://user:hunter2@cache:port", "cannot be read"),
        ("redis://user:hunter2@cache:65536", "cannot be read"),
        ("redis+sentinel://user:hunter2@one:1,two:x/mymaster", "cannot be read"),
        ("redis://user:hunter2@[::1", "cannot be read"),
    ],
)
def test_what_is_no_such_url_is_refused_without_telling_it(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        parse(url)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hunter2/x@cache",
        "redis://user:hunter2?x@cache",
        "redis://user:hunter2#x@cache",
        "redis+sentinel://user:hunter2/x@cache/mymaster",
        "redis://user:hunter2\u2100@cache",
    ],
)
def test_nor_is_a_password_told_that_should_have_been_escaped(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse(url)
    assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize("url", ["redis+cluster://one:1,two:2", "redis://one:1,two:2"])
def test_only_sentinels_may_be_several(url: str) -> None:
    with pytest.raises(ValueError, match="names several servers"):
        parse(url)


def test_a_database_is_no_master() -> None:
    with pytest.raises(ValueError, match="must name the master"):
        parse("redis+sentinel://one//5")
