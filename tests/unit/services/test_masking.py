"""Masking against a corpus: every secret goes, everything else stays; in time, whatever the input."""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from telemetry.masking import MASK, MAX_DEPTH, mask, mask_text
from telemetry.secret_names import is_secret

CORPUS = Path(__file__).parent / "masking"


def _read(name: str) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = yaml.safe_load((CORPUS / name).read_text(encoding="utf-8"))
    return found


POSITIVES = [case for cases in _read("positives.yaml").values() for case in cases]
NEGATIVES = [text for texts in _read("negatives.yaml").values() for text in texts]
USUAL_LINE = {
    "message": "order placed",
    "order": "8f14e45fceea167a5a36dedd4bea2543",
    "item": "a box of green apples",
    "amount": 12.5,
    "client": "192.168.100.200",
    "path": "/api/orders?limit=10&sort=created_at",
    "attempt": 2,
}
HOSTILE = {
    "letters": "a",
    "digits": "1",
    "digits and spaces": "1 ",
    "groups of four": "4111 ",
    "dots": "a.",
    "at signs": "a@",
    "mail without an end": "a@a.",
    "equals signs": "a=",
    "secret names": "password=",
    "open quotes": 'password="',
    "escaped quotes": 'token=\\"',
    "urls": "://a:",
    "slashes": "://",
    "schemes": "bearer ",
    "cookies": "cookie: a=b; ",
    "jwt heads": "eyJaaaaaa.",
    "key prefixes": "sk-aaaaaaaaaaaaaaaa",
    "private keys": "-----BEGIN PRIVATE KEY-----",
    "phones": "+49 ",
    "brackets": "(030) ",
    "accounts": "DE89 3704 ",
    "spaces": " ",
    "flags": "--token ",
    "aws": "akia/aws+",
    "words": "Session Key ",
    "backslashes": "\\",
    "hyphenated keys": "sk--",
    "templates": "token={",
    "lists": "pwd=[",
    "groups": "pwd=(",
    "calls": "secret=a.(",
    "calls in calls": "token=a(b(",
    "placeholders": "token=<",
    "escaped names": '\\"token\\": ',
    "encoded names": "%5Btoken%5D%3D",
    "escapes within quotes": '"token": "\\\\',
    "strings within brackets": "token=['",
}


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case["text"][:60])
def test_a_secret_is_gone_and_the_rest_stays(case: dict[str, Any]) -> None:
    masked = mask_text(case["text"])
    assert MASK in masked
    assert [part for part in case["gone"] if str(part) in masked] == []
    assert [part for part in case["stays"] if str(part) not in masked] == []


@pytest.mark.parametrize("text", NEGATIVES)
def test_what_is_no_secret_is_not_touched(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize("text", [case["text"] for case in POSITIVES], ids=lambda text: text[:60])
def test_masking_twice_changes_nothing_more(text: str) -> None:
    masked = mask_text(text)
    assert mask_text(masked) == masked


@pytest.mark.parametrize("case", POSITIVES, ids=lambda case: case["text"][:60])
def test_a_secret_is_found_in_the_middle_of_other_text(case: dict[str, Any]) -> None:
    masked = mask_text(f"2024-11-23 10:15:30 INFO worker-3: {case['text']}\nnext line, user_id=42")
    assert [part for part in case["gone"] if str(part) in masked] == []
    assert masked.startswith("2024-11-23 10:15:30 INFO worker-3: ")


def test_the_corpus_is_large_enough() -> None:
    assert len(POSITIVES) >= 100
    assert len(NEGATIVES) >= 90


@pytest.mark.parametrize(
    "name",
    [
        *("password", "DB_PASSWORD", "userPassword", "dbpassword", "api_key", "apiKey", "APIKey", "x-api-key", "token"),
        *("access_token", "refreshToken", "Authorization", "Set-Cookie", "client_secret", "private_key", "e_mail"),
        *("Email", "user_email", "phone_number", "session_id", "sessionid", "card_number", "iban", "signature", "pwd"),
        *("secret_id", "vault_secret_id"),
    ],
)
def test_a_name_stands_for_a_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name",
    [
        *("input_tokens", "max_tokens", "tokens", "tokenizer", "token_type", "token_expires_at", "password_file"),
        *("secretary", "cookie_policy", "email_verified", "key", "cache_key", "primary_key", "monkey", "user_id"),
        *("session", "path", "status", "signature_failures", "", "12"),
    ],
)
def test_a_name_stands_for_no_secret(name: str) -> None:
    assert not is_secret(name)


