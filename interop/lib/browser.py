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
async def chromium(sandbox: Sandbox, dark: bool = False):
    """Starts headless Chromium and yields a page, which prefers a dark or a light scheme."""
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
            rpc = _Rpc(ws)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            await rpc.call("Emulation.setEmulatedMedia", features=[scheme])
            await rpc.call("Emulation.setScrollbarsHidden", hidden=True)
            for domain in ("Log", "Runtime"):
                await rpc.call(f"{domain}.enable")
            yield ChromiumPage(rpc)
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

    async def resize(self, width: int, height: int) -> None:
        await self._rpc.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    async def press(self, key: str) -> None:
        code, text = {"Tab": (9, ""), "Enter": (13, "\r"), "Space": (32, " ")}[key]
        named = {"key": " " if key == "Space" else key, "code": key, "windowsVirtualKeyCode": code}
        await self._rpc.call("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **({"text": text} if text else {}))
        await self._rpc.call("Input.dispatchKeyEvent", type="keyUp", **named)

    def complaints(self) -> list[str]:
        """Warnings and errors in the console, and exceptions."""
        found = []
        for event in self._rpc.events:
            said, method = event["params"], event["method"]
            if method == "Runtime.exceptionThrown" or (method == "Log.entryAdded" and said["entry"]["level"] in ("warning", "error")) \
                    or (method == "Runtime.consoleAPICalled" and said["type"] in ("warning", "error", "assert")):
                found.append(json.dumps(said)[:300])
        return found

    async def picture(self, name: str, whole: bool = False) -> None:
        shot = await self._rpc.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        _keep(name, shot["data"])


@contextlib.asynccontextmanager
async def firefox(sandbox: Sandbox, dark: bool = False):
    """Starts headless Firefox and yields a page, which prefers a dark or a light scheme."""
    port, profile = sandbox.port(), _profile(sandbox, "firefox")
    (profile / "user.js").write_text(f'user_pref("layout.css.prefers-color-scheme.content-override", {0 if dark else 1});\n')
    child = await sandbox.spawn(
        "firefox-esr", "--headless", "--no-remote", "--profile", profile,
        "--remote-debugging-port", port, env={"HOME": str(profile)})
    try:
        await sandbox.ready(child, port, timeout=60)
        async with websockets.connect(f"ws://127.0.0.1:{port}/session", max_size=None, proxy=None) as ws:
            rpc = _Rpc(ws)
            await rpc.call("session.new", capabilities={"alwaysMatch": {"acceptInsecureCerts": True}})
            await rpc.call("session.subscribe", events=["log.entryAdded"])
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

    async def resize(self, width: int, height: int) -> None:
        await self._rpc.call("browsingContext.setViewport", context=self._context, viewport={"width": width, "height": height})

    async def press(self, key: str) -> None:
        value = {"Tab": "\ue004", "Enter": "\ue007", "Space": " "}[key]
        strokes = [{"type": kind, "value": value} for kind in ("keyDown", "keyUp")]
        await self._rpc.call("input.performActions", context=self._context, actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def complaints(self) -> list[str]:
        """Warnings and errors in the console, and exceptions."""
        entries = [event["params"] for event in self._rpc.events if event.get("method") == "log.entryAdded"]
        return [json.dumps(entry)[:300] for entry in entries if entry["level"] in ("warn", "warning", "error")]

    async def picture(self, name: str, whole: bool = False) -> None:
        origin = "document" if whole else "viewport"
        shot = await self._rpc.call("browsingContext.captureScreenshot", context=self._context, origin=origin)
        _keep(name, shot["data"])


def _keep(name: str, data: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    (SHOTS / f"{name}.png").write_bytes(base64.b64decode(data))


BROWSERS = {"chromium": chromium, "firefox": firefox}
