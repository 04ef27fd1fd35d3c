"""The payload classes hold the fields that the protocol documents, no more and no fewer."""

from datetime import datetime
from enum import Enum

import attrs
import pytest

from wegent import codec, protocol
from wegent.protocol import events, fields
from wegent.protocol.events import CHAT, EVENTS, LOCAL_EXECUTOR

C, S = True, False
RUN_END = "task_id subtask_id message_id attempt revision offset result"
CORR = "task_id subtask_id"
PAGE = "task_id after_message_id?"
DEVICE = "device_id name? status"
OK = "success="

# name, namespace, sent by a client -> payload, ack. `x?` is absent when None, `x=` has another default.
DOCUMENTED = {
    ("chat:send", CHAT, C): (
        (
            "task_id? team_id message title? client_message_id? attachment_ids? contexts? enable_deep_thinking="
            " enable_web_search= force_override_bot_model? is_group_chat= device_id? task_type? git_url? git_repo?"
            " branch_name? if_running= on_lost?"
        ),
        "task_id subtask_id message_id assistant_subtask_id",
    ),
    ("chat:cancel", CHAT, C): ("subtask_id partial_content?", "success= status"),
    ("chat:retry", CHAT, C): (
        "task_id subtask_id force_override_bot_model? use_model_override= if_running=",
        "success= attempt",
    ),
    ("chat:resume", CHAT, C): ("task_id subtask_id attempt? offset=", "success= attempt offset status"),
    ("task:join", CHAT, C): (f"{PAGE} after_revision? limit=", "streaming subtasks revision has_more"),
    ("task:leave", CHAT, C): ("task_id", OK),
    ("task:close-session", CHAT, C): ("task_id", OK),
    ("history:sync", CHAT, C): (f"{PAGE} before_message_id? limit=", "messages has_more"),
    ("skill:response", CHAT, C): ("request_id success result? error?", OK),
    ("auth:refresh", CHAT, C): ("token", "success= expires_at"),
    ("auth:error", CHAT, S): ("error code", None),
    ("chat:start", CHAT, S): (
        "task_id subtask_id message_id attempt revision bot_name shell_type reason?",
        None,
    ),
    ("chat:chunk", CHAT, S): ("task_id subtask_id attempt content offset result?", None),
    ("chat:done", CHAT, S): (RUN_END, None),
    ("chat:error", CHAT, S): (f"{RUN_END} error type", None),
    ("chat:cancelled", CHAT, S): (RUN_END, None),
    ("chat:message", CHAT, S): (
        (
            "task_id subtask_id message_id revision client_message_id? role content sender contexts"
            " attachments created_at"
        ),
        None,
    ),
    ("task:created", CHAT, S): ("task_id title team_id team_name created_at is_group_chat", None),
    ("task:status", CHAT, S): ("task_id status progress revision updated_at completed_at?", None),
    ("task:updated", CHAT, S): ("task_id title? members? deleted? unread?", None),
    ("task:app_update", CHAT, S): ("task_id app", None),
    ("device:online", CHAT, S): (DEVICE, None),
    ("device:offline", CHAT, S): (DEVICE, None),
    ("device:status", CHAT, S): (DEVICE, None),
    ("device:slot_update", CHAT, S): ("device_id slot_used slot_max running_tasks", None),
    ("skill:request", CHAT, S): ("request_id skill_name action data", None),
    ("correction:start", CHAT, S): (f"{CORR} correction_model", None),
    ("correction:progress", CHAT, S): (f"{CORR} stage tool_name?", None),
    ("correction:chunk", CHAT, S): (f"{CORR} field content offset", None),
    ("correction:done", CHAT, S): (f"{CORR} result", None),
    ("correction:error", CHAT, S): (f"{CORR} error", None),
    ("background:execution_update", CHAT, S): (
        "execution_id status created_at updated_at task_id? task_type? prompt? result_summary? error_message?",
        None,
    ),
    ("sync:required", CHAT, S): ("scope", None),
    ("device:register", LOCAL_EXECUTOR, C): (
        "device_id name slot_max= executor_version? capabilities?",
        "success= device_id heartbeat_interval= running",
    ),
    ("device:heartbeat", LOCAL_EXECUTOR, C): ("device_id running_task_ids", OK),
    ("device:status", LOCAL_EXECUTOR, C): ("device_id status", OK),
    ("task:progress", LOCAL_EXECUTOR, C): (
        "subtask_id attempt? status? progress? offset? delta? events? result?",
        "success= offset",
    ),
    ("task:complete", LOCAL_EXECUTOR, C): (
        "subtask_id attempt? status progress= result? error_message? error_type?",
        OK,
    ),
    ("task:execute", LOCAL_EXECUTOR, S): (
        (
            "task_id subtask_id message_id attempt lease lease_s target= resume? user team bot prompt history="
            " attachments= workspace= title auth_token created_at traceparent?"
        ),
        "accepted reason?",
    ),
    ("task:cancel", LOCAL_EXECUTOR, S): ("task_id subtask_id attempt", OK),
    ("auth:refresh", LOCAL_EXECUTOR, C): ("token", "success= expires_at"),
    ("auth:error", LOCAL_EXECUTOR, S): ("error code", None),
    ("device:replaced", LOCAL_EXECUTOR, S): ("device_id error", None),
    ("task:skill", LOCAL_EXECUTOR, S): ("task_id subtask_id attempt id success result? error?", OK),
    ("task:close-session", LOCAL_EXECUTOR, S): ("task_id", OK),
}

