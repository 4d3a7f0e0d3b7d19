// Jetty 9.4 with its own WebSocket API and HTTP/2: JettyEcho.java TLS_PORT CLEAR_PORT CERT KEY
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Locale;
import javax.servlet.http.HttpServletRequest;
import javax.servlet.http.HttpServletResponse;
import org.eclipse.jetty.alpn.server.ALPNServerConnectionFactory;
import org.eclipse.jetty.http2.server.HTTP2ServerConnectionFactory;
import org.eclipse.jetty.server.Handler;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.SecureRequestCustomizer;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.server.SslConnectionFactory;
import org.eclipse.jetty.server.handler.AbstractHandler;
import org.eclipse.jetty.util.ssl.SslContextFactory;
import org.eclipse.jetty.websocket.api.RemoteEndpoint;
import org.eclipse.jetty.websocket.api.Session;
import org.eclipse.jetty.websocket.api.WebSocketAdapter;
import org.eclipse.jetty.websocket.api.WebSocketPingPongListener;
import org.eclipse.jetty.websocket.server.WebSocketHandler;
import org.eclipse.jetty.websocket.servlet.ServletUpgradeRequest;
import org.eclipse.jetty.websocket.servlet.WebSocketServletFactory;

public class JettyEcho {
    /** Echoes, and obeys messages that begin with "?", as `echo.mjs` does. */
    public static class Echo extends WebSocketAdapter implements WebSocketPingPongListener {
        private final String facts;

        Echo(String facts) {
            this.facts = facts;
        }

        @Override
        public void onWebSocketText(String message) {
            String[] command = message.split(" ", 3);
            RemoteEndpoint remote = getRemote();
            Session session = getSession();
            quietly(() -> {
                switch (command[0]) {
                    case "?request" -> remote.sendString(facts);
                    case "?close" -> session.close(Integer.parseInt(command[1]), command.length > 2 ? command[2] : "");
                    case "?abort" -> session.disconnect();
                    case "?ping" -> remote.sendPing(ByteBuffer.wrap("are you there".getBytes(StandardCharsets.UTF_8)));
                    case "?fragments" -> {
                        remote.sendPartialString("frag", false);
                        remote.sendPing(ByteBuffer.allocate(0));
                        remote.sendPartialString("men", false);
                        remote.sendPartialString("ted", true);
                    }
                    default -> remote.sendString(message);
                }
            });
        }

        @Override
        public void onWebSocketBinary(byte[] message, int offset, int length) {
            quietly(() -> getRemote().sendBytes(ByteBuffer.wrap(message, offset, length)));
        }

        @Override
        public void onWebSocketPing(ByteBuffer payload) {}

        @Override
        public void onWebSocketPong(ByteBuffer payload) {
            String text = StandardCharsets.UTF_8.decode(payload).toString();
            if (!text.isEmpty()) quietly(() -> getRemote().sendString("ponged " + text));
        }
    }

    interface Sending {
        void run() throws Exception;
    }

    /** Ignores that the client is gone. */
    static void quietly(Sending sending) {
        try {
            sending.run();
        } catch (Exception gone) {
        }
    }

    static String quoted(String text) {
        return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }

    static String facts(ServletUpgradeRequest request, String subprotocol) {
        StringBuilder fields = new StringBuilder();
        request.getHeaders().forEach((name, values) -> fields.append(fields.isEmpty() ? "" : ",")
            .append(quoted(name.toLowerCase(Locale.ROOT))).append(':').append(quoted(String.join(", ", values))));
        return "{\"version\":\"1.1\",\"path\":" + quoted(request.getRequestURI().getPath()) + ",\"headers\":{" + fields
            + "},\"subprotocol\":" + quoted(subprotocol) + "}";
    }

    public static void main(String[] arguments) throws Exception {
        Server server = new Server();
        HttpConfiguration plain = new HttpConfiguration();
        HttpConfiguration secure = new HttpConfiguration();
        secure.addCustomizer(new SecureRequestCustomizer(false));
        SslContextFactory.Server tls = new SslContextFactory.Server();
        tls.setKeyStore(keys(Path.of(arguments[2]), Path.of(arguments[3])));
        tls.setKeyStorePassword("");
        ALPNServerConnectionFactory alpn = new ALPNServerConnectionFactory();
        alpn.setDefaultProtocol("http/1.1");
        listen(server, arguments[0], new ServerConnector(server, new SslConnectionFactory(tls, "alpn"), alpn,
            new HTTP2ServerConnectionFactory(secure), new HttpConnectionFactory(secure)));
        listen(server, arguments[1], new ServerConnector(server, new HttpConnectionFactory(plain)));

        WebSocketHandler sockets = new WebSocketHandler() {
            @Override
            public void configure(WebSocketServletFactory factory) {
                factory.getPolicy().setMaxTextMessageSize(1 << 27);
                factory.getPolicy().setMaxBinaryMessageSize(1 << 27);
                factory.getPolicy().setIdleTimeout(600_000);
                factory.setCreator((request, response) -> {
                    String chosen = request.getSubProtocols().stream().filter(name -> name.startsWith("echo")).findFirst().orElse("");
                    if (!chosen.isEmpty()) response.setAcceptedSubProtocol(chosen);
                    return new Echo(facts(request, chosen));
                });
            }
        };
        sockets.setHandler(page());
        server.setHandler(rejecting(sockets));
        server.start();
        server.join();
    }

    static void listen(Server server, String port, ServerConnector connector) {
        connector.setHost("127.0.0.1");
        connector.setPort(Integer.parseInt(port));
        server.addConnector(connector);
    }

    static Handler page() {
        return new AbstractHandler() {
            @Override
            public void handle(String target, Request base, HttpServletRequest request, HttpServletResponse response) throws IOException {
                base.setHandled(true);
                response.getWriter().println("an ordinary answer");
            }
        };
    }

    static Handler rejecting(Handler next) {
        return new org.eclipse.jetty.server.handler.HandlerWrapper() {
            {
                setHandler(next);
            }

            @Override
            public void handle(String target, Request base, HttpServletRequest request, HttpServletResponse response)
                throws IOException, javax.servlet.ServletException {
                if (target.startsWith("/refuse")) {
                    base.setHandled(true);
                    response.setStatus(403);
                    response.getWriter().println("not you");
                } else {
                    super.handle(target, base, request, response);
                }
            }
        };
    }

    static KeyStore keys(Path cert, Path key) throws Exception {
        Certificate certificate;
        try (var input = Files.newInputStream(cert)) {
            certificate = CertificateFactory.getInstance("X.509").generateCertificate(input);
        }
        String text = Files.readString(key).replaceAll("-----[A-Z ]+-----|\\s", "");
        PrivateKey secret = KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(text)));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("own", secret, new char[0], new Certificate[] {certificate});
        return store;
    }
}
