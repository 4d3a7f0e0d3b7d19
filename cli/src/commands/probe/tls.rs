//! TLS handshakes that record the server's certificate, whether it is trusted or not.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::facts::{Certificate, Tls, Trust};
use super::finding::{Finding, Step};
use super::io::{BoxIo, HTTP1};
use crate::error::with_causes;
use crate::tls::{advice, certificate_error};

pub(super) struct TlsOptions {
    pub(super) config: ClientConfig,
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    /// Whether the verifier accepts any certificate.
    pub(super) insecure: bool,
}

/// Performs the handshake, offering `alpn`. Stores in `tls` what was learned, even on failure.
pub(super) async fn handshake(
    options: &TlsOptions,
    limit: Duration,
    host: &str,
    alpn: &[&str],
    io: BoxIo,
    tls: &mut Tls,
) -> Result<BoxIo, Finding> {
    let failed = |text: String| Finding::Tls(text);
    let recorder = Arc::new(Recorder {
        verifier: options.verifier.clone(),
        recorded: Mutex::default(),
    });
    let mut config = options.config.clone();
    config
        .dangerous()
        .set_certificate_verifier(recorder.clone());
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
    let began = Instant::now();
    let result = timeout(
        limit,
        TlsConnector::from(Arc::new(config)).connect(name, io),
    )
    .await;
    if let Some((certificate, error)) = recorder.take() {
        tls.certificate = certificate;
        tls.trust = match error {
            Some(error) => Trust::Rejected(error),
            None if options.insecure => Trust::NotChecked,
            None => Trust::Trusted,
        };
    }
    let stream = match result {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(explain(&error, alpn)),
        Err(_) => return Err(Finding::Silent(Step::Tls)),
    };
    tls.time = Some(began.elapsed());
    describe(&stream, tls);
    Ok(Box::new(stream))
}

fn describe(stream: &TlsStream<BoxIo>, tls: &mut Tls) {
    let (_, session) = stream.get_ref();
    tls.alpn = session
        .alpn_protocol()
        .map(|name| String::from_utf8_lossy(name).into_owned());
    tls.version = session
        .protocol_version()
        .and_then(|version| version.as_str())
        .map(|name| name.replace("TLSv1_", "TLS 1."));
    tls.cipher = session
        .negotiated_cipher_suite()
        .and_then(|suite| suite.suite().as_str())
        .map(str::to_owned);
}

/// Returns the finding for a failed handshake.
fn explain(error: &io::Error, alpn: &[&str]) -> Finding {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(error)) => {
            Finding::Certificate(certificate_error(error))
        }
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol))
            if alpn == [HTTP1] =>
        {
            Finding::OnlyHttp2
        }
        _ => Finding::Tls(match advice(error) {
            Some(advice) => format!("{} ({advice})", with_causes(error)),
            None => with_causes(error),
        }),
    }
}

/// A verifier that delegates to another and records certificate and result.
#[derive(Debug)]
struct Recorder {
    verifier: Arc<dyn ServerCertVerifier>,
    recorded: Mutex<Option<Recorded>>,
}

/// The certificate, if it can be parsed, and why it was rejected.
type Recorded = (Option<Certificate>, Option<String>);

impl Recorder {
    fn take(&self) -> Option<Recorded> {
        self.recorded
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .verifier
            .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let error = verified.as_ref().err().map(|error| match error {
            rustls::Error::InvalidCertificate(error) => certificate_error(error),
            error => error.to_string(),
        });
        let recorded = (read(end_entity), error);
        *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(recorded);
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn read(der: &CertificateDer<'_>) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some(Certificate {
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        from: day(validity.not_before),
        until: day(validity.not_after),
    })
}

fn name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let text = name.to_string();
    if text.is_empty() {
        "(no name)".to_owned()
    } else {
        text
    }
}

fn day(time: ASN1Time) -> String {
    time.to_datetime().date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_parsed() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let mut name = rcgen::DistinguishedName::new();
        name.push(rcgen::DnType::CommonName, "example");
        name.push(rcgen::DnType::OrganizationName, "Example Ltd");
        params.distinguished_name = name;
        params.not_before = rcgen::date_time_ymd(2025, 1, 31);
        params.not_after = rcgen::date_time_ymd(2026, 2, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let read = read(made.der()).expect("a certificate");
        assert_eq!(read.subject, "CN=example, O=Example Ltd");
        assert_eq!(read.issuer, read.subject);
        assert_eq!((&*read.from, &*read.until), ("2025-01-31", "2026-02-01"));
    }
}