PARTS = {
    protocol.Subtask: (
        "id message_id revision attempt role prompt result status progress error_message error_type contexts"
        " sender client_message_id? created_at updated_at completed_at"
    ),
    protocol.RemovedSubtask: "id deleted= revision",
    protocol.Streaming: (
        "subtask_id attempt offset cached_content values thinking? started_at last_activity_at truncated?"
    ),
    protocol.StreamValues: "blocks? app? progress?",
    protocol.Sender: "user_id user_name avatar?",
    protocol.HistoryMessage: "subtask_id message_id role content status created_at sender",
    protocol.RunResult: "value thinking? blocks? workbench? app? truncated? correction?",
    protocol.ChunkResult: "thinking? blocks? app? progress?",
    protocol.Delta: "content offset",
    protocol.Block: "id version at type= tool_name tool_input? tool_output? status timestamp",
    protocol.App: "name address previewUrl",
    protocol.DeviceRun: "task_id subtask_id attempt lease offset status",
    protocol.SlotTask: "task_id subtask_id title status created_at",
    protocol.CorrectionResult: "scores corrections summary improved_answer is_correct",
    protocol.Scores: "accuracy logic completeness",
    protocol.Correction: "issue suggestion",
    protocol.Position: "subtask_id attempt offset",
    protocol.JobUser: "id name",
    protocol.JobTeam: "id name namespace",
    protocol.JobBot: "name shell_type system_prompt= model= tools= mcp_servers= skills= image? resources?",
    protocol.JobMessage: "role content sender?",
    protocol.JobWorkspace: "git_url? git_repo? branch_name?",
    protocol.FetchTasks: "executor targets limit wait_s=",
    protocol.FetchedTasks: "tasks",
    protocol.ReportStatus: (
        "subtask_id attempt lease status? progress? events? result? error_message? error_type? skills_received?"
    ),
    protocol.ReportReply: "subtask_id status offset cancel skills=",
    protocol.SubtaskList: "subtasks",
    protocol.RunnerStart: "type= job",
    protocol.RunnerCancel: "type=",
    protocol.RunnerSkillAnswer: "type= id success result? error?",
    protocol.RunnerChunk: "type= content offset?",
    protocol.RunnerThinking: "type= content offset?",
    protocol.RunnerBlock: "type= id version? at? tool_name tool_input? tool_output? status timestamp?",
    protocol.RunnerProgress: "type= progress message?",
    protocol.RunnerApp: "type= name address previewUrl",
    protocol.RunnerSkill: "type= id skill_name action data?",
    protocol.RunnerHeartbeat: "type=",
    protocol.RunnerDone: "type= result?",
    protocol.RunnerError: "type= message error_type?",
    protocol.Refusal: "error code offset? status?",
    protocol.AuthFrame: "auth",
    protocol.Ready: "sid ping_interval=",
    protocol.EventFrame: "event data? id?",
    protocol.AckFrame: "ack data?",
    protocol.ErrorFrame: "error code",
    protocol.ResponseRequest: "model_config messages system? tools? features= metadata stream=",
    protocol.Features: "deep_thinking= web_search= streaming=",
    protocol.ResponseStart: "id model",
    protocol.ContentDelta: "text",
    protocol.ThinkingDelta: "text",
    protocol.ToolStart: "id name input?",
    protocol.ToolDone: "id output duration_ms error",
    protocol.SourcesUpdate: "sources",
    protocol.ResponseDone: "id usage stop_reason tool_calls? carried?",
    protocol.ResponseCancelled: "id partial_content",
    protocol.ResponseError: "code message",
    protocol.ResponseCancel: "request_id",
    protocol.ExecutionRequest: "team_id prompt run_at? cron? timezone?",
    protocol.Resource: "id? apiVersion= kind metadata spec status?",
    protocol.Metadata: "name namespace= displayName? labels?",
    protocol.GhostSpec: "systemPrompt= mcpServers= skills=",
    protocol.ModelSpec: "modelConfig= contextWindow? maxOutputTokens?",
    protocol.ShellSpec: "shellType executor? image? resources? onLost?",
    protocol.BotSpec: "ghostRef shellRef modelRef?",
    protocol.TeamMember: "botRef role? prompt?",
    protocol.TeamSpec: "members collaborationModel= public? users? onLost?",
}

