"""The proof engine: propositional formulas by refutation (DPLL), membership in a Merkle tree by its hash path.

A formula has names, ``!``, ``&``, ``|``, ``->``, ``<->`` and parentheses, binding in this order. Raises Refuted
for a claim that is false, WorkFailed for one that is none or too hard.
"""

import hashlib
import json
import re
from typing import Any

from automation_services.work import WorkFailed

MAX_DEPTH = 100
MAX_STEPS = 1_000_000
"""Clauses looked at: about a second."""
MAX_PATH = 64
MAX_QUOTED = 40
"""Characters of a name that a reason quotes: reasons are kept with the job, and logged."""
_TOKEN = re.compile(r"\s*(<->|->|[!&|()]|[A-Za-z_][A-Za-z0-9_]*)")
_HASH = re.compile(r"[0-9a-f]{64}")
PROOFS = ("tautology", "merkle")
COMPLEXITIES = ("low", "medium", "high")
Formula = tuple[Any, ...]
Clause = frozenset[int]


class Refuted(WorkFailed):
    """The claim is false; ``details`` hold what shows it."""


def tautology(text: str) -> dict[str, Any]:
    """Prove that a formula is true whatever its names stand for. Refuted names a counterexample."""
    numbers: dict[str, int] = {}
    clauses: list[Clause] = []
    try:
        formula = _Parser(text).parse()
        top = _tseitin(formula, numbers, clauses, [0])
    except RecursionError:
        raise WorkFailed("the formula is nested too deep") from None
    search = _Search()
    # The formula always holds exactly where its negation never does.
    model = search.model([*clauses, frozenset([-top])])
    if model is None:
        return {"claim": "tautology", "names": len(_names(formula)), "steps": search.steps}
    example = {name: numbers[name] in model for name in sorted(_names(formula))}
    assert not evaluate(formula, example)
    raise Refuted("the formula is not always true", counterexample=example)


def merkle(claim: dict[str, Any]) -> dict[str, Any]:
    """Prove that ``leaf`` is in the tree of ``root``: ``path`` has side and hash of each neighbour, leaf first."""
    leaf, root, path = claim.get("leaf"), claim.get("root"), claim.get("path")
    if not isinstance(leaf, str) or not _is_hash(root) or not isinstance(path, list) or len(path) > MAX_PATH:
        raise WorkFailed(f"leaf must be text, root a SHA-256 in hex, path a list of at most {MAX_PATH}")
    node = leaf_hash(leaf)
    for step in path:
        if not isinstance(step, dict) or step.get("side") not in ("left", "right") or not _is_hash(step.get("hash")):
            raise WorkFailed('each step of path needs a side, "left" or "right", and a hash')
        pair = (step["hash"], node) if step["side"] == "left" else (node, step["hash"])
        node = node_hash(*pair)
    if node != root:
        raise Refuted("the path does not lead to the root", computed=node)
    return {"claim": "merkle", "length": len(path)}


def leaf_hash(leaf: str) -> str:
    """Hash of a leaf. Leaves and nodes are told apart, or a node could be passed off as a leaf (RFC 9162)."""
    return hashlib.sha256(b"\0" + leaf.encode()).hexdigest()


