"""Which templates take contents as parts. The cases were put to vLLM 0.32's own `_detect_content_format`."""

import pytest

from router.tokens.render import ChatTemplate


def each(body: str) -> str:
    return "{% for m in messages %}" + body + "{% endfor %}"


def macro(signature: str, over: str) -> str:
    return (
        "{% macro write(" + signature + ") %}{% for p in " + over + " %}{% endfor %}{% endmacro %}"
    )


LOOP = "{% for p in m.content %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        each(LOOP),
        each("{% for p in m['content'] %}x{% endfor %}"),
        each("{% for p in m.content[1:] %}{% endfor %}"),
        each("{% for p in m.content | reverse if p.type == 'text' %}{% endfor %}"),
        each("{% if m.content is string %}{% else %}" + LOOP + "{% endif %}"),
        each("{% set content = m.content %}{% for p in content %}{% endfor %}"),
        each("{% generation %}" + LOOP + "{% endgeneration %}"),
        "{% set rest = messages[1:] %}{% set all = rest %}{% for m in all %}"
        + LOOP
        + "{% endfor %}",
        "{% for p in content %}{% endfor %}",
        macro("content", "content") + each("{{ write(m.content) }}"),
        macro("c", "c") + each("{{ write(c=m.content) }}"),
        macro("x, c", "c") + each("{{ write(1, m['content']) }}"),
    ],
)
def test_a_loop_over_a_messages_content_takes_parts(source: str) -> None:
    assert ChatTemplate(source).parts


@pytest.mark.parametrize(
    "source",
    [
        each("{{ m.content }}"),
        each("{% set c = m.content %}{% for p in c %}{% endfor %}"),
        each("{% for p in m.get('content') %}{% endfor %}"),
        each("{% for key, value in m.content %}{% endfor %}"),
        each("{% for p in m.parts %}{% endfor %}"),
        "{% for i, m in messages %}" + LOOP + "{% endfor %}",
        "{% set x, y = messages %}{% for p in content %}{% endfor %}",
        macro("content", "content") + each("{{ write(m.text) }}"),
        macro("x, c", "x") + each("{{ write(1, m.content) }}"),
        "{% set ns = namespace(x=1) %}{% set ns.x = messages %}" + each(LOOP),
    ],
)
def test_all_else_takes_text(source: str) -> None:
    assert not ChatTemplate(source).parts


def test_variables_set_from_each_other_come_to_an_end() -> None:
    source = "{% set a = messages %}{% set b = a %}{% set a = b %}" + each(LOOP)
    assert ChatTemplate(source).parts


def test_the_operator_may_say_otherwise() -> None:
    assert not ChatTemplate(each(LOOP), parts=False).parts
