"""Real applications as upstreams of `h2ws bridge`, each below its own path."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from lib import install
from lib.peer import Peer, Endpoints
from lib.sandbox import INTEROP, Sandbox

HERE = INTEROP / "applications"


@dataclass
class Route:
    """A route of the bridge, from a path prefix to a port."""

    path: str
    port: int
    strip: bool = False


@dataclass
class Application(Endpoints):
    """Programs that can be stopped and restarted on the same ports."""

    # The path of the page.
    page: str = "/"
    routes: list[Route] = field(default_factory=list)
    # Starts all programs; the last one is the application.
    begin: Callable[[], Awaitable[list]] | None = None
    # Uses the application once; true if a full round trip works.
    use: Callable[[object], Awaitable[bool]] | None = None
    # The least number of sockets that the page has open meanwhile.
    sockets: int = 1
    # The most connections of a page: one for all of its requests, and a spare one of the browser.
    connections: int = 2
    # Whether the page opens new sockets by itself.
    reopens: bool = True
    children: list = field(default_factory=list)

    async def start(self) -> None:
        self.children = await self.begin()
        self.child = self.children[-1]

    async def restart(self) -> None:
        """Kills the programs, as in a crash, and starts them again."""
        for child in reversed(self.children):
            await child.stop(patience=0)
        await self.start()


async def by_the_page(page) -> bool:
    """Uses one of our own pages, through its function `use`. Other applications bring their own script."""
    return await page.evaluate("window.use ? window.use() : false")


async def application(**kind) -> Application:
    made = Application(**{"use": by_the_page, **kind})
    await made.start()
    return made


async def node(sandbox: Sandbox, *argv, port: int, name: str, env: dict | None = None, cwd=None):
    modules = await asyncio.to_thread(install.applications_npm)
    child = await sandbox.spawn("node", *argv, name=name, env={"INTEROP_NODE_MODULES": str(modules), **(env or {})}, cwd=cwd)
    await sandbox.ready(child, port)
    return child


def pages(sandbox: Sandbox, name: str, port: int):
    return node(sandbox, HERE / "server.mjs", name, port, port=port, name=f"{name}-pages")


async def socket_io(sandbox: Sandbox, query: str = "", sockets: int = 1) -> Application:
    port = sandbox.port()

    async def begin():
        return [await pages(sandbox, "socket.io", port)]

    return await application(page=f"/socket/{query}", routes=[Route("/socket/*", port, strip=True)], begin=begin, sockets=sockets)


async def socket_io_polling(sandbox: Sandbox) -> Application:
    return await socket_io(sandbox, "?polling", 0)


async def mqtt(sandbox: Sandbox) -> Application:
    page, broker = sandbox.port(), sandbox.port()
    # This version does not start without a listener other than WebSockets.
    config = sandbox.write("mosquitto.conf", f"listener {sandbox.port()} 127.0.0.1\nlistener {broker} 127.0.0.1\n"
                                           "protocol websockets\nallow_anonymous true\n")

    async def begin():
        child = await sandbox.spawn(shutil.which("mosquitto") or "/usr/sbin/mosquitto", "-c", config, name="mosquitto")
        await sandbox.ready(child, broker)
        return [await pages(sandbox, "mqtt", page), child]

    return await application(page="/mqtt/", begin=begin,
                             routes=[Route("/mqtt/broker", broker, strip=True), Route("/mqtt/*", page, strip=True)])


async def nats(sandbox: Sandbox) -> Application:
    page, server = sandbox.port(), sandbox.port()
    config = sandbox.write("nats.conf", f'listen: "127.0.0.1:{sandbox.port()}"\nwebsocket {{ listen: "127.0.0.1:{server}", no_tls: true }}\n')

    async def begin():
        child = await sandbox.spawn(shutil.which("nats-server") or "/usr/sbin/nats-server", "-c", config, name="nats-server")
        await sandbox.ready(child, server)
        return [await pages(sandbox, "nats", page), child]

    return await application(page="/nats/", begin=begin,
                             routes=[Route("/nats/server", server, strip=True), Route("/nats/*", page, strip=True)])


async def graphql(sandbox: Sandbox) -> Application:
    port = sandbox.port()

    async def begin():
        return [await pages(sandbox, "graphql", port)]

    return await application(page="/api/", routes=[Route("/api/*", port, strip=True)], begin=begin)


async def yjs(sandbox: Sandbox) -> Application:
    page, server = sandbox.port(), sandbox.port()

    async def begin():
        modules = await asyncio.to_thread(install.applications_npm)
        return [await pages(sandbox, "yjs", page),
                await node(sandbox, modules / "y-websocket/bin/server.js", port=server, name="y-websocket",
                           env={"HOST": "127.0.0.1", "PORT": str(server)})]

    return await application(page="/docs/", begin=begin, sockets=2,
                             routes=[Route("/docs/server/*", server, strip=True), Route("/docs/*", page, strip=True)])


async def hocuspocus(sandbox: Sandbox) -> Application:
    port = sandbox.port()

    async def begin():
        return [await pages(sandbox, "hocuspocus", port)]

    return await application(page="/notes/", routes=[Route("/notes/*", port, strip=True)], begin=begin, sockets=2)


async def signalr(sandbox: Sandbox) -> Application:
    page, hub = sandbox.port(), sandbox.port()

    async def begin():
        child = await sandbox.spawn(await asyncio.to_thread(other_python), HERE / "signalr_app.py", hub, "/signalr/hub", name="signalr")
        await sandbox.ready(child, hub)
        return [await pages(sandbox, "signalr", page), child]

    return await application(page="/signalr/", begin=begin,
                             routes=[Route("/signalr/hub/*", hub), Route("/signalr/*", page, strip=True)])


async def vite(sandbox: Sandbox) -> Application:
    port, folder, changes = sandbox.port(), sandbox.dir / "vite-project", iter(range(1, 1 << 30))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "vite", folder)
    change = lambda: (folder / "value.js").write_text(f"export const value = {next(changes)};\n")
    change()

    async def begin():
        modules = await asyncio.to_thread(install.applications_npm)
        return [await node(sandbox, modules / "vite/bin/vite.js", "--host", "127.0.0.1", "--port", port, "--strictPort",
                           "--base", "/vite/", "--clearScreen", "false", port=port, name="vite", cwd=folder)]

    async def use(page) -> bool:
        """Edits a file, and checks that the change reaches the page."""
        number = int((folder / "value.js").read_text().split("=")[1].strip(" ;\n")) + 1
        if await page.evaluate("typeof window.value") != "number":
            return False
        (folder / "value.js").write_text(f"export const value = {number};\n")
        for _ in range(60):
            if (await page.evaluate("window.value") or 0) >= number:
                return True
            await asyncio.sleep(0.05)
        return False

    return await application(page="/vite/", routes=[Route("/vite/*", port)], begin=begin, use=use)


NODE_RED = """(async () => {
  if (!window.RED?.comms || !RED.nodes?.node?.('asked')) return false;
  const value = crypto.randomUUID();
  let seen;
  const answered = (topic, message) => { if (message.msg === value) seen = value; };
  RED.comms.subscribe('debug', answered);
  await fetch('inject/asked', { method: 'POST', headers: { 'Content-Type': 'application/json', 'Node-RED-API-Version': 'v2' },
                                body: JSON.stringify({ __user_inject_props__: [{ p: 'payload', v: value, vt: 'str' }] }) });
  for (let n = 0; n < 60 && seen !== value; n++) await new Promise((r) => setTimeout(r, 50));
  RED.comms.unsubscribe('debug', answered);
  return seen === value;
})()"""


async def node_red(sandbox: Sandbox) -> Application:
    port, folder = sandbox.port(), sandbox.dir / "node-red"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "node-red", folder)

    async def begin():
        modules = await asyncio.to_thread(install.npm_of, "applications/node-red")
        child = await sandbox.spawn("node", modules / "node-red/red.js", "--userDir", folder, name="node-red", cwd=folder,
                                    env={"HOME": str(sandbox.dir), "PORT": str(port), "EDITOR_PATH": "/node-red"})
        await sandbox.ready(child, port)
        return [child]

    async def use(page) -> bool:
        """Triggers a node, and awaits its output on the editor's socket."""
        return await page.evaluate(NODE_RED)

    return await application(page="/node-red/", routes=[Route("/node-red/*", port)], begin=begin, use=use)


