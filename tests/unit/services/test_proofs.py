"""The proof engine proves what is true, and shows why the rest is not."""

import itertools
import random
import re

import pytest

from automation_services import proofs
from automation_services.proofs import Refuted, complexity, leaf_hash, merkle, node_hash, prove, tautology
from automation_services.work import WorkFailed

TRUE = (
    "p | !p",
    "p -> q -> p",
    "(p -> q) & (q -> r) -> (p -> r)",
    "!(p & q) <-> !p | !q",
    "((p -> q) -> p) -> p",
    "nothing -> nothing",
)
FALSE = ("p", "p -> q", "p <-> q <-> r", "p | q", "(p -> q) -> (q -> p)")


@pytest.mark.parametrize("formula", TRUE)
def test_a_tautology_is_proved(formula: str) -> None:
    assert tautology(formula)["claim"] == "tautology"


@pytest.mark.parametrize("formula", FALSE)
def test_a_formula_that_can_be_false_is_refuted_by_an_example(formula: str) -> None:
    with pytest.raises(Refuted) as refuted:
        tautology(formula)
    assert set(refuted.value.details["counterexample"]) == set(re.findall("[a-z]", formula))


def test_the_engine_agrees_with_the_truth_table() -> None:
    chance = random.Random(1)

    def formula(depth: int) -> str:
        if depth == 0:
            return chance.choice("abcd")
        if chance.random() < 0.2:
            return f"!{formula(depth - 1)}"
        return f"({formula(depth - 1)} {chance.choice(['&', '|', '->', '<->'])} {formula(depth - 1)})"

    proved = 0
    for _ in range(150):
        text = formula(3)
        parsed = proofs._Parser(text).parse()
        rows = [dict(zip("abcd", row, strict=True)) for row in itertools.product((False, True), repeat=4)]
        always = all(proofs.evaluate(parsed, row) for row in rows)
        proved += always
        if always:
            tautology(text)
        else:
            with pytest.raises(Refuted):
                tautology(text)
    assert proved


def pigeons(holes: int) -> str:
    """With one pigeon more than holes, two share one: true, and hard to prove."""
    pigeon = range(holes + 1)
    placed = " & ".join("(" + " | ".join(f"p{p}_{h}" for h in range(holes)) + ")" for p in pigeon)
    shared = " | ".join(f"(p{a}_{h} & p{b}_{h})" for h in range(holes) for a, b in itertools.combinations(pigeon, 2))
    return f"{placed} -> {shared}"


def test_a_hard_proof_takes_more_steps_and_one_that_is_too_hard_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tautology(pigeons(3))["steps"] > tautology(pigeons(2))["steps"] > tautology(TRUE[0])["steps"]
    monkeypatch.setattr(proofs, "MAX_STEPS", 500)
    with pytest.raises(WorkFailed, match="no proof within 500 steps"):
        tautology(pigeons(3))


@pytest.mark.parametrize(
    ("formula", "reason"),
    [
        ("", "a name is expected at the end"),
        ("p &", "a name is expected at the end"),
        ("p q", "goes on with q"),
        ("p " + "q" * 32_000, f"goes on with {'q' * 40} where"),
        ("(p", "not closed"),
        (")", "a name is expected, not )"),
        ("p + q", "cannot be read at character 2"),
        ("(" * 500 + "p" + ")" * 500, "nested"),
        ("!" * 5000 + "p", "nested"),
        (" & ".join(["p"] * 500), "in a row"),
    ],
)
def test_what_is_no_formula_fails_with_the_reason(formula: str, reason: str) -> None:
    with pytest.raises(WorkFailed, match=re.escape(reason)):
        tautology(formula)


def tree(leaves: list[str], index: int) -> tuple[str, list[dict[str, str]]]:
    """Root of a Merkle tree, and the path from a leaf to it."""
    level, path = [leaf_hash(leaf) for leaf in leaves], []
    while len(level) > 1:
        neighbour = index ^ 1
        path.append({"side": "left" if neighbour < index else "right", "hash": level[neighbour]})
        level = [node_hash(*pair) for pair in zip(level[::2], level[1::2], strict=True)]
        index //= 2
    return level[0], path


@pytest.mark.parametrize("index", range(8))
def test_a_leaf_is_proved_to_be_in_its_tree_and_no_other(index: int) -> None:
    leaves = [f"leaf {number}" for number in range(8)]
    root, path = tree(leaves, index)
    assert merkle({"leaf": leaves[index], "root": root, "path": path}) == {"claim": "merkle", "length": 3}
    with pytest.raises(Refuted) as refuted:
        merkle({"leaf": "another", "root": root, "path": path})
    assert refuted.value.details["computed"] != root


@pytest.mark.parametrize(
    "claim", [{}, {"leaf": "a", "root": "0", "path": []}, {"leaf": "a", "root": "0" * 64, "path": [1]}]
)
def test_what_is_no_claim_of_membership_fails(claim: dict[str, object]) -> None:
    with pytest.raises(WorkFailed):
        merkle(claim)


def test_a_proof_is_the_more_complex_the_more_names_or_steps_it_has() -> None:
    assert [complexity("tautology", text) for text in ("p | !p", pigeons(2), pigeons(3))] == ["low", "medium", "high"]
    assert [complexity("merkle", '{"hash"}' * length) for length in (3, 12, 30)] == ["low", "medium", "high"]
    assert prove("tautology", "p | !p")["names"] == 1
