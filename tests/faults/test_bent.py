"""The campaign can fail: with an instance that is bent in one place, it does."""

import pytest
from tests.faults import rounds
from tests.faults.campaign import Plan, copied, run

pytestmark = pytest.mark.campaign
PLAN = Plan(12, 150, 4, ("kill Distributor",))


def bend(directory, module, right, bent):
    """A copy of the package that is bent in one place, and what makes a process run that."""
    copy, environment = copied(directory)
    text = (copy / module).read_text()
    assert text.count(right) == 1
    (copy / module).write_text(text.replace(right, bent))
    return environment


@pytest.mark.parametrize(
    ("module", "right", "bent", "seen"),
    [
        ("core/distributor.py", "self.report(Release(client))", "pass", "handle by"),
        (
            "shell/distributor.py",
            "                    self._copies[message.client.cookie] = socket.socket(fileno=fd)\n"
            "                self.handle(message)\n",
            "                    self._copies[message.client.cookie] = socket.socket(fileno=fd)\n"
            "                self.handle(message)\n"
            "                self._drop_copy(message.client.cookie, shut=True)\n"
            "                fds.append(0)\n",
            "lost without a cause",
        ),
        ("shell/supervise/kept.py", "channel.drop(self._listeners.get(key, ()))", "pass", "a Monitor has"),
    ],
    ids=[
        "who waited is never released",
        "who is restored is hung up on",
        "a listener that is kept twice is kept for ever",
    ],
)
def test_a_bent_instance_is_noticed(maitred, tmp_path, module, right, bent, seen):
    environment = bend(tmp_path, module, right, bent)

    def start(*arguments):
        instance = maitred(*arguments, ready=False, environment=environment)
        instance.replays = False
        return instance

    result = run(start, tmp_path, PLAN)

    assert any(seen in wrong for wrong in result.wrong), result.wrong[:5]


@pytest.mark.parametrize(
    ("conduct", "seen"), [(rounds.recorded, "does not replay"), (rounds.verified, "DIVERGENCE of")]
)
def test_a_distributor_that_does_less_than_its_machine_is_noticed(tmp_path, conduct, seen):
    right = "                trace.effect(effect)\n"
    bent = f"                if type(effect).__name__ != 'Watch':\n    {right}"
    environment = bend(tmp_path, "shell/driver.py", right, bent)

    result = conduct(tmp_path / "round", Plan(4, 150, 4, ("kill server",)), environment)

    assert any(seen in wrong for wrong in result.account.wrong), result.account.wrong[:5]
