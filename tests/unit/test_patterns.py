"""Patterns: what each piece of the language selects, how two sides pair, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tiecli.errors import KeyPathSyntaxError, LeafNotFoundError, PairingError
from tiecli.keypaths import KeyPath
from tiecli.patterns import KeyPattern, pair_leaves, select_leaves

GPT = (
    "wte",
    "lm_head",
    "h.0.ln_1.w",
    "h.0.ln_2.w",
    "h.0.attn.q",
    "h.0.attn.k",
    "h.1.ln_1.w",
    "h.1.ln_2.w",
    "h.1.attn.q",
    "h.1.attn.k",
)


def leaves(*names: str) -> tuple[KeyPath, ...]:
    return tuple(map(KeyPath.from_name, names))


def select(text: str, *names: str) -> list[str]:
    return [path.spelling for path in select_leaves(text, leaves(*names or GPT))]


def pair(src: str, dst: str, *names: str) -> list[str]:
    found = pair_leaves(src, dst, leaves(*names or GPT))
    return [f"{'+'.join(source.spelling for source in sources)} -> {alias.spelling}" for sources, alias in found]


class TestSelect:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("*", ["wte", "lm_head"]),
            ("h.*.ln_*.w", ["h.0.ln_1.w", "h.0.ln_2.w", "h.1.ln_1.w", "h.1.ln_2.w"]),
            ("**.q", ["h.0.attn.q", "h.1.attn.q"]),
            ("**.wte", ["wte"]),
            ("**.attn.**", ["h.0.attn.q", "h.0.attn.k", "h.1.attn.q", "h.1.attn.k"]),
            ("h.**.k", ["h.0.attn.k", "h.1.attn.k"]),
            ("**", list(GPT)),
            ("{wte,lm_head}", ["wte", "lm_head"]),
            ("h.0.{ln_1.w,attn.q}", ["h.0.ln_1.w", "h.0.attn.q"]),
            ("h.1.ln_{1..3}.w", ["h.1.ln_1.w", "h.1.ln_2.w"]),
            ("h.{i}.ln_{i}.w", ["h.1.ln_1.w"]),
            ("re:h\\.[01]\\.attn\\.(q|k)", ["h.0.attn.q", "h.0.attn.k", "h.1.attn.q", "h.1.attn.k"]),
            ("re:w.e", ["wte"]),
            ("h.0", ["h.0.ln_1.w", "h.0.ln_2.w", "h.0.attn.q", "h.0.attn.k"]),
            ("h.*.attn", ["h.0.attn.q", "h.0.attn.k", "h.1.attn.q", "h.1.attn.k"]),
            ("['h']['0']['attn']['q']", ["h.0.attn.q"]),
            ("['h'][0][\"attn\"].q", ["h.0.attn.q"]),
            ("['h'][0]['attn']", ["h.0.attn.q", "h.0.attn.k"]),
            ('"h".0.attn.q', ["h.0.attn.q"]),
        ],
    )
    def test_each_piece_of_the_language(self, text: str, expected: list[str]) -> None:
        """Each piece of the language selects the leaves that the documentation says."""
        assert select(text) == expected

    def test_zero_padded_range(self) -> None:
        """A range that starts with a zero counts with as many digits."""
        assert select("x.{08..11}", "x.8", "x.08", "x.10", "x.12") == ["x.08", "x.10"]

    def test_a_star_stays_within_its_segment(self) -> None:
        """`*` matches no dot, but it does match nothing and a line break."""
        assert select("a*", "a", "ab", "a\n", "a.b") == ["a", "ab", "a\n"]

    def test_an_empty_option_matches_nothing_more(self) -> None:
        """`{,_g}` makes a suffix optional."""
        assert select("w{,_g}", "w", "w_g", "w_h") == ["w", "w_g"]

    def test_a_full_name_wins_over_its_meaning_as_a_pattern(self) -> None:
        """A leaf really named `a*b` is found by that name alone; without it, the pattern counts."""
        assert select("a*b", "axb", "a*b") == ["a*b"]
        assert select("a*b", "axb", "ab") == ["axb", "ab"]

    def test_a_subtree_name_wins_over_its_meaning_as_a_pattern(self) -> None:
        """A subtree really named `x{1,2}` is found by that name."""
        assert select("x{1,2}", "x{1,2}.w", "x1", "x2") == ["x{1,2}.w"]

    def test_quotes_take_a_segment_as_it_is(self) -> None:
        """A quoted segment means itself in a pattern, dots within one key included."""
        assert select('"a*".*', "a*.w", "ab.w") == ["a*.w"]
        dotted = KeyPath(("a.b", "w"))
        assert select_leaves('"a.b".*', (dotted, *leaves("a.b.w"))) == (dotted,)

    def test_an_inner_dot_does_not_end_a_segment(self) -> None:
        """`*` spans a key that holds a dot, and captures it as it is."""
        assert KeyPattern("*.w").match(KeyPath(("a.b", "w"))) == {"*0": "a.b"}

    def test_indices_of_sequences(self) -> None:
        """An index is a segment, with or without its brackets; brackets find nothing but an index."""
        path = KeyPath(("layers", 3, "w"))

        assert KeyPattern("layers[{i}].w").match(path) == {"i": "3"}
        assert KeyPattern("layers.{i}.w").match(path) == {"i": "3"}
        assert KeyPattern("layers[{2..4}].w").match(path) == {"{0": "1"}
        assert KeyPattern("layers.**").match(path) == {"*0": "3.w"}
        assert KeyPattern("**[*].w").match(path) == {"*0": "layers", "*1": "3"}
        assert KeyPattern("{embed,layers.3}.w").match(path) == {"{0": "1"}
        assert KeyPattern("*.w").match(path) is None
        assert KeyPattern('layers."3".w').match(path) is None
        assert KeyPattern("layers[*].w").match(KeyPath.from_name("layers.3.w")) is None
        assert KeyPattern("[{i}][{i}]").match(KeyPath((7, 7))) == {"i": "7"}
        assert KeyPattern("['layers'][3]['w']").match(path) == {}
        assert KeyPattern("['layers'][3]['w']").match(KeyPath.from_name("layers.3.w")) == {}

    def test_brackets_within_keys(self) -> None:
        """A bracket in a pattern also stands for itself, since names may hold anything."""
        assert KeyPattern("a[*].w").match(KeyPath.from_name("a[x].w")) == {"*0": "x"}
        assert KeyPattern("a[{i}]b").match(KeyPath(("a[0]b",))) == {"i": "0"}
        assert KeyPattern("a[*").match(KeyPath(("a[b",))) == {"*0": "b"}
        assert KeyPattern("*]").match(KeyPath(("a]",))) == {"*0": "a"}
        assert KeyPattern("a[*").match(KeyPath(("a", 0))) is None

    def test_typed_names_win_over_plain_ones(self) -> None:
        """Where an index and a number, or a dot and a key, stand side by side, what is typed is what is meant."""
        paths = (KeyPath(("a", 0)), KeyPath(("a", "0")), KeyPath(("a.b",)), KeyPath(("a", "b")))

        for path in paths:
            assert select_leaves(path.spelling, paths) == (path,)
            assert select_leaves(str(path), paths) == (path,)
        assert select_leaves("a[0]", paths[1:]) == (paths[1],)
        assert select_leaves("['a'][0]", paths) == (paths[0],)
        assert select_leaves("['a'][0]", paths[1:]) == (paths[1],)

    def test_mixed_subtrees_by_plain_names(self) -> None:
        """A subtree is found by its keys joined with dots; a name that ends inside a key is none of its own."""
        paths = tuple(map(KeyPath, (("p", 0, "m", "5", "w"), ("p", 0, "a.b", "w"), ("p", 1, "w"))))

        assert select_leaves("p.0", paths) == paths[:2]
        assert select_leaves("['p'][0]['m'][5]", paths) == paths[:1]
        assert select_leaves("p.0.a.b", paths) == paths[1:2]
        with pytest.raises(LeafNotFoundError):
            select_leaves("p.0.a", paths)

    def test_expression_groups(self) -> None:
        """Named groups are captures by name, the others count as wildcards; an idle group is empty."""
        pattern = KeyPattern(r"re:(?P<i>\d+)\.(a|b)(c)?")

        assert pattern.match(KeyPath.from_name("7.b")) == {"i": "7", "*0": "b", "*1": ""}

    def test_expression_must_match_the_whole_name(self) -> None:
        """`re:` is no search: what it leaves over makes it fail."""
        assert KeyPattern("re:h").match(KeyPath.from_name("h.0")) is None

    @pytest.mark.parametrize(
        ("text", "near"),
        [
            ("lm_haed", "Did you mean `lm_head`"),
            ("attn.q", "Did you mean `h.0.attn.q` or `h.1.attn.q`"),
            ("h.0.attn.v", "Did you mean `h.0.attn.[qk]`"),
            ("h.0.atn", "Did you mean `h.0.attn`"),
            ("zzzzzzzz", "Run `tiecli inspect`"),
        ],
    )
    def test_no_match_suggests_near_names(self, text: str, near: str) -> None:
        """A name that matches nothing is refused with up to three names like it."""
        with pytest.raises(LeafNotFoundError, match=re.escape(f"`{text}` matches none of the 10 leaves")) as caught:
            select(text)

        assert re.match(near, caught.value.hints[0])

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", "a name or a pattern at position 0"),
            ("a**", "`**` to be a whole segment at position 1"),
            ("***", "`**` to be a whole segment at position 0"),
            ("**.**", "something other than `**` after `**.` at position 3"),
            ("a.{i", "a closing `}` at position 2"),
            ("a}", "a `{` before this `}` at position 1"),
            ("{}", "`{i}`, `{q,k}` or `{0..11}` at position 0"),
            ("{5}", "`{i}`, `{q,k}` or `{0..11}` at position 0"),
            ("{a,{b,c}}", "`{i}`, `{q,k}` or `{0..11}` at position 0"),
            ("{a*,b}", "`{i}`, `{q,k}` or `{0..11}` at position 0"),
            ("{a,a}", "options that differ at position 0"),
            ("{5..2}", "a range such as `{0..11}`, of at most 4,096 numbers at position 0"),
            ("{0..99999}", "a range such as `{0..11}`, of at most 4,096 numbers at position 0"),
            ('*."a', "a closing quote at position 2"),
            ('*."a"b', "a `.` after the closing quote at position 5"),
            ("['a'", "keys such as `['layers'][0]['w']` at position 0"),
        ],
    )
    def test_what_is_no_pattern(self, text: str, expected: str) -> None:
        """A text that is no pattern is refused, with the place and what was expected there."""
        with pytest.raises(KeyPathSyntaxError, match=re.escape(f"`{text}` is no pattern: expected {expected}")):
            KeyPattern.parse(text)

    def test_bad_expression(self) -> None:
        """A regular expression that Python refuses is refused with Python's reason."""
        with pytest.raises(KeyPathSyntaxError, match=r"`re:\(` is no regular expression: missing \)"):
            KeyPattern.parse("re:(")

    def test_a_pattern_too_long(self) -> None:
        """A pattern of absurd length is refused before it is read."""
        with pytest.raises(KeyPathSyntaxError, match="a pattern of 10,001 characters is too long"):
            KeyPattern.parse("a" * 10_001)

    def test_a_name_too_long_for_patterns(self) -> None:
        """A hostile name cannot make a pattern run for minutes; by its full name it is found."""
        name = "a" * 5_000

        with pytest.raises(KeyPathSyntaxError, match="has 5,000 characters, a pattern takes names of at most 1,000"):
            select("*a*a*a*a*b", name)
        assert select(name, name) == [name]


