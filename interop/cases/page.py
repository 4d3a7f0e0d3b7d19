"""The page of `h2ws serve` in Chromium and Firefox: what it shows, what it does by hand, and whether all can use it."""

import asyncio
import contextlib
from pathlib import Path

from lib import program
from lib.browser import BROWSERS
from lib.cases import Context, case, check, equal
from lib.endpoint import Endpoint
from lib.relay import Relay
from lib.sandbox import NODE_MODULES

from .browsers import is_browser

WIDTHS = {360: 740, 1280: 1100}
STATE = """(() => ({
  summary: document.getElementById("summary").textContent,
  needs: document.getElementById("needs").hidden ? "" : document.getElementById("needs-title").textContent,
  drawing: document.querySelector("#drawing svg")?.getAttribute("aria-label"),
  rate: Number(document.getElementById("rate").textContent.replaceAll(",", "")),
  log: [...document.querySelectorAll("#log div")].map((item) => item.textContent),
  about: document.getElementById("http1").hidden ? "" : document.getElementById("http1").textContent,
  versions: Object.fromEntries([...document.querySelectorAll("#version-rows tr")].map((row) => {
    const [name, ...numbers] = [...row.cells].map((cell) => cell.textContent);
    return [name, numbers];
  })),
  sockets: [...document.querySelectorAll("#rows tr")].map((row) => {
    const [number, state, over, connection, stream, echoes] = [...row.cells].map((cell) => cell.textContent);
    return {number, state, over, connection, stream, echoes: Number(echoes.replaceAll(",", ""))};
  }),
}))()"""
SET = "(() => { document.getElementById(%r).value = %r; return null; })()"
CLICK = "(() => { document.%s.click(); return null; })()"


# What axe-core cannot decide counts too, except contrasts above shapes of SVG, for which there is CONTRAST.
AXE = """(() => {
  %s;
  const text = (rule) => `${rule.id}: ${rule.nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`;
  return axe.run(document).then(({violations, incomplete}) =>
    [...violations, ...incomplete.filter((rule) => rule.id !== "color-contrast")].map(text));
})()"""
# What is wider than the window, or than its card.
BEYOND = """(() => {
  const right = (element) => element.getBoundingClientRect().right;
  const wide = [...document.querySelectorAll("section :is(svg, p, form, dl, h3)")]
    .filter((element) => right(element) > right(element.closest("section")));
  wide.push(...[...document.querySelectorAll(".scroll")].filter((element) => element.scrollWidth > element.clientWidth));
  const root = document.documentElement;
  return [...wide.map((element) => element.outerHTML.slice(0, 80)), ...(root.scrollWidth > root.clientWidth ? ["the page"] : [])];
})()"""
# The least contrast of a text color with a color that it is drawn on.
CONTRAST = """(() => {
  const style = getComputedStyle(document.documentElement);
  const luminance = (name) => {
    const parts = style.getPropertyValue(name).trim().match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16) / 255);
    const [r, g, b] = parts.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const grounds = ["--card", "--ground", "--h2-tube", "--h1-tube", "--notice"].map(luminance);
  const texts = ["--text", "--quiet"].map(luminance);
  return Math.min(...texts.flatMap((text) => grounds.map((ground) => contrast(text, ground))));
})()"""


async def until(page, condition, what: str) -> dict:
    """Waits until what the page shows meets a condition."""
    state = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            while True:
                state = await page.evaluate(STATE)
                if condition(state):
                    return state
                await asyncio.sleep(0.05)
    raise AssertionError(f"{what}: {state['sockets'][-2:]}, {state}")


def all_open(count: int):
    """That this many are open, and each has returned a text and a binary message."""
    return lambda state: len(state["sockets"]) == count and all(s["state"] == "open" and s["echoes"] >= 2 for s in state["sockets"])


async def comparing(ctx: Context) -> tuple[Endpoint, int]:
    """A server with another port for HTTP/1.1 only."""
    port = ctx.sandbox.port()
    endpoint, _ = await program.serve_one(
        ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key, "--listen-http1", f"127.0.0.1:{port}")
    return endpoint, port


