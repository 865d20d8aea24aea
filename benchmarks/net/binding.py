"""The Python binding of iroh beside Zenoh, for ADR 0019: answers between two endpoints on loopback.

    pip install iroh==1.2.0 && python -m benchmarks.net.binding [--copy]

`--copy` replaces the function of the binding that copies byte by byte. A stranger asks at the end.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_SIZES = (100, 20_000, 100_000, 500_000, 1_000_000)
_ALPN, _LIMIT = b"swarmproof/1", 100
_TIMES = 5


def show(name: str, size: int, spent: list[tuple[float, float]]) -> None:
    wall, cpu = (statistics.median(column) for column in zip(*spent, strict=True))
    print(f"{name} {size} bytes: {wall:.4f} s, {cpu:.4f} processor seconds of both ends")


def over_zenoh() -> None:
    from swarmproof.exchange.net.keys import CERTIFICATE, make_keys
    from swarmproof.exchange.net.over_zenoh import Links, ZenohTransport

    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / each for each in "ab"]
        for folder in folders:
            make_keys(folder, folder.name)
        all_of = Path(name) / "all.pem"
        all_of.write_bytes(b"".join((f / CERTIFICATE).read_bytes() for f in folders))
        end = ("tls/127.0.0.1:17547",)
        server = ZenohTransport("benchmark", 0, Links(end, (), folders[0], all_of), 1 << 24)
        asker = ZenohTransport("benchmark", 1, Links((), end, folders[1], all_of), 1 << 24)
        time.sleep(1)  # until they are linked
        for size in _SIZES:
            server.serve(f"k/{size}", os.urandom(size))
            spent = []
            for _ in range(_TIMES):
                wall, cpu, got = time.perf_counter(), time.process_time(), 0
                asker.ask(0, f"k/{size}", size, 10.0)
                while not got:
                    got = sum(len(a.value) for a in asker.answers(10.0) if a.value is not None)
                spent.append((time.perf_counter() - wall, time.process_time() - cpu))
            show("zenoh", size, spent)
        asker.close()
        server.close()


def copy_at_once(binding: Any) -> None:
    """Let the binding copy bytes by `memmove`."""

    def write(own: Any, value: bytes) -> None:
        with own._reserve(len(value)):
            start = ctypes.addressof(own.rbuf.data.contents) + own.rbuf.len
            ctypes.memmove(start, bytes(value), len(value))

    binding._UniffiRustBufferBuilder.write = write


async def over_iroh(iroh: Any) -> None:
    iroh.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())

    async def bind() -> Any:
        return await iroh.Endpoint.bind(
            iroh.EndpointOptions(
                preset=iroh.preset_minimal(),
                bind_addr="127.0.0.1:0",
                alpns=[_ALPN],
                relay_mode=iroh.RelayMode.disabled(),
            )
        )

    server, asker, stranger = await bind(), await bind(), await bind()
    value = os.urandom(max(_SIZES))
    known = {asker.id().to_bytes()}

    async def answer(incoming: Any) -> None:
        connection = await (await incoming.accept()).connect()
        if connection.remote_id().to_bytes() not in known:
            connection.close(1, b"unknown key")
            return
        while True:
            try:
                stream = await connection.accept_bi()
            except iroh.IrohError:  # the asker has left
                return
            size = int(await stream.recv().read_to_end(_LIMIT))
            await stream.send().write_all(value[:size])
            await stream.send().finish()

    async def accept() -> None:
        async with asyncio.TaskGroup() as group:
            while (incoming := await server.accept_next()) is not None:
                group.create_task(answer(incoming))

    async def ask(connection: Any, size: int) -> int:
        stream = await connection.open_bi()
        await stream.send().write_all(b"%d" % size)
        await stream.send().finish()
        return len(await stream.recv().read_to_end(size + 1))

    accepting = asyncio.create_task(accept())
    connection = await asker.connect(server.addr(), _ALPN)
    for size in _SIZES:
        spent = []
        for _ in range(_TIMES):
            wall, cpu = time.perf_counter(), time.process_time()
            assert await ask(connection, size) == size
            spent.append((time.perf_counter() - wall, time.process_time() - cpu))
        show("iroh", size, spent)
    try:
        await ask(await stranger.connect(server.addr(), _ALPN), 100)
        raise AssertionError("a stranger was answered")
    except iroh.IrohError as error:
        print("a stranger:", repr(error))
    for endpoint in (asker, stranger, server):
        await endpoint.close()
    await accepting


def main() -> None:
    import iroh  # type: ignore[import-not-found] # not a dependency

    over_zenoh()
    if "--copy" in sys.argv:
        copy_at_once(iroh.iroh_ffi)
    asyncio.run(over_iroh(iroh))


if __name__ == "__main__":
    main()