class TestPair:
    @pytest.mark.parametrize(
        ("src", "dst", "expected"),
        [
            ("wte", "lm_head", ["wte -> lm_head"]),
            ("h.0.attn", "h.1.attn", ["h.0.attn.q -> h.1.attn.q", "h.0.attn.k -> h.1.attn.k"]),
            ("h.{i}.attn.q", "h.{i}.attn.k", ["h.0.attn.q -> h.0.attn.k", "h.1.attn.q -> h.1.attn.k"]),
            ("h.*.attn.q", "h.*.attn.k", ["h.0.attn.q -> h.0.attn.k", "h.1.attn.q -> h.1.attn.k"]),
            ("h.{0..1}.attn.q", "h.{0..1}.attn.k", ["h.0.attn.q -> h.0.attn.k", "h.1.attn.q -> h.1.attn.k"]),
            ("h.0.{ln_1,ln_2}.w", "h.1.{ln_2,ln_1}.w", ["h.0.ln_2.w -> h.1.ln_1.w", "h.0.ln_1.w -> h.1.ln_2.w"]),
            ("h.0.attn.q", "h.*.attn.q", ["h.0.attn.q -> h.1.attn.q"]),
            ("h.0.attn.{k}", "h.{i}.attn.{k}", ["h.0.attn.q -> h.1.attn.q", "h.0.attn.k -> h.1.attn.k"]),
            ("h.0.attn.**", "h.{1..1}.attn.**", ["h.0.attn.q -> h.1.attn.q", "h.0.attn.k -> h.1.attn.k"]),
            ("h.0.attn", "h.{i}.attn", ["h.0.attn.q -> h.1.attn.q", "h.0.attn.k -> h.1.attn.k"]),
            ("wte", "{h.0.attn.q,lm_head}", ["wte -> lm_head", "wte -> h.0.attn.q"]),
            (r"re:h\.(\d)\.attn\.q", "h.*.attn.k", ["h.0.attn.q -> h.0.attn.k", "h.1.attn.q -> h.1.attn.k"]),
            (r"re:h\.(?P<i>\d)\.attn\.q", "h.{i}.attn.k", ["h.0.attn.q -> h.0.attn.k", "h.1.attn.q -> h.1.attn.k"]),
        ],
    )
    def test_pairs(self, src: str, dst: str, expected: list[str]) -> None:
        """Each way to join two sides gives the pairs that the documentation says, in stored order."""
        assert pair(src, dst) == expected

    def test_typed_keys(self) -> None:
        """Lists pair with lists and with numbered names, by pattern and as subtrees."""
        keys = (("p", 0, "w"), ("p", 1, "w"), ("q", 0, "w"), ("q", 1, "w"), ("r", "0", "w"), ("r", "1", "w"))
        p0, p1, q0, q1, r0, r1 = paths = tuple(map(KeyPath, keys))

        for src, dst in (("p[*].w", "q[*].w"), ("p.{i}.w", "q[{i}].w"), ("p", "q"), ("p.*", "q.*"), ("p.**", "q.**")):
            assert pair_leaves(src, dst, paths) == (((p0,), q0), ((p1,), q1)), src
        for src, dst in (("p[{i}].w", "r.{i}.w"), ("p", "r"), ("p.*", "r.*")):
            assert pair_leaves(src, dst, paths) == (((p0,), r0), ((p1,), r1)), src
        assert pair_leaves("p[0]", "q.1", paths) == (((p0,), q1),)
        assert pair_leaves("(p[0].w, p.1.w)", "['q'][0]['w']", paths) == (((p0, p1), q0),)

    def test_several_sources(self) -> None:
        """`(q, k)` gives each destination one leaf of each, in the order that was typed."""
        names = ("l.0.q", "l.0.k", "l.0.qk", "l.1.q", "l.1.k", "l.1.qk")

        assert pair("(l.0.k, l.0.q)", "l.0.qk", *names) == ["l.0.k+l.0.q -> l.0.qk"]
        assert pair("(l.{i}.q, l.{i}.k)", "l.{i}.qk", *names) == ["l.0.q+l.0.k -> l.0.qk", "l.1.q+l.1.k -> l.1.qk"]

    def test_commas_that_do_not_split_sources(self) -> None:
        """A comma within braces, quotes or a full name does not part two sources."""
        assert pair("(l.{q,k}, m.{q,k})", "n.{q,k}", "l.q", "m.q", "n.q", "l.k", "m.k", "n.k") == [
            "l.q+m.q -> n.q",
            "l.k+m.k -> n.k",
        ]
        assert pair('("a,b", it\'s)', "c", "a,b", "it's", "c") == ["a,b+it's -> c"]
        assert pair("(['a,b'], ['d'])", "c", "a,b", "d", "c") == ["a,b+d -> c"]
        assert pair("(a, b)", "c", "(a, b)", "a", "b", "c") == ["(a, b) -> c"]

    def test_an_empty_source(self) -> None:
        """Two commas with nothing between them are refused."""
        with pytest.raises(KeyPathSyntaxError, match=re.escape("`(a,,b)` has an empty source")):
            pair("(a,,b)", "c", "a", "b", "c")

    @pytest.mark.parametrize(("src", "dst"), [("wte", "wte"), ("h.0", "h.0"), ("h.*.attn.*", "h.*.attn.*")])
    def test_a_side_paired_with_itself(self, src: str, dst: str) -> None:
        """The same leaves on both sides are refused."""
        with pytest.raises(PairingError, match="name the same leaves, and a leaf cannot be tied to itself"):
            pair(src, dst)

    @pytest.mark.parametrize(("src", "dst", "side"), [("wtee", "lm_head", "src"), ("wte", "lm_haed", "dst")])
    def test_a_side_that_matches_nothing(self, src: str, dst: str, side: str) -> None:
        """The side that matches nothing is named."""
        with pytest.raises(LeafNotFoundError, match=rf"\({side}\) matches none of the 10 leaves"):
            pair(src, dst)

    def test_unequal_sides(self) -> None:
        """What is left over on either side is listed, with the counts of both."""
        with pytest.raises(PairingError) as caught:
            pair("q.{i}", "k.{i}", "q.0", "q.1", "k.1", "k.2")

        assert caught.value.message == (
            "`q.{i}` (2 leaves) and `k.{i}` (2 leaves) do not pair up: "
            "sources without a destination: `q.0`; destinations without a source: `k.2`"
        )

    def test_long_lists_are_cut(self) -> None:
        """An error lists ten leaves of a side and counts the rest."""
        names = [f"q.{number}" for number in range(13)] + ["k.0"]

        with pytest.raises(PairingError, match=r"`q\.10` and 2 more; destinations without a source: none"):
            pair("q.{i}", "k.{i}", *names)

    def test_subtrees_pair_wholly_or_not_at_all(self) -> None:
        """A leaf that only one of two subtrees has is refused by its full name."""
        with pytest.raises(PairingError, match=re.escape("destinations without a source: `b.bias`")):
            pair("a", "b", "a.w", "b.w", "b.bias")

    def test_two_sources_for_one_destination(self) -> None:
        """A destination that two sources fit is refused; both are listed."""
        with pytest.raises(PairingError, match=re.escape("`wte` could follow from 2 leaves of `h.*.attn.q`")):
            pair("h.*.attn.q", "wte")

    def test_captures_of_different_names(self) -> None:
        """`{i}` on one side and `{j}` on the other join nothing, and the hint says so."""
        with pytest.raises(PairingError, match=re.escape("`h.0.attn.k` could follow from 2 leaves")) as caught:
            pair("h.{i}.attn.q", "h.{j}.attn.k")

        assert "Name what varies alike on both sides" in caught.value.hints[0]

    @pytest.mark.parametrize(("src", "dst"), [("h.0", "wte"), ("wte", "h.0")])
    def test_a_leaf_and_a_subtree(self, src: str, dst: str) -> None:
        """A leaf does not pair with a subtree."""
        with pytest.raises(PairingError, match=re.escape("`h.0` is a subtree, `wte` is not")):
            pair(src, dst)

    def test_an_unused_piece_of_several_sources(self) -> None:
        """Every leaf of every source must be used."""
        with pytest.raises(PairingError, match=re.escape("sources without a destination: `k.1`")):
            pair("(q.{i}, k.{i})", "qk.{i}", "q.0", "k.0", "k.1", "qk.0")


