"""The ordinary ways through the whole application, on a virtual clock."""

from wegent.testing.harness import application
from wegent.testing.scripted import ScriptedExecutor, block, progress, say, think, wait


async def test_a_message_is_answered_in_order(autojump_clock):
    script = [think("hm"), say("Grüß 👋🏽 "), block("t1", tool_name="search", status="done"), wait(1), say("日本語")]
    executor = ScriptedExecutor(default=[*script, progress(50)])
    async with application(executor) as app:
        alice = await app.client("alice")
        ack = await alice.emit("chat:send", {"team_id": app.team_id, "message": "hi"})
        done = await alice.wait_for("chat:done")
        row = await app.until_ended(ack["assistant_subtask_id"])
        assert done["result"]["value"] == row.content == "Grüß 👋🏽 日本語"
        assert row.thinking == "hm"
        assert row.status == "COMPLETED"
        names = [frame.name or frame.answers for frame in alice.frames]
        assert (
            names.index("chat:send") < names.index("chat:start") < names.index("chat:chunk") < names.index("chat:done")
        )
        assert done["result"]["blocks"][0]["at"] == len("Grüß 👋🏽 ")