def python() -> Path:
    return install.applications_python()


def other_python() -> Path:
    return install.other_applications_python()


JUPYTER = """(async () => {
  const manager = window.jupyterapp?.serviceManager;
  if (!manager) return false;
  const kernel = window.kernel ?? await manager.kernels.startNew({name: 'python3'});
  // A kernel that does not answer has ended with its server.
  window.kernel = undefined;
  const n = 1 + Math.floor(Math.random() * 1e6);
  let printed = '';
  const execution = kernel.requestExecute({code: `print(${n} * 2)`});
  execution.onIOPub = (message) => { if (message.header.msg_type === 'stream') printed += message.content.text; };
  const late = new Promise((resolve) => setTimeout(resolve, 10000, 'late'));
  if (await Promise.race([execution.done, late]) === 'late' || printed.trim() !== String(2 * n)) return false;
  window.kernel = kernel;
  return true;
})()"""


async def jupyterlab(sandbox: Sandbox) -> Application:
    port, work = sandbox.port(), sandbox.dir / "notebooks"
    work.mkdir(exist_ok=True)

    async def begin():
        child = await sandbox.spawn(
            await asyncio.to_thread(python), "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
            f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1", "--ServerApp.base_url=/jupyter",
            "--ServerApp.trust_xheaders=True", "--IdentityProvider.token=", f"--ServerApp.root_dir={work}",
            name="jupyterlab", env={"HOME": str(sandbox.dir), "JUPYTER_PREFER_ENV_PATH": "1"})
        await sandbox.ready(child, port)
        return [child]

    async def use(page) -> bool:
        return await page.evaluate(JUPYTER)

    return await application(page="/jupyter/lab", routes=[Route("/jupyter/*", port)], begin=begin, use=use)


