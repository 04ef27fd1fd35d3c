"""Runners that do what no runner should: small programs, started as they are."""

from __future__ import annotations

import sys
import textwrap

PRELUDE = """
import json, os, signal, subprocess, sys, time
def say(kind, **fields):
    sys.stdout.write(json.dumps({"type": kind, **fields}) + "\\n")
    sys.stdout.flush()
start = json.loads(sys.stdin.readline())
"""

PROGRAMS = {
    "without_end": "while True: say('chunk', content='x' * 1000)",
    "without_newline": "sys.stdout.write('x' * 5000); sys.stdout.flush(); time.sleep(1000)",
    "one_endless_line": """
        piece = b'x' * 65536
        for _ in range(1600): os.write(1, piece)
        say('done')
    """,
    "binary": "os.write(1, bytes(range(256)) * 100); time.sleep(1000)",
    "ignores_cancel": "say('chunk', content='up'); time.sleep(1000)",
    "ignores_sigterm": """
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen(['sh', '-c', 'trap "" TERM; while :; do sleep 1; done'])
        say('chunk', content='up')
        while True: time.sleep(1)
    """,
    "leaves_children": """
        for _ in range(3): subprocess.Popen(['sleep', '1000'])
        subprocess.Popen(['setsid', 'sh', '-c', 'sleep 1000 & sleep 1000'])
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: time.sleep(1000)
            os._exit(0)
        say('chunk', content='up'); say('done')
    """,
    "forks_for_ever": """
        # each has a child and goes, so that there is never anybody to be found for long
        if os.fork() == 0:
            while True:
                if os.fork(): os._exit(0)
        say('chunk', content='up'); time.sleep(1000)
    """,
    "huge_file": """
        with open('big', 'wb') as file:
            while True: file.write(bytes(1 << 20))
    """,
    "huge_file_in_c": """
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it, and a program inherits that
        os.execvp('dd', ['dd', 'if=/dev/zero', 'of=big', 'bs=1M', 'count=100'])
    """,
    "exits_0": "pass",
    "exits_7": "sys.exit(7)",
    "segfaults": "os.kill(os.getpid(), signal.SIGSEGV)",
    "burns_cpu": "say('chunk', content='up')\nwhile True: pass",
    "eats_memory": """
        kept = []
        while True: kept.append(bytearray(1 << 20))
    """,
    "kills_its_keeper": """
        subprocess.Popen(['sleep', '1000'])
        say('chunk', content='up')
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    """,
    "stays_after_done": "say('done'); time.sleep(1000)",
    "talks_after_done": "say('done')\nwhile True: say('chunk', content='x' * 1000)",
    "closes_its_output": "say('chunk', content='up'); os.close(1); time.sleep(1000)",
    "reads_nothing": "say('chunk', content='up'); time.sleep(1000)",
    "fills_its_log": "os.write(2, b'secret ' * 1_000_000); say('done')",
    "opens_many_files": "files = [open('/dev/null') for _ in range(1000)]",
}


def program(name: str) -> tuple[str, ...]:
    """The command that runs one."""
    return (sys.executable, "-c", PRELUDE + textwrap.dedent(PROGRAMS[name]))