def established(port: int) -> int:
    """TCP connections that were accepted at a port of this machine, as the kernel counts them."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(fields[1].endswith(f":{port:04X}") and fields[3] == "01" for fields in map(str.split, lines))


async def click(page, id: str) -> None:
    await page.evaluate(CLICK % f"getElementById({id!r})")


async def set_value(page, id: str, value: str) -> None:
    await page.evaluate(SET % (id, value))


@case("server", wants=is_browser)
async def page_shows_what_carries_its_sockets(ctx: Context):
    """RFC 8441 §5: the page of `serve` reports its sockets as streams of its own h2 connection, which the relay counts; they are closed, reopened and used by hand."""
    async with Relay(ctx.endpoints.tls.port) as relay, BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        await page.open(ctx.endpoints.tls.on(relay.port).http_url("/"))
        before = relay.accepted
        shown = await until(page, all_open(5), "not five sockets open")
        equal(shown["summary"], "5 WebSockets are open, as streams of the one HTTP/2 connection that loaded this page.", "summary")
        equal({s["over"] for s in shown["sockets"]}, {"HTTP/2"}, "versions of the sockets")
        equal(len({s["connection"] for s in shown["sockets"]}), 1, "connections of the sockets")
        equal(len({s["stream"] for s in shown["sockets"]}), 5, "distinct streams")
        equal(shown["needs"], "", "what is missing")
        check("h2ws serve --listen-http1" in shown["about"], f"how to compare: {shown['about']}")
        check("this page and 5 WebSockets" in shown["drawing"], f"drawing: {shown['drawing']}")
        await set_value(page, "how-many", "15")
        await page.evaluate(CLICK % "querySelector('#open-form .first')")
        await until(page, all_open(20), "not twenty sockets open")
        await page.evaluate(CLICK % "querySelector('#rows button')")
        await until(page, lambda state: state["sockets"][0]["state"] == "closed 1000", "the first is not closed")
        await set_value(page, "text", "<b>by hand</b> ü")
        await page.evaluate(CLICK % "querySelector('#send-form button')")
        shown = await until(page, lambda state: len(state["log"]) == 38, "not 19 messages and their echoes")
        check(sum(line.startswith("< ") and ": <b>by hand</b> ü (" in line for line in shown["log"]) == 19, f"log {shown['log']}")
        await click(page, "reopen-all")
        await until(page, all_open(20), "not twenty sockets open again")
        await click(page, "traffic")
        await until(page, lambda state: state["rate"] > 20, "no traffic")
        await set_value(page, "pace", "0")
        await page.evaluate("(() => { document.getElementById('pace').onchange(); return null; })()")
        busy = await until(page, lambda state: state["rate"] > 400, "no traffic without pauses")
        await click(page, "traffic")
        await until(page, lambda state: state["rate"] == 0, "traffic goes on")
        await click(page, "close-all")
        shown = await until(page, lambda state: all(s["state"] == "closed 1000" for s in state["sockets"]), "not all closed")
        equal(shown["summary"], "No WebSocket is open.", "summary")
        check(relay.accepted <= before + 1, f"{relay.accepted - before} connections for 20 sockets")
        equal(page.complaints(), [], "warnings and errors in the console")
        ctx.note(f"{busy['rate']:,} echoes/s, {relay.accepted} connection(s)")


@case("server", wants=is_browser)
async def page_says_what_is_missing(ctx: Context):
    """RFC 8441 §3: without TLS, and from a server that does not offer the capability, the page names what HTTP/2 needs, and draws a connection for each socket."""
    refusing, _ = await program.serve_one(ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key, "--no-extended-connect")
    for endpoint, title in ((ctx.endpoints.clear, "This page was loaded without TLS"),
                            (refusing, "The WebSockets do not use the page's connection")):
        async with BROWSERS[ctx.peer.name](ctx.sandbox) as page:
            await page.open(endpoint.http_url("/"))
            shown = await until(page, all_open(5), "not five sockets open")
            equal(shown["needs"], title, "what is missing")
            check("5 HTTP/1.1 connections: one per WebSocket" in shown["drawing"], f"drawing: {shown['drawing']}")
            equal(shown["about"], "", "how to compare")
            equal(shown["versions"]["WebSockets"], ["0", "5"], "sockets over each version")
            equal(shown["versions"]["TCP connections"], ["0", "5"], "connections over each version")
            equal(page.complaints(), [], "warnings and errors in the console")
            if not endpoint.tls:
                await page.resize(1280, WIDTHS[1280])
                await page.picture(f"page-{ctx.peer.name}-cleartext")


@case("server", wants=is_browser)
async def page_says_why_http1_is_missing(ctx: Context):
    """RFC 9110 §7.4: where the port for HTTP/1.1 refuses the page's sockets, here by 421, those over h2 stay, and the page names the port and what to do."""
    here, port = ctx.sandbox.port(), ctx.sandbox.port()
    endpoint, _ = await program.serve_one(
        ctx.sandbox, "--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key, "--listen-http1", f"127.0.0.1:{port}",
        "--allow-host", f"127.0.0.1:{here}", listen=f"127.0.0.1:{here}")
    async with BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        await page.open(endpoint.http_url("/?sockets=3&http1=2"))
        shown = await until(page, lambda state: state["needs"] and state["sockets"][-1]["state"] == "failed 1006", "nothing is missing")
        equal(shown["needs"], "The WebSockets over HTTP/1.1 did not open", "what is missing")
        equal([s["state"] for s in shown["sockets"]], ["open"] * 3 + ["failed 1006"] * 2, "sockets")
        equal(await page.evaluate("document.getElementById('needs-link').href"), f"https://127.0.0.1:{port}/", "the link")
        text = await page.evaluate("document.getElementById('needs-text').textContent")
        check(f"--allow-host 127.0.0.1:{port} " in text, f"what to do: {text}")
        await page.resize(360, WIDTHS[360])
        equal(await page.evaluate(BEYOND), [], "what is cut off")


