//! Certificates for the tests, and a client that uses them.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::process::{Ended, Scratch, h2ws, run_with};

/// Writes a CA certificate to `NAME.pem`, and a certificate for `subject` that it signed to
/// `NAME-leaf.pem` and `NAME-leaf.key`. Returns the paths.
pub(crate) fn authority(files: &Scratch, name: &str, subject: &str) -> [String; 3] {
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().expect("a key");
    let ca = params.self_signed(&ca_key).expect("an authority");
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([subject.to_owned()]).expect("a name");
    let leaf = params.signed_by(&key, &issuer).expect("a certificate");
    [
        files.file(&format!("{name}.pem"), &ca.pem()),
        files.file(&format!("{name}-leaf.pem"), &leaf.pem()),
        files.file(&format!("{name}-leaf.key"), &key.serialize_pem()),
    ]
}

/// Runs `h2ws connect` with one line on stdin.
pub(crate) fn connect(url: &str, args: &[&str]) -> Ended {
    run_with(h2ws(&["connect", url]).args(args), "hello\n")
}
