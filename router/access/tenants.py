"""Who asks, and whether they may: by keys and quotas that this process knows. Decides at once, without I/O."""

from collections.abc import Callable, Collection, Iterable, Mapping
from hmac import compare_digest
from time import perf_counter

from router.access.keys import CREDENTIALS, digest_of, presented
from router.access.refusals import no_key, wrong_key
from router.access.tenant import Tenant
from router.access.terms import Terms
from router.ids import Headers
from router.telemetry.access import TenantSample
from router.upstream.headers import named_by_connection

_NOT_ONWARD = CREDENTIALS | {b"connection"}
"""`Connection` might name what is put in here, and would take that out again."""


class Tenants:
    """Knows all tenants. `worker_key` is sent to workers in place of what clients sent; `served`: whether
    somebody may serve a model."""

    def __init__(
        self,
        worker_key: str | None = None,
        served: Callable[[str], bool] = bool,
    ) -> None:
        self._tenants: dict[str, Tenant] = {}
        self._present: list[Tenant] = []
        self._by_digest: dict[bytes, tuple[bytes, Tenant]] = {}
        self._served = served
        self._worker: Headers = []
        if worker_key is not None:
            self._worker.append((b"authorization", f"Bearer {worker_key}".encode("ascii")))

    def __repr__(self) -> str:
        return f"<Tenants: {len(self)}>"

    def __len__(self) -> int:
        return len(self._present)

    def all(self) -> Collection[Tenant]:
        """Everybody, and who once was: requests of theirs may be under way, and they may come back."""
        return self._tenants.values()

    def agree(self, terms: Mapping[str, Terms]) -> None:
        """These are the tenants now, by name; who is known goes on with what it has spent."""
        now = perf_counter()
        for name, each in terms.items():
            known = self._tenants.get(name)
            if known is None:
                self._tenants[name] = Tenant(name, each, now, self._served)
            elif known.terms != each:
                known.agree(each, now)
        self._present = [self._tenants[name] for name in terms]
        self._by_digest = {
            digest: (digest, tenant) for tenant in self._present for digest in tenant.terms.keys
        }

    def identify(self, fields: Mapping[bytes, bytes]) -> Tenant:
        """Whose request has these header fields. Raises a `RouterError` when nobody's."""
        bearer = fields.get(b"authorization")
        if bearer is not None and bearer[:7] == b"Bearer " and (found := self._owner(bearer[7:])):
            return found  # as nearly all show it
        shown = False
        for key in presented(fields):
            shown = True
            if found := self._owner(key):
                return found
        raise wrong_key() if shown else no_key()

    def _owner(self, key: bytes) -> Tenant | None:
        digest = digest_of(key)
        known = self._by_digest.get(digest)
        # What a look-up's time tells is of digests, which nobody can choose; the comparison's tells nothing at all.
        return known[1] if known is not None and compare_digest(known[0], digest) else None

    def onward(
        self, headers: Headers, fields: Mapping[bytes, bytes], tenant: Tenant | None
    ) -> Headers:
        """The header fields that go on to a worker; `fields`: the same by name. `tenant` None: a client that need not
        say who it is.
        """
        kept = [field for field in headers if field[0] not in _NOT_ONWARD]
        connection = fields.get(b"connection")
        if connection is not None and (named := named_by_connection(connection)):
            kept = [field for field in kept if field[0] not in named]
        return kept + self._worker if tenant is not None else kept

    def samples(self) -> Iterable[TenantSample]:
        """For metrics."""
        return [
            TenantSample(
                tenant.name,
                tenant.outcomes,
                {"prompt": tenant.prompt_tokens, "completion": tenant.completion_tokens},
                tenant.limited,
            )
            for tenant in self._present
        ]
