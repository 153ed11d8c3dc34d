"""A stream that another worker can go on with, however it comes and wherever it is cut."""

import json
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import LOST
from router.proxy.transcript import DivergedError, Transcript
from tests.unit.proxy.streams import (
    DONE,
    PLAIN,
    PROMPT,
    WITH_SILENT,
    Answer,
    Kind,
    Token,
    event,
    seen,
)

KINDS: list[Kind] = ["chat", "completions"]
TEXTS = st.sampled_from(
    ["a", " b", "", "ü", '"token_ids":[1]', '"finish_reason":"stop"', "\n\n", "data: [DONE]", "\\"]
) | st.text(max_size=5)
TOKENS: st.SearchStrategy[tuple[Token, ...]] = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), TEXTS), min_size=1, max_size=8
).map(tuple)
SPOKEN = TOKENS.map(lambda tokens: tuple((token, text or "x") for token, text in tokens))
CUTS = st.lists(st.floats(0, 1), max_size=8)


def pieces(data: bytes, cuts: list[float]) -> list[bytes]:
    """The reads that bring `data`, cut at these shares of it."""
    places = sorted({0, len(data), *(round(cut * len(data)) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


def given_to_client(transcript: Transcript, *reads: bytes) -> bytes:
    return b"".join(transcript.take(transcript.whole(read)) for read in reads)


def goes_on(
    transcript: Transcript, answer: Answer, name: str = "2", created: int = 1_800_000_000
) -> list[bytes]:
    """What the next engine sends, if it is asked for what `so_far` says."""
    transcript.go_on()
    start = len(transcript.so_far) - len(answer.prompt) if transcript.so_far else 0
    assert transcript.so_far in ([], [*answer.prompt, *answer.ids[:start]])
    return answer.events(ids=True, start=start, name=name, created=created)


class TestUncut:
    @pytest.mark.parametrize("kind", KINDS)
    @given(TOKENS, CUTS)
    def test_however_it_is_read_the_client_sees_a_stream_without_ids(
        self, kind: Kind, tokens: tuple[Token, ...], cuts: list[float]
    ) -> None:
        answer, transcript = Answer(kind, tokens), Transcript(shows_ids=False)
        sent = answer.stream(ids=True)
        assert given_to_client(transcript, *pieces(sent, cuts)) == answer.stream(ids=False)
        assert list(transcript.ids) == answer.ids
        assert list(transcript.prompt_ids) == list(PROMPT)
        assert (transcript.done, transcript.finished, transcript.rest) == (True, True, b"")
        assert transcript.missing_end() is None

    @pytest.mark.parametrize("kind", KINDS)
    @given(TOKENS, CUTS)
    def test_a_client_that_asked_for_them_sees_them(
        self, kind: Kind, tokens: tuple[Token, ...], cuts: list[float]
    ) -> None:
        sent = Answer(kind, tokens).stream(ids=True)
        assert given_to_client(Transcript(shows_ids=True), *pieces(sent, cuts)) == sent

    def test_only_whole_events_are_given(self) -> None:
        transcript = Transcript(shows_ids=False)
        first, second, *_ = Answer().events(ids=True)
        assert transcript.whole(first + second[:-1]) == first
        assert transcript.rest == second[:-1]
        assert transcript.whole(second[-1:]) == second

    def test_an_event_without_end_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("router.proxy.transcript._LONGEST_EVENT", 100)
        transcript = Transcript(shows_ids=False)
        transcript.whole(b"x" * 60)
        with pytest.raises(DivergedError, match="do not end"):
            transcript.whole(b"x" * 60)

    def test_comments_pass(self) -> None:
        transcript = Transcript(shows_ids=False)
        assert given_to_client(transcript, b": ping\n\n", DONE) == b": ping\n\n" + DONE

    @given(st.binary(min_size=1, max_size=40))
    def test_noise_passes_as_it_came(self, noise: bytes) -> None:
        noise = noise.replace(b"\n", b" ") + b"\n\n"
        assert given_to_client(Transcript(shows_ids=False), noise) == noise

    @pytest.mark.parametrize("without", [1, 2, 3])
    def test_one_that_does_not_say_that_it_ends_is_not_whole(self, without: int) -> None:
        transcript = Transcript(shows_ids=False)
        given_to_client(transcript, *Answer().events(ids=True)[:-without])
        error = transcript.missing_end()
        assert error is not None
        assert (error.code, "ended its answer early" in error.message) == (LOST, True)


class TestCut:
    @pytest.mark.parametrize("kind", KINDS)
    @given(SPOKEN, CUTS, st.lists(st.floats(0, 1), min_size=1, max_size=3))
    def test_wherever_it_is_cut_the_client_sees_the_same_bytes(
        self, kind: Kind, tokens: tuple[Token, ...], cuts: list[float], deaths: list[float]
    ) -> None:
        """Also cut within an event, and more than once."""
        answer, transcript = Answer(kind, tokens), Transcript(shows_ids=False)
        got, events, whole = b"", answer.events(ids=True), answer.stream(ids=False)
        for death in deaths:
            stream = b"".join(events)
            stream = stream[: round(death * len(stream))]
            got += given_to_client(transcript, *pieces(stream, cuts))
            if transcript.finished:
                got += transcript.ending("m", usage=True)
                assert seen(got) == seen(whole)
                return
            events = goes_on(transcript, answer, "1", 1_700_000_000)
        assert got + given_to_client(transcript, *pieces(b"".join(events), cuts)) == whole

    @pytest.mark.parametrize("kind", KINDS)
    @given(TOKENS, st.floats(0, 1))
    def test_within_a_character_what_it_reads_is_the_same(
        self, kind: Kind, tokens: tuple[Token, ...], death: float
    ) -> None:
        answer, transcript = Answer(kind, tokens), Transcript(shows_ids=False)
        stream = answer.stream(ids=True)
        got = given_to_client(transcript, stream[: round(death * len(stream))])
        if transcript.finished:
            got += transcript.ending("m", usage=True)
        else:
            got += given_to_client(transcript, *goes_on(transcript, answer))
        read, whole = seen(got), seen(answer.stream())
        read.names, whole.names = set(), set()
        assert read == whole
        assert list(transcript.ids) == answer.ids

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("shows_ids", [True, False])
    @pytest.mark.parametrize("deaths", [1, 2, 3])
    def test_each_token_is_seen_once(self, kind: Kind, shows_ids: bool, deaths: int) -> None:
        """Also those without text that are made anew, however often."""
        answer = Answer(kind, WITH_SILENT)
        for places in product(range(1, 5), repeat=deaths):
            transcript = Transcript(shows_ids=shows_ids)
            got, events = b"", answer.events(ids=True)
            for place in places:
                got += given_to_client(transcript, *events[:place])
                if transcript.finished:
                    break
                events = goes_on(transcript, answer)
            if transcript.finished:
                continue
            got += given_to_client(transcript, *events)
            assert list(transcript.ids) == answer.ids, places
            assert seen(got).text == answer.text, places
            assert seen(got).token_ids == (answer.ids if shows_ids else []), places

    @pytest.mark.parametrize("after", range(1, len(PLAIN) + 1))
    def test_names_and_counts_are_the_first_worker_s(self, after: int) -> None:
        answer, transcript = Answer(), Transcript(shows_ids=False)
        got = given_to_client(transcript, *answer.events(ids=True)[:after])
        got += given_to_client(transcript, *goes_on(transcript, answer))
        read = seen(got)
        assert read.names == {("chatcmpl-1", 1_700_000_000)}
        assert read.roles == ["assistant"]
        assert read.usages == [(len(PROMPT), len(PLAIN), len(PROMPT) + len(PLAIN))]
        assert read.finishes == ["stop"]

    def test_it_goes_on_behind_the_last_token_that_had_text(self) -> None:
        answer, transcript = Answer("completions", WITH_SILENT), Transcript(shows_ids=False)
        places = []
        for sent in answer.events(ids=True)[: len(WITH_SILENT)]:
            given_to_client(transcript, sent)
            places.append(transcript.safe)
        assert places == [1, 1, 1, 4, 4, 6, 7]
        assert transcript.so_far == [*PROMPT, *answer.ids]

    def test_a_chunk_may_bring_several_tokens(self) -> None:
        transcript = Transcript(shows_ids=False)
        given_to_client(transcript, event({"choices": [{"text": "ab", "token_ids": [1, 2, 3]}]}))
        given_to_client(transcript, event({"choices": [{"text": "", "token_ids": []}]}))
        assert (list(transcript.ids), transcript.safe) == ([1, 2, 3], 3)

    def test_nothing_came_before_it_broke_off(self) -> None:
        """Then the next one's answer is the answer."""
        answer, transcript = Answer(), Transcript(shows_ids=False)
        given_to_client(transcript, answer.stream(ids=True)[:50])
        assert transcript.so_far == []
        got = given_to_client(transcript, *goes_on(transcript, answer))
        assert seen(got).names == {("chatcmpl-2", 1_800_000_000)}
        assert seen(got).roles == ["assistant"]

    def test_counts_of_counts_are_bounded_by_the_prompt(self) -> None:
        answer, transcript = Answer(), Transcript(shows_ids=False)
        given_to_client(transcript, *answer.events(ids=True)[:3])
        transcript.go_on()
        usage = {
            "prompt_tokens": 7,
            "total_tokens": 10,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 6, "audio": None},
        }
        got = given_to_client(transcript, event({"id": "x", "choices": [], "usage": usage}))
        counted = json.loads(got.removeprefix(b"data: "))["usage"]
        assert counted == {
            "prompt_tokens": 5,
            "total_tokens": 10,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 5, "audio": None},
        }


class TestObstacles:
    def heard(self, *events: bytes) -> Transcript:
        transcript = Transcript(shows_ids=False)
        given_to_client(transcript, *events)
        return transcript

    def test_none(self) -> None:
        assert self.heard().obstacle() == ""
        assert self.heard(*Answer().events(ids=True)[:2]).obstacle() == ""

    def test_a_worker_that_tells_no_ids(self) -> None:
        transcript = self.heard(*Answer().events(ids=False)[:2])
        assert transcript.obstacle() == "its worker tells no token ids"

    @pytest.mark.parametrize(
        ("delta", "named"),
        [
            ({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}, "tool_calls"),
            ({"reasoning": "Hm"}, "reasoning"),
            ({"reasoning_content": "Hm"}, "reasoning"),
        ],
    )
    @pytest.mark.parametrize("spaced", [False, True])
    def test_what_is_not_text(self, delta: dict[str, Any], named: str, spaced: bool) -> None:
        said = {"choices": [{"index": 0, "delta": delta}]}
        written = b"data: " + json.dumps(said).encode() + b"\n\n" if spaced else event(said)
        transcript = self.heard(*Answer().events(ids=True)[:2], written)
        assert transcript.obstacle() == f"it has begun with `{named}`"

    @pytest.mark.parametrize("shows", [True, False])
    @pytest.mark.parametrize("ids", [b"7 8", b"7,4294967296", b"1" * 5000, b"7,,8", b"7,"])
    def test_ids_that_cannot_be_read(self, ids: bytes, shows: bool) -> None:
        """Nobody can go on from them, but the answer is good all the same, and its tokens are counted."""
        first, second, *_ = Answer().events(ids=True)
        odd = b'data: {"choices":[{"delta":{"content":"a"},"token_ids":[%b]}]}\n\n' % ids
        transcript = Transcript(shows_ids=shows)
        given_to_client(transcript, first, second)
        counted = len(transcript.ids)
        assert given_to_client(transcript, odd) == (
            odd if shows else odd.replace(b"[%b]" % ids, b"null")
        )
        assert transcript.obstacle() == "its worker tells token ids that cannot be read"
        assert len(transcript.ids) == counted + ids.count(b",") + 1

    @pytest.mark.parametrize(
        "said",
        [
            b'data: {"id":"chatcmpl-\xff","created":1,"choices":[]}\n\n',
            b'data: {"id":"chatcmpl-1","created":%b,"choices":[]}\n\n' % (b"1" * 5000),
            b'data: {"id":"chatcmpl-1","created":%d,"choices":[]}\n\n' % 2**64,
            b'data: {"choices":[]}\n\n',
        ],
    )
    def test_an_answer_whose_name_cannot_be_read(self, said: bytes) -> None:
        transcript = Transcript(shows_ids=False)
        assert given_to_client(transcript, said) == said
        assert transcript.obstacle() == "its worker does not say readably which answer it is"

    @pytest.mark.parametrize(
        "delta",
        [
            {"tool_calls": []},
            {"tool_calls": None},
            {"reasoning": None, "content": "a"},
            {"reasoning": "", "content": "a"},
            {"content": '"tool_calls":[{"a":1}]'},
            {"content": '"reasoning":"b"'},
        ],
    )
    def test_what_only_looks_so(self, delta: dict[str, Any]) -> None:
        said = event({"choices": [{"index": 0, "delta": delta}]})
        assert self.heard(*Answer().events(ids=True)[:2], said).obstacle() == ""


class TestDiverged:
    def begun(self, kind: Kind = "chat") -> Transcript:
        transcript = Transcript(shows_ids=False)
        given_to_client(transcript, *Answer(kind).events(ids=True)[:3])
        transcript.go_on()
        return transcript

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_worker_that_begins_from_other_tokens(self, kind: Kind) -> None:
        transcript = self.begun(kind)
        with pytest.raises(DivergedError, match="did not go on from the tokens"):
            given_to_client(transcript, *Answer(kind).events(ids=True, start=1))

    @pytest.mark.parametrize(
        "said",
        [
            b"data: {\n\n",
            b'data: {"choices":5}\n\n',
            b'data: {"choices":[5]}\n\n',
            b'data: {"usage":{}}\n\n',
            b'data: {"choices":[{"prompt_token_ids":"x"}]}\n\n',
            b'data: {"choices":[],"usage":5}\n\n',
            b'data: {"choices":[],"usage":{"prompt_tokens":"x"}}\n\n',
            b'data: {"choices":[{"prompt_token_ids":[-1]}]}\n\n',
            b'data: {"choices":"\xff"}\n\n',
            b'data: {"choices":' + b"[" * 5000 + b"\n\n",
            b'data: {"choices":[{"index":0,"token_ids":[4294967296]}]}\n\n',
            b'data: {"choices":[],"odd":' + b"9" * 5000 + b"}\n\n",
        ],
    )
    def test_one_that_cannot_be_read(self, said: bytes) -> None:
        with pytest.raises(DivergedError, match=r"cannot be read|did not go on"):
            given_to_client(self.begun(), said)

    def test_before_there_is_anything_to_continue_nothing_is_read(self) -> None:
        transcript = Transcript(shows_ids=False)
        assert given_to_client(transcript, b"data: {\n\n") == b"data: {\n\n"


class TestEnding:
    """The last events, where the worker died after its last token."""

    def heard(self, answer: Answer, events: int) -> tuple[Transcript, bytes]:
        transcript = Transcript(shows_ids=False)
        return transcript, given_to_client(transcript, *answer.events(ids=True)[:events])

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("usage", [True, False])
    @pytest.mark.parametrize("missing", [0, 1, 2])
    def test_whatever_is_missing_comes_once(self, kind: Kind, usage: bool, missing: int) -> None:
        answer = Answer(kind, usage=usage)
        events = len(answer.events(ids=True))
        transcript, got = self.heard(answer, events - min(missing, 1 + usage))
        assert transcript.finished
        read = seen(got + transcript.ending("m", usage=usage))
        assert read == seen(answer.stream())

    def test_all_tokens_are_there_and_only_their_end_is_not(self) -> None:
        answer = Answer("completions", finish="length")
        transcript, got = self.heard(answer, 4)
        assert not transcript.finished
        read = seen(got + transcript.ending("m", usage=True))
        assert (read.finishes, read.usages, read.ends) == (["length"], [(5, 4, 9)], 1)
        assert read.names == {("cmpl-1", 1_700_000_000)}


class TestForeign:
    """Events that end in CRLF are no engine's of these."""

    @given(CUTS)
    def test_they_are_known_however_they_are_read(self, cuts: list[float]) -> None:
        transcript, found = Transcript(shows_ids=False), False
        for read in pieces(b"data: a\r\n\r\ndata: b\r\n\r\n", cuts):
            found = found or transcript.foreign(read)
            if not found:
                transcript.whole(read)
        assert found

    def test_others_are_not(self) -> None:
        assert not Transcript(shows_ids=False).foreign(Answer().stream() + b"\r\n")
