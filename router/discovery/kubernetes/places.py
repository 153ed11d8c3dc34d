"""How a place in the cluster becomes a worker."""

from dataclasses import dataclass, field
from ipaddress import ip_address

from router.discovery.kubernetes.annotations import Notes, read
from router.discovery.kubernetes.objects import Meta
from router.fleet.target import Target, worker_url


@dataclass(slots=True)
class Found:
    """`wrong`: what is not as it should be, by where it is; it is said once."""

    targets: list[Target] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    def notes_of(self, pod: Meta) -> Notes:
        """What the pod's annotations say."""
        notes, wrong = read(pod.annotations)
        self.wrong |= {
            f"pod {pod.full_name}: annotation {key}": text for key, text in wrong.items()
        }
        return notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a worker listens as the cluster says; `leaving`: it will be gone. `where`: what it is called if it cannot be."""

    host: str
    port: int
    name: str = ""
    where: str = ""
    scheme: str = "http"
    leaving: bool = False
    server_name: str = ""

    def add(self, found: Found, notes: Notes) -> None:
        """The worker, as its notes have it."""
        scheme = notes.scheme or self.scheme
        host = f"[{self.host}]" if ":" in self.host else self.host
        try:
            url = worker_url(f"{scheme}://{host}:{notes.port or self.port}{notes.path}")
        except ValueError as error:
            found.wrong[self.where or self.name] = f"it is left out: {error}"
            return
        found.targets.append(
            Target(
                url=url,
                name=self.name,
                models=notes.models,
                role=notes.role,
                drained=notes.drain,
                leaving=self.leaving,
                events=notes.events,
                server_name=(notes.server_name or self.server_name) if scheme == "https" else "",
            )
        )


def family(address: str) -> int | None:
    """4 or 6; None: it is no IP address."""
    try:
        return ip_address(address).version
    except ValueError:
        return None
