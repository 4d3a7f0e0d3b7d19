// Tomcat with Jakarta WebSocket and HTTP/2: TomcatEcho.java TLS_PORT CLEAR_PORT CERT KEY
import jakarta.servlet.Servlet;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.websocket.CloseReason;
import jakarta.websocket.Endpoint;
import jakarta.websocket.EndpointConfig;
import jakarta.websocket.HandshakeResponse;
import jakarta.websocket.MessageHandler;
import jakarta.websocket.PongMessage;
import jakarta.websocket.RemoteEndpoint;
import jakarta.websocket.Session;
import jakarta.websocket.server.HandshakeRequest;
import jakarta.websocket.server.ServerContainer;
import jakarta.websocket.server.ServerEndpointConfig;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.connector.Request;
import org.apache.catalina.connector.Response;
import org.apache.catalina.startup.Tomcat;
import org.apache.catalina.valves.ValveBase;
import org.apache.coyote.http2.Http2Protocol;
import org.apache.tomcat.util.net.SSLHostConfig;
import org.apache.tomcat.util.net.SSLHostConfigCertificate;
import org.apache.tomcat.websocket.server.WsSci;

public class TomcatEcho {
    /** Echoes messages of any size, and obeys those that begin with "?", as `echo.mjs` does. */
    public static class Echo extends Endpoint {
        @Override
        public void onOpen(Session session, EndpointConfig config) {
            String facts = (String) config.getUserProperties().get("facts");
            RemoteEndpoint.Basic remote = session.getBasicRemote();
            StringBuilder text = new StringBuilder();
            ByteArrayOutputStream binary = new ByteArrayOutputStream();
            // Whole messages would need buffers of the greatest size for each socket.
            session.addMessageHandler(String.class, (MessageHandler.Partial<String>) (part, last) -> {
                text.append(part);
                if (last) {
                    String message = text.toString();
                    text.setLength(0);
                    answer(session, remote, facts.replace("\"SUBPROTOCOL\"", quoted(session.getNegotiatedSubprotocol())), message);
                }
            });
            session.addMessageHandler(ByteBuffer.class, (MessageHandler.Partial<ByteBuffer>) (part, last) -> {
                while (part.hasRemaining()) binary.write(part.get());
                if (last) {
                    byte[] message = binary.toByteArray();
                    binary.reset();
                    quietly(() -> remote.sendBinary(ByteBuffer.wrap(message)));
                }
            });
            session.addMessageHandler(PongMessage.class, (MessageHandler.Whole<PongMessage>) pong -> {
                String payload = StandardCharsets.UTF_8.decode(pong.getApplicationData()).toString();
                if (!payload.isEmpty()) quietly(() -> remote.sendText("ponged " + payload));
            });
        }

        @Override
        public void onError(Session session, Throwable error) {}

        private static void answer(Session session, RemoteEndpoint.Basic remote, String facts, String message) {
            String[] command = message.split(" ", 3);
            quietly(() -> {
                switch (command[0]) {
                    case "?request" -> remote.sendText(facts);
                    case "?close" -> session.close(new CloseReason(
                        CloseReason.CloseCodes.getCloseCode(Integer.parseInt(command[1])), command.length > 2 ? command[2] : ""));
                    case "?ping" -> remote.sendPing(ByteBuffer.wrap("are you there".getBytes(StandardCharsets.UTF_8)));
                    case "?fragments" -> {
                        remote.sendText("frag", false);
                        remote.sendPing(ByteBuffer.allocate(0));
                        remote.sendText("men", false);
                        remote.sendText("ted", true);
                    }
                    default -> remote.sendText(message);
                }
            });
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

    static class Handshake extends ServerEndpointConfig.Configurator {
        @Override
        public void modifyHandshake(ServerEndpointConfig config, HandshakeRequest request, HandshakeResponse response) {
            StringBuilder fields = new StringBuilder();
            request.getHeaders().forEach((name, values) -> fields.append(fields.isEmpty() ? "" : ",")
                .append(quoted(name.toLowerCase(Locale.ROOT))).append(':').append(quoted(String.join(", ", values))));
            config.getUserProperties().put("facts", "{\"version\":\"1.1\",\"path\":" + quoted(request.getRequestURI().getPath())
                + ",\"headers\":{" + fields + "},\"subprotocol\":\"SUBPROTOCOL\"}");
        }

        @Override
        public String getNegotiatedSubprotocol(List<String> supported, List<String> offered) {
            return offered.stream().filter(name -> name.startsWith("echo")).findFirst().orElse("");
        }
    }

    public static void main(String[] arguments) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(System.getProperty("java.io.tmpdir"));
        tomcat.setConnector(connector(Integer.parseInt(arguments[1])));
        Connector secure = connector(Integer.parseInt(arguments[0]));
        secure.setSecure(true);
        secure.setScheme("https");
        secure.setProperty("SSLEnabled", "true");
        SSLHostConfig host = new SSLHostConfig();
        SSLHostConfigCertificate certificate = new SSLHostConfigCertificate(host, SSLHostConfigCertificate.Type.UNDEFINED);
        certificate.setCertificateFile(arguments[2]);
        certificate.setCertificateKeyFile(arguments[3]);
        host.addCertificate(certificate);
        secure.addSslHostConfig(host);
        tomcat.getService().addConnector(secure);

        Context context = tomcat.addContext("", null);
        Tomcat.addServlet(context, "page", (Servlet) new HttpServlet() {
            @Override
            protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
                response.getWriter().println("an ordinary answer");
            }
        });
        context.addServletMappingDecoded("/", "page");
        context.getPipeline().addValve(new ValveBase(true) {
            @Override
            public void invoke(Request request, Response response) throws IOException, jakarta.servlet.ServletException {
                if (request.getRequestURI().startsWith("/refuse")) {
                    response.setStatus(403);
                    response.getWriter().println("not you");
                } else {
                    getNext().invoke(request, response);
                }
            }
        });
        context.addServletContainerInitializer(new WsSci(), null);
        context.addServletContainerInitializer((classes, servlets) -> {
            ServerContainer container = (ServerContainer) servlets.getAttribute(ServerContainer.class.getName());
            for (String path : List.of("/", "/{one}", "/{one}/{two}")) {
                try {
                    container.addEndpoint(ServerEndpointConfig.Builder.create(Echo.class, path).configurator(new Handshake()).build());
                } catch (jakarta.websocket.DeploymentException error) {
                    throw new IllegalStateException(error);
                }
            }
        }, null);
        tomcat.start();
        tomcat.getServer().await();
    }

    static Connector connector(int port) {
        Connector connector = new Connector();
        connector.setPort(port);
        connector.setProperty("address", "127.0.0.1");
        connector.addUpgradeProtocol(new Http2Protocol());
        return connector;
    }
}
