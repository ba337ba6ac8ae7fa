"""Strategies for names and key paths, odd characters first."""

from __future__ import annotations

from hypothesis import strategies as st

from tiecli.keypaths import KeyPath

ODD_MARKS = ".*{}[]()\"'\\,/: \n\x00|?+^$-\u00e9\u2713\U0001f600"

texts = st.text(alphabet=st.one_of(st.sampled_from(ODD_MARKS), st.sampled_from("abr01")), max_size=12)
"""Texts that are mostly made of what means something in a pattern."""

names = st.one_of(texts, st.text(max_size=12), st.sampled_from(["re:", "re:(", "**", "a.**", "{i}", "['a']", "(a, b)"]))
"""Names as a file may hold them: any text at all."""

paths = st.builds(KeyPath, st.lists(st.one_of(names, st.integers(-(10**17), 10**17)), max_size=5).map(tuple))
"""Paths as a pytree may hold them."""

plain_names = st.lists(st.sampled_from(["a", "b", "q", "k", "0", "1", "10", "ln_1", "w"]), min_size=1, max_size=4).map(
    ".".join
)
"""Names like those of real models."""
