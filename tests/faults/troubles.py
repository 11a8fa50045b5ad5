"""
What can go wrong, each as a function of the world and a source of chance. All of it passes: what lasts ends by itself.

`TROUBLES` says how often each is chosen, relatively.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import redis

from oracle.broker import EXECUTE, SUBMIT, queue_name
from tests.faults.world import World
from tests.faults.world import reorganise as replace_blocks

_LOOK_S = 1.0
_FOREVER = threading.Event()  # nobody sets it: a wait of bounded length is what these troubles are
LIES: dict[str, dict[str, Any]] = {
    "refuses": {"status": 429, "retry_after_s": 1},
    "is broken": {"status": 502},
    "is overloaded now and then": {"status": 503, "share": 0.5},
    "drops": {"drops": True},
    "hangs": {"hangs": True},
    "answers late": {"delay_s": 0.4},
    "is a web page": {"garbage": True},
    "has internal errors": {"error_code": -32603},
    "is rate limited": {"error_code": -32005},
    "answers old": {"old_blocks": 3},
    "is far behind": {"old_blocks": 40},
    "truncates logs": {"truncates": True},
    "truncates now and then": {"truncates": True, "share": 0.5},
    "names a head a little ahead": {"head_ahead": 2},
    "names a head too far ahead": {"head_ahead": 5_000},
    "makes up hashes": {"false_hashes": True},
    "makes up hashes now and then": {"false_hashes": True, "share": 0.3},
    "counts too many transactions": {"nonce_ahead": 2},
    "loses transactions": {"loses_transactions": True},
    "says nothing of new heads": {"silent_ws": True},
    "refuses subscriptions": {"no_ws": True},
}


def kill(world: World, chance: random.Random, match: str = "") -> str:
    """-9 to one of the processes whose name has `match` in it."""
    names = sorted(name for name in world.keeper.victims() if match in name)
    if not names:
        return f"nobody to kill like {match!r}"
    name = chance.choice(names)
    return f"killed {name}" if world.keeper.kill(name) else f"{name} died first"


def kill_all(world: World, _: random.Random) -> str:
    """-9 to everything: the machine lost its power."""
    names = sorted(world.keeper.victims(), key=lambda name: "/" in name)  # supervisors first
    for name in names:
        world.keeper.kill(name)
    return f"killed all: {', '.join(names)}"


def freeze(world: World, chance: random.Random) -> str:
    """A process stands still for so long that others take it for dead, and then goes on."""
    names = sorted(world.keeper.victims().items())
    if not names:
        return "nobody to freeze"
    name, pid = chance.choice(names)
    seconds = chance.uniform(0.5, 6)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        _FOREVER.wait(seconds)
        os.kill(pid, signal.SIGCONT)
    return f"froze {name} for {seconds:.1f} s"


@contextmanager
def broker(world: World) -> Iterator[redis.Redis]:
    """A connection of our own."""
    client = redis.Redis(unix_socket_path=str(world.settings.broker_socket), socket_timeout=5)
    try:
        yield client
    finally:
        client.close()


def wipe_broker(world: World, _: random.Random) -> str:
    """Every message is gone, those that workers have included."""
    try:
        with broker(world) as client:
            client.flushall()
    except redis.RedisError as error:
        return f"the broker could not be wiped: {error}"
    return "wiped the broker"


def lose_broker(world: World, chance: random.Random) -> str:
    """-9 to the broker, and its files are removed."""
    done = kill(world, chance, "broker")
    shutil.rmtree(world.settings.broker_socket.parent / "appendonlydir", ignore_errors=True)
    return f"{done}, and removed its files"


def drop_messages(world: World, chance: random.Random) -> str:
    """Some messages vanish, from the queues or from what workers have not acknowledged."""

    def drop(client: redis.Redis, name: str) -> int:
        dropped = sum(_found(client.lrem(name, 1, message.decode())) for message in _some(client, name, chance))
        for tag in cast("list[bytes]", client.hkeys("unacked")):
            if chance.random() < 0.5:
                dropped += _found(client.hdel("unacked", tag.decode()))
        return dropped

    return f"dropped {_until_some(world, drop)} messages"


def duplicate_messages(world: World, chance: random.Random) -> str:
    """Some messages are there several times, in any order."""

    def duplicate(client: redis.Redis, name: str) -> int:
        copies = [message for message in _some(client, name, chance) for _ in range(chance.randint(1, 3))]
        chance.shuffle(copies)
        for message in copies:
            client.lpush(name, message)
        return len(copies)

    return f"duplicated {_until_some(world, duplicate)} messages"


def _until_some(world: World, change: Callable[[redis.Redis, str], int]) -> int:
    """How many were changed. Messages are taken within milliseconds: look until there are some, for a moment."""
    changed, until = 0, time.monotonic() + _LOOK_S
    with contextlib.suppress(redis.RedisError), broker(world) as client:
        while not changed and time.monotonic() < until:
            changed = sum(change(client, queue_name(world.settings, queue)) for queue in (EXECUTE, SUBMIT))
    return changed


def _some(client: redis.Redis, name: str, chance: random.Random) -> list[bytes]:
    """About half of the messages that wait."""
    return [message for message in cast("list[bytes]", client.lrange(name, 0, -1)) if chance.random() < 0.5]


def _found(count: object) -> int:
    return cast("int", count)


def lock_database(world: World, chance: random.Random) -> str:
    """SQLite: somebody else writes for a while, longer than anybody waits for a lock."""
    seconds = chance.uniform(0.5, 13)
    connection = sqlite3.connect(world.settings.database.removeprefix("sqlite:///"), timeout=5)
    try:
        connection.execute("BEGIN IMMEDIATE")
        _FOREVER.wait(seconds)
    except sqlite3.OperationalError as error:
        return f"the database could not be locked: {error}"
    finally:
        connection.close()
    return f"locked the database for {seconds:.1f} s"


def reorganise(world: World, chance: random.Random) -> str:
    """The newest blocks are replaced by empty ones; what was in them is forgotten."""
    depth = chance.choice((1, 1, 2, 3, 5, 8, 13, 33, 64))
    replace_blocks(world.chain, depth)
    return f"reorganised {depth} blocks"


def lie(world: World, chance: random.Random) -> str:
    """The node misbehaves for a while."""
    name, seconds = chance.choice(sorted(LIES)), chance.uniform(0.5, 8)
    world.proxy.do(**LIES[name])
    _FOREVER.wait(seconds)
    world.proxy.behave()
    return f"the node {name} for {seconds:.1f} s"


def drop_subscriptions(world: World, _: random.Random) -> str:
    return f"dropped {world.proxy.drop_subscriptions()} subscriptions"


def pause_chain(world: World, chance: random.Random) -> str:
    """The node stands still, longer than anybody waits for an answer."""
    seconds = chance.uniform(0.5, 5)
    world.chain.node.process.send_signal(signal.SIGSTOP)
    _FOREVER.wait(seconds)
    world.chain.node.process.send_signal(signal.SIGCONT)
    return f"stopped the chain for {seconds:.1f} s"


Trouble = Callable[[World, random.Random], str]
TROUBLES: dict[str, tuple[int, Trouble]] = {
    "kill any": (6, kill),
    "kill worker": (3, partial(kill, match="worker")),
    "kill watcher": (3, partial(kill, match="watcher")),
    "kill submitter": (4, partial(kill, match="submitter")),
    "kill enclave": (3, partial(kill, match="enclave")),
    "kill broker": (2, partial(kill, match="broker")),
    "kill all": (1, kill_all),
    "freeze": (2, freeze),
    "wipe broker": (2, wipe_broker),
    "lose broker": (1, lose_broker),
    "drop messages": (4, drop_messages),
    "duplicate messages": (4, duplicate_messages),
    "lock database": (1, lock_database),
    "reorganise": (4, reorganise),
    "lie": (5, lie),
    "drop subscriptions": (1, drop_subscriptions),
    "pause chain": (1, pause_chain),
}
