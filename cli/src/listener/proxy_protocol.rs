//! PROXY protocol, versions 1 and 2: a load balancer that forwards TCP sends the client's address
//! before the first byte of the client.
//!
//! | a connection comes from | begins with | then |
//! |---|---|---|
//! | a named network, or by a Unix socket | a header with an address | that address is the peer's |
//! | the same | a header without one (`LOCAL`, `UNKNOWN`), such as of a health check | the peer is the load balancer |
//! | the same | anything else, or nothing in time | it is closed |
//! | any other network | anything | it is closed, because its header could name any address |
//!
//! Headers are read in tasks of their own, so that one that does not come delays no other
//! connection.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use h2ws::bridge::TunnelEnds;
use h2ws::server::Listener;
use ipnet::IpNet;
use proxy_header::{ParseConfig, ProxiedAddress, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Maximum time until the header is complete: that of a handshake.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum number of connections whose header is outstanding; further ones wait to be accepted.
const MAX_HEADERS: usize = 1024;

/// Maximum size of a header of version 2, with all that a load balancer adds to the addresses.
const MAX_HEADER_SIZE: usize = 4096;

/// Maximum size of a header of version 1, by the specification.
const MAX_LINE: usize = 107;

/// Size of the shortest header of version 1; one of version 2 is longer.
const MIN_HEADER: usize = b"PROXY UNKNOWN\r\n".len();

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Returns a header of version 2 for a `tcp` upstream. Its source is the client, its destination the
/// upstream, which replaces the address at which the client connected. Without a client's address it
/// is `LOCAL`.
pub(crate) fn v2_header(ends: TunnelEnds) -> Vec<u8> {
    v2_header_of(ends.client, ends.upstream)
}

fn v2_header_of(client: SocketAddr, upstream: Option<SocketAddr>) -> Vec<u8> {
    let header = if client.ip().is_unspecified() {
        ProxyHeader::with_local()
    } else {
        // A Unix socket has no address.
        let nowhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let (source, destination) = of_one_family(client, upstream.unwrap_or(nowhere));
        ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
    };
    let mut bytes = Vec::new();
    // Fails only for addresses of two families.
    header.encode_v2(&mut bytes).unwrap_or_default();
    bytes
}

/// Writes both addresses as IPv6 ones if they are not both IPv4 ones.
fn of_one_family(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    match (one, other) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => (one, other),
        _ => (mapped(one), mapped(other)),
    }
}

/// Networks, such as `10.0.0.0/8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Networks(Vec<IpNet>);

impl Networks {
    pub(crate) fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    /// Parses a network, or a single address.
    pub(crate) fn parse(text: &str) -> Result<IpNet, String> {
        let parsed = text.parse::<IpNet>().ok();
        let parsed = parsed.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let network =
            parsed.ok_or("expected a network such as 10.0.0.0/8 or fd00::/8, or an address")?;
        if network.trunc() != network {
            let meant = network.trunc();
            return Err(format!(
                "{network} has bits outside of its prefix; write {meant}"
            ));
        }
        Ok(network)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the header of this peer is accepted. A peer without an address has connected
    /// to a Unix socket, for which the permissions of its file decide.
    fn contain(&self, peer: SocketAddr) -> bool {
        let peer = peer.ip().to_canonical();
        peer.is_unspecified() || self.0.iter().any(|network| network.contains(&peer))
    }
}

/// A listener whose connections begin with a PROXY header.
pub(super) struct Proxied<L: Listener> {
    listener: L,
    networks: Networks,
    reading: JoinSet<Result<(L::Io, SocketAddr), Closed>>,
}

impl<L: Listener> Proxied<L> {
    pub(super) fn new(listener: L, networks: Networks) -> Self {
        Self {
            listener,
            networks,
            reading: JoinSet::new(),
        }
    }
}

impl<L: Listener> Listener for Proxied<L> {
    type Io = L::Io;