# Whether the policy stops a WebSocket to this port before a connection is made.
STOPPED = """new Promise((resolve) => {
  document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective), {once: true});
  // Firefox throws as well.
  try { new WebSocket(`wss://${location.hostname}:%d/echo`).onopen = () => resolve("open"); } catch {}
})"""


@case("server", wants=is_browser)
async def page_compares_the_versions(ctx: Context):
    """RFC 6455 §4.1: beside its h2 sockets the page opens as many over HTTP/1.1 to a port of their own, where the kernel counts a connection each; 200 of both, and no more, open at a time."""
    endpoint, port = await comparing(ctx)
    async with Relay(endpoint.port) as relay, BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        await page.open(endpoint.on(relay.port).http_url("/?sockets=10"))
        await until(page, all_open(10), "not ten sockets open")
        before = relay.accepted
        equal(established(port), 0, "connections for HTTP/1.1 at the start")
        await set_value(page, "over", "h1")
        await set_value(page, "how-many", "10")
        await click(page, "open")
        shown = await until(page, all_open(20), "not twenty sockets open")
        equal([s["over"] for s in shown["sockets"]], ["HTTP/2"] * 10 + ["HTTP/1.1"] * 10, "versions of the sockets")
        # Chromium may open a spare one.
        check(10 <= established(port) <= 12, f"{established(port)} connections for 10 sockets over HTTP/1.1")
        check(relay.accepted <= before + 1, f"{relay.accepted - before} connections to the page's port for sockets over HTTP/1.1")
        equal(shown["versions"]["WebSockets"], ["10", "10"], "sockets over each version")
        equal(shown["versions"]["TCP connections"], ["1", "10"], "connections over each version")
        equal(shown["summary"], "10 WebSockets are open, as streams of the one HTTP/2 connection that loaded this page; "
                                "10 more on 10 TCP connections.", "summary")
        check("10 HTTP/1.1 connections: one per WebSocket" in shown["drawing"], f"drawing: {shown['drawing']}")
        await click(page, "traffic")
        rates = "Echoes per second"
        busy = await until(page, lambda state: all(int(n.replace(",", "")) > 20 for n in state["versions"][rates]), "no traffic")
        check(all(number.endswith(" ms") for number in busy["versions"]["Round trip, median"]), f"round trips: {busy['versions']}")
        ctx.note(f"echoes/s over HTTP/2 and HTTP/1.1: {', '.join(busy['versions'][rates])}")
        await click(page, "traffic")
        await set_value(page, "over", "both")
        await set_value(page, "how-many", "90")
        await click(page, "open")
        full = await until(page, all_open(200), "not two hundred sockets open")
        check(100 <= established(port) <= 110, f"{established(port)} connections for 100 sockets over HTTP/1.1")
        equal(full["needs"], "", "what is missing")
        check(await page.evaluate("document.getElementById('open').disabled"), "more can be opened")
        await click(page, "close-all")
        await until(page, lambda state: all(s["state"] == "closed 1000" for s in state["sockets"]), "not all closed")
        await set_value(page, "over", "h1")
        await set_value(page, "how-many", "50")
        await click(page, "open")
        last = await until(page, lambda state: state["versions"]["WebSockets"] == ["0", "50"], "not fifty more open")
        equal((len(last["sockets"]), last["sockets"][-1]["number"]), (200, "250"), "sockets in the list, and the last one")
        equal(page.complaints(), [], "warnings and errors in the console")
        # The page may be told to connect, by a script that should not be there.
        equal(await page.evaluate(STOPPED % endpoint.port), "connect-src", "what stops a socket to a third port")


