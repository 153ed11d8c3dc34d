"""Who may ask: clients' keys and quotas."""

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, Field, field_validator

from router.access.keys import digest_of
from router.access.tenants_file import TenantName
from router.setting_types import ReadableFile, unexpanded

_SHAPE = (
    "must be `tenant=key`, several with commas; or a table of keys (or lists of keys) by tenant"
)


class AccessSettings(BaseModel):
    """Who may ask: clients' keys and quotas."""

    tenants_file: ReadableFile | None = Field(
        default=None,
        description="YAML file of tenants: the hashes of their keys, their models and quotas; read anew when it "
        "changes. With it, or with `api_keys`, clients need a key.",
    )
    api_keys: dict[TenantName, tuple[bytes, ...]] | None = Field(
        default=None,
        repr=False,
        description="Clients' keys, as `tenant=key,other=key`: for tenants without quotas, or further keys of those in "
        "the file. Best in the environment.",
    )

    @field_validator("api_keys", mode="before")
    @classmethod
    def _hashed(cls, value: object) -> object:
        """Only the keys' hashes are kept. Nothing said about them repeats one."""
        found: dict[str, tuple[bytes, ...]] = {}
        for tenant, key in _pairs(value):
            if not (tenant and key and key.isascii() and key.isprintable()) or " " in key:
                raise ValueError(f"{_SHAPE}. Keys are printable ASCII without spaces")
            if unexpanded(key):
                raise ValueError(f"{key} stands for a key, and nobody puts that in here")
            found[tenant] = (*found.get(tenant, ()), digest_of(key.encode("ascii")))
        if not found:
            raise ValueError("is empty: leave it out to serve everybody")
        return found


def _pairs(value: object) -> Iterator[tuple[str, str]]:
    """Tenants and their keys."""
    if isinstance(value, str):
        for part in filter(None, map(str.strip, value.split(","))):
            tenant, _, key = part.partition("=")
            yield tenant.strip(), key.strip()
    elif isinstance(value, Mapping):
        for tenant, keys in value.items():
            for key in keys if isinstance(keys, list | tuple) else (keys,):
                if not isinstance(tenant, str) or not isinstance(key, str):
                    raise ValueError(_SHAPE)  # noqa: TRY004 - pydantic's own would show the value
                yield tenant, key.strip()
    elif value is not None:
        raise ValueError(_SHAPE)
