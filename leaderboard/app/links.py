"""The address of a page says all that it shows: choices are read from it and written to it, defaults too.

So a link means the same view for everyone and for good, and a reload keeps it. What a link names and the board has
not is told in place of the page.
"""

import difflib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import streamlit as st

from pebench.leaderboard.printing import plain
from pebench.leaderboard.reading import elsewhere, folder_named

T = TypeVar("T", bound=Hashable)

PAGES: dict[str, Any] = {}  # streamlit's page of each path; app.py fills it
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
# Of the session: what the page shows in this run, what the address was made to say last, choices of pages left behind,
VIEW, SENT, KEPT, PAGE, FRESH = "view", "sent", "kept", "page", "fresh"
SOURCES = "sources"  # the folders of the board that a page shows, and their state
STREAMLITS = ("embed", "embed_options")


@contextmanager
def address(page: str = "") -> Iterator[None]:
    """Around the run of a page: afterwards the address names what it shows.

    A page that stops, because the address names what there is not, leaves the address as it is.
    """
    state = st.session_state
    view: dict[str, list[str]] = {}
    state[FRESH] = state.get(PAGE) != page  # streamlit forgets the choices of the page that was left
    state[VIEW], state[PAGE] = view, page
    state.setdefault(KEPT, {})
    warning = st.empty()
    yield
    query = st.query_params
    if unknown := [
        key for key in query if key not in view and key not in (*state.get(SENT, {}), *STREAMLITS)
    ]:
        warning.warning(f"This page has no choice named {plain(', '.join(unknown))}; the link asked for it.")
    if {key: query.get_all(key) for key in query} != view:
        query.from_dict(view)
    state[SENT] = view


def asked(key: str) -> list[str]:
    """What the address says of a choice, where this session did not write it there itself."""
    values = st.query_params.get_all(key)
    return [] if values == st.session_state.get(SENT, {}).get(key) else values


def settled(key: str, parse: Callable[[list[str]], Any], fits: Callable[[Any], bool], default: Any) -> None:
    """Set the value that a widget has in this run: the address's, the last one, or the default.

    The state is only written where it changes, as streamlit takes a write for a choice of the program's own.
    """
    state = st.session_state
    if given := asked(key):
        value = parse(given)
        if key not in state or state[key] != value:
            state[key] = value
    elif state.get(FRESH) or key not in state or not fits(state[key]):
        kept = state.get(KEPT, {}).get(key)
        state[key] = kept if kept is not None and fits(kept) else default


def noted(key: str, value: Any, texts: list[str]) -> None:
    """Write down a choice: for the address, and for the next page that has it."""
    st.session_state.setdefault(VIEW, {})[key] = texts
    st.session_state.setdefault(KEPT, {})[key] = value


def demand(key: str, options: Sequence[T], what: str, slug: Callable[[T], str] = str) -> None:
    """End the page where the address names an option that a choice further below does not have."""
    for text in asked(key):
        match(text, options, what, key, slug)


def pick(
    label: str,
    options: Sequence[T],
    key: str,
    *,
    what: str = "",
    default: T | None = None,
    slug: Callable[[T], str] = str,
    widget: Callable[..., Any] = st.selectbox,
    **more: Any,
) -> T:
    """A choice of one. `what` says in an error of what kind it is, `slug` how the address spells an option."""
    first = options[0] if default is None else default
    settled(
        key,
        lambda given: match(given[-1], options, what or label.lower(), key, slug),
        options.__contains__,
        first,
    )
    chosen = widget(label, options, key=key, **more)
    value = first if chosen is None else chosen
    noted(key, value, [slug(value)])
    return value


def pick_many(
    label: str,
    options: Sequence[T],
    key: str,
    *,
    what: str = "",
    default: Sequence[T] = (),
    slug: Callable[[T], str] = str,
    widget: Callable[..., Any] = st.multiselect,
    **more: Any,
) -> list[T]:
    """A choice of none to all; `others=` in the address is a choice of none."""

    def parse(given: list[str]) -> list[T]:
        found = [match(text, options, what or label.lower(), key, slug) for text in given if text]
        return list(dict.fromkeys(found))

    settled(key, parse, lambda values: set(values) <= set(options), list(default))
    chosen = list(widget(label, options, key=key, **more))
    noted(key, chosen, [slug(value) for value in chosen] or [""])
    return chosen


def switch(label: str, key: str, **more: Any) -> bool:
    """Yes or no."""
    settled(
        key,
        lambda given: WORDS[match(given[-1], list(WORDS), f"answer to {key}", key, str)],
        lambda v: True,
        False,
    )
    value = bool(st.toggle(label, key=key, **more))
    noted(key, value, [str(value).lower()])
    return value


def write(label: str, key: str, default: str = "", **more: Any) -> str:
    """Free text; the address has it only where it is not the default."""
    settled(key, lambda given: given[-1], lambda v: True, default)
    value = str(st.text_input(label, key=key, **more) or "")
    if value != default:
        noted(key, value, [value])
    else:
        st.session_state.setdefault(KEPT, {}).pop(key, None)
    return value


def match(text: str, options: Sequence[T], what: str, key: str, slug: Callable[[T], str]) -> T:
    """The option that an address spells so; a plus may have become a space. Else the page ends with an error."""
    names = {slug(option): option for option in options}
    for spelling in (text, text.replace(" ", "+")):
        if spelling in names:
            return names[spelling]
    alike = {name.casefold(): option for name, option in names.items()}
    if text.casefold() in alike:
        return alike[text.casefold()]
    absent(what, text, list(names), key)


def absent(what: str, name: str, known: Sequence[str], key: str) -> NoReturn:
    """End the page: there is no such thing. Links to the closest, and to the profiles that have it."""
    state = st.session_state
    state.get(KEPT, {}).pop(key, None)
    state.pop(key, None)
    close = difflib.get_close_matches(name.replace(" ", "+"), known, 3, 0.6)
    folders, _ = state.get(SOURCES, ((), 0))
    having = elsewhere(map(folder_named, folders), name) if what == "encoding" else []
    hint = (
        f" It has results in {plain(' and '.join(having))}."
        if having
        else f" Did you mean {plain(' or '.join(close))}?"
        if close
        else f" There are: {plain(', '.join(known[:80]))}."
    )
    st.error(f"There is no {what} “{plain(name)}” on this board.{hint}")
    if page := PAGES.get(state.get(PAGE, "")):
        for other in close:
            st.page_link(page, label=plain(other), query_params={key: other})
        for profile in having:
            label = plain(f"{name} in {profile}")
            st.page_link(page, label=label, query_params={key: name, "profile": profile})
    st.stop()