    async fn accept(&mut self) -> io::Result<(L::Io, SocketAddr)> {
        loop {
            tokio::select! {
                biased;
                Some(read) = self.reading.join_next() => match read {
                    Ok(Ok(accepted)) => return Ok(accepted),
                    Ok(Err(closed)) => closed.log(),
                    Err(error) => tracing::error!(%error, "reading a PROXY header failed"),
                },
                accepted = self.listener.accept(), if self.reading.len() < MAX_HEADERS => {
                    let (io, from) = accepted?;
                    if self.networks.contain(from) {
                        self.reading.spawn(read(io, from, HEADER_TIMEOUT));
                    } else {
                        let reason = "it is not in a network of proxy_protocol".to_owned();
                        Closed { from, reason }.log();
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection without a valid header.
#[derive(Debug)]
struct Closed {
    from: SocketAddr,
    reason: String,
}

impl Closed {
    fn log(&self) {
        let Self { from, reason } = self;
        tracing::warn!(%from, "connection closed, PROXY protocol: {reason}");
    }
}

async fn read<I: AsyncRead + Unpin>(
    mut io: I,
    from: SocketAddr,
    limit: Duration,
) -> Result<(I, SocketAddr), Closed> {
    let peer = match timeout(limit, header(&mut io)).await {
        Ok(Ok(peer)) => peer.unwrap_or(from),
        Ok(Err(reason)) => return Err(Closed { from, reason }),
        Err(_) => {
            let reason = format!("no complete header within {limit:?}");
            return Err(Closed { from, reason });
        }
    };
    Ok((io, peer))
}

/// Reads a header, and not a byte more. Returns the client's address if the header has one.
async fn header(io: &mut (impl AsyncRead + Unpin)) -> Result<Option<SocketAddr>, String> {
    let mut bytes = vec![0; MIN_HEADER];
    fill(io, &mut bytes, 0).await?;
    if bytes.starts_with(SIGNATURE) {
        // The command, the family, and the length of what follows.
        bytes.resize(SIGNATURE.len() + 4, 0);
        fill(io, &mut bytes, MIN_HEADER).await?;
        let length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
        if length > MAX_HEADER_SIZE {
            return Err(format!(
                "a header of {length} bytes; the limit is {MAX_HEADER_SIZE}"
            ));
        }
        bytes.resize(SIGNATURE.len() + 4 + length, 0);
        fill(io, &mut bytes, SIGNATURE.len() + 4).await?;
    } else if bytes.starts_with(b"PROXY ") {
        while !bytes.ends_with(b"\r\n") {
            if bytes.len() == MAX_LINE {
                return Err(format!("a header line of more than {MAX_LINE} bytes"));
            }
            let length = bytes.len();
            bytes.push(0);
            fill(io, &mut bytes, length).await?;
        }
    } else {
        return Err("it does not begin with a header".to_owned());
    }
    let config = ParseConfig {
        include_tlvs: false,
        ..ParseConfig::default()
    };
    let (header, length) = ProxyHeader::parse(&bytes, config).map_err(|error| error.to_string())?;
    if length != bytes.len() {
        return Err("a header that is longer than what it contains".to_owned());
    }
    Ok(header.proxied_address().map(|proxied| proxied.source))
}

/// Reads what is missing in `bytes` after `from`.
async fn fill(
    io: &mut (impl AsyncRead + Unpin),
    bytes: &mut [u8],
    from: usize,
) -> Result<(), String> {
    match io.read_exact(&mut bytes[from..]).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err("it ended within the header".to_owned())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([command, family]);
        header.extend((rest.len() as u16).to_be_bytes());
        header.extend(rest);
        header
    }

    const FOUR: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0x30, 0x39, 1, 187];

    #[test]
    fn written_headers_have_both_addresses_in_one_family() {
        for (client, upstream, expected) in [
            (
                "192.0.2.7:12345",
                Some("10.0.0.1:443"),
                Some("192.0.2.7:12345"),
            ),
            ("192.0.2.7:12345", None, Some("192.0.2.7:12345")),
            (
                "192.0.2.7:0",
                Some("[::1]:22"),
                Some("[::ffff:192.0.2.7]:0"),
            ),
            (
                "[2001:db8::7]:1",
                Some("10.0.0.1:443"),
                Some("[2001:db8::7]:1"),
            ),
            ("[2001:db8::7]:1", None, Some("[2001:db8::7]:1")),
            ("0.0.0.0:0", Some("10.0.0.1:443"), None),
        ] {
            let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
            let header = v2_header_of(address(client), upstream.map(address));
            let (parsed, length) =
                ProxyHeader::parse(&header, ParseConfig::default()).expect("a header");
            assert_eq!(length, header.len());
            let source = parsed.proxied_address().map(|address| address.source);
            assert_eq!(source, expected.map(address), "{client}");
        }
    }

    async fn read_in(bytes: &[u8], pieces: usize) -> (Result<SocketAddr, String>, Vec<u8>) {
        use tokio::io::AsyncWriteExt;

        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let from = SocketAddr::from(([10, 0, 0, 9], 1));
        let reading = tokio::spawn(read(ours, from, HEADER_TIMEOUT));
        for piece in bytes.chunks(pieces) {
            // Fails once the other end has closed, which the caller checks.
            if theirs.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(theirs);
        match reading.await.expect("no panic") {
            Ok((mut io, peer)) => {
                let mut rest = Vec::new();
                io.read_to_end(&mut rest).await.expect("read");
                (Ok(peer), rest)
            }
            Err(closed) => (Err(closed.reason), Vec::new()),
        }
    }

    #[tokio::test]
    async fn a_header_names_the_peer_and_is_not_part_of_the_stream() {
        let tlv = [FOUR, &[3, 0, 4, 1, 2, 3, 4]].concat();
        for (header, peer) in [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 12345 443\r\n".to_vec(),
                "192.0.2.7:12345",
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(),
                "[2001:db8::7]:1",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "10.0.0.9:1"),
            (
                b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
                "10.0.0.9:1",
            ),
            (v2(0x21, 0x11, FOUR), "192.0.2.7:12345"),
            (v2(0x21, 0x11, &tlv), "192.0.2.7:12345"),
            (v2(0x20, 0x00, &[]), "10.0.0.9:1"),
            (v2(0x20, 0x11, FOUR), "10.0.0.9:1"),
            (v2(0x21, 0x31, &[0; 216]), "10.0.0.9:1"),
        ] {
            for pieces in [1, 7, 1000] {
                let bytes = [&header, &b"GET / HTTP/1.1\r\n"[..]].concat();
                let (read, rest) = read_in(&bytes, pieces).await;
                assert_eq!(read, Ok(peer.parse().expect("an address")), "{header:?}");
                assert_eq!(rest, b"GET / HTTP/1.1\r\n", "{header:?}");
            }
        }
    }

    #[tokio::test]
    async fn torn_and_lying_headers_close_the_connection() {
        let long = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
        let large = v2(0x21, 0x11, &[0; MAX_HEADER_SIZE + 1]);
        for (bytes, reason) in [
            (&b""[..], "ended within"),
            (b"PROXY TCP4 192.0.2.7 10", "ended within"),
            (&v2(0x21, 0x11, FOUR)[..20], "ended within"),
            (
                b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
                "not begin with a header",
            ),
            (
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                "not begin with a header",
            ),
            (
                &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0],
                "not begin with a header",
            ),
            (&long, "more than 107"),
            (&large, "the limit is 4096"),
            (b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n", "invalid"),
            (b"PROXY TCP4 192.0.2.7 10.0.0.1 1 99999\r\n", "invalid"),
            (b"PROXY TCP5 192.0.2.7 10.0.0.1 1 2\r\n", "invalid"),
            (&v2(0x22, 0x11, FOUR), "invalid"),
            (&v2(0x21, 0x21, FOUR), ""),
            (&v2(0x21, 0x11, &FOUR[..4]), ""),
        ] {
            let (read, _) = read_in(bytes, 5).await;
            let error = read.expect_err("closed").to_lowercase();
            assert!(error.contains(reason), "{error}: {bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_header_is_due_within_the_handshake_timeout() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let from = SocketAddr::from(([10, 0, 0, 9], 1));
        let limit = Duration::from_millis(1);
        let closed = read(ours, from, limit).await.expect_err("closed");
        assert!(closed.reason.contains("within 1ms"), "{closed:?}");
    }

    #[test]
    fn networks_are_written_with_their_prefix() {
        let networks = ["10.0.0.0/8", "fd00::/8", "192.0.2.1"];
        let networks = networks.map(|text| Networks::parse(text).expect("a network"));
        let networks = Networks::new(networks);
        for (peer, is_in) in [
            ("10.1.2.3:1", true),
            ("[::ffff:10.1.2.3]:1", true),
            ("11.0.0.1:1", false),
            ("[fd12::1]:1", true),
            ("192.0.2.1:1", true),
            ("192.0.2.2:1", false),
            ("0.0.0.0:0", true),
        ] {
            let peer = peer.parse().expect("an address");
            assert_eq!(networks.contain(peer), is_in, "{peer}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "a"] {
            assert!(Networks::parse(wrong).is_err(), "{wrong}");
        }
    }
}