STREAMLIT = """(async () => {
  const button = document.querySelector('[data-testid="stButton"] button');
  const count = () => Number((document.body.innerText.match(/count=(\\d+)/) || [])[1]);
  if (!button || Number.isNaN(count())) return false;
  const before = count();
  button.click();
  for (let n = 0; n < 100 && count() === before; n++) await new Promise((r) => setTimeout(r, 50));
  return count() === before + 1;
})()"""


async def streamlit(sandbox: Sandbox) -> Application:
    port = sandbox.port()

    async def begin():
        child = await sandbox.spawn(
            await asyncio.to_thread(python), "-m", "streamlit", "run", HERE / "streamlit_app.py", "--server.headless", "true",
            "--server.address", "127.0.0.1", "--server.port", port, "--server.baseUrlPath", "streamlit",
            "--browser.gatherUsageStats", "false", name="streamlit", env={"HOME": str(sandbox.dir)})
        await sandbox.ready(child, port)
        return [child]

    async def use(page) -> bool:
        return await page.evaluate(STREAMLIT)

    return await application(page="/streamlit/", routes=[Route("/streamlit/*", port)], begin=begin, use=use)


BOKEH = """(async () => {
  const doc = window.Bokeh?.documents?.[0];
  const asked = doc?.get_model_by_name('asked'), answer = doc?.get_model_by_name('answer');
  if (!asked || !answer) return false;
  const value = crypto.randomUUID();
  asked.value = value;
  for (let n = 0; n < 60 && answer.text !== `seen ${value}`; n++) await new Promise((r) => setTimeout(r, 50));
  return answer.text === `seen ${value}`;
})()"""


async def bokeh(sandbox: Sandbox) -> Application:
    port = sandbox.port()

    async def begin():
        child = await sandbox.spawn(
            await asyncio.to_thread(python), "-m", "bokeh", "serve", HERE / "bokeh_app.py", "--address", "127.0.0.1",
            "--port", port, "--prefix", "/bokeh", "--use-xheaders", "--allow-websocket-origin", "*",
            name="bokeh", env={"HOME": str(sandbox.dir)})
        await sandbox.ready(child, port)
        return [child]

    async def use(page) -> bool:
        return await page.evaluate(BOKEH)

    return await application(page="/bokeh/bokeh_app", routes=[Route("/bokeh/*", port)], begin=begin, use=use)


