"""What the services do beside telemetry, where it can be seen without Redis and PostgreSQL."""

import asyncio

import pytest

from api_gateway.webhooks import signature
from automation_services.reviews import STAGES
from automation_services.work import WORKFLOWS, WorkFailed, process_file
from platform_services import passwords


def test_a_webhook_signature_is_the_one_of_github() -> None:
    # The example of docs.github.com, "Validating webhook deliveries".
    assert signature("It's a Secret to Everybody", b"Hello, World!") == (
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    )


def test_files_are_processed_by_their_kind() -> None:
    assert process_file("a.csv", "name,count\nx,1\ny,2\n")["records"] == 2
    assert process_file("a.json", "[1, 2, 3]")["records"] == 3
    assert process_file("a.txt", "one\ntwo")["records"] == 2
    for name, content in (("a.json", "{"), ("a.csv", "a,b\n1\n")):
        with pytest.raises(WorkFailed):
            process_file(name, content)


@pytest.mark.parametrize("workflow", [name for name in WORKFLOWS if name != "fulfilment"])
def test_a_workflow_without_content_fails(workflow: str) -> None:
    with pytest.raises(WorkFailed):
        WORKFLOWS[workflow](" ")


def test_workflows_do_their_work() -> None:
    assert WORKFLOWS["summary"]("Short. A longer sentence. Tiny.")["summary"] == "Short. A longer sentence."
    assert WORKFLOWS["post_fetch"]("<h1> One </h1><h1>Two</h1>")["posts"] == ["One", "Two"]
    assert WORKFLOWS["pdf_generation"]("A (title)")["bytes"] > 400
    with pytest.raises(WorkFailed, match="cannot be shipped"):
        WORKFLOWS["fulfilment"]("unshippable")


def test_each_stage_of_a_review_finds_what_it_looks_for() -> None:
    text = "the the end \nTODO later\n" + "x" * 121
    assert {stage: len(check(text)) for stage, check in STAGES.items()} == {
        "layout": 2,
        "leftovers": 1,
        "repetition": 1,
    }


def test_passwords_are_verified_and_no_two_hashes_are_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "N", 2**4)

    async def run() -> None:
        first, second = [await passwords.hash_password("hunter2hunter2") for _ in range(2)]
        assert first != second
        assert "hunter2" not in first
        monkeypatch.setattr(passwords, "N", 2**5)
        assert await passwords.verify_password("hunter2hunter2", first)
        assert not await passwords.verify_password("hunter3hunter3", first)

    asyncio.run(run())
