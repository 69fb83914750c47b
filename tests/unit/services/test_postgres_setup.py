"""The password that PostgreSQL stores; what the setup does to a database is tested on the running stack."""

import base64
import hmac

from postgres_setup.scram import verifier


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