@case("server", wants=is_browser)
async def page_reports_a_lost_server(ctx: Context):
    """RFC 6455 §7.1.5: when the server drains its sockets show code 1001, and reopen by hand once it is back."""
    options = ["--cert", ctx.sandbox.cert, "--key", ctx.sandbox.key]
    endpoint, child = await program.serve_one(ctx.sandbox, *options)
    async with BROWSERS[ctx.peer.name](ctx.sandbox) as page:
        await page.open(endpoint.http_url("/"))
        await until(page, all_open(5), "not five sockets open")
        await child.stop()
        await until(page, lambda state: all(s["state"] == "closed 1001" for s in state["sockets"]), "not closed by the server")
        await program.serve_one(ctx.sandbox, *options, listen=f"127.0.0.1:{endpoint.port}")
        await click(page, "reopen-all")
        await until(page, all_open(5), "not five sockets open again")


@case("server", wants=is_browser, timeout=300)
async def page_is_for_everybody(ctx: Context):
    """WCAG 2.2 AA: axe-core finds nothing at 360 and 1280 pixels, dark and light; nothing is cut off; the keyboard alone reaches and does everything; the console is empty."""
    axe = (NODE_MODULES / "axe-core/axe.min.js").read_text()
    endpoint, _ = await comparing(ctx)
    for dark in (False, True):
        async with BROWSERS[ctx.peer.name](ctx.sandbox, dark=dark) as page:
            for width, height in WIDTHS.items():
                await page.resize(width, height)
                await page.open(endpoint.http_url("/?sockets=8&http1=8"))
                await until(page, all_open(16), "not sixteen sockets open")
                # Also the words for a failure and a close.
                await page.evaluate(CLICK % "querySelector('#rows button')")
                await page.evaluate(CLICK % "querySelector('#send-form button')")
                await click(page, "traffic")
                await until(page, lambda state: state["rate"] > 20 and len(state["log"]) >= 30, "no traffic")
                await asyncio.sleep(4)  # for a curve in the pictures
                await page.picture(f"page-{ctx.peer.name}-{width}-{'dark' if dark else 'light'}", whole=True)
                equal(await page.evaluate(BEYOND), [], f"what is cut off at {width}")
                found = await page.evaluate(AXE % axe)
                check(not found, f"findings of axe-core at {width}, dark {dark}: {'; '.join(found)}")
            for width in (360, 1280, 360):
                await page.resize(width, WIDTHS[width])
                await asyncio.sleep(0.5)
                equal(await page.evaluate(BEYOND), [], f"what is cut off after a change to {width}")
            contrast = await page.evaluate(CONTRAST)
            check(contrast >= 4.5, f"contrast {contrast:.2f}, dark {dark}")
            # Keys reach a button of headless Firefox, but do not click it.
            await keyboard(page, clicks=ctx.peer.name == "chromium")
            equal(page.complaints(), [], f"warnings and errors in the console, dark {dark}")


FOCUSED = """(() => {
  const at = document.activeElement;
  return at.id || at.getAttribute("aria-label") || at.getAttribute("aria-labelledby") || at.textContent;
})()"""
REACHED = {"how-many", "over", "open", "close-all", "pace", "traffic", "text", "to", "Send", "log",
           "Reopen WebSocket 1", "Close WebSocket 16", "list-title"}


async def keyboard(page, clicks: bool) -> None:
    """Reaches every control by Tab; if keys click, closes the last WebSocket by the space bar without losing the focus."""
    await page.evaluate("(() => { document.activeElement.blur(); return null; })()")
    reached = []
    for _ in range(60):
        await page.press("Tab")
        reached.append(await page.evaluate(FOCUSED))
        if clicks and reached[-1] == "Close WebSocket 16":
            await page.press("Space")
            await until(page, lambda state: state["sockets"][15]["state"] == "closed 1000", "the space bar does not close")
            equal(await page.evaluate(FOCUSED), "Reopen WebSocket 16", "focus after the close")
    missing = REACHED - set(reached)
    check(not missing, f"not reached by Tab: {missing}, only {reached}")