PANEL = """(async () => {
  const models = [...(window.Bokeh?.documents?.[0]?._all_models?.values() ?? [])];
  const [asked, answer] = ['asked', 'answer'].map((title) => models.find((model) => model.title === title));
  if (!asked || !answer) return false;
  const value = crypto.randomUUID();
  asked.value = value;
  for (let n = 0; n < 60 && answer.value !== `seen ${value}`; n++) await new Promise((r) => setTimeout(r, 50));
  return answer.value === `seen ${value}`;
})()"""


async def panel(sandbox: Sandbox) -> Application:
    port = sandbox.port()

    async def begin():
        child = await sandbox.spawn(
            await asyncio.to_thread(other_python), "-m", "panel", "serve", HERE / "panel_app.py", "--address", "127.0.0.1",
            "--port", port, "--prefix", "/panel", "--use-xheaders", "--allow-websocket-origin", "*",
            name="panel", env={"HOME": str(sandbox.dir)})
        await sandbox.ready(child, port)
        return [child]

    async def use(page) -> bool:
        return await page.evaluate(PANEL)

    return await application(page="/panel/panel_app", routes=[Route("/panel/*", port)], begin=begin, use=use)


GRADIO = """(async () => {
  const button = [...document.querySelectorAll('button')].find((one) => one.textContent.trim() === 'more');
  const shown = () => (document.body.innerText.match(/value=(\\w+)/) || [])[1];
  if (!button || !shown()) return false;
  const before = shown();
  button.click();
  for (let n = 0; n < 100 && shown() === before; n++) await new Promise((r) => setTimeout(r, 50));
  return shown() !== before;
})()"""