WORDS = {
    protocol.Status: "PENDING RUNNING CANCELLING COMPLETED FAILED CANCELLED",
    protocol.Ending: "COMPLETED FAILED CANCELLED",
    protocol.Role: "USER ASSISTANT",
    protocol.BlockStatus: "pending streaming done error",
    protocol.DeviceStatus: "online busy offline",
    protocol.RunReason: "retry worker_lost device_lost executor_lost drain",
    protocol.ErrorType: (
        "model timeout worker_lost device_lost executor_lost runner_exit out_of_memory killed image engine_away"
        " output_limit protocol internal"
    ),
    protocol.TaskType: "chat code task",
    protocol.IfRunning: "reject queue interrupt",
    protocol.OnLost: "fail rerun reassign",
    protocol.AuthCode: "TOKEN_EXPIRED INVALID_TOKEN",
    protocol.Code: (
        "INVALID_PAYLOAD NOT_AUTHENTICATED TOKEN_EXPIRED ACCESS_DENIED NOT_FOUND CONFLICT TASK_RUNNING"
        " DEVICE_OFFLINE LEASE_LOST OFFSET_MISMATCH TERMINAL RATE_LIMITED OVERLOADED SHUTTING_DOWN INTERNAL"
    ),
    protocol.CorrectionStage: "verifying_facts evaluating generating_improvement",
    protocol.CorrectionField: "summary improved_answer",
    protocol.Scope: "user device executor run",
    protocol.ApiFormat: "chat responses",
}


def described(kind):
    def mark(field):
        return "" if field.default is attrs.NOTHING else "?" if field.default is None else "="

    return {field.name + mark(field) for field in attrs.fields(kind)}


def by_key():
    return {(each.name, each.namespace, each.from_client): each for each in EVENTS}


def test_every_documented_event_is_in_the_table_and_no_other():
    assert by_key().keys() == DOCUMENTED.keys()
    assert len(EVENTS) == len(DOCUMENTED)


@pytest.mark.parametrize("key", DOCUMENTED, ids=lambda key: f"{key[0]}{key[1]}{'<' if key[2] else '>'}")
def test_an_event_carries_its_documented_fields(key):
    payload, ack = DOCUMENTED[key]
    found = by_key()[key]
    assert described(found.payload) == set(payload.split())
    assert (found.ack and described(found.ack)) == (ack and set(ack.split()))


