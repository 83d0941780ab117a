"""What is wrong is said before anything changes."""

import pytest

GOOD = {"address": "192.0.2.1"}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ring": []}, "Wanted: directors in dovecot_director_ring"),
        ({"described_backends": {}}, "backends in dovecot_director_backends"),
        ({"described_backends": {"be1": {}}}, "each with an address of its own"),
        ({"described_backends": {"be1": GOOD, "be2": GOOD}}, "each with an address of its own"),
        ({"described_backends": {"be1": GOOD | {"weight": 1001}}}, "whole numbers from 0 to 1000"),
        ({"described_backends": {"be1": GOOD | {"weight": "much"}}}, "whole numbers from 0 to 1000"),
        ({"described_backends": {"be1": GOOD | {"weight": 0}}}, "and one above 0"),
        ({"dovecot_director_check_interval": "often"}, "cannot be converted to an int"),
    ],
)
def test_bad_value_is_refused(play, variables, said):
    done = play("molecule/dovecot_director/converge.yml", "--tags=director", **variables)
    assert done.returncode
    assert said in " ".join(done.stdout.split()), done.stdout
    assert "changed=0" in done.stdout and "changed=1" not in done.stdout


def test_a_director_outside_of_its_own_ring_is_refused(play):
    done = play("molecule/dovecot_director/converge.yml", "--limit=front1", ring=["192.0.2.9"])
    assert done.returncode
    assert "among dovecot_proxy_ring (192.0.2.9)" in " ".join(done.stdout.split()), done.stdout
    assert "changed=0" in done.stdout