async def gradio(sandbox: Sandbox) -> Application:
    port = sandbox.port()

    async def begin():
        child = await sandbox.spawn(
            await asyncio.to_thread(other_python), HERE / "gradio_app.py", port, "/gradio", name="gradio",
            env={"HOME": str(sandbox.dir), "GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(sandbox.dir)})
        await sandbox.ready(child, port)
        return [child]

    async def use(page) -> bool:
        return await page.evaluate(GRADIO)

    # The third is for its manifest.json, which browsers request without credentials.
    return await application(
        page="/gradio/", routes=[Route("/gradio/*", port, strip=True)], begin=begin, use=use, sockets=0, connections=3)


SHINY = """(async () => {
  const count = () => Number((document.getElementById('count')?.innerText.match(/count=(\\d+)/) || [])[1]);
  if (Number.isNaN(count())) return false;
  const before = count();
  document.getElementById('more').click();
  for (let n = 0; n < 100 && count() === before; n++) await new Promise((r) => setTimeout(r, 50));
  return count() === before + 1;
})()"""


async def shiny(sandbox: Sandbox) -> Application:
    port = sandbox.port()

    async def begin():
        child = await sandbox.spawn(
            await asyncio.to_thread(python), "-m", "shiny", "run", "--host", "127.0.0.1", "--port", port,
            HERE / "shiny_app.py", name="shiny", env={"HOME": str(sandbox.dir)})
        await sandbox.ready(child, port)
        return [child]

    async def use(page) -> bool:
        return await page.evaluate(SHINY)

    return await application(page="/shiny/", reopens=False, routes=[Route("/shiny/*", port, strip=True)], begin=begin, use=use)


NOVNC = """(async () => {
  const { default: UI } = await import('./app/ui.js');
  const { default: RFB } = await import('./core/rfb.js');
  const rfb = UI.rfb, socket = rfb?._sock?._websocket;
  if (!UI.connected || socket?.readyState !== 1) return false;
  const answered = new Promise((resolve) => socket.addEventListener('message', () => resolve(true), { once: true }));
  RFB.messages.fbUpdateRequest(rfb._sock, false, 0, 0, 64, 64);
  return Promise.race([answered, new Promise((resolve) => setTimeout(resolve, 5000, false))]);
})()"""


async def novnc(sandbox: Sandbox) -> Application:
    port, screen, display = sandbox.port(), sandbox.port(), 20 + sandbox.port() % 1000

    async def begin():
        for left in (Path(f"/tmp/.X{display}-lock"), Path(f"/tmp/.X11-unix/X{display}")):
            left.unlink(missing_ok=True)
        vnc = await sandbox.spawn("Xtigervnc", f":{display}", "-rfbport", screen, "-localhost", "-SecurityTypes", "None",
                                  "-geometry", "640x480", "-desktop", "interop", name="xtigervnc", env={"HOME": str(sandbox.dir)})
        await sandbox.ready(vnc, screen)
        web = await sandbox.spawn("websockify", "--web", "/usr/share/novnc", f"127.0.0.1:{port}", f"127.0.0.1:{screen}")
        await sandbox.ready(web, port)
        return [vnc, web]

    async def use(page) -> bool:
        """Requests an update of the screen, and awaits it."""
        return await page.evaluate(NOVNC)

    return await application(
        page="/vnc/vnc.html?path=vnc/websockify&autoconnect=true", reopens=False,
        routes=[Route("/vnc/*", port, strip=True)], begin=begin, use=use)


def npm(name: str):
    return lambda: install.version_of_npm(name)


def pypi(name: str, python=install.applications_python):
    return lambda: install.version_of_pypi(name, python)


BROWSERS = ("chromium", "firefox-esr")
PEERS = [
    Peer("socket.io", "application", socket_io, apt=BROWSERS, version=npm("socket.io")),
    Peer("socket.io-polling", "application", socket_io_polling, apt=BROWSERS, version=npm("socket.io"), quick=False, note="no WebSocket at all"),
    Peer("mqtt.js", "application", mqtt, apt=(*BROWSERS, "mosquitto"), version=npm("mqtt"), note="with mosquitto"),
    Peer("vite", "application", vite, apt=BROWSERS, version=npm("vite"), note="its dev server and HMR"),
    Peer("nats.ws", "application", nats, apt=(*BROWSERS, "nats-server"), version=npm("nats.ws"), quick=False, note="with nats-server"),
    Peer("graphql-ws", "application", graphql, apt=BROWSERS, version=npm("graphql-ws"), quick=False),
    Peer("yjs", "application", yjs, apt=BROWSERS, version=npm("yjs"), quick=False, note="with y-websocket"),
    Peer("hocuspocus", "application", hocuspocus, apt=BROWSERS, version=npm("@hocuspocus/server"), quick=False),
    Peer("signalr", "application", signalr, apt=BROWSERS, version=npm("@microsoft/signalr"), quick=False,
         note="its JavaScript client; the server is PyPI's aiosignalr, as no registry in reach has ASP.NET Core"),
    Peer("node-red", "application", node_red, apt=BROWSERS,
         version=lambda: install.version_of_npm("node-red", "applications/node-red"), quick=False, note="its editor"),
    Peer("novnc", "application", novnc, apt=(*BROWSERS, "novnc", "websockify", "tigervnc-standalone-server"),
         version=("dpkg-query", "-W", "-f", "${Version}", "novnc"), quick=False, note="with websockify and TigerVNC"),
    Peer("jupyterlab", "application", jupyterlab, apt=BROWSERS, version=pypi("jupyterlab"), quick=False),
    Peer("streamlit", "application", streamlit, apt=BROWSERS, version=pypi("streamlit"), quick=False),
    Peer("bokeh", "application", bokeh, apt=BROWSERS, version=pypi("bokeh"), quick=False),
    Peer("panel", "application", panel, apt=BROWSERS, version=pypi("panel", install.other_applications_python), quick=False),
    Peer("gradio", "application", gradio, apt=BROWSERS, version=pypi("gradio", install.other_applications_python), quick=False,
         note="server-sent events, no WebSocket"),
    Peer("shiny", "application", shiny, apt=BROWSERS, version=pypi("shiny"), quick=False),
]
