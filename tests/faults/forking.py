"""Commands of everychip in children of one process that has imported everything, with a fault in each.

`python forking.py` answers one JSON object a line; `Forking` is its client. A fault happens at a file event
of the child, a call of Python that opens, renames, makes or removes a file of the folder that is watched.
"""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NoReturn

EVENTS = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "shutil.rmtree"}
)
WRITES = frozenset({"os.rename", "os.mkdir", "os.link"})


@dataclass(frozen=True)
class Request:
    """One command, and what happens to it.

    watch: the folder whose file events count, from 1. kill_at: SIGKILL before that event. pause_at: the same
    command is started a second time there, and this one goes on when it has ended. full_at: from there on the
    disk is full. flip_at: a bit flips there, or as soon as there is such a file, in a file of the folder that
    `flip` names; `seed` chooses. largest: bytes that a file may have. memory: bytes of address space.
    seconds: after which the child is killed as a hang.
    """

    args: Sequence[str]
    watch: str = ""
    kill_at: int = 0
    pause_at: int = 0
    full_at: int = 0
    flip_at: int = 0
    flip: str = "*"
    seed: int = 0
    largest: int = 0
    memory: int = 0
    seconds: float = 60.0


@dataclass(frozen=True)
class Done:
    """How a command ended: its exit code, minus the signal that killed it, and what it said.

    events: of its folder. second: the command that was started while this one paused. did: of the fault.
    """

    code: int
    out: str
    err: str
    events: int = 0
    did: str = ""
    seconds: float = 0.0
    peak: int = 0
    second: dict[str, Any] = field(default_factory=dict)

    @property
    def hung(self) -> bool:
        """Whether it was killed because it did not end."""
        return self.code == -signal.SIGALRM

    @property
    def refused(self) -> bool:
        """Whether it ended as every mistake ends: exit code 2, lines of "error: …", no traceback."""
        lines = self.err.strip().splitlines()
        told = [line for line in lines if line.startswith("error: ")]
        return self.code == 2 and bool(told) and lines[-1] == told[-1] and "Traceback" not in self.err


class Forking:
    """The client: runs commands in children of one server process."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "COLUMNS": "200"},
        )

    def run(self, *args: str, **fault: Any) -> Done:
        """One command, with a fault as `Request` has them."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asdict(Request(args, **fault))) + "\n")
        self._server.stdin.flush()
        return Done(**json.loads(self._server.stdout.readline()))

    def close(self) -> None:
        """End the server."""
        self._server.communicate(timeout=60)


class Fault:
    """The audit hook of one child."""

    def __init__(self, request: Request, log: int) -> None:
        self.request, self.log, self.seen, self.inside, self.flipped = request, log, 0, False, False

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in EVENTS or self.inside or not self._ours(event, args):
            return
        self.seen += 1
        asked, writes = (
            self.request,
            event in WRITES or (event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR)),
        )
        if self.seen == asked.kill_at:
            self._say(f"killed before {event} {args[0]}")
            os.kill(os.getpid(), signal.SIGKILL)
        if self.seen == asked.pause_at:
            self._say(f"paused before {event} {args[0]}")
            os.kill(os.getpid(), signal.SIGSTOP)
        if asked.flip_at and self.seen >= asked.flip_at and not self.flipped:
            self._flip(event)
        if asked.full_at and self.seen >= asked.full_at and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(args[0]))

    def _ours(self, event: str, args: tuple[Any, ...]) -> bool:
        return event in ("os.remove", "os.rmdir") or any(self.request.watch in str(arg) for arg in args)

    def _flip(self, event: str) -> None:
        self.inside = True
        chosen = random.Random(self.request.seed)
        files = sorted(
            p
            for p in Path(self.request.watch).rglob(self.request.flip)
            if p.is_file() and p.suffix != ".part"
        )
        if files:
            self.flipped = True
            self._say(f"at {event}: {flipped(chosen.choice(files), chosen)}")
        self.inside = False

    def _say(self, words: str) -> None:
        os.write(self.log, words.encode())


def flipped(path: Path, chosen: random.Random) -> str:
    """Flip one bit of a file in place, and say which."""
    content = bytearray(path.read_bytes())
    if not content:
        return f"{path.name} is empty"
    place, bit = chosen.randrange(len(content)), chosen.randrange(8)
    content[place] ^= 1 << bit
    with path.open("r+b") as file:
        file.write(content)
    return f"{path.name}: bit {bit} of byte {place} of {len(content)}"


def _child(request: Request, files: Sequence[int]) -> NoReturn:
    from everychip.cli import call

    code = 99
    out, err, log, count = files
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        for kind, most in ((resource.RLIMIT_FSIZE, request.largest), (resource.RLIMIT_AS, request.memory)):
            if most:
                resource.setrlimit(kind, (most, most))
        hook = Fault(request, log)
        if request.watch:
            sys.addaudithook(hook)
        signal.setitimer(signal.ITIMER_REAL, request.seconds)
        try:
            code = call(request.args)
        except BaseException:  # noqa: BLE001 - the fault that is looked for
            traceback.print_exc()
        hook.inside = True
        os.write(count, str(hook.seen).encode())
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _started(request: Request) -> tuple[int, list[int]]:
    files = [os.memfd_create(name) for name in ("out", "err", "log", "count")]
    child = os.fork()
    if child == 0:
        _child(request, files)
    return child, files


def _answer(request: Request) -> Done:
    started, second = time.monotonic(), {}
    child, files = _started(request)
    while True:
        _, status, used = os.wait4(child, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            break
        second = asdict(_answer(replace(request, pause_at=0)))
        os.kill(child, signal.SIGCONT)
    code = os.waitstatus_to_exitcode(status)
    out, err, log, count = map(_content, files)
    seconds = time.monotonic() - started
    return Done(code, out, err, int(count or 0), log, seconds, used.ru_maxrss, second)


def _content(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with os.fdopen(file, "rb") as stream:
        return stream.read(1_000_000).decode("utf-8", "replace")


def _serve(requests: IO[str]) -> None:
    import duckdb  # noqa: F401 - everything that a command may import is imported once, before the forks
    import rich.console  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch

    torch.set_num_threads(1)
    import safetensors.torch  # noqa: F401
    import torch._dynamo

    import everychip.cli.app
    import everychip.cli.commands
    import everychip.report
    import everychip.study.study  # noqa: F401
    from everychip.study.grid import Study

    Study.from_toml("demo").expand()  # what is read and cached once
    for line in requests:
        print(json.dumps(asdict(_answer(Request(**json.loads(line))))), flush=True)


if __name__ == "__main__":
    _serve(sys.stdin)
