//! An echo server on only the `h2` crate, with its default settings, among them the limit of small
//! DATA frames. Its WebSocket framing is as simple as possible.

use std::future::poll_fn;

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};

#[tokio::main]
async fn main() {
    interop_peers::listen(&["h2"], |io| async move {
        let mut builder = h2::server::Builder::new();
        builder.enable_connect_protocol();
        let mut connection = match builder.handshake::<_, Bytes>(io).await {
            Ok(connection) => connection,
            Err(error) => return eprintln!("handshake: {error}"),
        };
        while let Some(request) = connection.accept().await {
            match request {
                Ok((request, respond)) => drop(tokio::spawn(async move {
                    if let Err(error) = answer(request, respond).await {
                        eprintln!("stream: {error}");
                    }
                })),
                Err(error) => return eprintln!("connection: {error}"),
            }
        }
    })
    .await;
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let (parts, body) = request.into_parts();
    let is_socket =
        parts.method == Method::CONNECT && parts.extensions.get::<h2::ext::Protocol>().is_some();
    let (status, text) = match (is_socket, parts.uri.path()) {
        (false, _) => (200, "an ordinary answer\n"),
        (true, "/refuse") => (403, "not you\n"),
        (true, _) => (200, ""),
    };
    let mut response = Response::builder().status(status);
    if !text.is_empty() {
        let mut stream = respond.send_response(response.body(()).expect("a response"), false)?;
        return stream.send_data(text.into(), true);
    }
    let selected = interop_peers::subprotocol(&parts);
    if !selected.is_empty() {
        response = response.header("sec-websocket-protocol", &selected);
    }
    let stream = respond.send_response(response.body(()).expect("a response"), false)?;
    echo(body, stream, &interop_peers::facts(&parts, &selected)).await
}

/// A frame from the client: the first byte, and the unmasked payload.
struct Frame {
    first: u8,
    payload: Bytes,
}

fn take(buffer: &mut BytesMut) -> Option<Frame> {
    let (&first, &second) = (buffer.first()?, buffer.get(1)?);
    let (length, at) = match second & 0x7f {
        126 => (
            usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => (
            u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?) as usize,
            10,
        ),
        short => (usize::from(short), 2),
    };
    let key: [u8; 4] = buffer.get(at..at + 4)?.try_into().ok()?;
    if buffer.len() < at + 4 + length {
        return None;
    }
    let mut frame = buffer.split_to(at + 4 + length).split_off(at + 4);
    for (n, byte) in frame.iter_mut().enumerate() {
        *byte ^= key[n % 4];
    }
    Some(Frame {
        first,
        payload: frame.freeze(),
    })
}

fn put(out: &mut BytesMut, first: u8, payload: &[u8]) {
    out.put_u8(first);
    match payload.len() {
        short @ 0..126 => out.put_u8(short as u8),
        middle @ 126..65_536 => {
            out.put_u8(126);
            out.put_u16(middle as u16);
        }
        long => {
            out.put_u8(127);
            out.put_u64(long as u64);
        }
    }
    out.put_slice(payload);
}

async fn echo(
    mut body: RecvStream,
    mut stream: SendStream<Bytes>,
    facts: &str,
) -> Result<(), h2::Error> {
    let (mut buffer, mut closing) = (BytesMut::new(), false);
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        buffer.extend_from_slice(&chunk);
        let mut out = BytesMut::new();
        while let Some(Frame { first, payload }) = take(&mut buffer) {
            match (first, &payload[..]) {
                (0x81, b"?request") => put(&mut out, 0x81, facts.as_bytes()),
                (0x81, b"?ping") => put(&mut out, 0x89, b"are you there"),
                (0x81, b"?fragments") => {
                    put(&mut out, 0x01, b"frag");
                    put(&mut out, 0x89, b"");
                    put(&mut out, 0x00, b"men");
                    put(&mut out, 0x80, b"ted");
                }
                (0x81, b"?abort") => {
                    stream.send_reset(Reason::CANCEL);
                    return Ok(());
                }
                (0x81, text) if text.starts_with(b"?close ") => {
                    put(&mut out, 0x88, &close(text));
                    closing = true;
                }
                (0x89, _) => put(&mut out, 0x8a, &payload),
                (0x8a, b"are you there") => put(&mut out, 0x81, b"ponged are you there"),
                (0x8a, _) => {}
                (0x88, _) => {
                    if !closing {
                        put(&mut out, 0x88, &payload);
                    }
                    send(&mut stream, out.freeze()).await?;
                    return stream.send_data(Bytes::new(), true);
                }
                _ => put(&mut out, first, &payload),
            }
        }
        send(&mut stream, out.freeze()).await?;
        // Released only after the echo, so that the client's window limits what is buffered.
        body.flow_control().release_capacity(chunk.len())?;
    }
    stream.send_data(Bytes::new(), true)
}

/// Returns the payload of a Close frame for `?close CODE REASON`.
fn close(text: &[u8]) -> Vec<u8> {
    let mut words = text.splitn(3, |&byte| byte == b' ').skip(1);
    let code = words
        .next()
        .and_then(|code| std::str::from_utf8(code).ok()?.parse::<u16>().ok());
    let mut payload = code.unwrap_or(1000).to_be_bytes().to_vec();
    payload.extend_from_slice(words.next().unwrap_or_default());
    payload
}

/// Sends the data as the client's window allows.
async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> Result<(), h2::Error> {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(room) => stream.send_data(data.split_to(room?.min(data.len())), false)?,
            None => return Ok(()), // reset by the client
        }
    }
    Ok(())
}