class TestPage:
    """What `docs/key-paths.md` says is so."""

    PAGE = (Path(__file__).parents[2] / "docs" / "key-paths.md").read_text(encoding="utf-8")
    LEAVES = leaves(*PAGE.split("With these leaves:\n\n```\n")[1].split("\n```")[0].split("\n"))

    @classmethod
    def rows(cls, heading: str) -> list[list[list[str]]]:
        """Gives the code spans of each cell, of each row of the table below a heading."""
        lines = cls.PAGE.split(heading)[1].split("\n\n")[0].splitlines()[2:]
        cells = ([re.findall("`([^`]+)`", cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
        return [[[code.replace("\\|", "|") for code in cell] for cell in row] for row in cells]

    def test_exact_forms(self) -> None:
        """Each text form has the keys beside it."""
        for (text,), keys in self.rows("| text | keys |"):
            expected = tuple(json.loads(key) for key in keys)
            assert KeyPath.parse(text) == KeyPath(expected)
            assert str(KeyPath(expected)) == text

    def test_patterns(self) -> None:
        """Each pattern selects the leaves beside it."""
        rows = self.rows("| pattern | selects |")
        assert len(rows) == 10
        for (pattern,), expected in rows:
            assert [path.spelling for path in select_leaves(pattern, self.LEAVES)] == expected, pattern

    def test_typed_keys(self) -> None:
        """Each name or pattern selects the leaves of typed keys beside it."""
        listed = self.PAGE.split("of an Orbax checkpoint:\n\n```\n")[1].split("\n```")[0].split("\n")
        paths = tuple(map(KeyPath.parse, listed))
        assert [path.spelling for path in paths] == listed
        rows = self.rows("| name or pattern | selects |")
        assert len(rows) == 11
        for (text,), expected in rows[:-1]:
            assert [path.spelling for path in select_leaves(text, paths)] == expected, text
        with pytest.raises(LeafNotFoundError):
            select_leaves(rows[-1][0][0], paths)

    def test_pairs(self) -> None:
        """Each pair of sides gives the pairs beside it."""
        rows = self.rows("| `--src` | `--dst` | pairs |")
        assert len(rows) == 8
        for (src,), (dst,), expected in rows:
            found = pair_leaves(src, dst, self.LEAVES)
            assert [
                f"{' + '.join(source.spelling for source in sources)} → {alias.spelling}" for sources, alias in found
            ] == expected, (src, dst)
