import io
import json
import logging
import sys
import threading
import warnings

import pytest
import uvicorn

from telemetry import get_logger, logs
from telemetry.masking import MASK
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry


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


def test_uvicorn_and_warnings_go_through_the_same_pipeline(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    uvicorn.Config(plain)
    logging.captureWarnings(False)
    make_telemetry()
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 7, extra={"color_message": "x"})
    logging.getLogger("uvicorn.access").info("one that the access line repeats")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = log_lines()
    assert (first["logger"], first["message"]) == ("uvicorn.error", "Started server process [7]")
    assert "color_message" not in first
    assert (second["logger"], second["level"]) == ("py.warnings", "warning")


async def plain(_scope: object, _receive: object, _send: object) -> None:
    return None


def test_fields_of_the_standard_library_are_kept_and_masked(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()
    logging.getLogger("some.library").error("failed", extra={"order": 7, "password": "hunter2"})
    (line,) = log_lines()
    assert (line["order"], line["password"], line["level"]) == (7, MASK, "error")


def test_critical_is_an_error(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    telemetry = make_telemetry()
    get_logger("test").critical("a")
    logging.getLogger("some.library").critical("b")
    assert [line["level"] for line in log_lines()] == ["error", "error"]
    assert telemetry.metrics.registry.get_sample_value("log_messages_total", {"level": "error"}) == 2


def test_causes_of_an_exception_are_in_its_line_and_masked(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()
    try:
        try:
            raise OSError("connect to redis://:hunter2@redis:6379 failed")
        except OSError as error:
            raise RuntimeError("no cache") from error
    except RuntimeError:
        get_logger("test").exception("failed")
    (line,) = log_lines()
    assert [part["exc_type"] for part in line["exception"]] == ["RuntimeError", "OSError"]
    assert line["exception"][1]["exc_value"] == f"connect to redis://{MASK}@redis:6379 failed"
    assert line["exception"][0]["frames"][-1]["name"] == "test_causes_of_an_exception_are_in_its_line_and_masked"


def test_a_field_cannot_take_the_place_of_one_of_the_schema(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()
    get_logger("test").info("moved", service="another", level="error", timestamp="then")
    (line,) = log_lines()
    assert (line["service"], line["level"]) == ("shop", "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    "value",
    [
        *(float("nan"), float("inf"), {"deep": [float("nan"), 10**5000]}, "\ud800", b"\xff", object(), 10**5000),
        {10**5000: 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_json_does_not_know_does_not_stop_the_line(
    make_telemetry: MakeTelemetry, log_lines: LogLines, value: object
) -> None:
    make_telemetry()
    get_logger("test").info("odd", value=value)
    assert [line["message"] for line in log_lines()] == ["odd"]


def test_a_message_that_cannot_be_shown_is_named_by_its_type(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    make_telemetry()
    get_logger("test").info(10**5000)  # type: ignore[arg-type]
    assert [line["message"] for line in log_lines()] == ["<int>"]


def test_an_exception_that_ends_a_thread_is_a_line(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    make_telemetry()
    logs._on_uncaught_in_thread(threading.ExceptHookArgs((RuntimeError, RuntimeError("token=hunter2"), None, None)))
    (line,) = log_lines()
    assert line["exception"][0]["exc_value"] == f"token={MASK}"


def test_a_closed_output_fails_no_request(make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    telemetry = make_telemetry()
    monkeypatch.setattr("sys.stdout", closed)
    assert Browser(telemetry.app([])).get("/").status_code == 404


def test_a_record_whose_arguments_do_not_fit_is_one_line_without_them(
    make_telemetry: MakeTelemetry, capsys: pytest.CaptureFixture[str]
) -> None:
    make_telemetry()
    logging.getLogger("some.library").error("login of %s %s, token=hunter2", "password=hunter2")
    out, err = capsys.readouterr()
    line = json.loads(out)
    assert (line["level"], line["message"], err) == ("error", f"login of %s %s, token={MASK}", "")
    assert line["logging_error"] == "the arguments do not fit the message: TypeError"


def test_a_record_that_cannot_be_logged_is_told_and_masked(
    make_telemetry: MakeTelemetry, capsys: pytest.CaptureFixture[str]
) -> None:
    make_telemetry()
    logging.getLogger("some.library").info("password=%s", "hunter2", extra={"event": "token=hunter2"})
    out, err = capsys.readouterr()
    assert (json.loads(out)["lost"], err) == ("some.library", "")
    assert "hunter2" not in out


def test_an_exception_that_nobody_can_catch_is_a_line(
    make_telemetry: MakeTelemetry, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Odd:
        def __del__(self) -> None:
            raise RuntimeError("token=hunter2")

    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    make_telemetry()
    Odd()
    (line,) = log_lines()
    assert line["exception"][0]["exc_value"] == f"token={MASK}"
    assert line["within"].endswith("Odd.__del__")


def test_a_line_that_is_logged_while_another_is_written_does_not_wait_for_it(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a garbage collection within a write does, where a ``__del__`` logs."""

    class Logging(io.StringIO):
        def write(self, text: str) -> int:
            if "outer" in text:
                get_logger("test").info("inner")
            return super().write(text)

    output = Logging()
    make_telemetry()
    monkeypatch.setattr("sys.stdout", output)
    thread = threading.Thread(target=get_logger("test").info, args=("outer",), daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert [json.loads(line)["message"] for line in output.getvalue().splitlines()] == ["inner", "outer"]
