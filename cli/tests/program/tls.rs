//! Certificates of `serve` and `connect`.

use futures_util::StreamExt;
use h2ws::tls::{self, Trust};
use h2ws::{Client, Message};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

use crate::certificates::{authority, connect};
use crate::process::{Scratch, Server, run};

/// Writes a self-signed certificate for these names and its key to files. Returns their paths.
fn pair(files: &Scratch, name: &str, names: &[&str]) -> (String, String) {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a pair");
    let cert = files.file(&format!("{name}.pem"), &made.cert.pem());
    let key = made.signing_key.serialize_pem();
    (cert, files.file(&format!("{name}.key"), &key))
}

#[test]
fn clients_present_certificates_to_servers_that_ask() {
    let files = Scratch::new();
    let [ca, cert, key] = authority(&files, "ca", "me");
    let shown = ["--insecure", "--cert", &cert, "--key", &key];
    let (stranger, stranger_key) = pair(&files, "stranger", &["me"]);
    let strange = ["--insecure", "--cert", &stranger, "--key", &stranger_key];

    let required = Server::start(&["--client-ca", &ca]);
    connect(&required.url, &shown).exited(0);
    connect(&required.url, &["--insecure"])
        .exited(1)
        .stderr_has("CertificateRequired");
    connect(&required.url, &strange).exited(1);

    let optional = Server::start(&["--client-ca", &ca, "--client-cert-optional"]);
    connect(&optional.url, &shown).exited(0);
    connect(&optional.url, &["--insecure"]).exited(0);
    connect(&optional.url, &strange).exited(1);
}

#[test]
fn each_certificate_is_used_for_its_names() {
    let files = Scratch::new();
    let (first, first_key) = pair(&files, "first", &["127.0.0.1", "first.test"]);
    let (second, second_key) = pair(&files, "second", &["localhost"]);
    let server = Server::start(&[
        "--cert",
        &first,
        "--key",
        &first_key,
        "--cert",
        &second,
        "--key",
        &second_key,
    ]);
    // Clients send no SNI for a URL with an IP address.
    connect(&server.url, &["--cacert", &first]).exited(0);
    connect(&server.url, &["--cacert", &second]).exited(1);
    connect(&server.localhost(), &["--cacert", &second]).exited(0);
    connect(&server.localhost(), &["--cacert", &first])
        .exited(1)
        .stderr_has("certificate");

    run(&[
        "serve", "--cert", &first, "--cert", &second, "--key", &first_key,
    ])
    .exited(2)
    .stderr_has("there must be one --key per --cert");
    let crossed = ["serve", "--cert", &first, "--key", &second_key];
    let crossed = run(&crossed);
    let why = "the private key does not belong to the certificate";
    crossed.exited(1).stderr_has("first.pem").stderr_has(why);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn sighup_reloads_certificates() {
    let files = Scratch::new();
    let (cert, key) = pair(&files, "server", &["localhost"]);
    let old = files.file("old.pem", &std::fs::read_to_string(&cert).expect("written"));
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let url = server.localhost();
    let trust = tls::roots_from_pem(&std::fs::read(&old).expect("written")).expect("a root");
    let config = tls::client_config(Trust::Only(trust), None).expect("a configuration");
    let client = Client::builder().tls(config).build().expect("a client");
    let mut socket = client.connect(&url).await.expect("open");

    pair(&files, "server", &["localhost"]);
    server.running.signal("HUP");
    let line = format!("certificates reloaded: {cert} until ");
    server.running.wait_for_stderr(&line);
    connect(&url, &["--cacert", &cert]).exited(0);
    connect(&url, &["--cacert", &old]).exited(1);

    let new = files.file("new.pem", &std::fs::read_to_string(&cert).expect("written"));
    files.file("server.pem", "no certificate");
    server.running.signal("HUP");
    server
        .running
        .wait_for_stderr("not reloaded, the old ones stay in use");
    server.running.wait_for_stderr("server.pem");
    connect(&url, &["--cacert", &new]).exited(0);

    socket
        .send(Message::text("still here"))
        .await
        .expect("sent");
    let echo = socket.next().await.expect("open").expect("no error");
    assert_eq!(echo, Message::text("still here"));
}

#[test]
fn other_hosts_are_answered_421() {
    let server = Server::start(&["--cleartext", "--allow-host", "localhost"]);
    for version in ["--http1", "--http2"] {
        connect(&server.localhost(), &[version]).exited(0);
        connect(&server.url, &[version]).exited(1).stderr_has("421");
    }
    run(&["serve", "--allow-host", "http://a"]).exited(2);
}

/// `openssl req -x509` makes such certificates by default.
#[test]
fn a_server_with_a_ca_certificate_is_reported_as_such() {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("an authority");
    let files = Scratch::new();
    let cert = files.file("ca.pem", &made.pem());
    let key = files.file("ca.key", &key.serialize_pem());
    let server = Server::start(&["--cert", &cert, "--key", &key]);
    let what = "it is a CA certificate (CA:TRUE), not a server's";
    connect(&server.localhost(), &["--cacert", &cert])
        .exited(1)
        .stderr_has(what);
    let probed = run(&["probe", "--cacert", &cert, &server.localhost()]);
    assert!(probed.stdout.contains(what), "{probed:?}");
}
