"""Drives headless Chromium (CDP) and Firefox (WebDriver BiDi): load, evaluate, take screenshots."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
from pathlib import Path

import websockets

from .sandbox import WORK, NotRun, Sandbox

SHOTS = WORK / "screenshots"


class _Rpc:
    """JSON calls with ids over a WebSocket. Events are collected in `events`."""

    def __init__(self, ws):
        self._ws, self._numbers, self._waiting = ws, itertools.count(1), {}
        self.events: list[dict] = []
        self._pump = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for text in self._ws:
            message = json.loads(text)
            waiter = self._waiting.pop(message.get("id"), None)
            if waiter is None:
                self.events.append(message)
            elif not waiter.done():
                waiter.set_result(message)

    async def call(self, method: str, **params) -> dict:
        number = next(self._numbers)
        waiter = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._ws.send(json.dumps({"id": number, "method": method, "params": params}))
        message = await asyncio.wait_for(waiter, 60)
        if "error" in message:
            raise AssertionError(f"{method}: {message.get('message') or message['error']}")
        return message["result"]

    async def close(self) -> None:
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)


def _profile(sandbox: Sandbox, name: str) -> Path:
    profile = sandbox.dir / f"{name}-profile"
    shutil.rmtree(profile, ignore_errors=True)
    profile.mkdir(parents=True)
    return profile


@contextlib.asynccontextmanager
async def chromium(sandbox: Sandbox):
    """Starts headless Chromium and yields a page."""
    port, profile = sandbox.port(), _profile(sandbox, "chromium")
    child = await sandbox.spawn(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--ignore-certificate-errors", f"--user-data-dir={profile}",
        f"--remote-debugging-port={port}", "about:blank", env={"HOME": str(profile)})
    try:
        await sandbox.ready(child, port, timeout=40)
        target = await _chromium_target(port)
        async with websockets.connect(target, max_size=None, proxy=None) as ws:
            yield ChromiumPage(_Rpc(ws))
    finally:
        await child.stop()


async def _chromium_target(port: int) -> str:
    """The WebSocket URL of the first page's debugger."""
    for _ in range(100):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length:")[1].split()[0])
        body = await reader.readexactly(length)
        writer.close()
        for target in json.loads(body):
            if target["type"] == "page":
                return target["webSocketDebuggerUrl"]
        await asyncio.sleep(0.1)
    raise NotRun("chromium opened no page")


class ChromiumPage:
    """One tab, over the Chrome DevTools Protocol."""

    def __init__(self, rpc: _Rpc):
        self._rpc = rpc

    async def before_pages(self, script: str) -> None:
        """Runs this script in every page and frame before their own scripts."""
        await self._rpc.call("Page.enable")
        await self._rpc.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    async def open(self, url: str) -> None:
        await self._rpc.call("Page.enable")
        result = await self._rpc.call("Page.navigate", url=url)
        assert "errorText" not in result, f"{url}: {result.get('errorText')}"
        for _ in range(200):
            if await self.evaluate("document.readyState") == "complete" and await self.evaluate("location.href") != "about:blank":
                return
            await asyncio.sleep(0.05)

    async def evaluate(self, script: str):
        result = await self._rpc.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in result:
            raise AssertionError(f"in the page: {json.dumps(result['exceptionDetails'])[:300]}")
        return result["result"].get("value")

    async def picture(self, name: str) -> None:
        shot = await self._rpc.call("Page.captureScreenshot", format="png")
        _keep(name, shot["data"])


@contextlib.asynccontextmanager
async def firefox(sandbox: Sandbox):
    """Starts headless Firefox and yields a page."""
    port, profile = sandbox.port(), _profile(sandbox, "firefox")
    child = await sandbox.spawn(
        "firefox-esr", "--headless", "--no-remote", "--profile", profile,
        "--remote-debugging-port", port, env={"HOME": str(profile)})
    try:
        await sandbox.ready(child, port, timeout=60)
        async with websockets.connect(f"ws://127.0.0.1:{port}/session", max_size=None, proxy=None) as ws:
            rpc = _Rpc(ws)
            await rpc.call("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
            tree = await rpc.call("browsingContext.getTree")
            yield FirefoxPage(rpc, tree["contexts"][0]["context"])
    finally:
        await child.stop()


class FirefoxPage:
    """One tab, over WebDriver BiDi."""

    def __init__(self, rpc: _Rpc, context: str):
        self._rpc, self._context = rpc, context

    async def before_pages(self, script: str) -> None:
        """Runs this script in every page and frame before their own scripts."""
        await self._rpc.call("script.addPreloadScript", functionDeclaration=f"() => {{ {script} }}")

    async def open(self, url: str) -> None:
        await self._rpc.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def evaluate(self, script: str):
        # As JSON, because BiDi's own serialization of values is verbose.
        wrapped = f"Promise.resolve({script}).then((value) => JSON.stringify(value ?? null))"
        result = await self._rpc.call(
            "script.evaluate", expression=wrapped, target={"context": self._context}, awaitPromise=True)
        if result["type"] != "success":
            raise AssertionError(f"in the page: {json.dumps(result)[:300]}")
        return json.loads(result["result"]["value"])

    async def picture(self, name: str) -> None:
        shot = await self._rpc.call("browsingContext.captureScreenshot", context=self._context)
        _keep(name, shot["data"])


def _keep(name: str, data: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / f"{name}.png").write_bytes(base64.b64decode(data))


BROWSERS = {"chromium": chromium, "firefox": firefox}
