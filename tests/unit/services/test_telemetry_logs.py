import logging

from telemetry import get_logger
from telemetry.masking import MASK
from tests.unit.services.helpers import LogLines, MakeTelemetry


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