@pytest.mark.parametrize("kind", PARTS, ids=lambda kind: kind.__name__)
def test_a_part_of_a_payload_has_its_documented_fields(kind):
    assert described(kind) == set(PARTS[kind].split())


@pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)
def test_a_list_of_words_is_the_documented_one(kind):
    assert [word.value for word in kind] == WORDS[kind].split()


def test_the_documented_defaults_hold():
    send = codec.convert({"team_id": 1, "message": ""}, protocol.ChatSend)
    assert (send.enable_deep_thinking, send.enable_web_search, send.is_group_chat) == (True, False, False)
    assert send.if_running is protocol.IfRunning.REJECT
    assert codec.convert({"task_id": 1}, protocol.TaskJoin).limit == 100
    assert codec.convert({"task_id": 1}, protocol.HistorySync).limit == 100
    assert codec.convert({"task_id": 1, "subtask_id": 2}, protocol.ChatResume).offset == 0
    assert codec.convert({"device_id": "d", "name": "n"}, protocol.DeviceRegister).slot_max == 5
    done = codec.convert({"subtask_id": 1, "status": "completed"}, protocol.TaskComplete)
    assert done.progress == 100
    assert protocol.DeviceRegisterAck(device_id="d", running=()).heartbeat_interval == 30
    assert codec.convert({"name": "n"}, protocol.Metadata).namespace == "default"


def test_an_event_is_found_by_name_namespace_and_direction():
    asked = events.event(LOCAL_EXECUTOR, events.DEVICE_STATUS, from_client=True)
    told = events.event(CHAT, events.DEVICE_STATUS, from_client=False)
    assert (asked.payload, told.payload) == (protocol.DeviceStatusReport, protocol.DeviceChanged)
    with pytest.raises(KeyError):
        events.event(CHAT, events.DEVICE_STATUS, from_client=True)


def test_each_name_of_an_event_is_a_constant_and_each_constant_is_used():
    names = {value for key, value in vars(events).items() if key.isupper() and isinstance(value, str)}
    assert {name for name in names if ":" in name} == {each.name for each in EVENTS}


def test_rooms_are_named_as_documented():
    assert events.user_room(7) == "user:7"
    assert events.task_room(8) == "task:8"
    assert events.device_room(7, "pc") == "device:7:pc"


@pytest.mark.parametrize(
    ("code", "come_back"),
    [
        (1013, True),
        (4001, True),
        (4008, True),
        (4012, True),
        (4400, False),
        (4401, False),
        (4403, False),
        (4429, False),
    ],
)
def test_close_codes_say_whether_to_come_back(code, come_back):
    assert protocol.Close(code).come_back is come_back
    assert len(protocol.Close) == 8


def test_statuses_know_which_are_terminal_and_which_active():
    assert {s for s in protocol.Status if s.terminal} == {"COMPLETED", "FAILED", "CANCELLED"}
    assert {s for s in protocol.Status if s.active} == {"RUNNING", "CANCELLING"}


def test_every_kind_has_a_spec_and_a_path():
    assert protocol.SPECS.keys() == set(protocol.Kind)
    assert protocol.Kind.TEAM.path == "team"


def test_payload_classes_are_frozen_attrs_values_with_slots():
    for name in protocol.__all__:
        kind = getattr(protocol, name)
        if not isinstance(kind, type) or issubclass(kind, Enum) or kind in fields.Variant.__subclasses__():
            continue
        assert attrs.has(kind), name
        assert not hasattr(kind, "__dict__") or "__dict__" not in dir(kind.__new__(kind)), name
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            kind.__new__(kind).anything = 1


def test_protocol_imports_attrs_and_the_standard_library_only():
    import ast
    import sys
    from pathlib import Path

    allowed = {*sys.stdlib_module_names, "attrs"}
    for file in Path(protocol.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in allowed or name.startswith("wegent.protocol"), (file.name, name)


def test_times_are_written_in_utc():
    from datetime import UTC

    ack = protocol.AuthRefreshAck(expires_at=datetime(2026, 2, 1, 12, tzinfo=UTC))
    assert codec.encode(ack) == b'{"expires_at":"2026-02-01T12:00:00Z","success":true}'
