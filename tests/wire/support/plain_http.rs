//! Plain HTTP requests through a bridge, answered by a hand-written backend.

use bytes::Bytes;
use h2::RecvStream;
use http::{Method, Request, Response};
use tokio::net::TcpListener;

use super::bridge::Bridging;
use super::text::Text;
use super::{h2peer, within};

pub(crate) const GET: &str = "GET /page HTTP/1.1\r\nHost: a.test\r\n\r\n";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Builds a request for `path` on `a.test`.
pub(crate) fn request(method: Method, path: &str) -> Request<()> {
    let uri = format!("http://a.test{path}");
    let request = Request::builder().method(method).uri(uri);
    request.body(()).unwrap()
}

/// Sends a request without a body over HTTP/2, has the backend write `answer`,
/// and returns the response that the client gets.
pub(crate) async fn answered(
    bridging: &Bridging,
    listener: &TcpListener,
    method: Method,
    answer: &str,
) -> Response<RecvStream> {
    let client = h2peer::connect(bridging.addr).await;
    let asked = h2peer::ask(&client, request(method, "/page"), true);
    let answering = async {
        let mut backend = Text::asked(listener).await;
        backend.write(answer).await;
        backend
    };
    let ((response, _), _backend) = tokio::join!(asked, answering);
    response
}

/// Sends the request `asked` over HTTP/1.1, has the backend write `answer` and
/// close its connection, and returns everything that the client gets until its
/// own connection is closed, in lower case.
pub(crate) async fn answered_in_text(
    bridging: &Bridging,
    listener: &TcpListener,
    asked: &str,
    answer: &str,
) -> String {
    let mut client = Text::client(bridging.addr, asked).await;
    let mut backend = Text::asked(listener).await;
    backend.write(answer).await;
    drop(backend);
    String::from_utf8(client.rest().await)
        .unwrap()
        .to_lowercase()
}

/// Reads the next chunk of a body and releases its window.
pub(crate) async fn chunk(recv: &mut RecvStream) -> Bytes {
    let data = within(recv.data()).await.unwrap().unwrap();
    recv.flow_control().release_capacity(data.len()).unwrap();
    data
}
