//! What the fuzz targets of the program do with one input (`fuzz/`): functions from bytes that panic
//! if a promise is broken.

/// The configuration file of the bridge.
pub fn config(input: &[u8]) {
    crate::commands::bridge::config::fuzz::run(input);
}

/// The beginning of a connection with a PROXY header.
pub fn proxyprotocol(input: &[u8]) {
    crate::listener::proxy_protocol::fuzz::run(input);
}

#[cfg(test)]
#[path = "../../fuzz/src/corpus.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use super::corpus;

    #[test]
    fn config() {
        corpus::run("config", super::config);
    }

    #[test]
    fn proxyprotocol() {
        corpus::run("proxyprotocol", super::proxyprotocol);
    }
}
