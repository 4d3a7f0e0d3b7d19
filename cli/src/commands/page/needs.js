// Says in plain words what is missing: for HTTP/2, or for the WebSockets over HTTP/1.1 beside it.

/** Returns a title and a text, and the URL of a link where one helps. */
export function needs(page, sockets) {
  if (location.protocol === "http:") {
    return ["This page was loaded without TLS",
      "Browsers speak HTTP/2 only over TLS. So each WebSocket below has an HTTP/1.1 connection of its own. "
      + "Start the server with TLS, and open the page by https."];
  }
  if (page && page.transport !== "h2") {
    return ["This page was loaded over HTTP/1.1",
      "The browser and the server agreed on HTTP/1.1, perhaps because of something in between that inspects TLS. "
      + "So each WebSocket below has a connection of its own."];
  }
  const opened = sockets.filter((socket) => socket.state === "open");
  if (opened.some((socket) => !socket.http1 && socket.carrier.transport !== "h2")) {
    return ["The WebSockets do not use the page's connection",
      "The page was loaded over HTTP/2, but its WebSockets use HTTP/1.1: the server does not offer WebSockets over "
      + "HTTP/2 (--no-extended-connect), or this browser does not support them."];
  }
  const refused = sockets.filter((socket) => socket.failed && socket.openedIn === null);
  // If none is open, the server is gone, which the summary says.
  if (refused.length === 0 || opened.length === 0) return ["", ""];
  if (refused.some((socket) => socket.http1) && !opened.some((socket) => socket.http1)) {
    const link = page.http1.replace(/^wss/, "https");
    return ["The WebSockets over HTTP/1.1 did not open",
      "They go to another port of the server. Open the link. If the browser warns about the certificate, accept it, "
      + "and reopen the WebSockets here. If the port answers “this host is not served here”, the server's --allow-host "
      + `does not include this port: start it with --allow-host ${new URL(link).host} as well.`, link];
  }
  return ["Some WebSockets did not open",
    "Browsers limit their number, over both versions of HTTP together: Firefox to 200 in all its pages, Chromium to "
    + "255. Close some, here or in other pages, and reopen these."];
}

/** What the page says of WebSockets over HTTP/1.1, as text and code by turns. */
export function aboutHttp1(page) {
  if (page.transport !== "h2") return [];
  if (page.http1) {
    return ["WebSockets over HTTP/1.1 go to another port of the server, which offers no HTTP/2. To the port of this "
      + "page, the browser would open them as streams of the page's connection."];
  }
  if (location.hostname.startsWith("[")) {
    return ["To open WebSockets over HTTP/1.1 beside these, open the page by a name instead of an IPv6 address, from ",
      "h2ws serve --listen-http1 127.0.0.1:8444", "."];
  }
  return ["To open WebSockets over HTTP/1.1 beside these, use the page of ", "h2ws serve --listen-http1 127.0.0.1:8444",
    " or ", "h2ws demo --keep", "."];
}
