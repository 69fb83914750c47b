"""The password that PostgreSQL stores; what the setup does to a database is tested on the running stack."""

import asyncio
import base64
import hmac
from pathlib import Path

import pytest

from postgres_setup.scram import verifier
from postgres_setup.setup import run
from telemetry import SettingsError


def test_the_verifier_of_a_password_is_the_one_of_the_standard() -> None:
    # The example of RFC 7677, section 3: its server signature follows from the ServerKey.
    salt = "W22ZaJ0SNY7soEsUEjb6gQ=="
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s={salt},i=4096,c=biws,r={nonce}"
    made = verifier("pencil", base64.b64decode(salt))
    assert made.startswith(f"SCRAM-SHA-256$4096:{salt}$")
    server_key = base64.b64decode(made.rpartition(":")[2])
    signature = base64.b64encode(hmac.digest(server_key, message.encode(), "sha256")).decode()
    assert signature == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert "pencil" not in made
    assert verifier("pencil") != verifier("pencil")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "the password cannot be read: No such file or directory"), (b"", "is empty"), (b"\xc3\xa4", "is ASCII")],
)
def test_a_password_that_cannot_be_read_is_named_by_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, why: str
) -> None:
    (tmp_path / "postgres_password").write_text("right")
    if content is not None:
        (tmp_path / "postgres_app_shop").write_bytes(content)
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(tmp_path / "postgres_password"))
    monkeypatch.setenv("DATABASE_ROLES", "app_shop")
    with pytest.raises(SettingsError, match=why) as refused:
        asyncio.run(run())
    assert str(refused.value).startswith(f"{tmp_path}/postgres_app_shop: ")