def node_hash(left: str, right: str) -> str:
    """Hash of a node from those of its children."""
    return hashlib.sha256(b"\1" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


def complexity(kind: str, content: str) -> str:
    """low, medium or high: by the number of different names in a formula, by the length of a path."""
    if kind == "tautology":
        size, low, medium = len(set(re.findall(r"[A-Za-z_]\w*", content))), 4, 10
    else:
        size, low, medium = content.count('"hash"'), 8, 20
    return "low" if size <= low else "medium" if size <= medium else "high"


def prove(kind: str, content: str) -> dict[str, Any]:
    """Prove a claim of PROOFS."""
    return tautology(content) if kind == "tautology" else merkle(json.loads(content))


def evaluate(formula: Formula, values: dict[str, bool]) -> bool:
    """Value of a formula."""
    kind = formula[0]
    if kind == "name":
        return values[formula[1]]
    if kind == "!":
        return not evaluate(formula[1], values)
    left, right = evaluate(formula[1], values), evaluate(formula[2], values)
    return {"&": left and right, "|": left or right, "->": not left or right, "<->": left == right}[kind]


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        at, text = 0, text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise WorkFailed(f"the formula cannot be read at character {at + 1}")
            self._tokens.append(match[1])
            at = match.end()
        self._at = 0

    def parse(self) -> Formula:
        formula = self._binary(0, 0)
        if self._at < len(self._tokens):
            raise WorkFailed(f"the formula goes on with {self._tokens[self._at][:MAX_QUOTED]} where it should end")
        return formula

    def _binary(self, level: int, depth: int) -> Formula:
        operators = ("<->", "->", "|", "&")
        if depth > MAX_DEPTH:
            raise WorkFailed(f"the formula is nested more than {MAX_DEPTH} deep")
        if level == len(operators):
            return self._unary(depth)
        left = self._binary(level + 1, depth)
        operator = operators[level]
        if operator == "->" and self._next(operator):
            return ("->", left, self._binary(level, depth + 1))
        count = 0
        while self._next(operator):
            # A chain leans to the left, so it is as deep as it is long.
            count += 1
            if count > MAX_DEPTH:
                raise WorkFailed(f"more than {MAX_DEPTH} {operator} in a row")
            left = (operator, left, self._binary(level + 1, depth + 1))
        return left

    def _unary(self, depth: int) -> Formula:
        if self._next("!"):
            return ("!", self._binary(4, depth + 1))
        if self._next("("):
            inner = self._binary(0, depth + 1)
            if not self._next(")"):
                raise WorkFailed("a parenthesis is not closed")
            return inner
        if self._at == len(self._tokens):
            raise WorkFailed("a name is expected at the end of the formula")
        token = self._tokens[self._at]
        if not re.match(r"[A-Za-z_]", token):
            raise WorkFailed(f"a name is expected, not {token}")
        self._at += 1
        return ("name", token)

    def _next(self, token: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == token
        self._at += found
        return found


def _names(formula: Formula) -> set[str]:
    return {formula[1]} if formula[0] == "name" else set().union(*(_names(part) for part in formula[1:]))


def _tseitin(formula: Formula, numbers: dict[str, int], clauses: list[Clause], count: list[int]) -> int:
    """Clauses that tie a new variable to each part of the formula; the variable of the whole."""
    kind = formula[0]
    if kind == "name":
        if formula[1] not in numbers:
            count[0] += 1
            numbers[formula[1]] = count[0]
        return numbers[formula[1]]
    parts = [_tseitin(part, numbers, clauses, count) for part in formula[1:]]
    if kind == "!":
        return -parts[0]
    a, b = parts
    count[0] += 1
    x = count[0]
    if kind == "->":
        kind, a = "|", -a
    if kind == "&":
        found = [(-x, a), (-x, b), (x, -a, -b)]
    elif kind == "|":
        found = [(-x, a, b), (x, -a), (x, -b)]
    else:
        found = [(-x, -a, b), (-x, a, -b), (x, a, b), (x, -a, -b)]
    clauses += [frozenset(clause) for clause in found]
    return x


class _Search:
    """Davis, Putnam, Logemann and Loveland, with an end to its patience."""

    def __init__(self) -> None:
        self.steps = 0

    def model(self, clauses: list[Clause]) -> set[int] | None:
        """Literals that satisfy all clauses; None where there are none. Raises WorkFailed after MAX_STEPS."""
        waiting: list[tuple[list[Clause], set[int]]] = [(clauses, set())]
        while waiting:
            left, model = waiting.pop()
            found = self._propagate(left, model)
            if found is None:
                continue
            left, model = found
            if not left:
                return model
            shortest = min(left, key=len)
            literal = min(shortest, key=abs)
            waiting.append(([*left, frozenset([-literal])], model))
            waiting.append(([*left, frozenset([literal])], model))
        return None

    def _propagate(self, clauses: list[Clause], model: set[int]) -> tuple[list[Clause], set[int]] | None:
        """Set what must be set; None at a contradiction."""
        while True:
            unit = next((clause for clause in clauses if len(clause) == 1), None)
            if unit is None:
                return clauses, model
            (literal,) = unit
            self.steps += len(clauses)
            if self.steps > MAX_STEPS:
                raise WorkFailed(f"no proof within {MAX_STEPS} steps")
            model = model | {literal}
            clauses = [clause - {-literal} for clause in clauses if literal not in clause]
            if frozenset() in clauses:
                return None