def test_secret_fields_are_masked_at_any_depth_and_counts_are_not() -> None:
    found = mask(
        {
            "user": {"Email": "jane@example.org", "name": "jane", "api_key": "k", "sub": [{"password": ["p"]}]},
            "input_tokens": 12,
            "pin_code": 7,
            "otp": 123456,
            "token": None,
            "password": True,
            "jane@example.org": 1,
        }
    )
    assert found == {
        "user": {"Email": MASK, "name": "jane", "api_key": MASK, "sub": [{"password": MASK}]},
        "input_tokens": 12,
        "pin_code": 7,
        "otp": MASK,
        "token": None,
        "password": True,
        f"{MASK}@{MASK}": 1,
    }


def test_headers_are_masked_in_lists_of_pairs_and_lists_of_names_are_not() -> None:
    pairs = [["authorization", "x"], ("cookie", "sid=x"), (b"x-api-key", b"x"), (b"host", b"shop"), ["password", "b"]]
    assert mask({"headers": pairs})["headers"] == [
        ["authorization", MASK],
        ["cookie", MASK],
        ["x-api-key", MASK],
        ["b'host'", "b'shop'"],
        ["password", "b"],
    ]


def test_a_card_is_masked_as_a_number_too() -> None:
    assert mask({"card": 4111111111111111, "all": [4111111111111111, 4111111111111112, -7, 1700000000000]}) == {
        "card": MASK,
        "all": [MASK, 4111111111111112, -7, 1700000000000],
    }


def test_masking_ends_in_a_value_that_holds_itself() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert str(mask(loop)).count("[") == MAX_DEPTH


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    class Odd:
        def __str__(self) -> str:
            raise ValueError("no")

    found = mask({"odd": Odd(), "long": -(10**5000), Odd(): 2**64, "raw": b"token=hunter2"})
    assert found == {"odd": "<Odd>", "long": "<int>", "<Odd>": 2**64, "raw": f"b'token={MASK}'"}


def test_long_names_do_not_fill_memory() -> None:
    tracemalloc.start()
    try:
        for number in range(1000):
            is_secret(f"{number}{'x' * 32_000}")
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2_000_000


def test_a_usual_line_costs_little_beside_its_json() -> None:
    """The claim is 20 µs; a machine may be slow, so the bound is a multiple of what json takes in the same run."""

    def fresh(number: int) -> dict[str, Any]:
        return {**USUAL_LINE, "order": f"{number:032x}", "path": f"/api/orders?limit={number}&sort=created_at"}

    lines = [fresh(number) for number in range(2000)]
    masked = _best(lambda: [mask(line) for line in lines])
    rendered = _best(lambda: [json.dumps(line) for line in lines])
    assert masked < 8 * rendered, f"{masked / 2000 * 1e6:.1f} µs to mask, {rendered / 2000 * 1e6:.1f} µs to render"


@pytest.mark.parametrize("shape", sorted(HOSTILE))
def test_time_is_linear_whatever_the_line(shape: str) -> None:
    piece = HOSTILE[shape]

    def seconds(size: int) -> float:
        text = (piece * (size // len(piece) + 1))[:size]
        return _best(lambda: mask_text(text), times=2)

    small, large = seconds(250_000), seconds(1_000_000)
    # Four times the text: linear is 4, quadratic 16; the constant keeps the noise of a busy machine out.
    assert large < 8 * small + 0.05, f"{small:.3f} s for 250 kB, {large:.3f} s for 1 MB"
    assert large < 5


def _best(work: Callable[[], object], times: int = 5) -> float:
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)
