"""Going on elsewhere with a stream that the client has some of: what is prepared for it, and whether it can be."""

from router.errors import RESUME_FAILED, RouterError
from router.journey import Journey
from router.proxy.resume import continuation, resumable, shows_ids, wants_usage
from router.proxy.transcript import Transcript
from router.report import Reporter
from router.upstream.headers import RESUME

_MOST = 5
"""Workers that may die over one answer, and another be asked."""


class Resumption:
    """Keeps transcripts of streams, and has workers go on with them. `usually`: unless a request says otherwise."""

    def __init__(self, reporter: Reporter, *, usually: bool) -> None:
        self._reporter = reporter
        self.usually = usually

    def transcript(self, journey: Journey) -> Transcript | None:
        """Where a stream is to be written down; None: it will not be continued."""
        wish = journey.incoming.by_name.get(RESUME)
        wanted = self.usually if wish is None else wish.strip().lower() == b"on"
        if not wanted:
            return None
        asked = journey.asked or resumable(journey.incoming.endpoint.name, journey.incoming.body)
        if isinstance(asked, str):
            journey.unresumable = asked
            return None
        journey.asked, journey.body = asked, asked.body
        return Transcript(shows_ids=shows_ids(asked))

    def complete(self, journey: Journey) -> bool:
        """Write the answer's last events, where the client has all of its tokens; False: some are missing."""
        relay, asked = journey.relay, journey.asked
        if relay is None or relay.transcript is None or asked is None:
            return False
        transcript = relay.transcript
        if not transcript.finished and continuation(asked, transcript) is not None:
            return False
        self._reporter.resumed("completed")
        journey.client.write(transcript.ending(journey.model, usage=wants_usage(asked)))
        journey.client.finish([])
        return True

    def go_on(self, journey: Journey, error: RouterError, *, others: bool) -> RouterError | None:
        """Prepare the journey for another worker; the error that it ends with where there is no way. `others`: there
        are some.
        """
        relay, asked = journey.relay, journey.asked
        if relay is None or relay.transcript is None or asked is None:
            why = journey.unresumable
            if error.code == RESUME_FAILED:
                self._reporter.resumed("impossible")
            return _unresumed(error, why)
        transcript = relay.transcript
        obstacle = transcript.obstacle() or _obstacle(journey, error, others=others)
        if obstacle:
            self._reporter.resumed("impossible")
            return _unresumed(error, obstacle)
        journey.body = continuation(asked, transcript) or b""
        transcript.go_on()
        journey.resumed += 1
        self._reporter.resumed("resumed")
        return None


def _obstacle(journey: Journey, error: RouterError, *, others: bool) -> str:
    """Why nobody can be asked to go on."""
    if error.code == RESUME_FAILED:
        return "another worker does not go on with it"
    if journey.resumed >= _MOST:
        return f"{_MOST + 1} workers have broken it off"
    return "" if others else "there is no other worker"


def _unresumed(error: RouterError, why: str) -> RouterError:
    """The error, and why the answer could not go on elsewhere."""
    if not why:
        return error
    message = f"{error.message} The answer could not be resumed: {why}."
    return RouterError(error.status, error.code, message, source=error.source)
