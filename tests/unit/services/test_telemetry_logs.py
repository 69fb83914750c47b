import logging

import pytest

from telemetry import get_logger
from telemetry.masking import MASK, mask, mask_text
from tests.unit.services.helpers import LogLines, MakeTelemetry


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("mail from jane.doe+x@example.co.uk today", "jane.doe"),
        ("connect to postgresql://lookout:hunter2@db:5432/x", "hunter2"),
        ("redis://:hunter2@redis:6379", "hunter2"),
        ("Authorization: Bearer abcdef123456789", "abcdef123456789"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.sig-nature", "eyJhbGci"),
        ("key ghp_0123456789abcdefABCDEF leaked", "ghp_0123456789"),
        ("key sk-proj-0123456789abcdef leaked", "0123456789abcdef"),
        ('{"password": "hunter2"}', "hunter2"),
        ("GET /x?api_key=hunter2&a=b", "hunter2"),
    ],
)
def test_secrets_in_text_are_masked(text: str, hidden: str) -> None:
    masked = mask_text(text)
    assert hidden not in masked
    assert MASK in masked


@pytest.mark.parametrize("text", ["a plain sentence", "http://redis:6379/0", "12:30 at 5 @ home"])
def test_plain_text_is_left_as_it_is(text: str) -> None:
    assert mask_text(text) == text


def test_secret_fields_are_masked_at_any_depth_and_counts_are_not() -> None:
    found = mask(
        {
            "user": {
                "Email": "jane@example.org",
                "name": "jane",
                "api_key": "k",
                "sub": [{"password": ["p"]}],
            },
            "input_tokens": 12,
            "token": None,
        }
    )
    assert found == {
        "user": {"Email": MASK, "name": "jane", "api_key": MASK, "sub": [{"password": MASK}]},
        "input_tokens": 12,
        "token": None,
    }


def test_masking_ends_in_a_value_that_holds_itself() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert MASK in str(mask(loop))


def test_lines_of_the_standard_library_have_the_same_form(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()
    logging.getLogger("some.library").warning("cannot reach %s", "postgresql://lookout:hunter2@db/x")
    (line,) = log_lines()
    assert (line["level"], line["service"], line["logger"]) == ("warning", "shop", "some.library")
    assert line["message"] == f"cannot reach postgresql://{MASK}@db/x"


def test_secrets_do_not_leave_through_an_exception(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()
    try:
        raise RuntimeError("password=hunter2")
    except RuntimeError as error:
        get_logger("test").error("failed", exc_info=error, password="hunter2")
    (line,) = log_lines()
    assert "hunter2" not in str(line)
    assert line["exception"][0]["exc_type"] == "RuntimeError"


def test_a_line_break_in_a_message_stays_in_its_line(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()
    get_logger("test").info('two\nlines and a "quote"')
    assert [line["message"] for line in log_lines()] == ['two\nlines and a "quote"']
