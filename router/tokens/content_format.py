"""Finds out whether a chat template takes message contents as parts, by vLLM 0.32's rules (pure).

It does when it loops over a message's content: directly, through a variable named `content`, or through the
argument of a macro that a message's content is given to (`vllm/renderers/hf.py`, `_detect_content_format`).
vLLM's rules are imprecise, and copied as they are: what counts is what the engine takes a template for.
"""

from collections.abc import Iterator

from jinja2 import nodes


def takes_parts(template: nodes.Template) -> bool:
    """Whether contents are to be lists of parts; else one text each."""
    try:
        messages = set(_loop_variables(template, _aliases(template, "messages")))
        return any(_loops_over_content(template, messages))
    except _OddTemplateError:
        return False


class _OddTemplateError(Exception):
    """Where vLLM's search gives up, and takes the content for text."""


def _aliases(template: nodes.Template, name: str) -> list[str]:
    """`name` and the variables that are set from it."""
    names = [name]
    for known in names:  # grows as it is walked
        for assign in template.find_all(nodes.Assign):
            if _is(assign.node, known):
                target = _name(assign.target)
                if target not in names:
                    names.append(target)
    return names


def _loop_variables(template: nodes.Template, names: list[str]) -> Iterator[str]:
    """What each element of one of `names` is called in a loop over it."""
    for loop in template.find_all(nodes.For):
        if any(_is(loop.iter, name) for name in names):
            yield _name(loop.target)


def _loops_over_content(template: nodes.Template, messages: set[str]) -> Iterator[bool]:
    in_macros: dict[int, set[str]] = {}
    for macro in template.find_all(nodes.Macro):
        given = _content_parameters(template, macro, messages)
        for loop in macro.find_all(nodes.For):
            in_macros[id(loop)] = given or in_macros.get(id(loop), set())
    for loop in template.find_all(nodes.For):
        names = in_macros.get(id(loop), {"content"})
        if any(_is(loop.iter, message, "content") for message in messages) or (
            isinstance(loop.iter, nodes.Name) and loop.iter.name in names
        ):
            _name(loop.target)
            yield True


def _content_parameters(
    template: nodes.Template, macro: nodes.Macro, messages: set[str]
) -> set[str]:
    """The parameters of `macro` that somewhere get a message's content."""
    names, found = [argument.name for argument in macro.args], set()
    for call in template.find_all(nodes.Call):
        if not (isinstance(call.node, nodes.Name) and call.node.name == macro.name):
            continue
        given = [*zip(names, call.args, strict=False)]
        given += [(pair.key, pair.value) for pair in call.kwargs if pair.key in names]
        found |= {
            name for name, value in given if any(_is(value, one, "content") for one in messages)
        }
    return found


def _is(node: nodes.Node | None, name: str, member: str | None = None) -> bool:
    """`node` is the variable `name` (or its `member`), filtered, tested or sliced as may be."""
    while True:
        match node:
            case nodes.Filter() | nodes.Test() | nodes.Getitem(arg=nodes.Slice()):
                node = node.node
            case nodes.Name() if member is None:
                return node.ctx == "load" and node.name == name
            case nodes.Getitem(arg=nodes.Const(value=key)) if member is not None:
                return bool(key == member) and _is_name(node.node, name)
            case nodes.Getattr() if member is not None:
                return node.attr == member and _is_name(node.node, name)
            case _:
                return False


def _is_name(node: nodes.Node, name: str) -> bool:
    return isinstance(node, nodes.Name) and node.ctx == "load" and node.name == name


def _name(target: nodes.Node) -> str:
    if not isinstance(target, nodes.Name):
        raise _OddTemplateError
    return target.name
