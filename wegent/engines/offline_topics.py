"""What the offline engine knows of Wegent: a topic is a few words to recognise it by, and some Markdown."""

from __future__ import annotations

from attrs import frozen


@frozen
class Topic:
    """`words`: any of them, in a message, calls for this topic; the topic with most of them wins."""

    title: str
    words: frozenset[str]
    text: str


def _topic(title: str, words: str, text: str) -> Topic:
    return Topic(title, frozenset(words.split()), text.strip())


ADD_A_MODEL = """
A model is a `Model` that a `Bot` refers to. Any endpoint that speaks OpenAI's chat completions will do, on the
internet or on your own machine:

```yaml
apiVersion: wegent/v1
kind: Model
metadata: {name: my-model}
spec:
  modelConfig:
    engine: openai
    model_id: the-name-the-endpoint-knows
    base_url: http://127.0.0.1:8000/v1
    api_key: your-key
```

Send it to `POST /api/v1/kinds/apply`, then name it in the bot's `modelRef`. The next message is answered by it.
"""

TOPICS = (
    _topic(
        "What Wegent is",
        "wegent yourself product",
        """
Wegent is a framework and a server for live AI work. People, bots and devices share conversations; every viewer
sees every token, live, once and in order, and still does after a reload, a lost connection or a restart.
It runs on [Trio](https://trio.readthedocs.io), and every part of it is a plugin that can be swapped.
""",
    ),
    _topic("Adding a model", "model models llm gpt key apikey openai endpoint provider base_url real", ADD_A_MODEL),
    _topic(
        "Rooms",
        "room rooms join joining viewer viewers member",
        """
A **room** is who is looking: one for each task, user and device. What happens in a task is sent to its room, and
so to each connection in it. Joining is one step: the newcomer gets a snapshot, and then every delta from exactly
where the snapshot ends. Nothing is missed and nothing comes twice.
""",
    ),
    _topic(
        "Streams",
        "stream streams streaming token tokens delta chunk chunks offset offsets",
        """
A **stream** is what a run says: text channels (`content`, `thinking`) that only grow, and values (tool blocks,
progress) of which the newest version counts. Each delta carries its **offset**, counted in Unicode code points, so a
client knows at once whether it has missed something, and where to go on.
""",
    ),
    _topic(
        "Executors",
        "executor executors container docker process sandbox job jobs runs shell",
        """
An **executor** is where a run's work is done. A chat is answered by the *Chat Shell*, which streams a model. Other
work runs in the server itself (`local`), in a child process, in a container, or on your own machine (`device`).
All of them write to the same sink, so the same job looks the same to a viewer wherever it runs.
""",
    ),
    _topic(
        "Recovery",
        "recover recovery reload refresh reconnect reconnects resume offline disconnected lost crash crashes restart",
        """
Try it: reload this page while I write. Three things make that safe:

1. *Log first.* A delta is in the stream's log before anybody sees it.
2. *Join is one step.* After a reload you get what is there, then what follows, without a gap.
3. *Exactly one ending.* Whatever dies, model, worker or database, the run ends as completed, failed or cancelled,
   and keeps what it has said.
""",
    ),
    _topic(
        "Slow readers",
        "slow backpressure reader readers buffer memory queue",
        """
A slow reader costs itself only. Past a watermark its connection gets no more deltas queued, only a mark of where it
stands; when it drains, it gets what it missed in one piece. The run is never held back by a reader. The model is
held back only by the log: what comes faster than it can be appended is joined, not queued.
""",
    ),
    _topic(
        "Tasks and messages",
        "task tasks subtask subtasks message messages revision attempt conversation",
        """
A **task** is a conversation, a **subtask** one message in it. A run is one *attempt* at an answer; a retry is the
next attempt. Every committed change raises the task's **revision**, which is how a client that was away asks for
just what it has missed.
""",
    ),
    _topic(
        "Stopping and trying again",
        "cancel stop abort retry again",
        """
*Stop* ends a run at once and keeps what it has said so far; closing the page does not. *Retry* starts the next
attempt of the same answer. Only the task's owner, or whoever asked, can do either.
""",
    ),
    _topic(
        "Group chats",
        "group mention mentions team teams invite people together everybody",
        """
In a group chat people talk to one another, and a bot answers only when it is mentioned: `@` and the team's name.
A **team** is one or more bots, each with a system prompt, a model and a shell.
""",
    ),
    _topic(
        "Plugins",
        "plugin plugins extend extension port ports swap architecture",
        """
Every part is behind a **port**, a small abstract class with its contract written down: transports, storage, fan-out,
executors, engines. What is built in is loaded in the same way as what you add. I am a plugin too: the engine
`offline`.
""",
    ),
)  # fmt: skip


def find_topic(words: set[str]) -> Topic | None:
    """The topic that most of the (lower case) words speak of; the first of equals; None if none is named."""
    best = max(TOPICS, key=lambda topic: len(topic.words & words))
    return best if best.words & words else None
